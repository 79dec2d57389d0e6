"""Sessions to measure: a server on this machine, devices that send to it, a marking engine."""

import tempfile
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import numpy as np
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from numpy.typing import NDArray

from bench.devices import RecordedMicrophone, StampingCamera, swelling
from bench.receiver import NO_SERVERS
from bench.relay import HOST, LossyRelay
from engine.media import VideoFrame
from streaming.clock import NS, LoopClock
from streaming.engines import Engine
from streaming.live.config import SessionConfig
from streaming.live.media import SOUND_RATE, VIDEO_TIME_BASE
from streaming.live.session import LiveDubSession
from streaming.live.sources import DEMO_DATA, SourceSpec, VoiceSpec
from streaming.server.app import Server
from streaming.server.settings import PRESENTER, ServerSettings
from streaming.stage import TaskOwner

PROFILE: Final = DEMO_DATA / "presenter.safetensors"
"""The shipped presenter's profile."""

BY_WHIP: Final = SessionConfig(SourceSpec("whip"), VoiceSpec("whip"), PROFILE, PRESENTER)
"""A camera and a microphone."""


@asynccontextmanager
async def session_of(
    engine: Engine, config: SessionConfig, wait: bool = True, **settings: Any
) -> AsyncIterator[tuple[LiveDubSession, str]]:
    """A server with one session, and its address; media stay on loopback unless `ice_hosts` says otherwise."""
    settings = {"port": 0, "ice_hosts": (HOST,), **settings}
    async with Server(ServerSettings(**settings), engine) as server:
        session = await server.sessions.begin(config)
        if wait:
            await session.when_editing()
        yield session, f"{server.address}api/sessions/{session.id}"


async def publish(
    session: LiveDubSession, *tracks: MediaStreamTrack, via: LossyRelay | None = None
) -> RTCPeerConnection:
    """Send tracks to a session by WHIP; gives the sender's end."""
    peer = RTCPeerConnection(NO_SERVERS)
    for track in tracks:
        peer.addTrack(track)
    await peer.setLocalDescription(await peer.createOffer())
    offer = peer.localDescription.sdp
    _, answer = await session.publish(offer if via is None else via.offer(offer))
    answer = answer if via is None else via.answer(answer)
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return peer


def devices(width: int = 640, height: int = 480, seconds: float = 120) -> tuple[StampingCamera, RecordedMicrophone]:
    """A camera that films a ramp of greys at 25 pictures a second, and a microphone that hears a swelling tone."""
    clock = LoopClock()
    across = np.linspace(60, 180, width, dtype=np.uint8)
    return StampingCamera(clock, [np.tile(across, (height, 1))]), RecordedMicrophone(clock, swelling(seconds))


@asynccontextmanager
async def filmed(
    engine: Engine, width: int = 480, height: int = 360, rate: int = 25, **settings: Any
) -> AsyncIterator[tuple[LiveDubSession, str]]:
    """A session and its address; it is given a ramp of greys and a swelling tone without any transport before it."""
    with tempfile.TemporaryDirectory() as folder:
        voice = VoiceSpec("file", write_wav(Path(folder) / "voice.wav", swelling(60)))
        config = replace(BY_WHIP, voice=voice)
        async with session_of(engine, config, wait=False, **settings) as (session, url), TaskOwner("camera") as tasks:
            tasks.begin("film", _film(session, ramp(width, height), rate))
            await session.when_editing()
            yield session, url


def ramp(width: int, height: int) -> VideoFrame:
    """A picture that goes from dark to bright."""
    luma = np.tile(np.linspace(60, 180, width, dtype=np.uint8), (height, 1))
    grey = np.full((height // 2, width // 2), 128, np.uint8)
    return VideoFrame((luma, grey, grey), "420", 8, "bt709", False, 0, VIDEO_TIME_BASE)


async def _film(session: LiveDubSession, frame: VideoFrame, rate: int) -> None:
    clock = LoopClock()
    begin = clock.now()
    for index in count():
        await clock.sleep_until(begin + index * NS // rate)
        session.take_picture(replace(frame, pts=index * 90000 // rate))


def write_wav(path: Path, samples: NDArray[np.float32]) -> Path:
    """Write mono sound at 48 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path
