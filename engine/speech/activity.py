"""Voice activity: when somebody speaks, and how far the mouth may leave its rest.

Two witnesses must agree on each 20 ms: a detector of what speech sounds like (`detectors.py`) and energy over a tracked
noise floor. Their decisions open a gate with hysteresis in milliseconds. The gate hears a little ahead of its time, so
it is open before the first sound; after the last one it holds, closes smoothly, and is exactly 0 from 200 ms on.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import FRAME_RATE
from engine.speech.detectors import DETECTORS, FRAME, VoiceDetector, create_detector

FRAME_MS: Final = 1000 // FRAME_RATE
"""Milliseconds of one decision."""


@dataclass(frozen=True)
class ActivityConfig:
    """Voice activity settings. Times are rounded to whole 20-ms frames."""

    detector: str = "webrtc"
    """What tells speech from other sound: "webrtc" (cheap) or "silero" (a network, far better in noise and music)."""
    aggressiveness: int = 2
    """Mode of the WebRTC detector, 0 (lenient) ... 3 (strict)."""
    on_score: float = 0.5
    """Score at which the silero detector begins to hear speech."""
    off_score: float = 0.35
    """Score below which it no longer does."""
    over_floor_db: float = 6.0
    """Energy over the noise floor that counts as sound."""
    quietest_db: float = -62.0
    """Below this level over full scale nothing counts."""
    onset_ms: int = 40
    """Sound must last this long to open the gate."""
    hold_ms: int = 60
    """The gate stays open this long after the last sound."""
    attack_ms: int = 60
    """Time to open fully."""
    release_ms: int = 140
    """Time to close fully after the hold."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.detector not in DETECTORS:
            raise BadInputError(f"detector is {self.detector!r}, expected one of {', '.join(DETECTORS)}")
        if not 0.0 <= self.off_score <= self.on_score <= 1.0:
            raise BadInputError(
                f"scores are {self.off_score}, {self.on_score}; expected 0 <= off_score <= on_score <= 1"
            )
        if self.aggressiveness not in (0, 1, 2, 3):
            raise BadInputError(f"aggressiveness is {self.aggressiveness}, expected 0, 1, 2 or 3")
        for name in ("onset_ms", "hold_ms", "attack_ms", "release_ms"):
            if getattr(self, name) < FRAME_MS:
                raise BadInputError(f"{name} is {getattr(self, name)}, expected at least {FRAME_MS}")


class ActivityDetector:
    """Decides for every 20 ms of a stream whether it holds speech; the detector's own windows may delay decisions."""

    def __init__(self, config: ActivityConfig) -> None:
        """Starts with a noise floor of -50 dB that the first quiet moment corrects."""
        self._config = config
        self._voice: VoiceDetector = create_detector(
            config.detector, config.aggressiveness, config.on_score, config.off_score
        )
        self._rest = np.zeros(0, np.float32)
        self._floor_db = -50.0
        self._loud: deque[bool] = deque()

    def push(self, samples: NDArray[np.float32]) -> list[bool]:
        """samples: [N] float32 in [-1, 1] -> the decisions of all frames that they complete, in order."""
        joined = np.concatenate([self._rest, samples])
        count = len(joined) // FRAME
        self._rest = joined[count * FRAME :]
        frames = joined[: count * FRAME].reshape(count, FRAME)
        centred = frames - frames.mean(axis=1, keepdims=True)
        levels = 10.0 * np.log10(np.square(centred, dtype=np.float64).mean(axis=1) + 1e-12)
        for level in levels.tolist():
            self._floor_db = min(max(level, -90.0), self._floor_db + 3.0 / FRAME_RATE)
            self._loud.append(level > max(self._config.quietest_db, self._floor_db + self._config.over_floor_db))
        voiced = self._voice.push(frames)
        return [self._loud.popleft() and speech for speech in voiced]


class MouthGate:
    """Turns decisions into an opening factor 0 ... 1 per control frame, `ahead` frames after hearing them."""

    def __init__(self, config: ActivityConfig, ahead: int) -> None:
        """`ahead` is the number of 20-ms frames heard beyond the one that is answered."""
        self._onset = max(1, round(config.onset_ms / FRAME_MS))
        self._hold = round(config.hold_ms / FRAME_MS)
        self._up = FRAME_MS / config.attack_ms
        self._down = FRAME_MS / config.release_ms
        self._ahead = ahead
        self._seen: deque[bool] = deque([False] * (self._hold + self._onset - 1), self._hold + self._onset + ahead)
        self._position = 0.0

    def push(self, decision: bool) -> float | None:
        """Takes the decision on the next 20 ms; returns the factor of the frame `ahead` earlier, None before that."""
        self._seen.append(decision)
        if len(self._seen) < self._hold + self._onset + self._ahead:
            return None
        run = 0
        speaking = False
        for active in self._seen:
            run = run + 1 if active else 0
            speaking = speaking or run >= self._onset
        step = self._up if speaking else -self._down
        self._position = min(1.0, max(0.0, self._position + step))
        if self._position < 1e-6:
            self._position = 0.0
        return self._position * self._position * (3.0 - 2.0 * self._position)
