"""One encoder for many viewers: pictures or sound are encoded once, and each packet goes to all who subscribed."""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, Literal

from engine.media import VideoFrame
from streaming.aiortc_compat import LinkReport
from streaming.channel import Channel, ChannelClosed, Policy
from streaming.clock import NS
from streaming.egress.rate import LinkEstimate, SentRate, shared_rate
from streaming.encoder import CodecName, Encoded, PictureEncoder, SoundEncoder, side_by_side
from streaming.live.media import BLOCK_NS, LivePicture, SessionTime, SoundBlock
from streaming.stage import TaskOwner
from streaming.worker import Worker

log = logging.getLogger(__name__)

View = Literal["edited", "compare"]
"""What a viewer sees: the edited picture; or that and the source side by side."""

QUEUE_PACKETS: Final = 8
"""Pictures that may wait for one viewer; a slower one loses them all and begins at a new key picture."""

_LEFT_OUT: Final = 100
"""Packets that are kept of those left out: two seconds of sound."""
_KEY_EVERY_NS: Final = 4 * NS
"""Longest time between key pictures where a recording or a push takes part."""
_SELDOM_NS: Final = 20 * NS
"""And where only viewers do, who ask for those they need: key pictures are bursts that narrow links feel."""
_KEY_AT_MOST_NS: Final = NS // 4
"""Requests for key pictures are heard at most this often."""
_LOWER, _HIGHER = 0.9, 1.25
"""The encoder follows when less than the one or more than the other share of its rate is wanted: each costs a key."""
_LOWER_EVERY_NS, _HIGHER_EVERY_NS = NS, 4 * NS
"""And after so long at the earliest."""


