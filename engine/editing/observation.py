"""What one frame shows of its speaker: everything that the anchor is predicted from, and where the edit goes."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.mouth import mouth_shape
from engine.tracking.alignment import crop_from_rgb, quad_transform, seen_part, transform_points, warp
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.mesh import MESH_SIZE
from engine.tracking.pose import HeadPose, to_head
from engine.tracking.tracker import TrackedFace

CROP: Final = 1024
"""Side of the aligned crop in px: the generator's picture."""
_SMALL: Final = 32
_STILL_POINTS: Final = np.array([*range(0, 4), *range(13, 17), *range(17, 48)])
_LOWER_FACE: Final = (slice(19, 29), slice(10, 22))
_MESH_MARGIN: Final = 1.5


@dataclass(frozen=True, slots=True)
class Observation:
    """One tracked frame in the speaker's own coordinates."""

    crop_to_frame: NDArray[np.float64]
    """[3,3] px of the 1024 crop -> px of the frame."""
    frame_to_crop: NDArray[np.float64]
    """[3,3] its inverse."""
    pose: HeadPose
    """Pose of the head in the frame."""
    head: NDArray[np.float64]
    """[68,3] landmarks in the head frame, IOD."""
    points: NDArray[np.float64]
    """[68,2] landmarks in crop px."""
    mouth: NDArray[np.float64]
    """[8] what the filmed mouth does (`mouth_shape`)."""
    still: NDArray[np.float64]
    """[78] places of the landmarks that speech does not move, in the crop, 0...1."""
    small: NDArray[np.float64]
    """[3072] the crop at 32 px with the mouth blanked, -1...1: light, hair, shoulders."""


def observe(rgb: NDArray[np.uint8], face: TrackedFace) -> Observation:
    """Bring a tracked face into the speaker's coordinates.

    Args:
        rgb: [H,W,3] uint8, the frame.
        face: what the tracker says of it.
    """
    forward, backward = quad_transform(face.quad, CROP)
    head = to_head(face.points, face.pose)
    points = transform_points(face.points[:, :2], backward)
    small = crop_from_rgb(rgb, quad_transform(face.quad, _SMALL)[0], _SMALL)[0] * 2 - 1
    small[:, _LOWER_FACE[0], _LOWER_FACE[1]] = 0
    return Observation(
        forward,
        backward,
        face.pose,
        head,
        points,
        mouth_shape(head),
        points[_STILL_POINTS].reshape(-1) / CROP,
        small.reshape(-1).numpy().astype(np.float64),
    )


def mesh_crop(face: TrackedFace) -> NDArray[np.float64]:
    """Crop for the face mesh as the tracker takes it, upright with the quad: [3,3] px of 192 -> px of the frame."""
    axis = face.quad[3] - face.quad[0]
    axis = axis / np.hypot(*axis)
    down = np.array([-axis[1], axis[0]])
    flat = face.mesh[:, :2].astype(np.float64)
    along, across = flat @ axis, flat @ down
    side = _MESH_MARGIN * max(np.ptp(along), np.ptp(across))
    centre = (along.max() + along.min()) / 2 * axis + (across.max() + across.min()) / 2 * down
    matrix = np.eye(3)
    matrix[:2, 0] = axis * side / MESH_SIZE
    matrix[:2, 1] = down * side / MESH_SIZE
    matrix[:2, 2] = centre - (axis + down) * side / 2
    return matrix


def landmarks_of(mesh_points: Tensor, crop: NDArray[np.float64]) -> Tensor:
    """Mesh points of a 192 crop -> the 68 landmarks in px of the frame; differentiable.

    Args:
        mesh_points: [B,468,3] px of the crop.
        crop: [3,3] px of the crop -> px of the frame.

    Returns:
        [B,68,3].
    """
    points = mesh_to_68(mesh_points)
    matrix = torch.from_numpy(crop).to(points)
    scale = float(np.sqrt(abs(np.linalg.det(crop[:2, :2]))))
    flat = points[..., :2] @ matrix[:2, :2].T + matrix[:2, 2]
    return torch.cat([flat, points[..., 2:] * scale], -1)


def region_picture(
    rgb: NDArray[np.uint8], observation: Observation, top: int, left: int, size: tuple[int, int]
) -> Tensor:
    """Cut part of the aligned crop out of the frame.

    Args:
        rgb: [H,W,3] uint8.
        observation: the frame's.
        top: first row of the part, crop px.
        left: first column of the part, crop px.
        size: height and width in crop px.

    Returns:
        [1,3,h,w] float32 in -1...1.
    """
    shift = np.eye(3)
    shift[:2, 2] = (left, top)
    matrix = observation.crop_to_frame @ shift
    part, to_part = seen_part(rgb, matrix, size)
    return warp(part, to_part @ matrix, size) / 127.5 - 1
