"""Who may call: the token, the names under which the server answers, calls a minute; and errors in plain words."""

import hmac
import logging
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from engine.errors import BadInputError, LivedubError
from streaming.channel import ChannelClosed
from streaming.clock import NS, Clock
from streaming.live.config import NotReady, Refused
from streaming.server.manager import UnknownSession
from streaming.server.settings import ServerSettings

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")


class RateLimit:
    """A bucket of calls for each address, refilled evenly; remembers the addresses of the last minutes only."""

    def __init__(self, per_minute: int, clock: Clock) -> None:
        """Full buckets for everybody."""
        self._rate, self._clock = per_minute, clock
        self._buckets: dict[str, tuple[float, int]] = {}

    def allows(self, who: str) -> bool:
        """Take one call from an address's bucket; False: it is empty."""
        now = self._clock.now()
        if len(self._buckets) > 1000:
            self._buckets = {k: (n, at) for k, (n, at) in self._buckets.items() if now - at < 60 * NS}
        left, at = self._buckets.get(who, (float(self._rate), now))
        left = min(float(self._rate), left + (now - at) / NS * self._rate / 60)
        if left < 1:
            self._buckets[who] = (left, now)
            return False
        self._buckets[who] = (left - 1, now)
        return True


def problem(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An error as JSON."""
    return web.json_response({"error": {"kind": kind, "message": message}}, status=status, headers=headers)


def guard(settings: ServerSettings, clock: Clock) -> Middleware:
    """The middleware that checks every call and turns errors into answers."""
    limit = RateLimit(settings.calls_per_minute, clock)

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check, handle, and harden the answer."""
        answer = _refusal(request, settings, limit) or await _handled(request, handler)
        if answer.prepared:
            return answer
        answer.headers.setdefault("X-Content-Type-Options", "nosniff")
        answer.headers.setdefault("Referrer-Policy", "no-referrer")
        answer.headers.setdefault("Cache-Control", "no-store")
        return answer

    return check


def _refusal(request: web.Request, settings: ServerSettings, limit: RateLimit) -> web.Response | None:
    """The answer to a call that is not allowed; None: it is."""
    if settings.token is None and not _is_local_name(request.host):
        return problem(403, "Forbidden", f"this server answers to localhost only, got the name {request.host}")
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is not None and urlsplit(origin).netloc != request.host:
        return problem(403, "Forbidden", "calls from pages of other places are not allowed")
    if not request.path.startswith(("/api/", "/metrics")):
        return None
    if not limit.allows(request.remote or ""):
        return problem(429, "TooManyCalls", "too many calls in a minute. Try again later.", {"Retry-After": "5"})
    if settings.token is not None and request.path != "/api/openapi.json":
        given = request.headers.get(hdrs.AUTHORIZATION, "")
        if not hmac.compare_digest(given.encode(), f"Bearer {settings.token}".encode()):
            realm = {"WWW-Authenticate": 'Bearer realm="livedub"'}
            return problem(401, "Unauthorized", "the bearer token is missing or wrong", realm)
    return None


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Every call's boundary: what fails is answered in words; what was not foreseen is logged whole as well."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return problem(error.status, error.reason, _words(error), allow)
    except NotReady as error:
        return problem(503, "NotReady", str(error), {"Retry-After": "1"})
    except Refused as error:
        return problem(429, "Refused", str(error), {"Retry-After": "30"})
    except ChannelClosed as error:
        return problem(409, "Ended", str(error))
    except UnknownSession as error:
        return problem(404, "UnknownSession", str(error))
    except BadInputError as error:
        return problem(400, type(error).__name__, str(error))
    except LivedubError as error:
        return problem(500, type(error).__name__, str(error))
    except Exception:
        log.exception("%s %s failed", request.method, request.path)
        return problem(500, "InternalError", "something went wrong in the server; its log has the details")


def _is_local_name(host: str) -> bool:
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    return name in _LOCAL_NAMES


def _words(error: web.HTTPException) -> str:
    words = {
        404: "there is nothing at this address",
        405: "this address does not know this method",
        413: "the body is larger than allowed",
    }
    return words.get(error.status, error.text or error.reason)
