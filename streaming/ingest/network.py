"""Live sources: RTSP, RTMP and UDP, and cameras of this machine, read in a thread.

They are opened again with growing pauses when they are lost.
"""

import logging
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from engine.errors import MediaError
from engine.media import VideoFrame
from streaming.clock import NS, Clock
from streaming.ingest.frames import PictureReader
from streaming.live.media import SOUND_RATE
from streaming.worker import Worker

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0
"""A source that does not open or send for so long is lost."""

_LOOKS_S: Final = 1.0
"""How long a source is looked at for what is in it, before its first picture."""

_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses before a lost source is opened again; the last one stays."""


_CAMERAS: Final = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""System -> FFmpeg's name of what its cameras are read with."""

Item = VideoFrame | NDArray[np.float32]
"""A picture, or mono sound [N] at 48 kHz."""


class Stream(Protocol):
    """An open source. Used in one thread."""

    def read(self) -> Item | None:
        """The next picture or sound; None at the end.

        Raises:
            MediaError: the source is lost.
        """

    def close(self) -> None:
        """Let it go."""


@dataclass
class NetworkState:
    """How a network source goes, for the statistics."""

    connected: bool = False
    """Whether pictures come."""
    attempts: int = 0
    """Times that it was opened."""
    has_sound: bool = False
    """Whether sound has come with it."""
    problem: str | None = None
    """Why it was last lost."""


class FfmpegStream:
    """A source read by FFmpeg with as little buffering as it allows: its first video and its first sound.

    Args:
        url: address, or a camera's name.
        kind: FFmpeg's name of the format; None: FFmpeg looks for itself.

    Raises:
        MediaError: it cannot be opened or has neither video nor sound.
    """

    def __init__(self, url: str, kind: str | None = None) -> None:
        """Open it."""
        self._name = without_credentials(url)
        self._container = self._opened(url, kind, _LOOKS_S)
        if url.startswith("rtmp") and not self._container.streams.video:  # its pictures begin with their next key one
            self._container.close()
            self._container = self._opened(url, kind, TIMEOUT_S)
        streams = [*self._container.streams.video[:1], *self._container.streams.audio[:1]]
        if not streams:
            self._container.close()
            raise MediaError(f"{self._name}: no video or sound in it; expected a stream with pictures or sound")
        for stream in self._container.streams.video[:1]:
            stream.codec_context.thread_count = 1
        self._frames: Iterator[object] = iter(self._container.decode(*streams))
        self._reader = PictureReader()
        self._resampler = av.AudioResampler("fltp", None, SOUND_RATE)

    def _opened(self, url: str, kind: str | None, looks_s: float) -> InputContainer:
        """Open it, and look for so long what is in it."""
        options = {"fflags": "nobuffer", "flags": "low_delay", "analyzeduration": str(round(looks_s * 1e6))}
        options["probesize"] = str(round(looks_s * 500_000))
        if url.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        try:
            return av.open(url, format=kind, options=options, timeout=(TIMEOUT_S, TIMEOUT_S))
        except (av.FFmpegError, OSError, ValueError) as error:
            advice = "Is it plugged in, free, and allowed to be used?" if kind else "Is it sending?"
            raise MediaError(f"{self._name}: cannot be opened: {_reason(error)}. {advice}") from error

    def read(self) -> Item | None:
        """The next picture that has a time, or the next sound."""
        try:
            for frame in self._frames:
                if isinstance(frame, av.AudioFrame):
                    parts = [part.to_ndarray().mean(axis=0) for part in self._resampler.resample(frame)]
                    if parts:
                        return np.concatenate(parts).astype(np.float32)
                elif isinstance(frame, av.VideoFrame) and frame.pts is not None:
                    return self._reader.read(frame)
        except (av.FFmpegError, OSError) as error:
            raise MediaError(f"{self._name}: lost: {_reason(error)}") from error
        return None

    def close(self) -> None:
        """Let it go."""
        self._container.close()


async def receive(
    url: str,
    clock: Clock,
    worker: Worker,
    state: NetworkState,
    begun: Callable[[], None],
    opener: Callable[[str], Stream] = FfmpegStream,
) -> AsyncGenerator[Item, None]:
    """Pictures and sound of a source, for ever: it is opened again whenever it is lost or ends.

    Args:
        url: the source.
        clock: for the pauses.
        worker: a thread that this source has for itself; reading blocks it.
        state: kept up to date.
        begun: called when the source was opened: its times have a new zero.
        opener: opens it.
    """
    lost = 0
    while True:
        stream: Stream | None = None
        try:
            state.attempts += 1
            stream = await worker.run(lambda: opener(url))
            begun()
            while (item := await worker.run(stream.read)) is not None:
                state.connected, lost = True, 0
                state.has_sound = state.has_sound or not isinstance(item, VideoFrame)
                yield item
            state.problem = f"{without_credentials(url)}: has ended"
        except MediaError as error:
            state.problem = str(error)
        finally:
            state.connected = False
            if stream is not None:
                await worker.run(stream.close)
        pause = _PAUSES_S[min(lost, len(_PAUSES_S) - 1)]
        lost += 1
        log.warning("%s; opened again in %.1f s", state.problem, pause)
        await clock.sleep_until(clock.now() + round(pause * NS))


def camera_opener(system: str = sys.platform) -> Callable[[str], Stream]:
    """What opens a camera of this machine: /dev/video0 on Linux, 0 on macOS, video=NAME on Windows.

    Raises:
        MediaError: FFmpeg cannot read cameras here.
    """
    kind = _CAMERAS.get(system, "")
    try:
        av.ContainerFormat(kind, "r")
    except ValueError as error:
        raise MediaError(
            f"cameras of this machine cannot be read: its FFmpeg has no {kind or 'way'} for {system}. Take the camera "
            "of the browser instead."
        ) from error
    return partial(FfmpegStream, kind=kind)


def without_credentials(url: str) -> str:
    """An address as it may be shown: without user, password and query."""
    scheme, sep, rest = url.partition("://")
    return f"{scheme}{sep}{rest.rpartition('@')[2].partition('?')[0]}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
