"""`livedub enroll`: what is said of a profile, encoders, and enrolments that are broken off."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import engine.dubber as dubber
from engine.errors import BadInputError
from engine.generators.stats import WStatistics
from engine.media import VideoFrame
from streaming import cli, engines
from streaming.engines import LocalEngine, Profile, Quality, Tracker
from streaming.screen import Report
from tests.streaming.clips import gradient, make_video
from tests.streaming.fakes import FakeEngine, FakeProfile, livedub

pytestmark = pytest.mark.unit
VERDICTS = ["teeth were never visible", "few frames"]


class Judged(FakeEngine):
    """Makes profiles that say something of themselves; keeps a file while it works, as the engine does."""

    def __init__(self, kept: Path | None = None, broken: bool = False) -> None:
        super().__init__()
        self.kept, self.broken = kept, broken

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = ""
    ) -> Profile:
        if self.kept is not None:
            self.kept.write_text("half of it")
        if self.broken:
            raise KeyboardInterrupt
        profile = super().enroll(frames, quality, tracker, report, generator)
        assert isinstance(profile, FakeProfile)
        profile.notes = {
            "score": 62,
            "grade": "fair",
            "verdicts": ["teeth were never visible", "few frames"],
            "seconds": 9,
        }
        return profile


@pytest.fixture
def words(tmp_path: Path) -> tuple[object, ...]:
    """The command."""
    video = make_video(tmp_path / "talk.mp4", [gradient(i, 64, 48) for i in range(8)])
    return ("enroll", video, "-o", tmp_path / "ann.safetensors", "--consent")


def test_score_and_weak_points_are_shown_to_people_and_machines(words: tuple[object, ...]) -> None:
    done = livedub(*words, engine=Judged())
    assert done.status == 0 and "(draft; 62 of 100, fair)" in done.out
    assert "\n- teeth were never visible\n- few frames\n" in done.out
    values = livedub(*words, "--json", engine=Judged()).values
    assert (values["score"], values["grade"], values["verdicts"][1]) == (62, "fair", "few frames")
    assert "seconds" not in values


def test_a_profile_without_notes_says_nothing_of_itself(words: tuple[object, ...]) -> None:
    done = livedub(*words)
    assert done.status == 0 and "of 100" not in done.out and done.out.count("\n") == 1
    assert not {"score", "grade", "verdicts"} & set(livedub(*words, "--json").values)


def test_what_is_learnt_so_far_stays_after_a_break_and_goes_at_the_end(
    words: tuple[object, ...], tmp_path: Path
) -> None:
    kept = tmp_path / "ann.safetensors.unfinished"
    broken = livedub(*words, engine=Judged(kept, broken=True))
    assert broken.status == 130 and kept.is_file() and not (tmp_path / "ann.safetensors").exists()
    assert f"{kept} holds what is learnt so far: the same command takes it up again" in " ".join(broken.err.split())
    assert livedub(*words, engine=Judged(kept)).status == 0
    assert not kept.exists() and (tmp_path / "ann.safetensors").is_file()
    assert "holds what is learnt" not in livedub(*words, engine=Judged(None, broken=True)).err


def test_the_engine_is_told_of_encoder_and_unfinished_work(
    words: tuple[object, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`enroll` keeps its work beside the profile; other commands keep none."""
    made: list[tuple[Any, ...]] = []

    def engine(*arguments: Any) -> FakeEngine:
        made.append(arguments)
        return FakeEngine()

    monkeypatch.setattr(cli, "LocalEngine", engine)
    assert cli.main([str(word) for word in (*words, "--encoder", "e4e.pt")]) == 0
    assert cli.main([str(word) for word in words]) == 0
    cli.main(["weights", "list", "--json"])
    unfinished = tmp_path / "ann.safetensors.unfinished"
    rest = (None, "geometric")
    kept = [("auto", Path("e4e.pt"), unfinished), ("auto", None, unfinished), ("auto", None, None)]
    assert made == [(*arguments, *rest) for arguments in kept]


def test_the_local_engine_hands_both_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(engines, "enroll", lambda *arguments: asked.append(arguments))
    LocalEngine("eager", tmp_path / "e.pt", tmp_path / "u").enroll([], "full", "mesh", print, "ffhq")
    assert asked == [([], "full", "mesh", print, "ffhq", tmp_path / "e.pt", tmp_path / "u")]


def test_an_encoder_is_refused_before_any_picture_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of another generator, or no such file."""

    def unseen() -> Iterable[VideoFrame]:
        raise AssertionError("a picture was read")
        yield

    ready = SimpleNamespace(
        generator=SimpleNamespace(rows=18), statistics=WStatistics(torch.zeros(4), torch.eye(4)), directions=None
    )
    networks = SimpleNamespace(ready=ready, perceptual=None, mesh=None)
    monkeypatch.setattr(dubber, "_networks", lambda name: networks)
    with pytest.raises(BadInputError, match="no such file"):
        dubber.enroll(unseen(), encoder=Path("nowhere.pt"))
    stranger = SimpleNamespace(rows=18, width=4, source="e.pt", average=torch.full((18, 4), 3.0))
    monkeypatch.setattr(dubber, "FaceEncoder", SimpleNamespace(read=lambda path: stranger))
    with pytest.raises(BadInputError, match="it was trained with another one"):
        dubber.enroll(unseen(), encoder=Path("e.pt"))
