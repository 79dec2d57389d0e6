"""`livedub compile`: for whom, for which effort, for which numbers of threads; said in words and to machines."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from engine.editing.profile import SpeakerProfile
from engine.errors import BackendError
from streaming import engines, overlap
from streaming.commands import compile as command
from streaming.engines import LocalEngine
from tests.streaming.fakes import FakeEngine, livedub

pytestmark = pytest.mark.unit


@pytest.fixture
def presenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile in place of the shipped one."""
    (tmp_path / "presenter.safetensors").write_text("presenter")
    monkeypatch.setattr(command, "PRESENTER", tmp_path)
    return tmp_path


def test_the_shipped_presenter_is_compiled_for_unless_profiles_are_named(presenter: Path) -> None:
    engine = FakeEngine()
    assert livedub("compile", engine=engine).status == 0
    assert engine.compiled == [("presenter", 1)]
    for name in ("ann", "ben"):
        (presenter / name).write_text(name)
    assert livedub("compile", presenter / "ann", presenter / "ben", "--effort", 2, engine=engine).status == 0
    assert engine.compiled[1:] == [("ann", 2), ("ben", 2)]


def test_it_says_of_each_piece_of_work_what_it_runs_on_and_how_long_it_takes(presenter: Path) -> None:
    done = livedub("compile")
    path = presenter / "presenter.safetensors"
    assert done.out.splitlines() == [
        f"{path}: region render with 2 threads: aoti bf16 16.0 ms, eager 40.0 ms",
        f"{path}: mouth measurement with 2 threads: eager 40.0 ms, eager 40.0 ms",
    ]
    told = livedub("compile", "--json").values
    assert told["compiled"][str(path)]["2"]["backend"] == "aoti bf16"
    assert told["folder"].endswith("compiled")


def test_a_missing_compiler_is_one_line(presenter: Path) -> None:
    class Bare(FakeEngine):
        def compile(self, profile: object, effort: int, report: object) -> Mapping[str, Any]:
            raise BackendError("AOTInductor needs a C++ compiler and found none")

    done = livedub("compile", engine=Bare())
    assert (done.status, done.err.count("\n")) == (1, 1)
    assert "needs a C++ compiler" in done.err


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> tuple[SpeakerProfile, list[tuple[int, int]]]:
    """A profile, and (threads, effort) of each compilation that was asked for."""
    asked: list[tuple[int, int]] = []

    def compile_for(profile: object, effort: int) -> Mapping[str, Any]:
        asked.append((torch.get_num_threads(), effort))
        return {"backend": "aoti"}

    monkeypatch.setattr(engines, "compile_for", compile_for)
    monkeypatch.setattr(engines, "_own", lambda profile: profile)
    profile: Any = SimpleNamespace()
    return profile, asked


def test_packages_are_made_for_dub_and_for_serve(
    own: tuple[SpeakerProfile, list[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose stages compute with half of the threads, and with one less; the number set before is set again."""
    profile, asked = own
    set_to = [4]
    monkeypatch.setattr(overlap, "cores", lambda: 4)
    monkeypatch.setattr(torch, "get_num_threads", lambda: set_to[-1])
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    made = LocalEngine().compile(profile, 2, lambda *_: None)
    assert asked == [(3, 2), (2, 2)] and set_to[-1] == 4
    assert made == {"3": {"backend": "aoti"}, "2": {"backend": "aoti"}}
    set_to.append(2)
    asked.clear()
    LocalEngine().compile(profile, 1, lambda *_: None)
    assert asked == [(1, 1)]


def test_threads_are_set_back_after_an_error(
    own: tuple[SpeakerProfile, list[tuple[int, int]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    set_to = [2]
    monkeypatch.setattr(torch, "get_num_threads", lambda: set_to[-1])
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)

    def failing(profile: object, effort: int) -> Mapping[str, Any]:
        torch.set_num_threads(1)
        raise BackendError("no compiler")

    monkeypatch.setattr(engines, "compile_for", failing)
    with pytest.raises(BackendError, match="no compiler"):
        LocalEngine().compile(own[0], 0, lambda *_: None)
    assert set_to[-1] == 2
