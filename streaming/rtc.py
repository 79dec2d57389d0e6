"""What WHIP and WHEP connections have in common: set-up, ICE servers, one answer to one offer, closing."""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiortc import (
    RTCBundlePolicy,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InvalidAccessError, InvalidStateError, OperationError

from engine.errors import BadInputError

log = logging.getLogger(__name__)

_CONNECT_S: Final = 30.0
"""A connection that is not up by then is closed."""


_BROKEN: Final = (
    ValueError, IndexError, KeyError, AttributeError, TypeError, AssertionError,
    RuntimeError,  # a search in a coroutine of aiortc that found nothing
    InvalidStateError, InvalidAccessError, OperationError,
)  # fmt: skip
"""What aiortc raises, in many places, on an offer that lacks something or contradicts itself."""


class OfferError(BadInputError):
    """An SDP offer that cannot be answered."""


@dataclass(frozen=True)
class IceServer:
    """A STUN or TURN server, for us and for those who connect."""

    url: str
    """stun:host:port or turn:host:port?transport=udp|tcp, turns: as well."""
    username: str | None = None
    """For TURN."""
    credential: str | None = field(default=None, repr=False)
    """For TURN; never logged."""

    @classmethod
    def parse(cls, text: str) -> "IceServer":
        """Read `stun:HOST[:PORT]` or `turn:USER:PASSWORD@HOST[:PORT][?transport=udp|tcp]`.

        Raises:
            BadInputError: it is neither.
        """
        if re.fullmatch(r"stuns?:[^@\s]+", text):
            return cls(text)
        found = re.fullmatch(r"(turns?):([^:@\s]+):([^@\s]+)@([^@\s]+)", text)
        if not found:
            raise BadInputError(
                "ICE server: expected stun:HOST[:PORT] or turn:USER:PASSWORD@HOST[:PORT][?transport=udp|tcp]; "
                f"got something that begins with {text[:5]!r}"
            )
        scheme, user, password, host = found.groups()
        return cls(f"{scheme}:{host}", user, password)

    def link(self) -> str:
        """The value of a `Link` header, as WHIP and WHEP define it."""
        parts = [f'<{self.url}>; rel="ice-server"']
        if self.username is not None:
            parts += [f'username="{self.username}"', f'credential="{self.credential}"', 'credential-type="password"']
        return "; ".join(parts)


class Peer:
    """One peer connection that answers one offer.

    Args:
        servers: STUN and TURN servers; none: host candidates only, and nothing outside is asked.
        closed: called once when the connection has ended, whoever ended it.
    """

    def __init__(self, servers: Sequence[IceServer], closed: Callable[[], None]) -> None:
        """Not yet connected."""
        ice = [RTCIceServer(server.url, server.username, server.credential) for server in servers]
        self.connection: Final = RTCPeerConnection(RTCConfiguration(ice, bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.relayed: bool | None = None
        """Whether a TURN server gave an address to be reached at; None: there is none to ask, or it was not asked."""
        self._turn: Final = tuple(server.url for server in servers if server.url.startswith("turn"))
        self._closed: Callable[[], None] | None = closed
        self._closing: asyncio.Task[None] | None = None
        self._deadline = asyncio.get_running_loop().call_later(_CONNECT_S, self._too_late)
        self.connection.on("connectionstatechange", self._changed)

    @property
    def state(self) -> str:
        """new, connecting, connected, failed or closed."""
        return self.connection.connectionState

    async def offered(self, sdp: str) -> None:
        """Take the offer.

        Raises:
            OfferError: it is none, or has nothing that we can send or take.
        """
        if "v=0" not in sdp or "m=" not in sdp:
            raise OfferError("offer: got text that is not SDP; expected an offer that begins with v=0 and has media")
        for line in ("a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:"):
            if line not in sdp:
                raise OfferError(f"offer: has no {line[2:-1]}; expected a complete SDP offer for WebRTC")
        try:
            await self.connection.setRemoteDescription(RTCSessionDescription(without_hidden(sdp), "offer"))
        except _BROKEN as error:
            raise OfferError(f"offer: cannot be used: {error}. Expected a complete SDP offer for WebRTC.") from error

    async def answer(self) -> str:
        """The answer, with all our candidates.

        Raises:
            OfferError: nothing in the offer fits.
        """
        try:
            await self.connection.setLocalDescription(await self.connection.createAnswer())
        except _BROKEN as error:
            raise OfferError(f"offer: cannot be answered: {error}. Offer H.264 or VP8 video, Opus sound.") from error
        sdp: str = self.connection.localDescription.sdp
        if self._turn:
            self.relayed = " typ relay" in sdp
        if self.relayed is False:
            log.warning(
                "%s gave no address: it does not answer, or its user, password or address is wrong. Who is behind a "
                "firewall cannot connect.",
                ", ".join(self._turn),
            )
        return sdp

    async def aclose(self) -> None:
        """Close the connection; may be called again."""
        self._deadline.cancel()
        await self.connection.close()
        self._ended()
        if self._closing is not None and self._closing is not asyncio.current_task():
            await asyncio.gather(self._closing, return_exceptions=True)

    def _changed(self) -> None:
        if self.state == "connected":
            self._deadline.cancel()
        if self.state in ("failed", "closed"):
            self._close_soon()

    def _too_late(self) -> None:
        self._close_soon()

    def _close_soon(self) -> None:
        if self._closing is None and self._closed is not None:
            self._closing = asyncio.get_running_loop().create_task(self.aclose(), name="close a peer")

    def _ended(self) -> None:
        if self._closed is not None:
            tell, self._closed = self._closed, None
            tell()


def without_hidden(sdp: str) -> str:
    """An offer without candidates under names of multicast DNS, by which browsers hide their addresses.

    Nobody has to be asked for them: the browser comes to our candidates, and its address is seen then.
    """
    return re.sub(r"^a=candidate:\S+ \d+ \S+ \d+ \S+\.local .*\r?\n", "", sdp, flags=re.MULTILINE)


def offers(sdp: str, kind: str, codec: str) -> bool:
    """Whether an offer has a medium of a kind ("video", "audio") with a codec ("H264", "VP8", "opus")."""
    for section in re.split(r"^m=", sdp, flags=re.MULTILINE)[1:]:
        if section.startswith(kind) and re.search(rf"^a=rtpmap:\d+ {codec}/", section, re.MULTILINE | re.IGNORECASE):
            return True
    return False
