"""What a figure was measured on: processor, versions, and which code."""

import importlib
import shutil
from pathlib import Path

import pytest

from engine.evaluation import machine
from engine.evaluation.machine import code_digest, describe_machine, peak_memory_mb, versions

pytestmark = pytest.mark.unit


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A few files laid out as the packages are; the digest is taken of them."""
    for name in ("engine/evaluation/machine.py", "engine/media.py", "engine/training/loop.py", "kernels/haar.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "engine/speech").mkdir()
    (tmp_path / "engine/speech/speech.safetensors").write_bytes(b"weights")
    (tmp_path / "engine/speech/MODEL_CARD.md").write_text("words")
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "engine/evaluation/machine.py"))
    return tmp_path


def digest() -> str:
    code_digest.cache_clear()
    return code_digest()


@pytest.fixture(autouse=True)
def forget() -> None:
    """Nobody sees a digest of made-up files."""
    code_digest.cache_clear()


@pytest.mark.parametrize(
    ("name", "matters"),
    [
        ("engine/media.py", True),
        ("kernels/haar.py", True),
        ("engine/speech/speech.safetensors", True),
        ("engine/speech/MODEL_CARD.md", False),
        ("engine/training/loop.py", False),
    ],
)
def test_the_digest_follows_code_and_shipped_networks_and_nothing_else(name: str, matters: bool, copied: Path) -> None:
    before = digest()
    assert before == digest() and len(before) == 16
    (copied / name).write_bytes((copied / name).read_bytes() + b"!")
    assert (digest() != before) == matters
    code_digest.cache_clear()


def test_the_digest_knows_names_and_not_places(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    before = digest()
    elsewhere = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(copied, elsewhere)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "__file__", str(elsewhere / "engine/evaluation/machine.py"))
        assert digest() == before
        (elsewhere / "engine/media.py").rename(elsewhere / "engine/medium.py")
        assert digest() != before
    code_digest.cache_clear()


def test_processor_and_abilities_are_read_from_the_systems_list(tmp_path: Path) -> None:
    listed = "processor : 0\nmodel name : Some CPU\nflags : fpu avx2 avx512f other\n\nmodel name : Another\n"
    (tmp_path / "cpuinfo").write_text(listed)
    model, flags = machine._processor(tmp_path / "cpuinfo")
    assert model == "Some CPU" and {"avx2", "avx512f"} <= flags
    assert machine._processor(tmp_path / "none") == ("", frozenset())


def test_a_machine_is_described_without_names_of_people_or_hosts() -> None:
    found = describe_machine()
    assert set(found) <= {"processor", "instruction_sets", "cores", "system", "memory_mb"}
    assert isinstance(found["cores"], int) and found["cores"] >= 1


def test_versions_leave_out_what_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package-of-ours"))
    assert set(versions()) == {"python", "torch"}


def test_peak_memory_is_told_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = peak_memory_mb()
    assert found is not None and 20 < found < 10**6

    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    assert peak_memory_mb() is None
