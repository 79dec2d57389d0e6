"""From a frame's observation to the few numbers that the anchor is predicted from: who is where, in what light.

Principal components (Pearson 1901) of the still landmarks and of a small picture, beside the head's angles; fitted on
the speaker's own clip at enrolment. The mouth's eight numbers are kept apart: the edit replaces them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.mouth import MOUTH_NAMES
from engine.editing.observation import Observation
from engine.errors import ShapeError

_ANGLE_UNIT_DEG: Final = 10.0
_LIMIT: Final = 2.5
MOUTH_COUNT: Final = len(MOUTH_NAMES)


@dataclass(frozen=True)
class FeatureModel:
    """Linear read-out of an observation, centred and scaled on the enrolled clip."""

    angle_mean: NDArray[np.float64]
    """[3] degrees: mean yaw, pitch, roll."""
    still_mean: NDArray[np.float64]
    """[78]."""
    still_basis: NDArray[np.float64]
    """[P,78] components over their scale."""
    small_mean: NDArray[np.float64]
    """[3072]."""
    small_basis: NDArray[np.float64]
    """[Q,3072]."""
    low: NDArray[np.float64]
    """[F] smallest value of each feature in the clip: beyond it (with a margin) the anchor is not extrapolated."""
    high: NDArray[np.float64]
    """[F] largest value."""

    @property
    def count(self) -> int:
        """F: features without the mouth."""
        return 3 + len(self.still_basis) + len(self.small_basis)

    @classmethod
    def fit(cls, observations: Sequence[Observation], components: int = 6) -> "FeatureModel":
        """Fit on the frames of a clip; few frames give fewer components.

        Raises:
            ShapeError: no frames.
        """
        if not observations:
            raise ShapeError("no observations; expected at least one tracked frame")
        angles = np.stack([_angles(item) for item in observations])
        still_mean, still_basis = _components(np.stack([item.still for item in observations]), components)
        small_mean, small_basis = _components(np.stack([item.small for item in observations]), components)
        empty = np.zeros(0)
        model = cls(angles.mean(0), still_mean, still_basis, small_mean, small_basis, empty, empty)
        values = np.stack([model._read(item) for item in observations])
        return cls(angles.mean(0), still_mean, still_basis, small_mean, small_basis, values.min(0), values.max(0))

    def __call__(self, observation: Observation) -> Tensor:
        """Features of a frame: [F] float32, held within the clip's range and a margin of half a range."""
        values = self._read(observation)
        margin = 0.5 * (self.high - self.low) + 0.05
        held = np.clip(values, self.low - margin, self.high + margin)
        return torch.from_numpy(np.clip(held, -_LIMIT * 2, _LIMIT * 2).astype(np.float32))

    def _read(self, observation: Observation) -> NDArray[np.float64]:
        angles = (_angles(observation) - self.angle_mean) / _ANGLE_UNIT_DEG
        still = self.still_basis @ (observation.still - self.still_mean)
        small = self.small_basis @ (observation.small - self.small_mean)
        return np.concatenate([angles, still, small])

    def tensors(self) -> dict[str, Tensor]:
        """All numbers by name, to be saved."""
        return {name: torch.from_numpy(np.ascontiguousarray(getattr(self, name))) for name in self._names()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "FeatureModel":
        """The model that `tensors` was called on.

        Raises:
            KeyError: a part is missing.
        """
        return cls(**{name: tensors[name].numpy() for name in cls._names()})

    @staticmethod
    def _names() -> tuple[str, ...]:
        return ("angle_mean", "still_mean", "still_basis", "small_mean", "small_basis", "low", "high")


def _angles(item: Observation) -> NDArray[np.float64]:
    return np.array([item.pose.yaw_deg, item.pose.pitch_deg, item.pose.roll_deg])


def _components(rows: NDArray[np.float64], count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean [D] and [k,D] components; their values have a spread of the root of their share of the strongest one."""
    mean = rows.mean(0)
    _, spread, axes = np.linalg.svd(rows - mean, full_matrices=False)
    keep = min(count, int((spread > 1e-6 * max(float(spread[0]), 1e-12)).sum()), len(rows) - 1)
    scale = np.sqrt(len(rows)) / np.sqrt(np.maximum(spread[:keep] * spread[0], 1e-12)) if keep > 0 else np.zeros(0)
    return mean, scale[:, None] * axes[: max(keep, 0)]
