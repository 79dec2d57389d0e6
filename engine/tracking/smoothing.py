"""Smoothing that does not lag: the aligned crop of a talking head, steady while the head is, prompt when it moves.

Two parts. The shape that the quad is computed from is a slow mean of the head in its own frame, put back by the pose of
the moment: lips and eyelids move inside the crop instead of moving the crop. What is left (the noise of the pose) goes
through One-Euro filters (Casiez et al. 2012), whose cutoff rises with speed. All constants are in seconds.
"""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.tracking.alignment import ffhq_quad
from engine.tracking.pose import HeadPose, from_head, to_head

_SHAPE_SECONDS: Final = 1.5
"""Time constant of the mean shape."""
_SPEED_CUTOFF_HZ: Final = 1.5
"""Cutoff for the speed that opens a filter."""
_STEADY_CUTOFF_HZ: Final = 1.0
"""Cutoff while the head is still."""
_PLACE_GAIN: Final = 60.0
"""Hz of cutoff per crop side a second of movement of the centre."""
_SCALE_GAIN: Final = 60.0
"""Hz of cutoff per e-fold a second of change in size."""
_ANGLE_GAIN: Final = 40.0
"""Hz of cutoff per radian a second of rotation."""


class OneEuro:
    """One-Euro filter of a vector whose components share one cutoff."""

    def __init__(self, steady_hz: float, gain_hz: float, speed_hz: float = _SPEED_CUTOFF_HZ) -> None:
        """Set the filter up.

        Args:
            steady_hz: cutoff at rest.
            gain_hz: added cutoff per unit a second of speed.
            speed_hz: cutoff of the filter on the speed itself.
        """
        self.steady_hz: Final = steady_hz
        self.gain_hz: Final = gain_hz
        self.speed_hz: Final = speed_hz
        self._value: NDArray[np.float64] | None = None
        self._speed: NDArray[np.float64] = np.zeros(1)

    def __call__(self, value: NDArray[np.float64], seconds: float, unit: float = 1.0) -> NDArray[np.float64]:
        """Take the next value, `seconds` after the one before; give the filtered one. Speed is measured in `unit`s."""
        if self._value is None:
            self._value, self._speed = value.copy(), np.zeros_like(value)
            return self._value
        speed = (value - self._value) / seconds
        self._speed = self._speed + (speed - self._speed) * _share(self.speed_hz, seconds)
        cutoff = self.steady_hz + self.gain_hz * float(np.linalg.norm(self._speed)) / unit
        self._value = self._value + (value - self._value) * _share(cutoff, seconds)
        return self._value


class QuadSmoother:
    """From landmarks and pose to the smoothed FFHQ quad, frame after frame of one face."""

    def __init__(self) -> None:
        """Begin with no history."""
        self._shape: NDArray[np.float64] | None = None
        self._seconds = 0.0
        self._seen = 0.0
        self._place = OneEuro(_STEADY_CUTOFF_HZ, _PLACE_GAIN)
        self._scale = OneEuro(_STEADY_CUTOFF_HZ, _SCALE_GAIN)
        self._angle = OneEuro(_STEADY_CUTOFF_HZ, _ANGLE_GAIN)
        self._last_angle = 0.0

    def __call__(self, points68: NDArray[Any], pose: HeadPose, seconds: float) -> NDArray[np.float64]:
        """Take the next frame's face.

        Args:
            points68: [68,3] px of the frame.
            pose: its head pose.
            seconds: media time of the frame, later than that of the frame before.

        Returns:
            [4,2] px of the frame: top left, bottom left, bottom right, top right.
        """
        elapsed = 0.0 if self._shape is None else seconds - self._seconds
        if self._shape is not None and elapsed <= 0:
            raise ShapeError(f"frame at {seconds} s follows one at {self._seconds} s; expected rising times")
        self._seconds = seconds
        head = to_head(points68, pose)
        if self._shape is None:
            self._shape = head
        else:
            self._seen += elapsed
            self._shape = self._shape + (head - self._shape) * (elapsed / (min(self._seen, _SHAPE_SECONDS) + elapsed))
        return self._steady(ffhq_quad(from_head(self._shape, pose)), elapsed)

    def _steady(self, quad: NDArray[np.float64], elapsed: float) -> NDArray[np.float64]:
        """Filter centre, size and angle of a square."""
        edge = quad[3] - quad[0]
        side = math.hypot(*edge)
        angle = math.atan2(edge[1], edge[0])
        angle = self._last_angle + math.remainder(angle - self._last_angle, 2 * math.pi)
        self._last_angle = angle
        size = math.exp(float(self._scale(np.array([math.log(side)]), elapsed)[0]))
        centre = self._place(quad.mean(0), elapsed, unit=side)
        turn = float(self._angle(np.array([angle]), elapsed)[0])
        x = np.array([math.cos(turn), math.sin(turn)]) * (size / 2)
        y = np.array([-x[1], x[0]])
        return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def _share(cutoff_hz: float, seconds: float) -> float:
    """Share of the way to a new value that a first-order low pass goes in one step."""
    rate = 2 * math.pi * cutoff_hz * seconds
    return rate / (1 + rate)
