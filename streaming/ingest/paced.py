"""A recording played as if it were live: each picture at its time, once or back and forth for ever."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from dataclasses import dataclass, fields
from itertools import count
from typing import Final, TypeVar

from engine.media import VideoFrame
from streaming.channel import Channel, Policy
from streaming.clock import NS, Clock
from streaming.ingest.file import VideoInfo, read_video, read_video_backwards
from streaming.stage import TaskOwner
from streaming.worker import Worker

T = TypeVar("T")

_AHEAD_MS: Final = 400.0
"""Pictures that are decoded ahead of their time."""
_LOST_NS: Final = NS // 2
"""When playing was held up for longer, it goes on where it was instead of catching up."""


@dataclass(frozen=True, eq=False)
class RecordedFrame(VideoFrame):
    """A picture of a recording, wherever it is shown."""

    tick: int = 0
    """Its time in the recording, in ticks of the file."""

    @classmethod
    def at(cls, frame: VideoFrame, pts: int) -> "RecordedFrame":
        """A picture as it was read, to be shown at another time."""
        values = {each.name: getattr(frame, each.name) for each in fields(VideoFrame)}
        return cls(**(values | {"pts": pts}), tick=frame.pts)


def endless(info: VideoInfo) -> Iterator[RecordedFrame]:
    """The pictures of a file forwards, backwards, forwards ..., the turning ones not shown twice; times only grow."""
    last: VideoFrame | None = None
    pts = 0
    for turn in count():
        frames = read_video_backwards(info) if turn % 2 else read_video(info)
        previous = last
        if turn and len(info.ticks) > 1:
            next(frames)
        for frame in frames:
            if previous is None:
                pts = frame.pts
            else:
                pts += abs(frame.pts - previous.pts) or info.typical_step
            previous = last = frame
            yield RecordedFrame.at(frame, pts)


async def play(frames: Iterator[VideoFrame], clock: Clock, worker: Worker) -> AsyncGenerator[VideoFrame, None]:
    """Pictures at their times, from now on; they are decoded in `worker`, a little ahead.

    Raises:
        MediaError: the recording is damaged.
    """
    decoded: Channel[VideoFrame] = Channel("decoded pictures", _AHEAD_MS, lambda _: 40.0, Policy.WAIT)

    async def decode() -> None:
        """Fill the channel until the recording ends."""
        while (frame := await worker.run(lambda: next(frames, None))) is not None:
            await decoded.put(frame)
        decoded.close()

    async with TaskOwner("paced file", decoded.close) as tasks:
        tasks.begin("decode", decode())
        zero: int | None = None
        async for frame in decoded:
            media = round(frame.pts * frame.time_base * NS)
            if zero is None:
                zero = clock.now() - media
            late = clock.now() - (zero + media)
            if late > _LOST_NS:
                zero += late
            await clock.sleep_until(zero + media)
            yield frame


async def take(frames: AsyncGenerator[T, None], limit: int) -> list[T]:
    """The first `limit` pictures of a source, which is closed then."""
    taken: list[T] = []
    async with aclosing(frames) as source:
        async for frame in source:
            taken.append(frame)
            if len(taken) == limit:
                break
    await asyncio.sleep(0)
    return taken
