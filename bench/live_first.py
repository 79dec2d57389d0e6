"""From connecting to the first edited picture, with a profile that is known and an engine that is loaded (aim: 1 s).

Three ways to connect: a viewer joins a session that runs; a camera begins a session after another one has loaded the
engine; and, for comparison, the first session of a server. What a session's delay takes of it is told apart: an edited
picture leaves no sooner than that after it was filmed.
"""

import asyncio
from typing import Any, Final

from bench.live_events import play_presenter
from bench.live_sessions import BY_WHIP, PROFILE
from bench.receiver import watching
from bench.relay import HOST
from streaming.engines import Engine, LocalEngine
from streaming.live.config import SessionConfig
from streaming.live.media import LivePicture, SoundBlock
from streaming.live.session import LiveDubSession
from streaming.live.sources import SourceSpec, VoiceSpec
from streaming.pipeline import LEAD_MS
from streaming.server.app import Server
from streaming.server.settings import PRESENTER, ServerSettings
from streaming.stage import TaskOwner

AIM_MS: Final = 1000
_JOINS: Final = 3
_PATIENCE_S: Final = 120.0


class FirstEdited:
    """An output that notes when the first edited picture was released."""

    def __init__(self) -> None:
        """None yet."""
        self.came: Final = asyncio.Event()
        self.at = 0.0
        """Time of the loop, in s."""

    def picture(self, picture: LivePicture) -> None:
        """A picture was released."""
        if picture.edited and not self.came.is_set():
            self.at = asyncio.get_running_loop().time()
            self.came.set()

    def sound(self, block: SoundBlock) -> None:
        """Sound is of no interest."""


async def first(seconds: float, engine: Engine | None = None) -> dict[str, Any]:
    """The real engine and the shipped presenter; `seconds` is of no meaning here.

    Args:
        seconds: as for other runs.
        engine: another engine, for tests.
    """
    settings = ServerSettings(port=0, ice_hosts=(HOST,))
    recording = SessionConfig(SourceSpec("presenter"), VoiceSpec("presenter"), PROFILE, PRESENTER)
    camera = SessionConfig(BY_WHIP.source, VoiceSpec("presenter"), PROFILE, PRESENTER)
    async with Server(settings, engine or LocalEngine()) as server:
        cold = await server.sessions.begin(recording)
        cold_ms = await _to_first_edited(cold)
        url = f"{server.address}api/sessions/{cold.id}"
        joins = [await _join_ms(url) for _ in range(_JOINS)]
        await server.sessions.end(cold.id)
        warm = await server.sessions.begin(camera)
        noted: list[float] = []
        async with TaskOwner("camera") as tasks:
            tasks.begin("film", play_presenter(warm, lambda: bool(noted), lambda _: False))
            noted.append(await _to_first_edited(warm))
        delay_ms = warm.as_dict()["stats"]["delay_ms"]
    return {
        "aim_ms": AIM_MS,
        "viewer_joins_to_first_picture_ms": joins,
        "camera_to_first_edited_ms": round(noted[0]),
        "of_that_the_delay_ms": delay_ms,
        "first_session_to_first_edited_ms": round(cold_ms),
    }


async def _to_first_edited(session: LiveDubSession) -> float:
    """Time in ms from now until the first edited picture leaves for the viewers."""
    loop, output = asyncio.get_running_loop(), FirstEdited()
    begin = loop.time()
    await session.when_running()
    session.pipeline.outputs.append(output)
    async with asyncio.timeout(_PATIENCE_S):
        await output.came.wait()
    session.pipeline.outputs.remove(output)
    return (output.at - begin) * 1000 + LEAD_MS


async def _join_ms(url: str) -> int:
    """Time from a viewer's offer to his first decoded picture; the session edits all that it sends."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with watching(url) as got:
        await got.seen(1)
        return round((got.pictures[0][0] - begin) * 1000)
