"""Logs in TensorBoard's format, read back by an independent little parser; checksums against published values."""

import struct
from pathlib import Path

import pytest

from engine.training.events import EventLog, masked_crc

pytestmark = pytest.mark.unit


def unmask(value: int) -> int:
    """The plain CRC-32C of a masked one."""
    rotated = (value - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "crc"), [(b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (bytes([0xFF] * 32), 0x62A8AB43)]
)
def test_checksums_are_crc_32c(data: bytes, crc: int) -> None:
    """Check values of the Castagnoli polynomial (RFC 3720, appendix B.4)."""
    assert unmask(masked_crc(data)) == crc


def records(path: Path) -> list[bytes]:
    """Data of all records; fails on a wrong checksum."""
    data, at, found = path.read_bytes(), 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        assert struct.unpack_from("<I", data, at + 8)[0] == masked_crc(data[at : at + 8])
        body = data[at + 12 : at + 12 + length]
        assert struct.unpack_from("<I", data, at + 12 + length)[0] == masked_crc(body)
        found.append(body)
        at += 16 + length
    return found


def test_scalars_of_steps_come_back(tmp_path: Path) -> None:
    """First the version, then one event a step."""
    with EventLog(tmp_path / "run") as log:
        log.add(1, {"lips": 0.5})
        log.add(300, {"lips": 0.25, "naming": -2.0})
    (path,) = (tmp_path / "run").iterdir()
    version, first, second = records(path)
    assert b"brain.Event:2" in version
    assert first[9:11] == b"\x10\x01"
    assert b"\x0a\x04lips\x15" + struct.pack("<f", 0.5) in first
    assert second[9:12] == b"\x10\xac\x02"
    assert b"\x0a\x06naming\x15" + struct.pack("<f", -2.0) in second


def test_a_resumed_run_begins_a_new_file(tmp_path: Path) -> None:
    """Earlier curves are kept."""
    for _ in range(2):
        with EventLog(tmp_path) as log:
            log.add(1, {"a": 1.0})
    assert len(list(tmp_path.iterdir())) == 2
