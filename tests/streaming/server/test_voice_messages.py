"""Words on a voice's socket that nobody understands: it is closed with a reason, and the session goes on."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.streaming.server.serving import Client, serving

pytestmark = pytest.mark.unit

VOICED = {"source": {"kind": "presenter"}, "voice": {"kind": "stream"}, "delay_ms": 400}
BROKEN = {
    "no JSON": ("interrupt!", "a text message is not JSON; expected an object of type interrupt or end"),
    "nothing": ("", "a text message is not JSON; expected an object of type interrupt or end"),
    "nested too deeply": ("[" * 50_000, "a text message is not JSON; expected an object of type interrupt or end"),
    "no object": ('["interrupt"]', "message of type 'None'; expected interrupt or end"),
    "another type": ('{"type": "stop"}', "message of type 'stop'; expected interrupt or end"),
    "a long type": (f'{{"type": "{"é" * 200}"}}', f"message of type '{'é' * 20}'; expected interrupt or end"),
    "a number": ('{"type": 7}', "message of type '7'; expected interrupt or end"),
}


async def closed_with(client: Client, place: str, text: str) -> tuple[int | None, str | None]:
    """The code and the reason with which a socket is closed after this message."""
    async with client.http.ws_connect(client.url(f"{place}/voice?rate=48000")) as socket:
        await socket.send_str(text)
        message = await socket.receive(timeout=20)
        while message.type is aiohttp.WSMsgType.TEXT:
            message = await socket.receive(timeout=20)
        assert message.type is aiohttp.WSMsgType.CLOSE
        return message.data, message.extra


def test_a_socket_is_closed_with_what_was_wrong_and_the_next_one_is_served(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path / "ann.safetensors") as client:
            place = await client.begin(**VOICED)
            for name, (text, reason) in BROKEN.items():
                found = await closed_with(client, place, text)
                assert found == (aiohttp.WSCloseCode.UNSUPPORTED_DATA, reason), name
            async with client.http.ws_connect(client.url(f"{place}/voice?rate=48000")) as socket:
                await socket.send_json({"type": "interrupt"})
                answer = await socket.receive_json(timeout=20)
                while answer["type"] == "played":
                    answer = await socket.receive_json(timeout=20)
                assert answer["type"] == "interrupted"
            assert (await client.call("GET", place)).body["state"] == "running"

    asyncio.run(main())
