"""WHEP: viewers get packets that were encoded once for all of them."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Protocol

import av
from aiortc import MediaStreamTrack, RTCRtpSender
from aiortc.mediastreams import MediaStreamError
from aiortc.rtcrtpparameters import RTCRtpCodecCapability

from streaming import aiortc_compat
from streaming.channel import ChannelClosed
from streaming.clock import NS
from streaming.egress.hub import PictureHub, SoundHub, Subscription, View
from streaming.egress.rate import LinkEstimate
from streaming.encoder import CodecName
from streaming.live.media import SessionTime
from streaming.rtc import IceServer, OfferError, Peer, offers

_HOLD_NS: Final = 2 * NS
"""Sound waits for the first picture at most so long."""


class Hubs(Protocol):
    """Gives a session's hubs; makes them when first asked for."""

    @property
    def time(self) -> SessionTime:
        """The session's time."""

    def pictures(self, codec: CodecName, view: View) -> PictureHub:
        """The hub of a codec and a view."""

    def sounds(self) -> SoundHub:
        """The hub of sound."""


class PacketTrack(MediaStreamTrack):
    """A track that hands a subscription's packets to aiortc."""

    def __init__(self, kind: str, subscription: Subscription) -> None:
        """Make a track of a kind."""
        super().__init__()
        self.kind = kind
        self._subscription = subscription

    async def recv(self) -> "av.Packet[av.stream.Stream]":
        """The next packet; raises MediaStreamError at the end."""
        try:
            return (await self._subscription.get()).packet()
        except ChannelClosed as error:
            self.stop()
            raise MediaStreamError from error

    def stop(self) -> None:
        """End the track; may be called again."""
        super().stop()
        self._subscription.close()


class Viewer:
    """One WHEP connection.

    Sound begins with the first picture, so that receivers that count both from their first packet stay in step.
    """

    def __init__(self, hubs: Hubs, view: View, servers: Sequence[IceServer], closed: Callable[[], None]) -> None:
        """Not yet connected."""
        self.codec: CodecName | None = None
        """What the pictures are encoded with; None: sound only."""
        self.asked_again = 0
        """Packets that the viewer asked for again."""
        self.key_requests = 0
        """Key pictures that the viewer asked for."""
        self._hubs, self._view = hubs, view
        self._began = hubs.time.now()
        self._pictures: Subscription | None = None
        self._sounds: Subscription | None = None
        self.peer: Final = Peer(servers, self._ended)
        """The connection."""
        self._closed = closed

    async def connect(self, sdp: str) -> str:
        """Answer an offer.

        Raises:
            OfferError: it cannot be answered.
        """
        connection = self.peer.connection
        if re.search(r"^m=video ", sdp, re.MULTILINE):
            self.codec = chosen_codec(sdp)
            hub = self._hubs.pictures(self.codec, self._view)
            self._pictures = hub.subscribe()
            self._pictures.hold = self._is_not_connected
            self.peer.connection.on("connectionstatechange", hub.request_key)
            video = connection.addTransceiver(PacketTrack("video", self._pictures), "sendonly")
            video.setCodecPreferences(_preferred("video", self.codec))
            aiortc_compat.on_key_request(video.sender, lambda: self._wants_key(hub))
            self._pictures.link = LinkEstimate(hub.encoder.full_rate)
            aiortc_compat.on_report(video.sender, partial(self._reported, hub, self._pictures))
        if offers(sdp, "audio", "opus"):
            self._sounds = self._hubs.sounds().subscribe()
            self._sounds.hold = self._holds_sound
            self._sounds.begin_with = self._first_picture
            audio = connection.addTransceiver(PacketTrack("audio", self._sounds), "sendonly")
            audio.setCodecPreferences(_preferred("audio", "opus"))
        if self._pictures is None and self._sounds is None:
            raise OfferError("offer: has no video or audio to receive; expected recvonly video (H.264 or VP8) or Opus")
        await self.peer.offered(sdp)
        return marked(await self.peer.answer())

    def as_dict(self) -> dict[str, Any]:
        """How the connection goes, as plain JSON values."""
        link = None if self._pictures is None else self._pictures.link
        return {
            "codec": self.codec,
            "lost_share": None if link is None else round(link.lost, 4),
            "limit_kbps": None if link is None or link.limit is None else round(link.limit / 1000),
            "queue_ms": None if link is None else round(link.queue.seconds * 1000),
            "asked_again": self.asked_again,
            "key_requests": self.key_requests,
            "overflows": self.overflows,
        }

    @property
    def overflows(self) -> int:
        """How often this viewer was too slow and lost packets."""
        return sum(s.overflows for s in (self._pictures, self._sounds) if s is not None)

    async def aclose(self) -> None:
        """Close the connection; may be called again."""
        await self.peer.aclose()

    def _wants_key(self, hub: PictureHub) -> None:
        self.key_requests += 1
        hub.request_key()

    def _reported(self, hub: PictureHub, subscription: Subscription, report: aiortc_compat.LinkReport) -> None:
        self.asked_again += report.asked_again
        hub.reported(subscription, report)

    def _is_not_connected(self) -> bool:
        """Before the connection is up packets would only wait, and arrive stale."""
        if self.peer.state == "connected":
            return False
        self._began = self._hubs.time.now()
        return True

    def _holds_sound(self) -> bool:
        pictures = self._pictures
        if self._is_not_connected():
            return True
        return pictures is not None and pictures.first_media is None and self._hubs.time.now() - self._began < _HOLD_NS

    def _first_picture(self) -> int | None:
        """Sound begins where the pictures began, also when the first one was encoded late."""
        return None if self._pictures is None else self._pictures.first_media

    def _ended(self) -> None:
        for subscription in (self._pictures, self._sounds):
            if subscription is not None:
                subscription.close()
        self._closed()


def chosen_codec(sdp: str) -> CodecName:
    """H.264 where the offer has it, else VP8.

    Raises:
        OfferError: it has neither.
    """
    if offers(sdp, "video", "H264"):
        return "H264"
    if offers(sdp, "video", "VP8"):
        return "VP8"
    raise OfferError("offer: its video has neither H.264 nor VP8; expected one of them")


def marked(sdp: str) -> str:
    """An answer that says in its session part that the pictures are edited."""
    head, sep, media = sdp.partition("m=")
    return f"{head}a=x-livedub-edited:1\r\n{sep}{media}"


def _preferred(kind: str, name: str) -> list[RTCRtpCodecCapability]:
    """A codec's capabilities, and retransmission for video."""
    wanted = {f"{kind}/{name}".lower(), "video/rtx"}
    return [codec for codec in RTCRtpSender.getCapabilities(kind).codecs if codec.mimeType.lower() in wanted]
