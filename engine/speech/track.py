"""What speech asks of the mouth over time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError


@dataclass(frozen=True)
class SpeechFrame:
    """The mouth at one instant."""

    displacement: NDArray[np.float32]
    """[68, 3] in the head frame, inter-ocular distances; exactly zero at rest."""
    speaking: float
    """0 ... 1, smoothed voice activity; 0: the mouth rests."""


@dataclass(frozen=True)
class MouthTrack:
    """The mouth over a whole recording; after the last time it rests."""

    times: NDArray[np.float64]
    """[T] seconds, ascending."""
    displacement: NDArray[np.float32]
    """[T, 68, 3] in the head frame, inter-ocular distances."""
    speaking: NDArray[np.float32]
    """[T], 0 ... 1."""

    def __post_init__(self) -> None:
        """Checks the shapes."""
        frames = len(self.times)
        if self.displacement.shape != (frames, 68, 3) or self.speaking.shape != (frames,) or frames == 0:
            raise ShapeError(
                f"track has times {self.times.shape}, displacement {self.displacement.shape}, speaking "
                f"{self.speaking.shape}; expected [T], [T, 68, 3], [T] with T at least 1"
            )

    def at(self, seconds: float) -> SpeechFrame:
        """The mouth at any time, linearly interpolated; before the first time it is as at the first."""
        if seconds > float(self.times[-1]):
            return rest_frame()
        if len(self.times) == 1:
            return SpeechFrame(self.displacement[0], float(self.speaking[0]))
        upper = int(np.clip(np.searchsorted(self.times, seconds, side="right"), 1, len(self.times) - 1))
        lower = upper - 1
        begin, end = float(self.times[lower]), float(self.times[upper])
        share = float(np.clip((seconds - begin) / (end - begin), 0.0, 1.0))
        moved = self.displacement[lower] * (1.0 - share) + self.displacement[upper] * share
        speaking = float(self.speaking[lower]) * (1.0 - share) + float(self.speaking[upper]) * share
        return SpeechFrame(moved.astype(np.float32), speaking)


def rest_frame() -> SpeechFrame:
    """A resting mouth."""
    return SpeechFrame(np.zeros((68, 3), np.float32), 0.0)
