"""An engine's live session that edits by a script."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.media import AudioChunk, VideoFrame

LOOK_AHEAD_MS = 150.0
QUIET, LOUD = 40, 220


@dataclass(frozen=True)
class FakeEdit:
    """One finished picture."""

    frame: VideoFrame
    source: VideoFrame
    edited: bool
    reason: str
    effort: int
    mask: NDArray[np.float32] | None
    mask_origin: tuple[int, int] = (8, 8)
    target: NDArray[np.float32] | None = None
    tracked: NDArray[np.float32] | None = None
    speaking: float = 1.0
    stages_ms: Mapping[str, float] = field(default_factory=lambda: {"edit": 1.0})


class ScriptedSession:
    """An engine's session: paints a picture as bright as the voice is loud at its time."""

    def __init__(self, reasons: Callable[[float], str] = lambda _: "edited") -> None:
        self.reasons = reasons
        self.voice = np.zeros(0, np.float32)
        self.before = 0
        self.effort = 1
        self.emotions: list[tuple[str, float]] = []
        self._waiting: deque[VideoFrame] = deque()
        self.last_s = -1.0

    def set_emotion(self, name: str, intensity: float = 1.0) -> None:
        self.emotions.append((name, intensity))

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
            part = self.voice[max(0, at - 160) : at + 160]
            level = min(1.0, float(np.sqrt(np.square(part).mean())) / 0.35)
            luma = np.full_like(frame.planes[0], round(QUIET + (LOUD - QUIET) * level))
            painted = VideoFrame(
                (luma, *frame.planes[1:]), "420", 8, frame.matrix, False, frame.pts, frame.time_base
            )  # fmt: skip
            done.append(FakeEdit(painted, frame, True, "edited", self.effort, np.ones((4, 4), np.float32)))
        return done