class Subscription:
    """One viewer's packets. For pictures they begin at a key picture."""

    def __init__(self, hub: "Hub", capacity: int) -> None:
        """Made by `Hub.subscribe`."""
        self._hub = hub
        self._packets: Channel[Encoded] = Channel("packets of a viewer", capacity, lambda _: 1.0, Policy.REJECT)
        self._waits_for_key = True
        self.first_media: int | None = None
        """Media time of the first packet that was handed on, in ns."""
        self.overflows = 0
        """How often the viewer was too slow and lost packets."""
        self.hold: Callable[[], bool] = _never
        """While this says True, packets are left out (the connection is not up, or sound waits for its pictures)."""
        self.begin_with: Callable[[], int | None] = _nowhere
        """Media time in ns from which packets that were left out are handed on after all; None: they are not."""
        self.link: LinkEstimate | None = None
        """What the viewer's link carries; None: a recording or a push, which takes what there is."""
        self._left_out: deque[Encoded] = deque(maxlen=_LEFT_OUT)

    async def get(self) -> Encoded:
        """The next packet; raises ChannelClosed at the end."""
        return await self._packets.get()

    def __aiter__(self) -> AsyncIterator[Encoded]:
        """Packets until the end."""
        return self._packets.__aiter__()

    def close(self) -> None:
        """No more packets for this viewer; may be called again."""
        self._packets.close()
        self._packets.clear()
        self._hub.leave(self)

    def deliver(self, packet: Encoded) -> None:
        """Hand a packet on, by the hub."""
        if self._packets.closed:
            return
        if self.hold():
            self._left_out.append(packet)
            return
        begin = self.begin_with()
        waiting = [each for each in self._left_out if begin is not None and each.media > begin - BLOCK_NS // 2]
        self._left_out.clear()
        for each in (*waiting, packet):
            self._hand_on(each)

    def _hand_on(self, packet: Encoded) -> None:
        if self._waits_for_key and not packet.key:
            return
        if len(self._packets) >= self._packets.capacity_ms:
            self.overflows += 1
            self._packets.clear()
            self._waits_for_key = True
            self._hub.request_key()
            if not packet.key:
                return
        self._waits_for_key = False
        if self.first_media is None:
            self.first_media = packet.media
        self._packets.put_nowait(packet)


class Hub:
    """What picture and sound hubs have in common: subscribers, and packets sent at media time + delay."""

    def __init__(self, name: str, time: SessionTime, delay_ns: int, queue: int) -> None:
        """No subscribers yet."""
        self.error: Exception | None = None
        """Why the encoder stopped, if it did."""
        self._time, self._delay, self._queue = time, delay_ns, queue
        self._subscribers: list[Subscription] = []
        self._tasks = TaskOwner(name, self._failed)

    @property
    def viewers(self) -> int:
        """How many subscribed."""
        return len(self._subscribers)

    def subscribe(self) -> Subscription:
        """Packets from now on."""
        subscription = Subscription(self, self._queue)
        self._subscribers.append(subscription)
        self.request_key()
        return subscription

    def leave(self, subscription: Subscription) -> None:
        """Forget a subscriber."""
        if subscription in self._subscribers:
            self._subscribers.remove(subscription)

    def request_key(self) -> None:
        """Ask for a place where decoding can begin; for sound every packet is one."""

    async def aclose(self) -> None:
        """End the encoder and every subscription."""
        await self._tasks.end()
        for subscription in tuple(self._subscribers):
            subscription.close()

    async def _send(self, packet: Encoded) -> None:
        await self._time.sleep_until(packet.media + self._delay)
        for subscription in tuple(self._subscribers):
            subscription.deliver(packet)

    def _failed(self, error: Exception) -> None:
        self.error = error
        log.error("%s", error)
        for subscription in tuple(self._subscribers):
            subscription.close()


class PictureHub(Hub):
    """Encodes pictures while somebody watches.

    Args:
        time: the session's time.
        worker: the encoder's thread.
        delay_ns: when packets leave, from their media time.
        codec: H264 or VP8.
        view: what is shown.
    """

    def __init__(
        self, time: SessionTime, worker: Worker, delay_ns: int, codec: CodecName, view: View = "edited"
    ) -> None:
        """Open the encoder with the first picture that somebody watches."""
        super().__init__(f"pictures {codec} {view}", time, delay_ns, QUEUE_PACKETS)
        self.codec, self.view = codec, view
        self.encoder = PictureEncoder(codec)
        self.pictures: Channel[LivePicture] = Channel("pictures to encode", 160, lambda _: 40.0, Policy.DROP_OLDEST)
        self._worker = worker
        self._wants_key = True
        self._last_key = -_KEY_EVERY_NS
        self.sent_bytes = 0
        """Bytes of all pictures that were encoded."""
        self._sent = SentRate()
        self._rate_changed = 0
        self._tasks.begin("encode", self._run())

    def picture(self, picture: LivePicture) -> None:
        """Take a released picture."""
        if self._subscribers and not self.pictures.closed:
            self.pictures.put_nowait(picture)

    def sound(self, block: SoundBlock) -> None:
        """Sound goes elsewhere."""

    def request_key(self) -> None:
        """Make the next picture a key picture; not more often than four times a second."""
        self._wants_key = True

    @property
    def rate(self) -> int:
        """Bits a second that the encoder may spend."""
        return self.encoder.limit or self.encoder.full_rate

    @property
    def sending(self) -> int:
        """Bits a second that were encoded in the last second."""
        return round(self._sent.per_second(self._time.now()))

    def reported(self, subscription: Subscription, report: LinkReport) -> None:
        """A viewer reports about his link."""
        link, sending = subscription.link, self.sending
        if link is None:
            return
        link.full = self.encoder.full_rate
        if report.most_bits is not None:
            link.estimated(report.most_bits, sending)
        if report.lost is not None:
            link.reported(self._time.now(), report.lost, sending, report.round_trip_s)

    def _follow_links(self) -> None:
        """Give the encoder the rate that its viewers' links share, where that differs enough."""
        links = [s.link.limit for s in self._subscribers if s.link is not None]
        wanted, now = shared_rate(links, self.encoder.full_rate), self._time.now()
        lower = wanted < _LOWER * self.rate and now - self._rate_changed >= _LOWER_EVERY_NS
        higher = wanted > min(_HIGHER * self.rate, self.encoder.full_rate - 1) and wanted > self.rate
        if lower or (higher and now - self._rate_changed >= _HIGHER_EVERY_NS):
            self._rate_changed = now
            self.encoder.limit = None if wanted >= self.encoder.full_rate else round(wanted)

    async def _run(self) -> None:
        async for picture in self.pictures:
            self._follow_links()
            since = picture.media - self._last_key
            asked = all(s.link is not None for s in self._subscribers)
            key = since >= (_SELDOM_NS if asked else _KEY_EVERY_NS) or (self._wants_key and since >= _KEY_AT_MOST_NS)
            packet = await self._worker.run(lambda: self.encoder.encode(self._shown(picture), key))  # noqa: B023
            if packet.key:
                self._wants_key, self._last_key = False, picture.media
            self._sent.add(self._time.now(), len(packet.data))
            self.sent_bytes += len(packet.data)
            await self._send(packet)

    def _shown(self, picture: LivePicture) -> VideoFrame:
        return picture.frame if self.view == "edited" else side_by_side(picture.frame, picture.source)


class SoundHub(Hub):
    """Encodes sound while somebody listens; what waits goes to the thread at once, which a busy machine lets wait."""

    def __init__(self, time: SessionTime, worker: Worker, delay_ns: int) -> None:
        """Open the encoder."""
        super().__init__("sound", time, delay_ns, 50)
        self._encoder = SoundEncoder()
        self._worker = worker
        self._blocks: Channel[SoundBlock] = Channel("sound to encode", 1000, lambda _: 20.0, Policy.DROP_OLDEST)
        self._tasks.begin("encode", self._run())

    def picture(self, picture: LivePicture) -> None:
        """Pictures go elsewhere."""

    def sound(self, block: SoundBlock) -> None:
        """Take released sound."""
        if self._subscribers and not self._blocks.closed:
            self._blocks.put_nowait(block)

    async def _run(self) -> None:
        async for block in self._blocks:
            blocks = [block, *self._blocks.waiting()]
            for packet in await self._worker.run(lambda: [self._encoder.encode(each) for each in blocks]):  # noqa: B023
                await self._send(packet)


async def drain(subscription: Subscription, take: Callable[[Encoded], None]) -> None:
    """Hand every packet to `take` until the subscription ends."""
    while True:
        try:
            packet = await subscription.get()
        except ChannelClosed:
            return
        take(packet)


def _never() -> bool:
    return False


def _nowhere() -> int | None:
    return None
