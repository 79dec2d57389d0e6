"""Training curves in TensorBoard's file format, written without TensorBoard.

A file is a row of records (length, its checksum, data, its checksum; CRC-32C, masked), each an `Event` message of a
few protocol-buffer fields: wall time 1, step 2, version 3, summary 5 with values 1 of tag 1 and simple_value 2.
"""

import struct
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_POLYNOMIAL: Final = 0x82F63B78


def _table() -> tuple[int, ...]:
    rows = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


_CRC: Final = _table()


def masked_crc(data: bytes) -> int:
    """CRC-32C of `data`, rotated and shifted as the record format wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    """One record of the file."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes_field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _event(step: int, wall_time: float, rest: bytes) -> bytes:
    return _varint(1 << 3 | 1) + struct.pack("<d", wall_time) + _varint(2 << 3) + _varint(step) + rest


class EventLog:
    """A file of scalars over steps; `with` closes it."""

    def __init__(self, folder: Path) -> None:
        """Begins a new file in `folder`, beside those of earlier runs."""
        folder.mkdir(parents=True, exist_ok=True)
        now = time.time()
        self._file = (folder / f"events.out.tfevents.{time.time_ns()}.livedub").open("wb")
        self._file.write(record(_event(0, now, _bytes_field(3, b"brain.Event:2"))))

    def __enter__(self) -> Self:
        """The log itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Closes the file."""
        self._file.close()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Writes the scalars of a step; what is written is on disk when this returns."""
        summary = b"".join(
            _bytes_field(1, _bytes_field(1, tag.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", value))
            for tag, value in values.items()
        )
        self._file.write(record(_event(step, time.time(), _bytes_field(5, summary))))
        self._file.flush()
