"""WHIP: a camera or a microphone comes in."""

import re
from collections.abc import Callable, Sequence
from typing import Final

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from engine.media import VideoFrame
from streaming.ingest.frames import PictureReader
from streaming.live.media import SOUND_RATE
from streaming.rtc import IceServer, OfferError, Peer
from streaming.stage import TaskOwner
from streaming.worker import Worker

START_KBPS: Final = 2500
"""Where browsers begin to send; left alone they begin at 300 kb/s with small pictures."""

TakePicture = Callable[[VideoFrame], None]
TakeSound = Callable[[NDArray[np.float32]], None]


class Publisher:
    """One WHIP connection: every track is read all the time, so that nothing piles up.

    Args:
        picture: takes pictures; None: none are wanted.
        sound: takes mono sound at 48 kHz; None: none is wanted.
        worker: where pictures are copied.
        servers: STUN and TURN servers.
        closed: called once when the connection has ended.
    """

    def __init__(
        self,
        picture: TakePicture | None,
        sound: TakeSound | None,
        worker: Worker,
        servers: Sequence[IceServer],
        closed: Callable[[], None],
    ) -> None:
        """Not yet connected."""
        self.pictures = 0
        """Pictures received."""
        self.sounds = 0
        """Pieces of sound received."""
        self.brings_pictures = False
        """Whether its offer had video."""
        self._take_picture, self._take_sound, self._worker = picture, sound, worker
        self._tasks = TaskOwner("publisher")
        self.peer: Final = Peer(servers, closed)
        """The connection."""
        self.peer.connection.on("track", self._begin)

    async def connect(self, sdp: str) -> str:
        """Answer an offer.

        Raises:
            OfferError: it cannot be answered, or brings nothing that is wanted.
        """
        has = {kind for kind in ("video", "audio") if brings(sdp, kind)}
        wanted = {kind for kind, take in (("video", self._take_picture), ("audio", self._take_sound)) if take}
        if not has & wanted:
            raise OfferError(
                f"offer: brings {' and '.join(sorted(has)) or 'nothing'}; this session wants "
                f"{' and '.join(sorted(wanted)) or 'nothing'} over WHIP. Change its source or its voice."
            )
        self.brings_pictures = "video" in has
        await self.peer.offered(sdp)
        return with_start_bitrate(await self.peer.answer())

    async def aclose(self) -> None:
        """Close the connection; may be called again."""
        await self._tasks.end()
        await self.peer.aclose()

    def _begin(self, track: MediaStreamTrack) -> None:
        self._tasks.begin(track.kind, self._pump(track))

    async def _pump(self, track: MediaStreamTrack) -> None:
        """Read a track to its end."""
        reader = PictureReader()
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if isinstance(frame, av.VideoFrame):
                self.pictures += 1
                if self._take_picture is not None:
                    picture = frame
                    self._take_picture(await self._worker.run(lambda: reader.read(picture)))  # noqa: B023
            elif isinstance(frame, av.AudioFrame):
                self.sounds += 1
                if self._take_sound is not None:
                    self._take_sound(mono(frame))


def brings(sdp: str, kind: str) -> bool:
    """Whether an offer brings video or audio; port 0 says no, unless the medium travels with another one's."""
    for section in re.split(r"^m=", sdp, flags=re.MULTILINE)[1:]:
        if re.match(rf"{kind} [1-9]", section) or (section.startswith(f"{kind} 0") and "a=bundle-only" in section):
            return True
    return False


def mono(frame: av.AudioFrame) -> NDArray[np.float32]:
    """The mean of a piece of 16-bit sound's channels: [N] in [-1, 1]."""
    channels = len(frame.layout.channels)
    table = frame.to_ndarray()
    if table.dtype == np.int16:
        table = table.astype(np.float32) / 32768
    if not frame.format.is_planar:
        table = table.reshape(-1, channels).T
    if frame.sample_rate != SOUND_RATE:
        raise OfferError(f"sound at {frame.sample_rate} Hz over WebRTC; expected Opus, which is {SOUND_RATE} Hz")
    mean: NDArray[np.float32] = np.asarray(table, np.float32).mean(axis=0)
    return mean


def with_start_bitrate(sdp: str) -> str:
    """An answer that asks browsers to begin with sharp pictures."""
    hint = f"x-google-start-bitrate={START_KBPS};x-google-min-bitrate=800"
    lines: list[str] = []
    plain = re.findall(r"^a=rtpmap:(\d+) (?:VP8|H264)/", sdp, re.MULTILINE)
    for line in sdp.splitlines():
        found = re.match(r"a=fmtp:(\d+) ", line)
        if found and found[1] in plain:
            line, plain = f"{line};{hint}", [each for each in plain if each != found[1]]
        lines.append(line)
    for payload in plain:
        at = next(i for i, line in enumerate(lines) if line.startswith(f"a=rtpmap:{payload} "))
        lines.insert(at + 1, f"a=fmtp:{payload} {hint}")
    return "\r\n".join(lines) + "\r\n"
