"""Everything in which the live engine changes or looks into aiortc's private parts. The only file that may.

What, and why (aiortc 1.16):
- JitterBuffer: takes a picture when the packet with the marker has come, instead of one picture later; gives up a
  picture whose packets are still missing after a quarter of a second and asks for a key picture (aiortc: waits for 512
  more packets, many seconds); sound goes on after a missing packet at its usual 80 ms (aiortc: after 320 ms).
- NackGenerator: asks again for packets that are still missing; aiortc asks once.
- RTCCertificate: offers ECDHE-RSA suites beside ECDHE-ECDSA, which GStreamer's webrtcbin of many systems needs.
- CODECS: H.264 up to level 5.2 instead of 3.1, which 1024 x 1024 exceeds.
- Connection: local candidates on addresses of our choice (aioice leaves 127.0.0.1 out).
- RTCRtpReceiver: tells the sender's clock, for those who measure sync as browsers do.
- RTCRtpSender: tells us when a viewer asks for a key picture, and what he reports about his link.
- RTCDtlsTransport: sends no more than four packets a millisecond. At once, those of a large picture overflow the queues
  of routers, and keep the loop from everything else meanwhile.
"""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, Final

from aioice import ice
from aiortc import RTCRtpReceiver, RTCRtpSender, codecs, rtcdtlstransport
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import (
    RTCP_PSFB_APP,
    RTCP_RTPFB_NACK,
    AnyRtcpPacket,
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSrPacket,
    RtpPacket,
    unpack_remb_fci,
)

from engine.errors import BackendError

log = logging.getLogger(__name__)

TESTED: Final = ("1.16",)
"""Releases of aiortc that the contract tests were run with."""

_CIPHERS: Final = b":".join(
    b"ECDHE-" + key + b"-" + suite
    for key in (b"ECDSA", b"RSA")
    for suite in (b"AES128-GCM-SHA256", b"CHACHA20-POLY1305", b"AES128-SHA", b"AES256-SHA")
)
GAP_S: Final = 0.25
"""A picture is given up when packets of it are missing for so long."""

_ASK_AGAIN_S: Final = 0.05
_PACKET_S: Final = 0.00025
"""Packets leave a connection so far apart, or in groups of a few: timers are no finer."""
_AT_ONCE_S: Final = 8 * _PACKET_S
"""After a rest so much may leave at once."""

now: Callable[[], float] = time.monotonic
"""Seconds; the clock of what waits here."""

wall_time: Callable[[], float] = time.time
"""Seconds; the clock by which aiortc notes when it sent a report."""

_ORIGINAL_ADD: Final = JitterBuffer.add
_ORIGINAL_NACK: Final = NackGenerator.add
_ORIGINAL_TAKE: Final = JitterBuffer._remove_frame
_ORIGINAL_SEND: Final = rtcdtlstransport.RTCDtlsTransport._send_rtp
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
    setattr(JitterBuffer, "add", _add_packet)  # noqa: B010  (mypy: a method is replaced)
    setattr(JitterBuffer, "_remove_frame", _take)  # noqa: B010
    setattr(NackGenerator, "add", _note_missing)  # noqa: B010
    setattr(rtcdtlstransport.RTCDtlsTransport, "_send_rtp", _send_evenly)  # noqa: B010
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


@dataclass(frozen=True)
class LinkReport:
    """What a viewer reports about what he gets of one track; what a report does not tell is None."""

    lost: float | None = None
    """Share of the packets since the last report that did not come at first."""
    most_bits: int | None = None
    """Bits a second that his link is estimated to carry."""
    asked_again: int = 0
    """Packets that he asked for again."""
    round_trip_s: float | None = None
    """Time there and back; at least so long where the last of our reports is not answered yet."""


def on_report(sender: RTCRtpSender, take: Callable[[LinkReport], None]) -> None:
    """Call `take` with every report of the viewer of this sender (receiver reports, REMB, NACK)."""
    original = sender._handle_rtcp_packet

    async def handle(packet: AnyRtcpPacket) -> None:
        """Let aiortc do its part, then tell."""
        await original(packet)
        if (report := _report_of(packet, sender)) is not None:
            take(report)

    setattr(sender, "_handle_rtcp_packet", handle)  # noqa: B010


def on_sender_report(receiver: RTCRtpReceiver, rate: int, take: Callable[[float], None]) -> None:
    """Call `take` with the sender's clock (s) at a receiver's first frame, with every report of the sender.

    A frame at `pts` s (from the first one on) belongs to the clock's time + pts: so browsers keep sound and pictures
    together. Reports are late by what held the sender up: the least of them is best.
    """
    original = receiver._handle_rtcp_packet

    async def handle(packet: AnyRtcpPacket) -> None:
        """Let aiortc do its part, then tell."""
        await original(packet)
        first: int | None = getattr(receiver, "_RTCRtpReceiver__timestamp_mapper")._origin  # noqa: B009
        if isinstance(packet, RtcpSrPacket) and first is not None and packet.sender_info.packet_count:
            ticks = (packet.sender_info.rtp_timestamp - first + 2**31) % 2**32 - 2**31
            take(packet.sender_info.ntp_timestamp / 2**32 - ticks / rate)

    setattr(receiver, "_handle_rtcp_packet", handle)  # noqa: B010


