"""One live dub as the compute thread sees it: its own time, gaps in the voice, warming up, fading in."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dubber import Looked
from engine.errors import ShapeError
from engine.media import VideoFrame
from engine.tracking.tracker import TrackResult
from streaming.clock import MS, NS
from streaming.ingest.file import probe_video
from streaming.ingest.paced import RecordedFrame
from streaming.live.dub import LiveDub, between, newest_ready
from streaming.live.known import KnownFaces
from streaming.live.media import BLOCK, BLOCK_NS, SoundBlock, at_media, media_ns, silence
from tests.streaming.clips import gradient, make_video
from tests.streaming.live.fakes import block, picture
from tests.streaming.scripted import LOOK_AHEAD_MS, LOUD, ScriptedSession

pytestmark = pytest.mark.unit


def at(media_ms: float) -> VideoFrame:
    return at_media(picture(0), round(media_ms * MS))


def loud(first: int, count: int) -> list[SoundBlock]:
    return [SoundBlock(block(0.35), first + index) for index in range(count)]


def test_a_picture_comes_out_when_its_voice_is_there_with_its_own_time_and_its_source() -> None:
    dub = LiveDub(ScriptedSession(), LOOK_AHEAD_MS)
    frame = at(40)
    assert dub.feed(loud(0, 2), frame).pictures == ()
    done = dub.feed(loud(2, 20), None).pictures
    assert [(each.media, each.edited, each.source is frame) for each in done] == [(40 * MS, True, True)]
    assert dub.look_ahead_ns == (LOOK_AHEAD_MS + 10) * MS


def test_where_the_voice_has_a_gap_the_engine_hears_none_and_pictures_after_it_keep_their_voice() -> None:
    session = ScriptedSession()
    dub = LiveDub(session, LOOK_AHEAD_MS)
    quiet = [SoundBlock(silence(), index) for index in range(50)]
    dub.feed(quiet, at(0))
    heard = session.before + len(session.voice)
    dub.feed(loud(100, 50), None)
    assert session.before + len(session.voice) - heard == pytest.approx(16000, abs=40)
    done = dub.feed(loud(150, 20), at(2500)).pictures
    assert [int(each.frame.planes[0][-1, -1]) for each in done] == [LOUD]
    assert done[0].media == 2500 * MS


def test_times_of_the_engine_only_grow_whatever_the_pictures_say() -> None:
    session = ScriptedSession()
    dub = LiveDub(session, LOOK_AHEAD_MS)
    dub.feed(loud(100, 1), None)
    for media in (1900, 1000, 2000, 2000, 2040):
        dub.feed(loud(101, 0), at(media))
    assert session.last_s >= 0


def test_the_effort_of_a_picture_is_what_is_given_or_what_is_wanted() -> None:
    session = ScriptedSession()
    dub = LiveDub(session, LOOK_AHEAD_MS)
    dub.wanted_effort = 3
    dub.feed([], None)
    assert session.effort == 3
    dub.feed([], None, effort=1)
    assert session.effort == 1
    assert dub.wanted_effort == 3


def test_warming_up_measures_tells_and_can_be_done_only_before_anything_is_fed() -> None:
    dub, told = LiveDub(ScriptedSession(), LOOK_AHEAD_MS), list[int]()
    assert dub.warm_up(at(0), 4, told.append) >= 0
    assert told == [1, 2, 3, 4]
    done = dub.feed(loud(0, 40), at(100)).pictures
    assert [(each.media // MS, each.edited) for each in done] == [(100, True)]
    with pytest.raises(RuntimeError, match="cannot be warmed up"):
        dub.warm_up(at(200))


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 2), st.integers(0, 255), st.integers(0, 255))
def test_between_is_the_source_at_nothing_and_the_edit_at_all(share: float, before: int, after: int) -> None:
    source = picture(0)
    planes = (np.full_like(source.planes[0], before), *source.planes[1:])
    edited = (np.full_like(source.planes[0], after), *source.planes[1:])
    mixed = between(replace(source, planes=planes), replace(source, planes=edited), share)
    value = int(mixed.planes[0][3, 3])
    assert min(before, after) <= value <= max(before, after)
    assert value == pytest.approx(before + (after - before) * min(1.0, share), abs=1)
    assert all(np.array_equal(a, b) for a, b in zip(mixed.planes[1:], source.planes[1:], strict=True))


def test_pictures_are_ready_while_their_voice_was_heard() -> None:
    frames = [at(ms) for ms in (0, 40, 80, 120)]
    assert [newest_ready(frames, heard * MS, 160 * MS) for heard in (0, 159, 160, 239, 240, 999)] == [0, 0, 1, 2, 3, 4]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**15))
def test_media_times_survive_ticks_to_within_one(media: int) -> None:
    back = media_ns(at_media(picture(0), media))
    assert abs(back - media) <= NS / 90000
    assert at_media(picture(0), media).time_base == Fraction(1, 90000)


def test_a_block_of_another_length_or_kind_is_refused() -> None:
    wrongs: list[Any] = [np.zeros(BLOCK - 1, np.float32), np.zeros(BLOCK), np.zeros((2, BLOCK), np.float32)]
    for wrong in wrongs:
        with pytest.raises(ShapeError, match=r"expected float32 \[960\]"):
            SoundBlock(wrong, 0)
    assert SoundBlock(silence(), 7).media == 7 * BLOCK_NS


class LookingSession(ScriptedSession):
    """Notes which pictures came with an answer, and which have to be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[int, bool]] = []
        self.untold = 0

    def push_video(self, frame: VideoFrame) -> None:
        self.untold += 1
        super().push_video(frame)

    def look(self, frame: VideoFrame, known: TrackResult | None = None) -> Looked:
        assert known is not None
        return Looked(frame, frame.rgb(), known, {})

    def push_looked(self, looked: Looked) -> None:
        assert isinstance(looked.frame, RecordedFrame)
        self.told.append((looked.frame.tick, looked.result.cut))
        super().push_video(looked.frame)


