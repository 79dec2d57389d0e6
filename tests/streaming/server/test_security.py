"""Limits on calls, names under which the server answers, bodies of every length, errors in plain words."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BackendError
from streaming.clock import MS, NS, LoopClock
from streaming.server.api import MAX_BODY
from streaming.server.security import RateLimit, guard
from streaming.server.settings import ServerSettings
from streaming.server.voice_socket import MAX_MESSAGE
from tests.streaming.server.serving import serving

pytestmark = pytest.mark.unit

LIMIT = 6


class ByHand(LoopClock):
    """A clock that is moved by hand."""

    at = 0

    def now(self) -> int:
        return self.at


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


def test_a_bucket_is_refilled_evenly_and_each_address_has_its_own() -> None:
    clock = ByHand()
    limit = RateLimit(LIMIT, clock)
    assert [limit.allows("a") for _ in range(LIMIT + 2)] == [True] * LIMIT + [False] * 2
    assert limit.allows("b")
    clock.at += 10 * NS - MS
    assert not limit.allows("a")
    clock.at += 2 * MS
    assert [limit.allows("a") for _ in range(2)] == [True, False]
    clock.at += 3600 * NS
    assert [limit.allows("a") for _ in range(LIMIT + 1)] == [True] * LIMIT + [False]


def test_addresses_that_have_not_called_for_a_minute_are_forgotten() -> None:
    clock = ByHand()
    limit = RateLimit(LIMIT, clock)
    for index in range(1001):
        limit.allows(f"old {index}")
    clock.at += 61 * NS
    assert limit.allows("new")
    assert list(limit._buckets) == ["new"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30 * NS), min_size=1, max_size=80))
def test_whatever_the_pauses_no_minute_has_twice_the_calls(pauses: list[int]) -> None:
    clock = ByHand()
    limit = RateLimit(LIMIT, clock)
    allowed = []
    for pause in pauses:
        clock.at += pause
        if limit.allows("a"):
            allowed.append(clock.at)
    for begin in allowed:
        assert sum(begin <= at < begin + 60 * NS for at in allowed) <= 2 * LIMIT


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def answered(settings: ServerSettings, handler: Handler, **headers: str) -> tuple[int, str, dict[str, str]]:
    """What the guard makes of a handler's end: status, body, headers."""

    async def main() -> tuple[int, str, dict[str, str]]:
        app = web.Application(middlewares=[guard(settings, ByHand())])
        app.add_routes([web.get("/api/x", handler)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/x"
        async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as got:
            found = got.status, await got.text(), dict(got.headers)
        await runner.cleanup()
        return found

    return asyncio.run(main())


async def breaks(request: web.Request) -> web.StreamResponse:
    """A handler with a mistake in it."""
    raise ZeroDivisionError("secret of the server")


async def lacks(request: web.Request) -> web.StreamResponse:
    """A handler whose engine cannot."""
    raise BackendError("no memory is left")


async def moves(request: web.Request) -> web.StreamResponse:
    """A handler that sends callers elsewhere."""
    raise web.HTTPNotModified


@pytest.fixture
def no_speaker(profile: Path) -> ServerSettings:
    """Settings that need no file."""
    return ServerSettings(speakers={})


def test_a_mistake_of_the_server_is_logged_whole_and_told_without_its_secrets(
    no_speaker: ServerSettings, caplog: pytest.LogCaptureFixture
) -> None:
    status, body, headers = answered(no_speaker, breaks)
    assert (status, json.loads(body)["error"]["kind"]) == (500, "InternalError")
    assert "secret" not in body
    assert "secret of the server" in caplog.text
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "no-store"


def test_errors_of_the_engine_are_told_and_answers_that_are_no_errors_are_left_alone(
    no_speaker: ServerSettings,
) -> None:
    status, body, _ = answered(no_speaker, lacks)
    assert (status, json.loads(body)["error"]) == (500, {"kind": "BackendError", "message": "no memory is left"})
    assert answered(no_speaker, moves)[0] == 304


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "[::1]"])
def test_names_of_this_machine_are_answered(no_speaker: ServerSettings, host: str) -> None:
    assert answered(no_speaker, moves, Host=host)[0] == 304


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "0.0.0.0"])
def test_other_names_are_not_answered_without_a_token(no_speaker: ServerSettings, host: str) -> None:
    assert answered(no_speaker, moves, Host=host)[0] == 403


async def dribble(size: int, chunk: int) -> AsyncIterator[bytes]:
    """A body whose length nobody tells beforehand."""
    while size > 0:
        yield b" " * min(chunk, size)
        size -= chunk


def test_bodies_are_limited_also_where_their_length_is_not_told(profile: Path) -> None:
    async def main() -> None:
        kinds = {"json": {"Content-Type": "application/json"}, "sdp": {"Content-Type": "application/sdp"}}
        raw = {"Content-Type": "application/octet-stream"}
        async with serving(profile, max_upload_mb=1) as client:
            created = await client.call("POST", "/api/sessions", {"source": {"kind": "whip"}, "consent": True})
            place = created.body["links"]["self"]
            for path, headers in (("/api/sessions", kinds["json"]), (f"{place}/whip", kinds["sdp"])):
                long = await client.call("POST", path, data=dribble(MAX_BODY + 1, 5000), headers=headers)
                assert (long.status, long.body["error"]["message"]) == (413, "the body is larger than allowed")
                most = await client.call("POST", path, data=dribble(MAX_BODY, 5000), headers=headers)
                assert most.status == 400
            huge = await client.call("POST", "/api/uploads", data=dribble(1_000_001, 100_000), headers=raw)
            assert huge.status == 413
            fits = await client.call("POST", "/api/uploads", data=dribble(1_000_000, 100_000), headers=raw)
            assert (fits.status, fits.body["bytes"]) == (201, 1_000_000)
            kept = list(client.server._uploads._root.iterdir())
            assert [path.name for path in kept] == [fits.body["upload"]]

    asyncio.run(main())


def test_a_message_of_voice_is_limited(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await client.begin(source={"kind": "presenter"}, voice={"kind": "stream"}, delay_ms=400)
            async with client.http.ws_connect(client.url(f"{place}/voice?rate=48000")) as socket:
                await socket.send_bytes(bytes(MAX_MESSAGE + 2))
                message = await socket.receive(timeout=20)
                assert message.type is aiohttp.WSMsgType.CLOSE
                assert message.data == aiohttp.WSCloseCode.MESSAGE_TOO_BIG
            assert (await client.call("GET", place)).body["state"] == "running"

    asyncio.run(main())


def test_who_calls_too_often_is_told_when_to_come_again_and_others_are_not_held_up(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile, calls_per_minute=3) as client:
            for _ in range(3):
                assert (await client.call("GET", "/api/engine")).status == 200
            refused = await client.call("GET", "/api/engine")
            assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
            assert "too many calls" in refused.body["error"]["message"]
            assert (await client.call("GET", "/healthz")).status == 200
            assert (await client.call("GET", "/")).status == 200

    asyncio.run(main())
