"""Made-up faces and what a tracker would see of them."""

import math

import numpy as np
from numpy.typing import NDArray

from engine.editing.mouth import mouth_shape
from engine.editing.observation import Observation
from engine.generators.protocol import Region
from engine.tracking.pose import HeadPose, from_head

SMALL_REGION = Region(32, 32, 64, 64)
"""The part of the small generator's picture that its tests edit."""


def neutral_head() -> NDArray[np.float64]:
    """A plausible face in the head frame, mouth closed."""
    head = np.zeros((68, 3))
    turn = np.linspace(-1.3, 1.3, 17)
    head[:17] = np.stack([0.85 * np.sin(turn), 0.2 + 1.0 * np.cos(turn), 0.3 * np.ones(17)], 1)
    head[17:27] = np.stack([np.linspace(-0.6, 0.6, 10), np.full(10, -0.25), np.zeros(10)], 1)
    head[27:36] = np.stack([np.zeros(9), np.linspace(0.0, 0.55, 9), np.full(9, -0.3)], 1)
    head[31:36, 0] = np.linspace(-0.15, 0.15, 5)
    head[31:36, 1] = 0.5
    for start, side in ((36, -1), (42, 1)):
        angle = np.arange(6) * math.pi / 3
        head[start : start + 6] = np.stack([side * 0.35 - 0.15 * np.cos(angle), -0.06 * np.sin(angle), np.zeros(6)], 1)
    around = np.linspace(math.pi, -math.pi, 13)[:12]
    head[48:60] = np.stack([0.3 * np.cos(around), 0.85 - 0.1 * np.sin(around), np.full(12, -0.2)], 1)
    inner = np.linspace(math.pi, -math.pi, 9)[:8]
    head[60:68] = np.stack([0.22 * np.cos(inner), 0.85 - 0.006 * np.sin(inner), np.full(8, -0.2)], 1)
    return head


def opened(head: NDArray[np.float64], opening: float) -> NDArray[np.float64]:
    """The same face with the lower lip and chin lowered by `opening` IOD."""
    moved = head.copy()
    moved[[55, 56, 57, 58, 59, 65, 66, 67], 1] += opening
    moved[[6, 7, 8, 9, 10], 1] += 0.7 * opening
    return moved


def seen(head: NDArray[np.float64], yaw_deg: float = 0.0, light: float = 0.0) -> Observation:
    """An upright face of 290 px IOD in the middle of a 1024 crop that is the frame itself."""
    yaw = math.radians(yaw_deg)
    rotation = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    pose = HeadPose(rotation, yaw_deg, 0.0, 0.0, np.array([512.0, 460.0, 0.0]), 290.0)
    points = from_head(head, pose)[:, :2]
    still = points[[*range(0, 4), *range(13, 17), *range(17, 48)]].reshape(-1) / 1024
    small = np.full(3072, light) + np.linspace(-0.1, 0.1, 3072) * yaw
    return Observation(np.eye(3), np.eye(3), pose, head, points, mouth_shape(head), still, small)