def recorded(tick: int, media_ms: float) -> VideoFrame:
    return at_media(RecordedFrame.at(picture(tick), 0), round(media_ms * MS))


def known_faces(tmp_path: Path) -> KnownFaces:
    """Of a recording of six pictures with a cut before the fourth; only the first five are known."""
    faces = KnownFaces(probe_video(make_video(tmp_path / "c.mp4", [gradient(i, 64, 48) for i in range(6)])), 5)
    for tick in range(5):
        faces._found[tick] = TrackResult(None, "turned_away", tick in (0, 3))
        faces._shots[tick] = 1 + (tick >= 3)
    return faces


def test_what_is_known_of_a_recording_s_picture_goes_with_it(tmp_path: Path) -> None:
    """Cuts are those between pictures as they are shown; a camera's pictures and unknown ones are looked at."""
    session = LookingSession()
    dub = LiveDub(session, LOOK_AHEAD_MS, faces=known_faces(tmp_path))
    shown = [1, 2, 4, 3, 0, 5, 4]
    done = [dub.feed(loud(20 * i, 20), recorded(tick, 400 * i + 40)).pictures for i, tick in enumerate(shown)]
    assert session.told == [(1, True), (2, False), (4, True), (3, False), (0, True), (4, False)]
    assert session.untold == 1 and sum(len(each) for each in done) == len(shown)
    dub.feed(loud(140, 20), at(2900))
    assert session.untold == 2


def test_without_known_faces_or_a_session_that_looks_every_picture_is_looked_at(tmp_path: Path) -> None:
    looking, plain = LookingSession(), ScriptedSession()
    LiveDub(looking, LOOK_AHEAD_MS).feed(loud(0, 20), recorded(1, 0))
    assert (looking.untold, looking.told) == (1, [])
    done = LiveDub(plain, LOOK_AHEAD_MS, faces=known_faces(tmp_path)).feed(loud(0, 20), recorded(1, 0))
    assert len(done.pictures) == 1
