"""The calls of the HTTP API."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final, get_args
from urllib.parse import quote

from aiohttp import hdrs, web

from engine.errors import BadInputError, MediaError
from streaming.egress.hub import View
from streaming.engines import Quality
from streaming.live.session import LiveDubSession
from streaming.server import bodies
from streaming.server.manager import Sessions, Uploads
from streaming.server.metrics import CONTENT_TYPE, exposition
from streaming.server.openapi import description
from streaming.server.voice_socket import serve_voice

SDP: Final = "application/sdp"
"""Media type of offers and answers."""

MAX_BODY: Final = 256 * 1024
"""Largest offer or JSON body in bytes."""

EDITED_HEADERS: Final = {"Livedub-Edited": "1"}
"""Sent with every answer to a viewer: the pictures are edited."""

_CHUNK: Final = 256 * 1024


class Api:
    """The handlers, and what they work on."""

    def __init__(self, sessions: Sessions, uploads: Uploads) -> None:
        """Serve these sessions."""
        self._sessions, self._uploads = sessions, uploads
        self._features: Final = sessions.around.engine.features()
        self._speakers: Final = sessions.around.speakers
        self._known: Final = bodies.Known(self._speakers, self._features, uploads.path, sessions.settings.cameras)

    def routes(self) -> list[web.RouteDef]:
        """Every address."""
        one = "/api/sessions/{session}"
        return [
            web.get("/api/openapi.json", self.openapi),
            web.get("/api/engine", self.engine),
            web.post("/api/uploads", self.upload),
            web.get("/api/speakers/{speaker}", self.speaker),
            web.get("/api/sessions", self.sessions),
            web.post("/api/sessions", self.create),
            web.get(one, self.show),
            web.patch(one, self.change),
            web.delete(one, self.delete),
            web.post(f"{one}/interrupt", self.interrupt),
            web.get(f"{one}/voice", self.voice),
            web.post(f"{one}/whip", self.whip),
            web.options(f"{one}/whip", self.ice),
            web.delete(f"{one}/whip/{{peer}}", self.hang_up),
            web.post(f"{one}/whep", self.whep),
            web.options(f"{one}/whep", self.ice),
            web.delete(f"{one}/whep/{{peer}}", self.hang_up),
            web.get("/metrics", self.metrics),
            web.get("/healthz", self.health),
        ]

    async def openapi(self, request: web.Request) -> web.Response:
        """The description of the API."""
        return web.json_response(description(self._features))

    async def engine(self, request: web.Request) -> web.Response:
        """What may be asked for; the page shows controls for exactly this."""
        settings, preparation = self._sessions.settings, self._sessions.around.preparation
        return web.json_response(
            {
                "preparing": None if preparation.progress is None else asdict(preparation.progress),
                "ready": preparation.ready,
                "speakers": list(self._speakers.names()),
                "keeps_speakers": self._speakers.keeps,
                "qualities": list(get_args(Quality)),
                "cameras": list(settings.cameras),
                "default_effort": self._features.default_effort,
                "max_effort": self._features.max_effort,
                "emotions": list(self._features.emotions),
                "url_schemes": list(bodies.URL_SCHEMES),
                "ice_servers": [
                    {"urls": s.url, "username": s.username, "credential": s.credential} for s in settings.ice_servers
                ],
                "limits": {
                    "sessions": settings.max_sessions,
                    "viewers": settings.max_viewers,
                    "upload_mb": settings.max_upload_mb,
                },
            }
        )

    async def upload(self, request: web.Request) -> web.Response:
        """A video or a sound, as the raw body; it is kept until the server ends or newer ones need its place."""
        _expect_type(request, "application/octet-stream")
        limit = self._sessions.settings.max_upload_mb * 1_000_000
        if request.content_length is not None and request.content_length > limit:
            raise web.HTTPRequestEntityTooLarge(limit, request.content_length)
        size = 0
        with self._uploads.receiving() as (name, path), path.open("wb") as file:
            async for chunk in request.content.iter_chunked(_CHUNK):
                size += len(chunk)
                if size > limit:
                    raise web.HTTPRequestEntityTooLarge(limit, size)
                await asyncio.to_thread(file.write, chunk)
            if size == 0:
                raise BadInputError("upload: the body is empty; expected a video or a sound")
        return web.json_response({"upload": name, "bytes": size}, status=201)

    async def speaker(self, request: web.Request) -> web.FileResponse:
        """A speaker's profile, to be saved."""
        name = request.match_info["speaker"]
        headers = {hdrs.CONTENT_DISPOSITION: f"attachment; filename*=UTF-8''{quote(name)}.safetensors"}
        return web.FileResponse(self._speakers.profile(name), headers=headers)

    async def sessions(self, request: web.Request) -> web.Response:
        """All sessions."""
        return web.json_response({"sessions": [self._shown(session) for session in self._sessions.all()]})

    async def create(self, request: web.Request) -> web.Response:
        """Begin a session."""
        config = bodies.session_config(await _json(request), self._known, request.remote or "unknown")
        with self._told():
            session = await self._sessions.begin(config)
        place = f"/api/sessions/{session.id}"
        links = {"self": place, "whep": f"{place}/whep", "whip": f"{place}/whip"}
        headers = {hdrs.LOCATION: place}
        return web.json_response({**self._shown(session), "links": links}, status=201, headers=headers)

    async def show(self, request: web.Request) -> web.Response:
        """One session's state and figures."""
        return web.json_response(self._shown(self._session(request)))

    async def change(self, request: web.Request) -> web.Response:
        """Change effort, emotion, intensity, voice or speaker of a running session."""
        session = self._session(request)
        wanted = bodies.changes(await _json(request), self._known)
        if wanted.speaker is not None:
            await session.set_speaker(wanted.speaker)
        if wanted.voice is not None:
            with self._told():
                await session.set_voice(wanted.voice)
        if wanted.effort is not None:
            session.set_effort(wanted.effort)
        emotion = wanted.emotion or session.config.emotion or next(iter(self._features.emotions), None)
        if emotion is not None and (wanted.emotion, wanted.intensity) != (None, None):
            intensity = session.config.intensity if wanted.intensity is None else wanted.intensity
            await session.set_emotion(emotion, intensity)
        return web.json_response(self._shown(session))

    async def delete(self, request: web.Request) -> web.Response:
        """End a session."""
        await self._sessions.end(request.match_info["session"])
        return web.Response(status=204)

    async def interrupt(self, request: web.Request) -> web.Response:
        """Silence the voice: what waits to be played and what is on its way."""
        self._session(request).interrupt()
        return web.Response(status=204)

    async def voice(self, request: web.Request) -> web.WebSocketResponse:
        """A voice by WebSocket."""
        return await serve_voice(request, self._session(request), self._sessions.around.clock)

    async def whip(self, request: web.Request) -> web.Response:
        """A camera's or microphone's offer."""
        session = self._session(request)
        return await self._answer(request, "whip", session.publish)

    async def whep(self, request: web.Request) -> web.Response:
        """A viewer's offer; `?view=compare` for the edited picture and the source side by side."""
        session = self._session(request)
        view = request.query.get("view", "edited")
        if view not in ("edited", "compare"):
            raise BadInputError(f"view is {view[:20]!r}; expected edited or compare")
        chosen: View = "compare" if view == "compare" else "edited"
        return await self._answer(request, "whep", lambda sdp: session.watch(sdp, chosen))

    async def ice(self, request: web.Request) -> web.Response:
        """Which STUN and TURN servers to use."""
        return self._with_links(web.Response(status=204, headers={"Accept-Post": SDP}))

    async def hang_up(self, request: web.Request) -> web.Response:
        """End a connection."""
        if not await self._session(request).hang_up(request.match_info["peer"]):
            raise web.HTTPNotFound
        return web.Response(status=200)

    async def metrics(self, request: web.Request) -> web.Response:
        """Figures for Prometheus."""
        return web.Response(text=exposition(self._sessions), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})

    async def health(self, request: web.Request) -> web.Response:
        """Whether the server answers."""
        return web.json_response({"ok": True})

    async def _answer(
        self, request: web.Request, kind: str, connect: Callable[[str], Awaitable[tuple[str, str]]]
    ) -> web.Response:
        _expect_type(request, SDP)
        name, sdp = await connect((await _body(request)).decode("utf-8", "replace"))
        place = f"/api/sessions/{request.match_info['session']}/{kind}/{name}"
        headers = {hdrs.LOCATION: place, hdrs.ETAG: f'"{name}"', **EDITED_HEADERS}
        return self._with_links(web.Response(text=sdp, status=201, content_type=SDP, headers=headers))

    def _with_links(self, answer: web.Response) -> web.Response:
        for server in self._sessions.settings.ice_servers:
            answer.headers.add("Link", server.link())
        return answer

    def _shown(self, session: LiveDubSession) -> dict[str, Any]:
        """A session as callers may see it."""
        values = session.as_dict()
        return values if session.error is None else {**values, "error": self._uploads.without_places(session.error)}

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say of a file that was sent what is wrong with it, and not where it lies."""
        try:
            yield
        except MediaError as error:
            raise MediaError(self._uploads.without_places(str(error))) from error

    def _session(self, request: web.Request) -> LiveDubSession:
        return self._sessions.get(request.match_info["session"])


def _expect_type(request: web.Request, wanted: str) -> None:
    if request.content_type != wanted:
        raise web.HTTPUnsupportedMediaType(text=f"the body is {request.content_type}; expected {wanted}")


async def _body(request: web.Request) -> bytes:
    data = await request.content.read(MAX_BODY + 1)
    while len(data) <= MAX_BODY and (more := await request.content.read(MAX_BODY + 1 - len(data))):
        data += more
    if len(data) > MAX_BODY:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY, len(data))
    return data


async def _json(request: web.Request) -> Any:
    _expect_type(request, "application/json")
    try:
        return json.loads(await _body(request))
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"the body is not JSON: {error}; expected an object") from error
