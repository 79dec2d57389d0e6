"""What viewers see when something happens: viewers come, go and vanish, sources end and change, faces go.

Times are what a viewer's receiver saw, from the event on, with the session's own delay taken off where it is named so.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from bench.live_figures import is_painted
from bench.live_sessions import BY_WHIP, PROFILE, devices, publish, session_of
from bench.marking import MarkingEngine
from bench.receiver import Received, watching
from bench.relay import LossyRelay
from engine.media import VideoFrame
from streaming.clock import NS, LoopClock
from streaming.engines import LocalEngine
from streaming.ingest.file import probe_video
from streaming.ingest.paced import endless
from streaming.live.config import SessionConfig
from streaming.live.media import LivePicture, SoundBlock
from streaming.live.session import LiveDubSession
from streaming.live.sources import DEMO_DATA, VoiceSpec
from streaming.server.settings import PRESENTER

_FORGET_S: Final = 60.0
_SETTLE_S: Final = 4.0


async def events(seconds: float) -> dict[str, Any]:
    """Each event in a session of its own; `seconds` is how long the face's part goes on after the face is back."""
    return {
        "viewers": await _viewers_come_and_go(),
        "source_ends": await _source_ends(),
        "size_changes": await _size_changes(),
        "face_leaves": await _face_leaves(seconds),
    }


async def _viewers_come_and_go() -> dict[str, Any]:
    """One stays; one joins in the middle and leaves; one vanishes without a word, as a killed browser does."""
    loop, relay = asyncio.get_running_loop(), LossyRelay()
    async with relay.open(), session_of(MarkingEngine(10.0), BY_WHIP, wait=False) as (session, url):
        peer = await publish(session, *devices())
        await session.when_editing()
        async with watching(url) as stays:
            await stays.seen(50)
            asked = loop.time()
            async with watching(url) as joins:
                await joins.seen(1)
                first = joins.pictures[0][0] - asked
                await joins.seen(25)
            async with AsyncExitStack() as vanishing:
                await (await vanishing.enter_async_context(watching(url, via=relay))).seen(25)
                relay.loss, gone = 1.0, loop.time()
                forgotten = await until(lambda: len(session.viewers) == 1, _FORGET_S)
                ended = loop.time()
                relay.loss = 0.0
        await peer.close()
    return {
        "join_to_first_picture_ms": round(first * 1000),
        "first_picture_damaged": not is_painted(joins.pictures[0][2]),
        "vanished_forgotten_after_s": round(ended - gone, 1) if forgotten else None,
        "longest_freeze_of_who_stays_ms": longest_ms(stays, asked, ended),
    }


async def _source_ends() -> dict[str, Any]:
    """The camera hangs up; four seconds later another one comes."""
    loop = asyncio.get_running_loop()
    async with session_of(MarkingEngine(10.0), BY_WHIP, wait=False) as (session, url):
        peer = await publish(session, *devices())
        await session.when_editing()
        delay_s = session.as_dict()["stats"]["delay_ms"] / 1000
        async with watching(url) as got:
            await got.seen(50)
            await peer.close()
            ended = loop.time()
            await asyncio.sleep(_SETTLE_S)
            last, sounds = got.pictures[-1][0], sum(at >= ended + 1 for at, _, _ in got.sounds)
            begun, before = loop.time(), len(got.pictures)
            peer = await publish(session, *devices())
            await got.seen(before + 25)
            after = got.pictures[before:]
        await peer.close()
    painted = [at for at, _, luma in after if is_painted(luma)]
    return {
        "last_picture_after_end_and_delay_ms": round((last - ended - delay_s) * 1000),
        "sound_goes_on": sounds / (_SETTLE_S - 1) >= 45,
        "new_source_to_picture_beyond_delay_ms": round((after[0][0] - begun - delay_s) * 1000),
        "new_source_to_edited_beyond_delay_ms": round((painted[0] - begun - delay_s) * 1000) if painted else None,
    }


