"""A viewer for tests: an aiortc receiver that joins over WHEP and notes every picture and sound with its arrival."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import aiohttp
import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from bench.relay import LossyRelay
from streaming.aiortc_compat import on_sender_report
from streaming.live.media import SOUND_RATE

NO_SERVERS = RTCConfiguration(iceServers=[])


@dataclass
class Received:
    """What came; times in seconds of the loop's clock, `pts` in seconds from each track's first frame."""

    pictures: list[tuple[float, float, NDArray[np.uint8]]] = field(default_factory=list)
    """(arrival, pts, luma plane)."""
    sounds: list[tuple[float, float, NDArray[np.float32]]] = field(default_factory=list)
    """(arrival, pts, mono samples at 48 kHz)."""
    answer: str = ""
    """The SDP answer."""
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of the answer."""
    ended: set[str] = field(default_factory=set)
    """Kinds of tracks that have ended."""
    clocks: dict[str, float] = field(default_factory=dict)
    """Kind -> the sender's clock (s) at the first frame, as its reports tell; empty before there are any."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set whenever something came or ended."""

    async def when(self, holds: Callable[[], bool], seconds: float = 90) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(seconds):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def seen(self, pictures: int) -> None:
        """Wait until so many pictures came."""
        await self.when(lambda: len(self.pictures) >= pictures)

    def sound(self) -> NDArray[np.float32]:
        """All sound in a row."""
        return np.concatenate([samples for _, _, samples in self.sounds])

    def bright(self, threshold: int) -> list[bool]:
        """Whether each picture is brighter than a value in the middle."""
        return [int(luma[luma.shape[0] // 2, luma.shape[1] // 2]) > threshold for _, _, luma in self.pictures]


@asynccontextmanager
async def watching(
    url: str, *, prefer: str | None = None, view: str = "edited", via: LossyRelay | None = None, every: int = 1
) -> AsyncIterator[Received]:
    """Watch a session (its API address) inside the block.

    Args:
        url: the session.
        prefer: offer only this video codec.
        view: edited or compare.
        via: the way that packets take; None: the direct one.
        every: of so many rows and columns of a picture one is kept.
    """
    got = Received()
    peer = RTCPeerConnection(NO_SERVERS)
    tasks: list[asyncio.Task[None]] = []

    async def read(track: MediaStreamTrack) -> None:
        """Note everything of a track."""
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                got.ended.add(track.kind)
                got.changed.set()
                return
            now = asyncio.get_running_loop().time()
            got.changed.set()
            assert frame.pts is not None
            at = float(frame.pts * frame.time_base) if frame.time_base else 0.0
            if isinstance(frame, av.VideoFrame):
                luma = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
                got.pictures.append((now, at, luma[: frame.height : every, : frame.width : every].copy()))
            elif isinstance(frame, av.AudioFrame):
                samples = frame.to_ndarray().reshape(-1, 2).mean(axis=1).astype(np.float32) / 32768
                got.sounds.append((now, at, samples))

    def clock_is(kind: str, at: float) -> None:
        """Note the sender's clock; the least that is told is what nothing has held up."""
        got.clocks[kind] = min(at, got.clocks.get(kind, at))

    peer.on("track", lambda track: tasks.append(asyncio.ensure_future(read(track))))
    try:
        video = peer.addTransceiver("video", direction="recvonly")
        peer.addTransceiver("audio", direction="recvonly")
        if prefer is not None:
            capabilities = RTCRtpReceiver.getCapabilities("video")
            assert capabilities is not None
            video.setCodecPreferences([c for c in capabilities.codecs if c.name == prefer])
        await peer.setLocalDescription(await peer.createOffer())
        offer = peer.localDescription.sdp if via is None else via.offer(peer.localDescription.sdp)
        headers = {"Content-Type": "application/sdp"}
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{url}/whep?view={view}", data=offer, headers=headers) as answer:
                got.answer, got.headers = await answer.text(), dict(answer.headers)
                if answer.status != 201:
                    raise AssertionError(f"WHEP: {answer.status} {got.answer}")
        taken = got.answer if via is None else via.answer(got.answer)
        for transceiver in peer.getTransceivers():
            rate = 90000 if transceiver.kind == "video" else SOUND_RATE
            on_sender_report(transceiver.receiver, rate, partial(clock_is, transceiver.kind))
        await peer.setRemoteDescription(RTCSessionDescription(taken, "answer"))
        yield got
    finally:
        await peer.close()
        await asyncio.gather(*tasks, return_exceptions=True)


async def connected(*peers: RTCPeerConnection, seconds: float = 20) -> None:
    """Wait until connections are up."""
    async with asyncio.timeout(seconds):
        for peer in peers:
            changed = asyncio.Event()
            peer.on("connectionstatechange", changed.set)
            while peer.connectionState != "connected":
                changed.clear()
                await changed.wait()
