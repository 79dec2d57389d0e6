"""One frame of a run as the collector takes it, for runs that do not come from the engine's `Dubber`."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.media import VideoFrame


@dataclass(frozen=True)
class MeasuredFrame:
    """A finished picture beside its source; what nobody states is as in a plain edit (see `EditedFrameLike`)."""

    frame: VideoFrame
    """The finished picture."""
    source: VideoFrame
    """The picture as it came."""
    edited: bool = True
    """Whether it was edited."""
    reason: str = "edited"
    """Why it passed through, or "edited"."""
    effort: int = 0
    """Optimisation steps."""
    target: NDArray[np.float32] | None = None
    """[68,2] where the landmarks should be, frame pixels."""
    tracked: NDArray[np.float32] | None = None
    """[68,2] the tracker's landmarks of the source, frame pixels."""
    mask: NDArray[np.float32] | None = None
    """[h,w] soft mask 0...1."""
    mask_origin: tuple[int, int] = (0, 0)
    """Its (top, left)."""
    speaking: float = 1.0
    """Smoothed voice activity 0...1."""
    stages_ms: Mapping[str, float] = field(default_factory=dict)
    """Time of every stage."""
