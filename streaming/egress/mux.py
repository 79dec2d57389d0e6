"""Recording and pushing: the packets that viewers get, and AAC sound, into MP4, RTMP or MPEG-TS over UDP."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from engine.errors import MediaError
from engine.files import check_output
from streaming.channel import Channel, ChannelClosed, Policy
from streaming.clock import NS, Clock
from streaming.egress.container import ERRORS, PICTURE_BASE, Container, reason_of
from streaming.egress.file import EDITED_TAGS
from streaming.egress.hub import PictureHub, Subscription
from streaming.egress.pushing import PushMuxer
from streaming.encoder import Encoded
from streaming.ingest.network import without_credentials
from streaming.live.media import BLOCK, SOUND_RATE, LivePicture, SoundBlock
from streaming.stage import TaskOwner
from streaming.worker import Worker

log = logging.getLogger(__name__)

Kind = Literal["mp4", "flv", "mpegts"]

PUSH_SCHEMES: Final = {"rtmp": "flv", "rtmps": "flv", "udp": "mpegts"}
"""Scheme of an address -> container."""

_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
_SOUND_WAITS_S: Final = 0.5


@dataclass
class OutputState:
    """How a recording or push goes."""

    target: str
    """Where, without credentials."""
    writing: bool = False
    """Whether it is open."""
    pictures: int = 0
    """Pictures written."""
    attempts: int = 0
    """Times that it was opened."""
    problem: str | None = None
    """Why it was last lost."""

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return dict(vars(self))


class Muxer(Protocol):
    """An open output. Used in one thread."""

    def begin(self, media: int) -> None:
        """The first picture's media time in ns: times count from it. Called before anything is written."""

    def picture(self, packet: Encoded) -> None:
        """Write a picture; the first one is a key picture."""

    def sound(self, block: SoundBlock) -> None:
        """Write 20 ms of sound."""

    def close(self) -> None:
        """Complete it."""


class FfmpegMuxer:
    """One container in this process, for files.

    Args:
        target: path.
        kind: container.
        width: columns of the pictures.
        height: rows of the pictures.

    Raises:
        MediaError: it cannot be opened.
    """

    def __init__(self, target: str, kind: Kind, width: int, height: int) -> None:
        """Open it."""
        self._target, self._zero = target, 0
        try:
            self._container = Container(target, kind, width, height, EDITED_TAGS)
        except ERRORS as error:
            raise MediaError(f"{target}: cannot be opened for writing: {reason_of(error)}") from error

    def begin(self, media: int) -> None:
        """Count times from the first picture's."""
        self._zero = media

    def picture(self, packet: Encoded) -> None:
        """Write a picture."""
        pts = packet.pts - round(Fraction(self._zero, NS) / PICTURE_BASE)
        with self._said():
            self._container.picture(packet.data, pts, packet.key)

    def sound(self, block: SoundBlock) -> None:
        """Write sound; what came before the first picture is left out."""
        pts = block.index * BLOCK - self._zero * SOUND_RATE // NS
        if pts >= 0:
            with self._said():
                self._container.sound(block.samples, pts)

    def close(self) -> None:
        """Complete it."""
        self._container.close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except ERRORS as error:
            raise MediaError(f"{self._target}: lost: {reason_of(error)}") from error


def open_muxer(target: str, kind: Kind, width: int, height: int) -> Muxer:
    """A file in this process, an address in one of its own.

    Raises:
        MediaError: it cannot be opened.
    """
    made = FfmpegMuxer if kind == "mp4" else PushMuxer
    return made(target, kind, width, height)


Opener = Callable[[str, Kind, int, int], Muxer]


