"""A recording played as if live: pace, endless play, damage, being held up."""

from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import MediaError
from engine.media import VideoFrame
from streaming.clock import NS, LoopClock
from streaming.ingest.file import probe_video
from streaming.ingest.paced import RecordedFrame, endless, play, take
from streaming.virtual_time import run_virtual
from tests.streaming.clips import gradient, make_video
from tests.streaming.live.fakes import ScriptedWorker, picture

pytestmark = pytest.mark.unit


def instant(_: float) -> float:
    return 0.0


def test_pictures_come_at_their_times() -> None:
    async def main() -> list[tuple[int, int]]:
        clock = LoopClock()
        frames = iter([picture(i + 10) for i in range(20)])
        return [(clock.now(), f.pts) async for f in play(frames, clock, ScriptedWorker(instant))]

    assert run_virtual(main()) == [(i * NS // 25, i + 10) for i in range(20)]


def test_slow_decoding_delays_but_loses_nothing() -> None:
    async def main() -> list[int]:
        frames = iter([picture(i) for i in range(10)])
        return [f.pts async for f in play(frames, LoopClock(), ScriptedWorker(lambda _: 100.0))]

    assert run_virtual(main()) == list(range(10))


def test_only_a_little_is_decoded_ahead() -> None:
    async def main() -> int:
        worker = ScriptedWorker(instant)
        await take(play((picture(i) for i in range(1000)), LoopClock(), worker), 5)
        return worker.jobs

    assert run_virtual(main()) <= 20


def test_damage_is_reported_where_it_is_met() -> None:
    def damaged() -> Iterator[VideoFrame]:
        yield picture(0)
        raise MediaError("cut short")

    async def main() -> None:
        async with aclosing(play(damaged(), LoopClock(), ScriptedWorker(instant))) as source:
            assert (await anext(source)).pts == 0
            with pytest.raises(MediaError, match="cut short"):
                await anext(source)

    run_virtual(main())


def test_a_file_goes_back_and_forth_with_growing_times(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "c.mp4", [gradient(i, 64, 48) for i in range(6)]))
    source = endless(info)
    frames = [next(source) for _ in range(16)]
    step = frames[1].pts - frames[0].pts
    assert [f.pts for f in frames] == [i * step for i in range(16)]
    order = [0, 1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5]
    assert all((frames[i].planes[1] == frames[j].planes[1]).all() for i, j in enumerate(order))
    assert [frame.tick for frame in frames] == [info.ticks[place] for place in order]
    moved = replace(frames[8], pts=0)
    assert isinstance(moved, RecordedFrame) and moved.tick == info.ticks[2]


def test_a_file_of_one_picture_is_shown_again_and_again(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "c.mp4", [gradient(0, 64, 48)]))
    source = endless(info)
    pts = [next(source).pts for _ in range(4)]
    assert pts == sorted(set(pts))
