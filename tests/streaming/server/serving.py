"""A server with a scripted engine, and a client for its API."""

import asyncio
import io
import wave
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray

from streaming.engines import Engine
from streaming.server.app import Server
from streaming.server.settings import ServerSettings
from tests.streaming.fakes import FakeEngine


@dataclass(frozen=True)
class Answer:
    """One answer of the API."""

    status: int
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Client:
    """Calls one server."""

    server: Server
    http: aiohttp.ClientSession

    def url(self, path: str) -> str:
        return self.server.address.rstrip("/") + path

    async def call(self, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        """Call with a JSON body, or with `data=` and `headers=`."""
        kind = {} if body is None else {"json": body}
        async with self.http.request(method, self.url(path), **kind, **more) as answer:
            text = await answer.text()
            parsed = await answer.json() if answer.content_type == "application/json" and text else text
            return Answer(answer.status, parsed, dict(answer.headers))

    async def upload(self, path: Path) -> str:
        """Send a file and give its name."""
        headers = {"Content-Type": "application/octet-stream"}
        data = io.BytesIO(await asyncio.to_thread(path.read_bytes))
        answer = await self.call("POST", "/api/uploads", data=data, headers=headers)
        assert answer.status == 201, answer.body
        return str(answer.body["upload"])

    async def begin(self, **body: Any) -> str:
        """Begin a session and give its address once it runs."""
        answer = await self.call("POST", "/api/sessions", body)
        assert answer.status == 201, answer.body
        place = str(answer.body["links"]["self"])
        await self.when(place, lambda now: now["state"] not in ("loading", "waiting"))
        return place

    async def when(self, place: str, holds: Callable[[dict[str, Any]], bool], seconds: float = 60) -> dict[str, Any]:
        """A session as soon as something holds of it."""
        async with asyncio.timeout(seconds):
            while True:
                now: dict[str, Any] = (await self.call("GET", place)).body
                if holds(now):
                    assert now["error"] is None, now
                    return now


@asynccontextmanager
async def serving(profile: Path, engine: Engine | None = None, **settings: Any) -> AsyncIterator[Client]:
    """A server on a free port; one speaker, "ann", whose profile is any file."""
    await asyncio.to_thread(profile.write_text, "full")
    base = ServerSettings(port=0, speakers={"ann": profile}, calls_per_minute=100_000, ice_hosts=("127.0.0.1",))
    async with Server(replace(base, **settings), engine or FakeEngine()) as server, aiohttp.ClientSession() as http:
        yield Client(server, http)


def write_wav(path: Path, samples: NDArray[np.float32]) -> Path:
    """Mono sound at 48 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path
