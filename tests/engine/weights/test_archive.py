"""Members taken out of archives: right to the last bit, or a `WeightsError` and nothing left, whatever the damage."""

import hashlib
import importlib.metadata
import io
import logging
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import WeightsError
from engine.weights import archive
from engine.weights.catalogue import Kind

pytestmark = pytest.mark.unit

CONTENT = bytes((7 * i * i + i // 9) % 41 for i in range(6000))
SHA = hashlib.sha256(CONTENT).hexdigest()


def wheel(compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        made.writestr("tiny/other.bin", b"other" * 50)
        made.writestr("tiny/main.bin", CONTENT)
    return file.getvalue()


def source(top: str = "tiny-1.2/") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as made:
        for name, content in (("tiny/other.bin", b"other"), ("tiny/main.bin", CONTENT)):
            info = tarfile.TarInfo(f"{top}{name}")
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return file.getvalue()


KINDS = {
    "tiny-1.2-py3-none-any.whl": wheel(),
    "stored-1.2-py3-none-any.whl": wheel(zipfile.ZIP_STORED),
    "tiny-1.2.tar.gz": source(),
    "tiny-1.2.tgz": source(top="package/"),
}


def taken(folder: Path, name: str, content: bytes, member: str = "tiny/main.bin", sha256: str = SHA) -> Path:
    (folder / name).write_bytes(content)
    target = folder / "out.bin"
    archive.extract(folder / name, member, sha256, target)
    return target


@pytest.mark.parametrize("name", KINDS)
def test_a_member_comes_out_as_it_went_in(name: str, tmp_path: Path) -> None:
    assert taken(tmp_path, name, KINDS[name]).read_bytes() == CONTENT


@pytest.mark.parametrize("name", KINDS)
@settings(deadline=None, max_examples=60)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_harmless_or_told(
    name: str, place: float, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Never another content, never an error of another kind, never half a file."""
    folder = tmp_path_factory.mktemp("a")
    content = bytearray(KINDS[name])
    content[int(place * len(content))] ^= 1 << bit
    try:
        assert taken(folder, name, bytes(content)).read_bytes() == CONTENT
    except WeightsError as error:
        assert name in str(error) and "etch again" in str(error)
        assert not (folder / "out.bin").exists()


@pytest.mark.parametrize("name", KINDS)
@settings(deadline=None, max_examples=25)
@given(share=st.floats(0, 0.9))
def test_an_archive_cut_short_is_told(name: str, share: float, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Up to nine tenths: the end of an archive may be padding."""
    folder = tmp_path_factory.mktemp("a")
    whole = KINDS[name]
    try:
        assert taken(folder, name, whole[: int(share * len(whole))]).read_bytes() == CONTENT
    except WeightsError:
        assert not (folder / "out.bin").exists()


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("member", ["tiny/none.bin", "main.bin", "tiny", "", "/etc/passwd", "../tiny/main.bin"])
def test_a_member_that_is_not_there_is_told_by_its_name(name: str, member: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"{name} does not hold {member} .*expected a whole archive as published"):
        taken(tmp_path, name, KINDS[name], member)
    assert not (tmp_path / "out.bin").exists()


@pytest.mark.parametrize("name", KINDS)
def test_another_content_is_told_with_both_hashes(name: str, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"has sha256 {SHA}, expected {'0' * 64}: not the published file"):
        taken(tmp_path, name, KINDS[name], sha256="0" * 64)
    assert not (tmp_path / "out.bin").exists()


def test_a_link_in_a_source_archive_is_not_followed(tmp_path: Path) -> None:
    """It would name any file of this machine."""
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as made:
        info = tarfile.TarInfo("tiny-1.2/tiny/main.bin")
        info.type, info.linkname = tarfile.SYMTYPE, str(secret)
        made.addfile(info)
    with pytest.raises(WeightsError, match="does not hold"):
        taken(tmp_path, "tiny-1.2.tar.gz", file.getvalue())


def test_an_encrypted_wheel_is_told(tmp_path: Path) -> None:
    content = bytearray(wheel(zipfile.ZIP_STORED))
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(mark, at + 4)
    with pytest.raises(WeightsError, match="does not hold tiny/main.bin .*encrypted"):
        taken(tmp_path, "tiny-1.2-py3-none-any.whl", bytes(content))


def test_a_full_disk_is_no_damaged_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing fails in another way than reading: the caller says what to do about either."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        taken(tmp_path, "tiny-1.2.tar.gz", KINDS["tiny-1.2.tar.gz"])
    assert not (tmp_path / "out.bin").exists()


def test_a_file_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out.bin").write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        taken(tmp_path, "tiny-1.2.tar.gz", KINDS["tiny-1.2.tar.gz"])


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("25.0.1", (25, 0)),
        ("24.1", (24, 1)),
        ("24.1b1", (24, 1)),
        ("26.dev0", (26, 0)),
        ("25", (25, 0)),
        ("23.3.2", (23, 3)),
        ("unknown", (0, 0)),
    ],
)
def test_every_version_of_pip_is_understood(
    told: str, version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pre-releases too: Linux distributions ship them."""
    monkeypatch.setattr(importlib.metadata, "version", lambda name: told)
    assert archive._pip_version() == version
    bar = "raw" if version >= (24, 1) else "off"
    command, _ = archive._pip_download("tiny==1.2", "wheel", Path("work"), Path("work/archive"))
    assert command[command.index("--progress-bar") + 1] == bar


def test_a_wheel_and_a_source_archive_are_asked_for_by_their_kind(tmp_path: Path) -> None:
    """Only one of them may come, alone, and a source archive meets the stand-in in place of setuptools."""
    kinds: tuple[Kind, ...] = ("wheel", "sdist")
    for kind in kinds:
        folder = tmp_path / kind
        folder.mkdir()
        command, environment = archive._pip_download("tiny==1.2", kind, folder, folder / "archive")
        assert "--no-deps" in command and command[-1] == "tiny==1.2"
        assert command[-3:-1] == [{"wheel": "--only-binary", "sdist": "--no-binary"}[kind], ":all:"]
        assert ("--no-build-isolation" in command) == (kind == "sdist") == ("LIVEDUB_ARCHIVE" in environment)
        assert environment["PIP_NO_INPUT"] == "1"


def test_the_stand_in_comes_before_what_the_user_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mine, count in (("", 1), ("/mine", 2)):
        monkeypatch.setenv("PYTHONPATH", mine)
        found = archive._stand_in(tmp_path / str(count), "tiny==1.2")["PYTHONPATH"].split(":")
        assert found[0] == str(tmp_path / str(count) / "stand_in") and len(found) == count


def said(script: str) -> tuple[int, str, list[tuple[int, int]]]:
    """Status, last lines and progress of a tool."""
    seen: list[tuple[int, int]] = []
    status, tail = archive._run(["sh", "-c", script], {"PATH": "/usr/bin:/bin"}, lambda *at: seen.append(at))
    return status, tail, seen


def test_progress_is_told_and_the_last_lines_are_kept(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        status, tail, seen = said(
            "echo Progress 1 of 9; echo; for i in a b c d e f g h; do echo line $i; done; echo Progress 9 of 9; exit 3"
        )
    assert status == 3 and seen == [(1, 9), (9, 9)]
    assert tail == " | ".join(f"line {letter}" for letter in "cdefgh")
    assert "line a" in caplog.text and "Progress" not in caplog.text


def test_what_a_tool_says_may_be_any_bytes_and_on_either_channel() -> None:
    status, tail, _ = said(r"printf 'caf\351\n'; echo trouble >&2")
    assert status == 0 and tail == "caf\ufffd | trouble"


def test_an_interruption_ends_the_tool() -> None:
    """Whoever is told of progress may raise: the process is not left behind."""

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive._run(["sh", "-c", "echo Progress 1 of 2; exec cat /dev/zero"], {"PATH": "/usr/bin:/bin"}, stop)
