"""Everything in which the live engine changes or looks into aiortc's private parts. The only file that may.

What, and why (aiortc 1.16):
- JitterBuffer: takes a picture when the packet with the marker has come, instead of one picture later.
- RTCCertificate: offers ECDHE-RSA suites beside ECDHE-ECDSA, which GStreamer's webrtcbin of many systems needs.
- CODECS: H.264 up to level 5.2 instead of 3.1, which 1024 x 1024 exceeds.
- Connection: local candidates on addresses of our choice (aioice leaves 127.0.0.1 out).
- RTCRtpSender: tells us when a viewer asks for a key picture.
"""

import logging
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any, Final

from aioice import ice
from aiortc import RTCRtpSender, codecs, rtcdtlstransport
from aiortc.jitterbuffer import JitterBuffer, JitterFrame

from engine.errors import BackendError

log = logging.getLogger(__name__)

TESTED: Final = ("1.16",)
"""Releases of aiortc that the contract tests were run with."""

_CIPHERS: Final = b":".join(
    b"ECDHE-" + key + b"-" + suite
    for key in (b"ECDSA", b"RSA")
    for suite in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA", b"AES256-SHA")
)
_ORIGINAL_TAKE: Final = JitterBuffer._remove_frame
_ORIGINAL_CONTEXT: Final = rtcdtlstransport.RTCCertificate._create_ssl_context
_ORIGINAL_ADDRESSES: Final = ice.get_host_addresses


def apply() -> None:
    """Put all changes in place; may be called again.

    Raises:
        BackendError: an aiortc that they were not tested with is installed.
    """
    version = metadata.version("aiortc")
    if not version.startswith(tuple(f"{tested}." for tested in TESTED)):
        raise BackendError(
            f"aiortc {version} is installed; expected {' or '.join(TESTED)}.x: pip install 'livedub[live]'"
        )
    setattr(JitterBuffer, "_remove_frame", _take_picture)  # noqa: B010  (mypy: a method is replaced)
    setattr(rtcdtlstransport.RTCCertificate, "_create_ssl_context", _context_with_rsa)  # noqa: B010
    for codec in codecs.CODECS["video"]:
        profile = codec.parameters.get("profile-level-id")
        if isinstance(profile, str):
            codec.parameters["profile-level-id"] = profile[:4] + "34"


def use_host_addresses(addresses: Sequence[str]) -> None:
    """Offer candidates on exactly these addresses; none: on all but 127.0.0.1, as aioice does."""
    chosen = list(addresses)

    def given(use_ipv4: bool, use_ipv6: bool) -> list[str]:
        """The chosen addresses of the families asked for."""
        return [address for address in chosen if (use_ipv6 if ":" in address else use_ipv4)]

    setattr(ice, "get_host_addresses", given if chosen else _ORIGINAL_ADDRESSES)  # noqa: B010


def on_key_request(sender: RTCRtpSender, ask: Callable[[], None]) -> None:
    """Call `ask` whenever the viewer of this sender needs a key picture (PLI, FIR)."""
    setattr(sender, "_send_keyframe", ask)  # noqa: B010


def _take_picture(self: JitterBuffer, sequence_number: int) -> JitterFrame | None:
    """Aiortc's own way first; else a picture whose packets, up to the one with the marker, are all there."""
    taken = _ORIGINAL_TAKE(self, sequence_number)
    if taken is not None or not self._is_video or self._origin is None:
        return taken
    parts: list[bytes] = []
    timestamp: int | None = None
    for count in range(self._capacity):
        packet = self._packets[(self._origin + count) % self._capacity]
        if packet is None or (timestamp is not None and packet.timestamp != timestamp):
            return None
        timestamp = packet.timestamp
        parts.append(packet._data)  # type: ignore[attr-defined]
        if packet.marker:
            self.remove(count + 1)
            return JitterFrame(data=b"".join(parts), timestamp=timestamp)
    return None


def _context_with_rsa(self: rtcdtlstransport.RTCCertificate, *args: Any, **kwargs: Any) -> Any:
    context = _ORIGINAL_CONTEXT(self, *args, **kwargs)
    context.set_cipher_list(_CIPHERS)
    return context
