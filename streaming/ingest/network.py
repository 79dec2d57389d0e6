"""Live network sources: RTSP, RTMP and UDP, read in a thread, opened again with growing pauses when they are lost."""

import logging
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import av
from av.container import InputContainer

from engine.errors import MediaError
from engine.media import VideoFrame
from streaming.clock import NS, Clock
from streaming.ingest.frames import PictureReader
from streaming.worker import Worker

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 5.0
"""A source that does not open or send for so long is lost."""

_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses before a lost source is opened again; the last one stays."""


class Stream(Protocol):
    """An open source. Used in one thread."""

    def read(self) -> VideoFrame | None:
        """The next picture; None at the end.

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
    problem: str | None = None
    """Why it was last lost."""


class FfmpegStream:
    """A source read by FFmpeg with as little buffering as it allows; sound is left out.

    Raises:
        MediaError: it cannot be opened or has no video.
    """

    def __init__(self, url: str) -> None:
        """Open it."""
        options = {"fflags": "nobuffer", "flags": "low_delay", "analyzeduration": "1000000", "probesize": "500000"}
        if url.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        self._name = without_credentials(url)
        try:
            self._container: InputContainer = av.open(url, options=options, timeout=(TIMEOUT_S, TIMEOUT_S))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise MediaError(f"{self._name}: cannot be opened: {_reason(error)}. Is it sending?") from error
        if not self._container.streams.video:
            self._container.close()
            raise MediaError(f"{self._name}: no video in it; expected a stream with pictures")
        stream = self._container.streams.video[0]
        stream.codec_context.thread_count = 1
        self._pictures: Iterator[av.VideoFrame] = self._container.decode(stream)
        self._reader = PictureReader()

    def read(self) -> VideoFrame | None:
        """The next picture that has a time."""
        try:
            for frame in self._pictures:
                if frame.pts is not None:
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
) -> AsyncGenerator[VideoFrame, None]:
    """Pictures of a network source, for ever: it is opened again whenever it is lost or ends.

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
            while (frame := await worker.run(stream.read)) is not None:
                state.connected, lost = True, 0
                yield frame
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


def without_credentials(url: str) -> str:
    """An address as it may be shown: without user, password and query."""
    scheme, sep, rest = url.partition("://")
    return f"{scheme}{sep}{rest.rpartition('@')[2].partition('?')[0]}"


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
