"""The server as one object: made, started, stopped."""

import asyncio
import logging
from pathlib import Path
from typing import Final, Self

from aiohttp import web

from engine.errors import BadInputError
from streaming import aiortc_compat
from streaming.clock import Clock, LoopClock
from streaming.engines import Engine
from streaming.live.config import Surroundings
from streaming.live.preparation import Preparation
from streaming.live.speakers import Speakers
from streaming.server.api import Api
from streaming.server.manager import Sessions, Uploads
from streaming.server.security import guard
from streaming.server.settings import ServerSettings
from streaming.stage import TaskOwner
from streaming.worker import ThreadWorker, Worker

log = logging.getLogger(__name__)

WEB: Final = Path(__file__).resolve().parents[1] / "web"
"""The page."""

_PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "media-src 'self' blob: mediastream:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES: Final = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_LINGERING_S: Final = 2.0
"""How long what a refused sender goes on sending is read, so that the sender sees the refusal."""


class Server:
    """A live server; use it in `async with`.

    Args:
        settings: address and limits.
        engine: what edits.
        compute: the compute thread; one of its own by default.
        clock: the time that all keep; the event loop's by default.
    """

    def __init__(
        self, settings: ServerSettings, engine: Engine, compute: Worker | None = None, clock: Clock | None = None
    ) -> None:
        """Make everything; nothing listens yet."""
        aiortc_compat.apply()
        aiortc_compat.use_host_addresses(settings.ice_hosts)
        self.settings = settings
        self._compute = compute or ThreadWorker("livedub-compute")
        clock = clock or LoopClock()
        self._speakers = Speakers(settings.speakers, settings.profiles)
        around = Surroundings(
            engine, self._compute, ThreadWorker, clock, self._speakers, settings.ice_servers, settings.max_viewers,
            preparation=Preparation(settings.ready),
        )  # fmt: skip
        self._tasks = TaskOwner("server", _unprepared)
        self.sessions = Sessions(settings, around)
        """Its sessions."""
        self._uploads = Uploads(settings.max_uploads)
        app = web.Application(middlewares=[guard(settings, clock)])
        app.add_routes(Api(self.sessions, self._uploads).routes())
        app.add_routes([web.get("/", page), web.get("/web/{name}", page)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0, lingering_time=_LINGERING_S)

    @property
    def address(self) -> str:
        """Where it listens, as a URL; after it was entered."""
        host, port = self._runner.addresses[0][:2]
        return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"

    async def __aenter__(self) -> Self:
        """Listen, and make speakers ready meanwhile.

        Raises:
            BadInputError: the address cannot be listened on.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self.settings.host, self.settings.port).start()
        except OSError as error:
            await self._close()
            raise BadInputError(
                f"cannot listen on {self.settings.host}:{self.settings.port}: {error.strerror}. Choose another --port."
            ) from error
        around = self.sessions.around
        self._tasks.begin("prepare", around.preparation.run(around))
        return self

    async def __aexit__(self, *_: object) -> None:
        """End sessions, connections, threads and files, in this order."""
        await self._close()

    async def _close(self) -> None:
        await self._tasks.end()
        await self.sessions.aclose()
        await self._runner.cleanup()
        await asyncio.to_thread(self._compute.close)
        self._uploads.close()
        self._speakers.close()


def _unprepared(error: Exception) -> None:
    """Sessions will meet the same error, and say it."""
    log.error("speakers cannot be made ready", exc_info=error)


async def page(request: web.Request) -> web.Response:
    """The page and its parts, out of the package."""
    name = request.match_info.get("name", "index.html")
    kind = _TYPES.get(Path(name).suffix)
    place = WEB / name
    if kind is None or place.parent != WEB or not place.is_file():
        raise web.HTTPNotFound
    headers = {"Content-Security-Policy": _PAGE_POLICY, "Permissions-Policy": "camera=(self), microphone=(self)"}
    return web.Response(text=place.read_text(encoding="utf-8"), content_type=kind, charset="utf-8", headers=headers)
