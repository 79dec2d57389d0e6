"""Head pose from the mesh, and coordinates of the head that are free of it.

The head frame: origin midway between the outer corners of the eyes, x to the picture's right, y down, z away from the
camera for a head that looks straight at it; the unit is the distance between those corners (IOD).
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.tracking.mesh import MESH_POINTS

OUTER_EYE_CORNERS: Final = (33, 263)
"""Mesh points that are points 36 and 45 of the 68."""

_MIDLINE: Final = (
    (10, -0.553, -0.234),
    (151, -0.385, -0.264),
    (9, -0.210, -0.282),
    (8, -0.118, -0.262),
    (168, -0.039, -0.255),
    (6, 0.047, -0.300),
    (197, 0.128, -0.353),
    (195, 0.201, -0.410),
    (5, 0.280, -0.470),
    (4, 0.375, -0.493),
)
"""Rigid mesh points of the symmetry plane: number, y, z in the head frame of the average face."""
_PAIRS: Final = (
    (109, 338, 0.209, -0.548, -0.215),
    (67, 297, 0.387, -0.520, -0.140),
    (54, 284, 0.659, -0.363, 0.136),
    (21, 251, 0.727, -0.245, 0.281),
    (162, 389, 0.762, -0.119, 0.434),
    (127, 356, 0.772, 0.040, 0.559),
    (234, 454, 0.763, 0.190, 0.621),
    (116, 345, 0.702, 0.177, 0.153),
    (34, 264, 0.752, 0.050, 0.334),
    (143, 372, 0.688, 0.053, 0.165),
    (33, 263, 0.500, 0.000, 0.000),
    (133, 362, 0.190, 0.020, -0.061),
    (117, 346, 0.584, 0.178, 0.012),
    (118, 347, 0.497, 0.203, -0.050),
    (100, 329, 0.273, 0.229, -0.132),
    (126, 355, 0.198, 0.262, -0.185),
    (198, 420, 0.157, 0.281, -0.276),
    (122, 351, 0.063, 0.065, -0.271),
    (193, 417, 0.084, -0.028, -0.205),
    (131, 360, 0.176, 0.343, -0.334),
)
"""Rigid mesh points left and right in the picture: their numbers, then x (of the right one), y, z."""


@dataclass(frozen=True, slots=True)
class HeadPose:
    """Where a head is and how it is turned: pitched first, then yawed, then rolled in the picture."""

    rotation: NDArray[np.float64]
    """[3,3]: head frame to picture axes; its columns are the head's x, y, z axes as seen in the picture."""
    yaw_deg: float
    """Positive: the nose points to the right as the head itself, once upright, is seen."""
    pitch_deg: float
    """Positive: the nose points down."""
    roll_deg: float
    """Positive: the head leans clockwise in the picture."""
    origin: NDArray[np.float64]
    """[3] px: midway between the outer eye corners; z as the mesh gives it."""
    iod_px: float
    """Distance of the outer eye corners along the head's x axis in px: their distance in space, free of pose."""


def rigid_template() -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Mesh points that speech does not move, and where they are on an average head.

    The average is over 160 faces of the default generator (its seeds 0 to 159 pulled to 0.7 of their distance from the
    mean face), aligned to one another, made symmetric, and turned so that the mean pose of those portraits is zero.

    Returns:
        Numbers of N mesh points, and their [N,3] places in the head frame.
    """
    rows = [(number, 0.0, y, z) for number, y, z in _MIDLINE]
    for left, right, x, y, z in _PAIRS:
        rows += [(left, -x, y, z), (right, x, y, z)]
    return np.array([row[0] for row in rows]), np.array([row[1:] for row in rows])


RIGID_POINTS, _RIGID_PLACES = rigid_template()
_RIGID_CENTRED: Final = _RIGID_PLACES - _RIGID_PLACES.mean(0)


def head_pose(mesh: NDArray[Any]) -> HeadPose:
    """Find the pose of a head: the rotation that best lays the average head on the rigid points of the mesh.

    Args:
        mesh: [468,3] px of the frame, z away from the camera.

    Raises:
        ShapeError: the mesh has another shape, or its points lie in one place.
    """
    if mesh.shape != (MESH_POINTS, 3):
        raise ShapeError(f"mesh has shape {mesh.shape}, expected [{MESH_POINTS}, 3]")
    points = mesh.astype(np.float64)
    rigid = points[RIGID_POINTS]
    u, _, vt = np.linalg.svd((rigid - rigid.mean(0)).T @ _RIGID_CENTRED)
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    left, right = points[list(OUTER_EYE_CORNERS)]
    iod = float((right - left) @ rotation[:, 0])
    if not iod > 0:
        raise ShapeError(f"mesh has its eye corners {iod:.3g} px apart, expected a face")
    return HeadPose(
        rotation=rotation,
        yaw_deg=math.degrees(math.atan2(rotation[2, 0], math.hypot(rotation[0, 0], rotation[1, 0]))),
        pitch_deg=math.degrees(math.atan2(rotation[2, 1], rotation[2, 2])),
        roll_deg=math.degrees(math.atan2(rotation[1, 0], rotation[0, 0])),
        origin=(left + right) / 2,
        iod_px=iod,
    )


def to_head(points: NDArray[Any], pose: HeadPose) -> NDArray[np.float64]:
    """Move points from the frame into the head frame.

    Args:
        points: [N,3] px of the frame.
        pose: the pose of that head.

    Returns:
        [N,3] in units of the IOD.
    """
    _check(points)
    head: NDArray[np.float64] = (points.astype(np.float64) - pose.origin) @ pose.rotation / pose.iod_px
    return head


def from_head(points: NDArray[Any], pose: HeadPose) -> NDArray[np.float64]:
    """Move points from the head frame into the frame: the inverse of `to_head`.

    Args:
        points: [N,3] in units of the IOD.
        pose: the pose to put them in.

    Returns:
        [N,3] px of the frame.
    """
    _check(points)
    frame: NDArray[np.float64] = points.astype(np.float64) @ pose.rotation.T * pose.iod_px + pose.origin
    return frame


def _check(points: NDArray[Any]) -> None:
    """Refuse what are not points in space."""
    if points.ndim != 2 or points.shape[1] != 3:
        raise ShapeError(f"points have shape {points.shape}, expected [N, 3]")
