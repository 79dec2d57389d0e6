"""The measuring engine: pictures as bright as their moment of the voice is loud, as late as the voice, and no more."""

import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.marking import LOOK_AHEAD_MS, LOUD, QUIET, MarkingEngine, MarkingProfile, MarkingSession
from engine.errors import BadInputError
from engine.media import AudioChunk, VideoFrame

pytestmark = pytest.mark.unit
RATE = 16000


def picture(index: int) -> VideoFrame:
    """A mid-grey picture at 25 a second."""
    return VideoFrame.from_rgb(np.full((64, 96, 3), 128, np.uint8), index, Fraction(1, 25))


def chunk(samples: NDArray[np.float32], first: int = 0) -> AudioChunk:
    return AudioChunk(samples, RATE, first, Fraction(1, RATE))


def tone(seconds: float, level: float) -> NDArray[np.float32]:
    """A tone whose root mean square is `level`."""
    at = np.arange(round(seconds * RATE)) / RATE
    return np.asarray(level * np.sqrt(2) * np.sin(2 * np.pi * 1000 * at), np.float32)


def band(frame: VideoFrame) -> NDArray[np.uint8]:
    """The rows that are painted."""
    return np.asarray(frame.planes[0][16:32], np.uint8)


def test_pictures_wait_for_their_voice_and_its_look_ahead() -> None:
    session = MarkingSession(0.0)
    for index in range(6):
        session.push_video(picture(index))
    assert session.ready() == []
    session.push_audio(chunk(tone(0.04 + LOOK_AHEAD_MS / 1000, 0.1)))
    assert [done.frame.pts for done in session.ready()] == [0, 1]
    session.push_audio(chunk(tone(0.16, 0.1)))
    assert [done.frame.pts for done in session.ready()] == [2, 3, 4, 5]
    assert session.ready() == []


def test_the_band_is_as_bright_as_the_voice_is_loud_and_all_else_is_the_frames_own() -> None:
    session = MarkingSession(0.0)
    voice = np.concatenate([tone(0.2, 0.0), tone(0.2, 0.175), tone(0.6, 0.35)])
    session.push_audio(chunk(voice))
    for index in (2, 7, 15):
        session.push_video(picture(index))
    quiet, half, loud = session.ready()
    assert set(band(quiet.frame).flat) == {QUIET}
    assert set(band(loud.frame).flat) == {LOUD}
    assert abs(int(band(half.frame)[0, 0]) - (QUIET + LOUD) // 2) <= 2
    for done in (quiet, half, loud):
        assert done.edited and np.array_equal(done.frame.planes[0][:16], done.source.planes[0][:16])
        assert np.array_equal(done.frame.planes[0][32:], done.source.planes[0][32:])
        assert all(np.array_equal(a, b) for a, b in zip(done.frame.planes[1:], done.source.planes[1:], strict=True))


def test_memory_of_the_voice_is_bounded_and_its_clock_goes_on() -> None:
    """Ten minutes of voice leave six seconds in memory, and pictures find theirs all the same."""
    session = MarkingSession(0.0)
    for second in range(600):
        session.push_audio(chunk(tone(1.0, 0.35 if second == 598 else 0.0), second * RATE))
    assert len(session._voice) <= 6 * RATE
    session.push_video(picture(25 * 598 + 12))
    session.push_video(picture(25 * 599 + 12))
    loud, quiet = session.ready()
    assert band(loud.frame)[0, 0] == LOUD and band(quiet.frame)[0, 0] == QUIET


def test_every_picture_costs_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    session = MarkingSession(12.5)
    session.push_audio(chunk(tone(1.0, 0.1)))
    for index in range(3):
        session.push_video(picture(index))
    assert len(session.ready()) == 3 and waited == [0.0125] * 3


def test_the_engine_learns_nobody_and_makes_sessions_for_files_and_live(tmp_path: Path) -> None:
    engine = MarkingEngine(0.0)
    profile = engine.load(tmp_path / "anything")
    assert isinstance(profile, MarkingProfile) and profile.rest_opening == 0
    assert isinstance(engine.session(profile, 3, "mesh"), MarkingSession)
    opened = engine.live(profile, None)
    assert opened.look_ahead_ms == LOOK_AHEAD_MS and opened.session.effort == 0
    assert engine.features().max_effort == 0 and engine.features().emotions == ()
    for refused in (
        lambda: engine.enroll([], "draft", "mesh", lambda *_: None),
        lambda: profile.save(tmp_path / "x"),
        lambda: opened.session.set_emotion("happy"),
    ):
        with pytest.raises(BadInputError, match="measuring engine"):
            refused()
    assert list(tmp_path.iterdir()) == []
