"""Faces of recordings: looked for once and in order, found again forwards and backwards, forgotten when too many."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from engine.dubber import Looked
from engine.media import VideoFrame
from engine.tracking.tracker import Reason, TrackResult
from streaming.clock import MS, LoopClock
from streaming.ingest.file import VideoInfo, probe_video
from streaming.live.known import KnownFaces, KnownRecordings
from streaming.virtual_time import run_virtual
from tests.streaming.clips import gradient, make_video
from tests.streaming.live.fakes import ScriptedWorker

pytestmark = pytest.mark.unit

T = TypeVar("T")
COUNT = 12
CUTS = (0, 5, 9)


class Looker:
    """Says "turned_away" of every picture, but of one "no_face", and sees a cut at some of them."""

    def __init__(self, faceless: int = 9) -> None:
        """Nothing was looked at."""
        self.seen: list[int] = []
        self._faceless = faceless

    def look(self, frame: VideoFrame, known: TrackResult | None = None) -> Looked:
        """Find nothing fit for an edit."""
        assert known is None
        index = len(self.seen)
        self.seen.append(frame.pts)
        reason: Reason = "cut" if index == self._faceless else "turned_away"
        return Looked(frame, frame.rgb(), TrackResult(None, reason, index in CUTS), {"track": 1.0})

    def push_looked(self, looked: Looked) -> None:
        """Nothing is edited here."""


@pytest.fixture
def info(tmp_path: Path) -> VideoInfo:
    """A recording of twelve pictures."""
    return probe_video(make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(COUNT)]))


def played(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    return run_virtual(main())


def looked(info: VideoInfo, most: int = 100) -> tuple[KnownFaces, Looker]:
    """Faces that were all looked for."""
    looker = Looker()

    async def main() -> KnownFaces:
        faces = KnownFaces(info, most)
        await faces.look_through(looker, ScriptedWorker(lambda _: 1.0))
        return faces

    return played(main), looker


def test_every_picture_is_looked_at_once_in_order(info: VideoInfo) -> None:
    faces, looker = looked(info)
    assert looker.seen == list(info.ticks) and len(faces) == faces.total == COUNT
    played(lambda: faces.look_through(looker, ScriptedWorker(lambda _: 1.0)))
    assert len(looker.seen) == COUNT


def test_a_cut_lies_between_pictures_of_different_shots_whichever_comes_first(info: VideoInfo) -> None:
    """Forwards, backwards, over pictures left out, and for the first one of all."""
    faces, _ = looked(info)
    ticks = info.ticks

    def cut(before: int | None, now: int) -> bool:
        found = faces.of(ticks[now], None if before is None else ticks[before])
        assert found is not None
        return found.cut

    assert [cut(i - 1, i) for i in range(1, COUNT)] == [i in CUTS for i in range(1, COUNT)]
    assert [cut(i + 1, i) for i in range(COUNT - 1)] == [i + 1 in CUTS for i in range(COUNT - 1)]
    assert cut(3, 6) and cut(11, 2) and not cut(8, 5) and cut(None, 3) and not cut(1, 0)
    other = faces.of(ticks[3], 10**9)
    assert other is not None and not other.cut


def test_a_picture_without_a_face_says_cut_only_right_after_one(info: VideoInfo) -> None:
    """Reasons are those that a tracker gives of pictures in the order in which they are shown."""
    faces, _ = looked(info)
    ticks = info.ticks
    found = [faces.of(ticks[9], ticks[before]) for before in (8, 10)]
    assert [each.reason for each in found if each] == ["cut", "no_face"]
    turned = faces.of(ticks[5], ticks[4])
    assert turned is not None and turned.reason == "turned_away" and turned.cut


def test_what_was_not_looked_at_yet_is_not_known_and_looking_goes_on_where_it_was_ended(info: VideoInfo) -> None:
    looker = Looker()
    clock = LoopClock()

    async def main() -> None:
        faces = KnownFaces(info)
        worker = ScriptedWorker(lambda _: 10.0)
        task = asyncio.ensure_future(faces.look_through(looker, worker))
        await clock.sleep_until(clock.now() + 45 * MS)
        task.cancel()
        await asyncio.wait([task])
        assert len(faces) == 4
        assert faces.of(info.ticks[3], info.ticks[2]) is not None and faces.of(info.ticks[4], info.ticks[3]) is None
        one, other = Looker(), Looker()
        await asyncio.gather(faces.look_through(one, worker), faces.look_through(other, worker))
        assert one.seen == list(info.ticks[4:]) and other.seen == []
        assert len(faces) == COUNT

    run_virtual(main())


def test_of_a_long_recording_only_the_beginning_is_known(info: VideoInfo) -> None:
    faces, looker = looked(info, most=5)
    assert looker.seen == list(info.ticks[:5]) and len(faces) == faces.total == 5
    assert faces.of(info.ticks[5], info.ticks[4]) is None


def test_recordings_are_found_again_until_they_change_or_are_too_many(tmp_path: Path) -> None:
    """Memory is bounded by the pictures of all of them; the one that was unused longest goes."""
    infos = []
    for name in "abc":
        clip = make_video(tmp_path / f"{name}.mp4", [gradient(i, 64, 48) for i in range(4)])
        infos.append(probe_video(clip))
    known = KnownRecordings(most=8)
    first, second = known.of(infos[0]), known.of(infos[1])
    assert known.of(infos[0]) is first and len(known) == 8
    known.of(infos[2])
    assert len(known) == 8 and known.of(infos[0]) is first
    assert known.of(infos[1]) is not second
    os.utime(infos[1].path, ns=(0, infos[1].path.stat().st_mtime_ns + 1))
    again = known.of(infos[1])
    assert again is known.of(infos[1]) and len(known) <= 8
    alone = KnownRecordings(most=3)
    assert alone.of(infos[0]).total == 3 == len(alone)
    assert np.array_equal(alone.of(infos[0]).info.ticks, infos[0].ticks)
