"""From connecting to the first edited picture, with a profile that is known (aim: 1 s), and where that time goes.

A server that was given the time to make its speaker ready; a camera connects by WHIP while a viewer connects by WHEP,
three times in new sessions. Beside it: how long the making ready takes, the recording of the presenter, a viewer who
joins a session that runs, and the first session of a server that was not made ready. An edited picture leaves no sooner
than the session's delay after it was filmed. Times in ms.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from bench.devices import StampingCamera
from bench.live_sessions import BY_WHIP, PROFILE, publish
from bench.receiver import watching
from bench.relay import HOST
from streaming.clock import MS, LoopClock
from streaming.engines import Engine, LocalEngine
from streaming.ingest.file import probe_video, read_video
from streaming.live.config import SessionConfig
from streaming.live.media import LivePicture, SoundBlock
from streaming.live.session import LiveDubSession
from streaming.live.sources import DEMO_DATA, SourceSpec, VoiceSpec
from streaming.pipeline import LEAD_MS
from streaming.server.app import Server
from streaming.server.settings import PRESENTER, ServerSettings
from streaming.stage import TaskOwner

AIM_MS: Final = 1000
_TIMES: Final = 3
_PATIENCE_S: Final = 120.0
_FILMED_S: Final = 4.0

RECORDING: Final = SessionConfig(SourceSpec("presenter"), VoiceSpec("presenter"), PROFILE, PRESENTER)
CAMERA: Final = SessionConfig(BY_WHIP.source, VoiceSpec("presenter"), PROFILE, PRESENTER)


class FirstEdited:
    """An output that notes when the first edited picture was released, and how many passed before it."""

    def __init__(self) -> None:
        """None yet."""
        self.came: Final = asyncio.Event()
        self.at = 0.0
        """Time of the loop, in s."""
        self.passed = 0
        """Untouched pictures before it."""

    def picture(self, picture: LivePicture) -> None:
        """A picture was released."""
        if picture.edited and not self.came.is_set():
            self.at = asyncio.get_running_loop().time() + LEAD_MS / 1000
            self.came.set()
        elif not self.came.is_set():
            self.passed += 1

    def sound(self, block: SoundBlock) -> None:
        """Sound is of no interest."""


async def first(seconds: float, engine: Engine | None = None) -> dict[str, Any]:
    """The real engine and the shipped presenter; `seconds` is of no meaning here.

    Args:
        seconds: as for other runs.
        engine: another engine, for tests.
    """
    found: dict[str, Any] = {"aim_ms": AIM_MS}
    loop = asyncio.get_running_loop()
    async with Server(ServerSettings(port=0, ice_hosts=(HOST,), ready=(PRESENTER,)), engine or LocalEngine()) as server:
        begin = loop.time()
        await server.sessions.around.preparation.when_done(PRESENTER)
        found["making_ready_ms"] = round((loop.time() - begin) * 1000)
        found["camera"] = [await _camera(server) for _ in range(_TIMES)]
        found["recording"] = await _recording(server)
        session = await server.sessions.begin(RECORDING)
        await _first_edited(session)
        url = f"{server.address}api/sessions/{session.id}"
        found["viewer_joins_to_first_picture_ms"] = [await _join_ms(url) for _ in range(_TIMES)]
    async with Server(ServerSettings(port=0, ice_hosts=(HOST,)), engine or LocalEngine()) as server:
        found["recording_of_a_server_that_was_not_ready"] = await _recording(server)
    return found


async def _camera(server: Server) -> dict[str, Any]:
    """One camera of the presenter by WHIP, one viewer; all from the moment that the session is asked for."""
    pictures = await asyncio.to_thread(_filmed)
    since = _Since()
    session = await server.sessions.begin(CAMERA)
    edited, marks = FirstEdited(), {"session_begun": since()}
    async with TaskOwner("viewer") as tasks:
        peer = await publish(session, StampingCamera(LoopClock(), pictures))
        marks["answered"] = since()
        await session.when_running()
        session.pipeline.outputs.append(edited)
        tasks.begin("watch", _watch(f"{server.address}api/sessions/{session.id}", since, marks))
        await _until(lambda: session.pipeline.stats.frames_in > 0)
        marks["first_picture"] = since()
        await _until(lambda: session.state == "running")
        marks["ready_to_edit"] = since()
        async with asyncio.timeout(_PATIENCE_S):
            await edited.came.wait()
        marks["first_edited_sent"] = since.of(edited.at)
        await _until(lambda: "first_seen" in marks)
        delay_ms = session.pipeline.config.delay_ms
        await peer.close()
    await server.sessions.end(session.id)
    return {**marks, "of_that_the_delay": delay_ms, "passed_through_before": edited.passed}


async def _recording(server: Server) -> dict[str, Any]:
    """The presenter's own recording as a source."""
    since = _Since()
    session = await server.sessions.begin(RECORDING)
    edited = await _first_edited(session)
    delay_ms = session.pipeline.config.delay_ms
    await server.sessions.end(session.id)
    return {
        "first_edited_sent": since.of(edited.at), "of_that_the_delay": delay_ms, "passed_through_before": edited.passed
    }  # fmt: skip


async def _first_edited(session: LiveDubSession) -> FirstEdited:
    """Wait until a session has sent its first edited picture."""
    edited = FirstEdited()
    await session.when_running()
    session.pipeline.outputs.append(edited)
    async with asyncio.timeout(_PATIENCE_S):
        await edited.came.wait()
    session.pipeline.outputs.remove(edited)
    return edited


async def _join_ms(url: str) -> int:
    """Time from a viewer's offer to his first decoded picture; the session edits all that it sends."""
    since, marks = _Since(), dict[str, int]()
    await _watch(url, since, marks)
    return marks["first_seen"]


async def _watch(url: str, since: "_Since", marks: dict[str, int]) -> None:
    """Note when a viewer has decoded the first picture, then leave."""
    async with watching(url) as got:
        await got.seen(1)
        marks["first_seen"] = since.of(got.pictures[0][0])


class _Since:
    """Milliseconds since it was made."""

    def __init__(self) -> None:
        self._begin: Final = asyncio.get_running_loop().time()

    def __call__(self) -> int:
        return self.of(asyncio.get_running_loop().time())

    def of(self, at: float) -> int:
        """Of a time of the loop in s."""
        return round((at - self._begin) * 1000)


def _filmed() -> list[Any]:
    """Luma of the presenter's pictures at half size: coding them for the way here shall cost little."""
    info = probe_video(DEMO_DATA / "presenter.mp4")
    return [frame.planes[0][::2, ::2].copy() for frame in read_video(info, 0.0, _FILMED_S)]


async def _until(holds: Callable[[], bool]) -> None:
    """Look every five milliseconds."""
    clock = LoopClock()
    async with asyncio.timeout(_PATIENCE_S):
        while not holds():
            await clock.sleep_until(clock.now() + 5 * MS)
