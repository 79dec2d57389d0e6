"""`livedub demo`: no questions asked, a film, a strip and figures come out."""

from pathlib import Path

import pytest

from engine.errors import BackendError
from streaming.commands import demo, dub
from streaming.dubbing import Session
from streaming.engines import Profile, Tracker
from streaming.ingest.file import probe_video
from tests.streaming.clips import gradient, make_video, make_wav, tone
from tests.streaming.fakes import FakeEngine, FakeSession, livedub

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def presenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small clip, speech and profile in place of the shipped ones, and no judge."""

    def no_judge(tell: object) -> None:
        raise BackendError("dlib is not installed")

    folder = tmp_path / "presenter"
    folder.mkdir()
    make_video(folder / "presenter.mp4", [gradient(i, 64, 48) for i in range(12)])
    make_wav(folder / "speech.wav", tone(0.4, 16000), 16000).rename(folder / "speech.flac")
    (folder / "presenter.safetensors").write_text("full")
    monkeypatch.setattr(demo, "PRESENTER", folder)
    monkeypatch.setattr(dub, "best_judge", no_judge)
    return folder


def test_it_needs_no_consent_and_no_enrolment(tmp_path: Path) -> None:
    engine = FakeEngine()
    done = livedub("demo", "--out", tmp_path / "film.mp4", "--json", engine=engine)
    assert done.status == 0
    assert engine.enrolled == []
    assert done.values["frames"] == 12
    assert done.values["figures"]["outside"] == 0
    assert len(probe_video(tmp_path / "film.mp4").ticks) == 12


def test_the_figures_are_shown(tmp_path: Path) -> None:
    done = livedub("demo", "--out", tmp_path / "film.mp4", "--effort", 4)
    assert "lip_target_error" in done.out
    assert "film.mp4: 0.48 s, 12 pictures, 12 edited" in done.out


def test_who_has_compiled_nothing_is_told_in_one_line_that_it_can_be_done(tmp_path: Path) -> None:
    """The scripted session renders eagerly."""
    done = livedub("demo", "--out", tmp_path / "film.mp4")
    assert [line for line in done.out.splitlines() if "livedub compile" in line] == [demo._FASTER]

    class Compiled(FakeEngine):
        def session(
            self, profile: Profile, effort: int | None, tracker: Tracker, emotion: str = "neutral",
            intensity: float = 1.0,
        ) -> Session:  # fmt: skip
            session = super().session(profile, effort, tracker, emotion, intensity)
            assert isinstance(session, FakeSession)
            session.backend = {"backend": "aoti bf16", "reason": "scripted"}
            return session

    again = livedub("demo", "--out", tmp_path / "film.mp4", engine=Compiled())
    assert again.status == 0 and "livedub compile" not in again.out


def test_a_place_that_cannot_be_written_is_refused_first(tmp_path: Path) -> None:
    engine = FakeEngine()
    done = livedub("demo", "--out", tmp_path / "none" / "film.mp4", engine=engine)
    assert (done.status, engine.sessions) == (2, [])