class MuxOutput:
    """A recording or a push of one session.

    It gets the pictures that viewers get; a push that is lost is opened again with growing pauses, a recording ends
    with its error and keeps what it has. A recording appears at its path when it ends; until then it is a fragmented
    MP4 beside it, NAME.mp4.part, which can be played even after a crash.

    Args:
        target: path of an .mp4 file, or an address (rtmp, rtmps, udp).
        hub: the H.264 pictures.
        clock: for the pauses.
        worker: a thread that this output has for itself.
        opener: opens it.

    Raises:
        MediaError: the path or address cannot work.
    """

    def __init__(self, target: str, hub: PictureHub, clock: Clock, worker: Worker, opener: Opener = open_muxer) -> None:
        """Begin with the next key picture."""
        scheme, sep, _ = target.partition("://")
        if sep and scheme not in PUSH_SCHEMES:
            raise MediaError(f"{without_credentials(target)}: expected {', '.join(PUSH_SCHEMES)} or a .mp4 file")
        self.state = OutputState(without_credentials(target))
        """How it goes."""
        self._is_push = bool(sep)
        self._kind: Kind = "mp4"
        if sep:
            self._kind = "flv" if PUSH_SCHEMES[scheme] == "flv" else "mpegts"
            self._target = target + ("?pkt_size=1316" if scheme == "udp" and "?" not in target else "")
        else:
            check_output(Path(target), [], (".mp4",))
            self._target = target
        self._hub, self._clock, self._worker, self._opener = hub, clock, worker, opener
        self._sounds: Channel[SoundBlock] = Channel("sound to write", 3000, lambda _: 20.0, Policy.DROP_OLDEST)
        self._stopping = False
        self._subscription: Subscription | None = None
        self._tasks = TaskOwner(f"output {self.state.target}")
        self._tasks.begin("write", self._run())

    def picture(self, picture: LivePicture) -> None:
        """Pictures come encoded, from the hub."""

    def sound(self, block: SoundBlock) -> None:
        """Take released sound."""
        if not self._sounds.closed:
            self._sounds.put_nowait(block)

    async def aclose(self) -> None:
        """Write what is there, complete the output; may be called again."""
        self._stopping = True
        self._sounds.close()
        if self._subscription is not None:
            self._subscription.close()
        if self.state.writing:
            await self._tasks.drained()
        await self._tasks.end()

    async def _run(self) -> None:
        lost = 0
        while not self._stopping:
            written = self.state.pictures
            try:
                await self._write()
            except MediaError as error:
                self.state.problem = str(error)
                if not self._is_push:
                    raise
            finally:
                self.state.writing = False
            if self._stopping or not self._is_push:
                return
            lost = 0 if self.state.pictures > written else lost + 1
            pause = _PAUSES_S[min(lost, len(_PAUSES_S) - 1)]
            log.warning("%s; opened again in %.1f s", self.state.problem, pause)
            await self._clock.sleep_until(self._clock.now() + round(pause * NS))

    async def _write(self) -> None:
        """One opening: from a key picture until the hub ends or the output is lost."""
        self._subscription = subscription = self._hub.subscribe()
        part = Path(f"{self._target}.part")
        try:
            first = await subscription.get()
            size = self._hub.encoder.size
            target = self._target if self._is_push else str(part)
            self.state.attempts += 1
            muxer = await self._worker.run(lambda: self._opener(target, self._kind, *size))
            self.state.writing = True
            try:
                if self._is_push:  # the opening took its time: begin with a key picture of now
                    subscription.close()
                    self._subscription = subscription = self._hub.subscribe()
                    first = await subscription.get()
                muxer.begin(first.media)
                await self._copy(subscription, muxer, first, size)
            finally:
                await asyncio.shield(self._worker.run(muxer.close))
        except ChannelClosed:
            return
        finally:
            subscription.close()
            if not self._is_push:
                await asyncio.shield(self._worker.run(lambda: _keep(part, Path(self._target))))

    async def _copy(self, subscription: Subscription, muxer: Muxer, first: Encoded, size: tuple[int, int]) -> None:
        """Write until the hub ends or its pictures change their size; sound does not wait for pictures."""
        packet: Encoded | None = first
        while True:
            if self._hub.encoder.size != size:
                self.state.problem = f"{self.state.target}: the pictures changed their size"
                return
            await self._worker.run(_writing(muxer, self._sounds.waiting(), packet))
            self.state.pictures += packet is not None
            try:
                async with asyncio.timeout(_SOUND_WAITS_S):
                    packet = await subscription.get()
            except TimeoutError:
                packet = None
            except ChannelClosed:
                await self._worker.run(_writing(muxer, self._sounds.waiting(), None))
                return


def _writing(muxer: Muxer, blocks: list[SoundBlock], packet: Encoded | None) -> Callable[[], None]:
    """The work of writing these, for the output's thread."""

    def write() -> None:
        """Sound first: it is due no later than the picture."""
        for block in blocks:
            muxer.sound(block)
        if packet is not None:
            muxer.picture(packet)

    return write


def _keep(part: Path, target: Path) -> None:
    """Give a recording its name, also one that was cut short: what was written can be played."""
    if part.exists() and part.stat().st_size:
        part.replace(target)
    else:
        part.unlink(missing_ok=True)
