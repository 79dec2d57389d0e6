"""What moves through a live session: pictures and pieces of sound, both on the session's own time.

Media time counts from the session's start, in ticks of 1/90000 s for pictures and in blocks of 20 ms for sound.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.media import VideoFrame
from streaming.clock import NS, Clock

VIDEO_TIME_BASE: Final = Fraction(1, 90000)
"""Ticks of pictures in a session."""

SOUND_RATE: Final = 48000
"""Samples per second of a session's sound."""

BLOCK: Final = 960
"""Samples of one block of sound."""

BLOCK_NS: Final = NS * BLOCK // SOUND_RATE
"""Length of one block of sound: 20 ms."""


class SessionTime:
    """Media time of a session: its clock, counted from the session's start."""

    def __init__(self, clock: Clock) -> None:
        """Media time is 0 now."""
        self.clock = clock
        self._start = clock.now()

    def now(self) -> int:
        """Media time in ns."""
        return self.clock.now() - self._start

    async def sleep_until(self, at: int) -> None:
        """Return at a media time in ns."""
        await self.clock.sleep_until(self._start + at)


@dataclass(frozen=True, eq=False)
class LivePicture:
    """One picture on its way out."""

    frame: VideoFrame
    """The picture to show, in the session's time."""
    source: VideoFrame
    """The picture as it came, in the session's time."""
    edited: bool
    """Whether it was edited."""
    reason: str
    """"edited", or why it passed through."""
    effort: int = 0
    """Optimisation steps spent."""
    stages_ms: Mapping[str, float] | None = None
    """Time of each stage of the edit in ms; None when nothing was computed."""

    @property
    def media(self) -> int:
        """Media time in ns."""
        return media_ns(self.frame)

    @classmethod
    def passed(cls, frame: VideoFrame, reason: str) -> "LivePicture":
        """A picture that goes through untouched."""
        return cls(frame, frame, False, reason)


@dataclass(frozen=True, eq=False)
class SoundBlock:
    """20 ms of mono sound."""

    samples: NDArray[np.float32]
    """[960] in [-1, 1]."""
    index: int
    """Which block since the session's start."""

    def __post_init__(self) -> None:
        """Check the shape."""
        if self.samples.shape != (BLOCK,) or self.samples.dtype != np.float32:
            raise ShapeError(f"sound block: got {self.samples.dtype} {self.samples.shape}, expected float32 [{BLOCK}]")

    @property
    def media(self) -> int:
        """Media time of its first sample in ns."""
        return self.index * BLOCK_NS


def media_ns(frame: VideoFrame) -> int:
    """Time of a picture in ns."""
    return round(frame.pts * frame.time_base * NS)


def at_media(frame: VideoFrame, media: int) -> VideoFrame:
    """The same picture at a media time in ns, rounded to a tick."""
    return replace(frame, pts=round(Fraction(media, NS) / VIDEO_TIME_BASE), time_base=VIDEO_TIME_BASE)


def silence() -> NDArray[np.float32]:
    """One block of no sound."""
    return np.zeros(BLOCK, np.float32)
