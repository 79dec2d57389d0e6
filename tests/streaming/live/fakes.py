"""Scripted parts of a live session: an engine whose edits cost virtual time, pictures, outputs that note all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.media import VideoFrame
from streaming.clock import NS, Clock, LoopClock
from streaming.live.media import BLOCK, SOUND_RATE, LivePicture, SessionTime, SoundBlock

T = TypeVar("T")


class ScriptedWorker:
    """Computes inline and lets virtual time pass for it."""

    def __init__(self, cost_ms: Callable[[float], float], clock: Clock | None = None) -> None:
        """`cost_ms` gives the cost of a piece of work that begins at a time in seconds."""
        self.cost_ms = cost_ms
        self.clock = clock or LoopClock()
        self.jobs = 0

    async def run(self, work: Callable[[], T]) -> T:
        self.jobs += 1
        now = self.clock.now()
        result = work()
        await self.clock.sleep_until(now + round(self.cost_ms(now / NS) * 1e6))
        return result

    def close(self) -> None:
        """Nothing to close."""


def picture(pts: int, time_base: Fraction = Fraction(1, 25), width: int = 32, height: int = 16) -> VideoFrame:
    """A grey picture whose first pixel tells its number."""
    luma = np.full((height, width), 100, np.uint8)
    luma[0, 0] = pts % 200
    chroma = np.full((height // 2, width // 2), 128, np.uint8)
    return VideoFrame((luma, chroma, chroma), "420", 8, "bt709", False, pts, time_base)


def beep(on_s: float, period_s: float, seconds: float) -> NDArray[np.float32]:
    """Sound at 48 kHz that is loud for `on_s` at the start of every `period_s`."""
    at = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    tone = 0.5 * np.sin(2 * np.pi * 1000 * at)
    out: NDArray[np.float32] = np.where(at % period_s < on_s, tone, 0.0).astype(np.float32)
    return out


def block(level: float) -> NDArray[np.float32]:
    """A block of one value."""
    return np.full(BLOCK, level, np.float32)


@dataclass
class Recorder:
    """An output that notes what came when."""

    time: SessionTime
    pictures: list[tuple[int, LivePicture]] = field(default_factory=list)
    sounds: list[tuple[int, SoundBlock]] = field(default_factory=list)

    def picture(self, picture: LivePicture) -> None:
        self.pictures.append((self.time.now(), picture))

    def sound(self, block: SoundBlock) -> None:
        self.sounds.append((self.time.now(), block))

    def delays_ms(self) -> set[float]:
        """Every distinct time from media time to release, of pictures and sound."""
        found = {round((now - p.media) / 1e6, 1) for now, p in self.pictures}
        return found | {round((now - b.media) / 1e6, 1) for now, b in self.sounds}

    def reasons(self) -> Mapping[str, int]:
        """How many pictures came for which reason."""
        counts: dict[str, int] = {}
        for _, each in self.pictures:
            counts[each.reason] = counts.get(each.reason, 0) + 1
        return counts
