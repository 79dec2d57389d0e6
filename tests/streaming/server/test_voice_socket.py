"""A voice by WebSocket: faster than real time, interrupted, reported, refused."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from engine.errors import BadInputError
from streaming.live.media import SOUND_RATE
from streaming.server.voice_socket import PcmReader
from tests.streaming.server.serving import Client, serving

pytestmark = pytest.mark.unit

SESSION = {"source": {"kind": "presenter"}, "voice": {"kind": "stream"}, "delay_ms": 400}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


def pcm(seconds: float, rate: int) -> bytes:
    at = np.arange(round(seconds * rate)) / rate
    return (16000 * np.sin(2 * np.pi * 440 * at)).astype("<i2").tobytes()


async def told(socket: aiohttp.ClientWebSocketResponse, kind: str) -> dict[str, Any]:
    """The next message of a kind."""
    async with asyncio.timeout(20):
        while True:
            message: dict[str, Any] = json.loads((await socket.receive()).data)
            if message["type"] == kind:
                return message


async def opened(client: Client, place: str, rate: int) -> aiohttp.ClientWebSocketResponse:
    return await client.http.ws_connect(client.url(f"{place}/voice?rate={rate}"))


def test_a_voice_is_played_and_its_position_told_to_the_end(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await client.begin(**SESSION)
            async with await opened(client, place, 24000) as socket:
                for _ in range(5):
                    await socket.send_bytes(pcm(0.1, 24000))
                await socket.send_json({"type": "end"})
                assert (await told(socket, "played"))["seconds"] > 0
                assert (await told(socket, "ended"))["seconds"] == pytest.approx(0.5, abs=0.01)

    asyncio.run(main())


def test_an_interruption_lets_the_rest_go_and_says_how_much(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await client.begin(**SESSION)
            async with await opened(client, place, 48000) as socket:
                for _ in range(10):
                    await socket.send_bytes(pcm(1.0, 48000))
                assert (await told(socket, "played"))["held_ms"] > 5000
                await socket.send_json({"type": "interrupt"})
                answer = await told(socket, "interrupted")
                assert answer["played_seconds"] + answer["cleared_seconds"] == pytest.approx(10, abs=0.01)
                assert (await client.call("GET", place)).body["stats"]["voice_held_ms"] == 0

    asyncio.run(main())


def test_what_does_not_fit_is_said_and_not_taken(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await client.begin(**SESSION)
            async with await opened(client, place, 8000) as socket:
                await socket.send_bytes(pcm(29.0, 8000))
                await socket.send_bytes(pcm(5.0, 8000))
                assert (await told(socket, "full"))["held_ms"] > 25_000

    asyncio.run(main())


@pytest.mark.parametrize("sent", [b"\x00", "no json", '{"type": "sing"}', "[]"])
def test_messages_that_are_wrong_end_the_voice_with_a_reason(profile: Path, sent: bytes | str) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await client.begin(**SESSION)
            async with await opened(client, place, 16000) as socket:
                await (socket.send_bytes(sent) if isinstance(sent, bytes) else socket.send_str(sent))
                message = await socket.receive()
                assert message.type is aiohttp.WSMsgType.CLOSE
                assert message.data == aiohttp.WSCloseCode.UNSUPPORTED_DATA
                assert message.extra is not None
                assert "expected" in message.extra or "JSON" in message.extra
            assert (await client.call("GET", place)).body["state"] == "running"

    asyncio.run(main())


def test_sessions_with_another_voice_and_unknown_rates_are_refused(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await client.begin(source={"kind": "presenter"}, delay_ms=400)
            upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
            other = await client.call("GET", f"{place}/voice?rate=16000", headers=upgrade)
            assert (other.status, "of kind none; expected stream" in other.body["error"]["message"]) == (400, True)
            rate = await client.call("GET", f"{place}/voice?rate=5", headers=upgrade)
            assert (rate.status, "rate is 5" in rate.body["error"]["message"]) == (400, True)

    asyncio.run(main())


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_messages_of_any_length_give_one_even_sound(rate: int) -> None:
    data = pcm(1.0, rate)
    reader, at, parts = PcmReader(rate), 0, []
    for length in (2, 0, 700, 31_000, 10**6):
        parts.append(reader.read(data[at : at + length]))
        at += length
    sound = np.concatenate(parts)
    assert len(sound) == pytest.approx(SOUND_RATE, abs=200)
    assert np.abs(np.diff(sound[200:])).max() < 2 * np.pi * 440 / SOUND_RATE * 0.5 * 1.2
    with pytest.raises(BadInputError, match="an even number"):
        reader.read(b"abc")