async def _size_changes() -> dict[str, Any]:
    """The camera goes from 640 x 480 to 960 x 540."""
    async with session_of(MarkingEngine(10.0), BY_WHIP, wait=False) as (session, url):
        camera, microphone = devices()
        peer = await publish(session, camera, microphone)
        await session.when_editing()
        async with watching(url) as got:
            await got.seen(50)
            camera.film([np.tile(np.linspace(60, 180, 960, dtype=np.uint8), (540, 1))])
            await got.when(lambda: sum(luma.shape == (540, 960) for _, _, luma in got.pictures) >= 50)
        passed = session.as_dict()["stats"]["passed_through"]
        await peer.close()
    first = next(i for i, (_, _, luma) in enumerate(got.pictures) if luma.shape == (540, 960))
    new = got.pictures[first:]
    painted = [at for at, _, luma in new if is_painted(luma)]
    return {
        "gap_at_the_change_ms": round((new[0][0] - got.pictures[first - 1][0]) * 1000),
        "first_new_to_first_edited_ms": round((painted[0] - new[0][0]) * 1000),
        "passed_through": passed,
    }


@dataclass
class Notes:
    """An output that notes what was released, in seconds of media time."""

    seen: list[tuple[float, str]] = field(default_factory=list)
    """(media time, "edited" or why not)."""

    def picture(self, picture: LivePicture) -> None:
        """A picture was released."""
        self.seen.append((picture.media / NS, picture.reason))

    def sound(self, block: SoundBlock) -> None:
        """Sound is of no interest."""

    def first(self, begin: float, edited: bool) -> float | None:
        """Time from a moment to the first picture after it that is edited, or is not; None: there is none."""
        return next(
            (round(at - begin, 3) for at, why in self.seen if at >= begin and (why == "edited") == edited), None
        )


async def _face_leaves(seconds: float) -> dict[str, Any]:
    """The real engine: the presenter is away for five seconds."""
    config = SessionConfig(BY_WHIP.source, VoiceSpec("presenter"), PROFILE, PRESENTER)
    notes = Notes()
    async with session_of(LocalEngine(), config, wait=False) as (session, _):
        await play_presenter(session, lambda: session.state == "running", lambda _: False)
        session.pipeline.outputs.append(notes)
        begin = session.time.now() / NS
        away = (begin + 12.0, begin + 17.0)
        stop = away[1] + seconds
        await play_presenter(session, lambda: session.time.now() / NS >= stop, lambda now: away[0] <= now < away[1])
        delay_ms = session.as_dict()["stats"]["delay_ms"]
        await asyncio.sleep(delay_ms / 1000)
    during = [why for at, why in notes.seen if away[0] + 0.2 <= at < away[1]]
    return {
        "delay_ms": delay_ms,
        "gone_to_passed_through_s": notes.first(away[0], edited=False),
        "reasons_while_away": {why: during.count(why) for why in sorted(set(during))},
        "pictures_per_second_while_away": round(len(during) / (away[1] - away[0] - 0.2), 1),
        "back_to_edited_s": notes.first(away[1], edited=True),
    }


async def play_presenter(session: LiveDubSession, done: Callable[[], bool], is_away: Callable[[float], bool]) -> None:
    """The presenter's pictures as a camera would give them, or an empty wall, until `done`."""
    clock, frames = LoopClock(), endless(await asyncio.to_thread(probe_video, DEMO_DATA / "presenter.mp4"))
    begin = clock.now()
    while not done():
        frame = await asyncio.to_thread(next, frames)
        await clock.sleep_until(begin + round(frame.seconds * NS))
        away = session.state == "running" and is_away(session.time.now() / NS)
        session.take_picture(wall(frame) if away else frame)


def wall(frame: VideoFrame) -> VideoFrame:
    """A grey picture in place of another one."""
    y, u, v = (np.full_like(plane, 120) for plane in frame.planes)
    return replace(frame, planes=(y, u, v))


def longest_ms(got: Received, begin: float, end: float) -> int:
    """The longest time between two pictures."""
    times = [at for at, _, _ in got.pictures if begin <= at <= end]
    return round(float(np.diff(times).max()) * 1000)


async def until(holds: Callable[[], bool], seconds: float) -> bool:
    """Wait until something holds; False: it did not in this time."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while not holds():
        if loop.time() - begin > seconds:
            return False
        await asyncio.sleep(0.1)
    return True
