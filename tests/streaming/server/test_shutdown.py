"""A server that ends: who is told, in which order, how soon, and that nothing of it stays."""

import asyncio
import tempfile
from pathlib import Path

import aiohttp
import pytest

from bench.devices import StampingCamera
from bench.live_sessions import ramp
from bench.receiver import watching
from streaming.clock import LoopClock
from streaming.ingest.file import probe_video
from tests.streaming.server.serving import Client, serving
from tests.streaming.server.test_connections import publish

pytestmark = pytest.mark.unit

VOICED = {"source": {"kind": "whip"}, "voice": {"kind": "stream"}, "consent": True, "delay_ms": 400}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


def leftovers() -> set[str]:
    """Folders of servers in the place for temporary files."""
    return {path.name for path in Path(tempfile.gettempdir()).glob("livedub-*")}


async def busy(client: Client) -> str:
    """A session with a camera that sends; gives its address."""
    place = str((await client.call("POST", "/api/sessions", VOICED)).body["links"]["self"])
    clock = LoopClock()
    camera = StampingCamera(clock, [ramp(160, 120).planes[0].astype("uint8")])
    await publish(client, place, camera)
    await client.when(place, lambda now: now["state"] == "running")
    return place


def test_viewers_senders_voices_and_recordings_end_well_and_soon(profile: Path, tmp_path: Path) -> None:
    record, before = tmp_path / "r.mp4", leftovers()

    async def main() -> tuple[float, list[aiohttp.WSMessage], set[str]]:
        loop = asyncio.get_running_loop()
        async with aiohttp.ClientSession() as http, asyncio.timeout(90):
            async with serving(profile) as client:
                place = await busy(client)
                session = client.server.sessions.all()[0]
                session.add_output(str(record))
                socket = await http.ws_connect(client.url(f"{place}/voice?rate=48000"))
                await socket.send_bytes(bytes(96_000))
                watcher = watching(client.url(place))
                got = await watcher.__aenter__()
                await got.seen(25)
                begin = loop.time()
                ending = loop.create_task(client.server._close())
                last = [await socket.receive(timeout=10)]
                while last[-1].type is aiohttp.WSMsgType.TEXT:
                    last.append(await socket.receive(timeout=10))
                await ending
                seconds = loop.time() - begin
                await got.when(lambda: got.ended == {"video", "audio"}, 10)
                await watcher.__aexit__(None, None, None)
        return seconds, last, got.ended

    seconds, last, ended = asyncio.run(main())
    assert seconds < 4
    assert (last[-1].type, last[-1].data) == (aiohttp.WSMsgType.CLOSE, aiohttp.WSCloseCode.GOING_AWAY)
    assert last[-1].extra == "the session has ended"
    assert ended == {"video", "audio"}
    assert len(probe_video(record).ticks) >= 10
    assert leftovers() == before


def test_an_ending_server_begins_nothing_more(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            await client.server.sessions.aclose()
            refused = await client.call("POST", "/api/sessions", {"source": {"kind": "presenter"}})
            assert (refused.status, "is ending" in refused.body["error"]["message"]) == (429, True)

    asyncio.run(main())
