"""Scripted parts of a live session: an engine whose edits cost virtual time, pictures, outputs that note all."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.media import AudioChunk, VideoFrame
from streaming.clock import NS, Clock, LoopClock
from streaming.live.media import BLOCK, SOUND_RATE, LivePicture, SessionTime, SoundBlock
from tests.streaming.fakes import FakeEdit

T = TypeVar("T")

LOOK_AHEAD_MS = 150.0
QUIET, LOUD = 40, 220


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


class ScriptedSession:
    """An engine's session: paints a picture bright where the voice is loud at its time, dark where it is not."""

    def __init__(self, reasons: Callable[[float], str] = lambda _: "edited") -> None:
        self.reasons = reasons
        self.voice = np.zeros(0, np.float32)
        self.before = 0
        self.effort = 1
        self._waiting: deque[VideoFrame] = deque()
        self.last_s = -1.0

    def push_audio(self, chunk: AudioChunk) -> None:
        assert chunk.sample_rate == 16000
        assert chunk.pts == self.before + len(self.voice)
        self.voice = np.concatenate([self.voice, chunk.samples])
        if len(self.voice) > 96000:
            self.before += 48000
            self.voice = self.voice[48000:]

    def end_audio(self) -> None:
        """Not used live."""

    def push_video(self, frame: VideoFrame) -> None:
        assert frame.seconds > self.last_s
        self.last_s = frame.seconds
        self._waiting.append(frame)

    def end_video(self) -> None:
        """Not used live."""

    def ready(self) -> list[FakeEdit]:
        done = []
        while (
            self._waiting and self._waiting[0].seconds + LOOK_AHEAD_MS / 1000 <= (self.before + len(self.voice)) / 16000
        ):
            frame = self._waiting.popleft()
            reason = self.reasons(frame.seconds)
            if reason != "edited":
                done.append(FakeEdit(frame, frame, False, reason, 0, None))
                continue
            at = round(frame.seconds * 16000) - self.before
            loud = bool(np.abs(self.voice[max(0, at - 160) : at + 160]).max() > 0.1)
            luma = np.full_like(frame.planes[0], LOUD if loud else QUIET)
            painted = VideoFrame(
                (luma, *frame.planes[1:]), "420", 8, frame.matrix, False, frame.pts, frame.time_base
            )  # fmt: skip
            done.append(FakeEdit(painted, frame, True, "edited", self.effort, np.ones((4, 4), np.float32)))
        return done


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