def _report_of(packet: AnyRtcpPacket, sender: RTCRtpSender) -> LinkReport | None:
    ssrc = sender._ssrc
    if isinstance(packet, RtcpRrPacket | RtcpSrPacket):
        ours = next((report for report in packet.reports if report.ssrc == ssrc), None)
        return None if ours is None else LinkReport(ours.fraction_lost / 256, round_trip_s=_round_trip(ours, sender))
    if isinstance(packet, RtcpRtpfbPacket) and packet.fmt == RTCP_RTPFB_NACK and packet.media_ssrc == ssrc:
        return LinkReport(asked_again=len(packet.lost))
    if isinstance(packet, RtcpPsfbPacket) and packet.fmt == RTCP_PSFB_APP:
        try:
            bits, sources = unpack_remb_fci(packet.fci)
        except ValueError:
            return None
        return LinkReport(most_bits=bits) if ssrc in sources else None
    return None


def _round_trip(report: RtcpReceiverInfo, sender: RTCRtpSender) -> float | None:
    """Time there and back of the last report that was sent; None: none was, or its clock was set."""
    asked: int | None = getattr(sender, "_RTCRtpSender__lsr")  # noqa: B009
    if asked is None:
        return None
    since: float = wall_time() - getattr(sender, "_RTCRtpSender__lsr_time")  # noqa: B009
    took = since - report.dlsr / 65536 if report.lsr == asked else since
    return took if took >= 0 else None


def _note_missing(self: NackGenerator, packet: RtpPacket) -> bool:
    """Whether to ask for the missing packets now: when one more is missing, and again while any is."""
    asked_at: float = getattr(self, "_livedub_asked_at", 0.0)
    ask = _ORIGINAL_NACK(self, packet) or (bool(self.missing) and now() - asked_at >= _ASK_AGAIN_S)
    if ask:
        setattr(self, "_livedub_asked_at", now())  # noqa: B010
    return ask


def _add_packet(self: JitterBuffer, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
    """Aiortc's own way; where a picture has waited too long for missing packets, it is given up."""
    wants_key, taken = _ORIGINAL_ADD(self, packet)
    if not self._is_video or taken is not None:
        setattr(self, "_livedub_gap", None)  # noqa: B010
        return wants_key, taken
    hole = _first_hole(self)
    gap: tuple[int, float] | None = getattr(self, "_livedub_gap", None)
    if hole is None:
        setattr(self, "_livedub_gap", None)  # noqa: B010
    elif gap is None or gap[0] != self._origin:
        setattr(self, "_livedub_gap", (self._origin, now()))  # noqa: B010
    elif now() - gap[1] >= GAP_S:
        _drop_broken(self, hole)
        setattr(self, "_livedub_gap", None)  # noqa: B010
        return True, self._remove_frame(packet.sequence_number)
    return wants_key, None


def _held(self: JitterBuffer) -> list[RtpPacket | None]:
    """Packets in order from the first one that is waited for."""
    assert self._origin is not None
    return [self._packets[(self._origin + count) % self._capacity] for count in range(self._capacity)]


def _first_hole(self: JitterBuffer) -> int | None:
    """Where the first missing packet is, counted from the first one that is waited for; None: none is missing."""
    held = _held(self)
    last = max((at for at, packet in enumerate(held) if packet is not None), default=0)
    return next((at for at in range(last) if held[at] is None), None)


def _drop_broken(self: JitterBuffer, hole: int) -> None:
    """Let go everything up to the first packet after the hole that surely begins a picture."""
    held = _held(self)
    for at in range(hole + 1, len(held)):
        before, packet = held[at - 1], held[at]
        if before is not None and packet is not None and before.marker:
            self.remove(at)
            return
    self.remove(max(at for at, packet in enumerate(held) if packet is not None) + 1)


def _take(self: JitterBuffer, sequence_number: int) -> JitterFrame | None:
    """Aiortc's own way first; else the next piece of sound, or a picture that is all there up to its marker."""
    taken = _ORIGINAL_TAKE(self, sequence_number)
    if taken is not None or self._origin is None:
        return taken
    return _take_picture(self) if self._is_video else _take_sound(self)


def _take_sound(self: JitterBuffer) -> JitterFrame | None:
    """The first packet of sound that is there, when as many wait behind it as usual: what is missing is late by now."""
    there = [(at, packet) for at, packet in enumerate(_held(self)) if packet is not None]
    if len(there) <= self._prefetch:
        return None
    at, packet = there[0]
    self.remove(at + 1)
    return JitterFrame(data=packet._data, timestamp=packet.timestamp)  # type: ignore[attr-defined]


def _take_picture(self: JitterBuffer) -> JitterFrame | None:
    """A picture whose packets, up to the one with the marker, are all there."""
    assert self._origin is not None
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


async def _send_evenly(self: rtcdtlstransport.RTCDtlsTransport, data: bytes) -> None:
    """Aiortc's own way, when the packet's turn comes."""
    turn: float = max(getattr(self, "_livedub_turn", -math.inf), now() - _AT_ONCE_S)
    setattr(self, "_livedub_turn", turn + _PACKET_S)  # noqa: B010
    if (early := turn - now()) > 0:
        await asyncio.sleep(early)
    await _ORIGINAL_SEND(self, data)


def _context_with_rsa(self: rtcdtlstransport.RTCCertificate, *args: Any, **kwargs: Any) -> Any:
    context = _ORIGINAL_CONTEXT(self, *args, **kwargs)
    context.set_cipher_list(_CIPHERS)
    return context
