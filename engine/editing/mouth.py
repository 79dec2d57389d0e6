"""Eight numbers that say what a mouth does, read from landmarks in the head frame: free of pose and of place.

All eight are linear in the landmarks, so that a displacement of landmarks is a displacement of the numbers. The choice
is ours; the unit of each is about one standard deviation in speech.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError

MOUTH_NAMES: Final = ("opening", "width", "upper lip", "lower lip", "chin", "corners", "shift", "middle")
"""What each number measures; lengths in IOD, heights below the base of the nose."""
MOUTH_UNITS: Final = np.array([0.06, 0.06, 0.03, 0.06, 0.06, 0.04, 0.03, 0.04])
"""[8] IOD: scale of each number."""
OPENING: Final = 0
"""Index of the inner-lip opening."""
MOVED_POINTS: Final = np.array([*range(4, 13), *range(48, 68)])
"""Landmarks that speech moves: the lower jaw and the mouth."""


def mouth_shape(head: NDArray[Any]) -> NDArray[np.float64]:
    """Read the eight numbers, in `MOUTH_UNITS`.

    Args:
        head: [68,3] landmarks in the head frame, or their displacement from another face, IOD.

    Raises:
        ShapeError: not 68 points in space.
    """
    if head.shape != (68, 3):
        raise ShapeError(f"landmarks have shape {head.shape}, expected [68, 3] in the head frame")
    x, y = head[:, 0].astype(np.float64), head[:, 1].astype(np.float64)
    nose = y[33]
    values = np.array(
        [
            y[66] - y[62],
            x[54] - x[48],
            y[51] - nose,
            y[57] - nose,
            y[8] - nose,
            (y[48] + y[54]) / 2 - nose,
            (x[48] + x[54]) / 2,
            (y[62] + y[66]) / 2 - nose,
        ]
    )
    shape: NDArray[np.float64] = values / MOUTH_UNITS
    return shape


def rest_face(heads: NDArray[Any]) -> NDArray[np.float64]:
    """The face of a speaker with a closed, resting mouth.

    The median of the frames whose mouth is least open; a mouth that never closed is closed: its lower lip and jaw are
    raised by what is left of the opening.

    Args:
        heads: [N,68,3] landmarks in the head frame, N at least 1.

    Returns:
        [68,3] IOD.
    """
    if heads.ndim != 3 or heads.shape[1:] != (68, 3) or len(heads) == 0:
        raise ShapeError(f"landmarks have shape {heads.shape}, expected [N, 68, 3] with N at least 1")
    opening = heads[:, 66, 1] - heads[:, 62, 1]
    closed = heads[opening <= np.quantile(opening, 0.15)].astype(np.float64)
    face: NDArray[np.float64] = np.median(heads.astype(np.float64), axis=0)
    face[MOVED_POINTS] = np.median(closed, axis=0)[MOVED_POINTS]
    return opened_by(face, -max(0.0, float(face[66, 1] - face[62, 1]) - _CLOSED))


def opened_by(head: NDArray[np.float64], more: float) -> NDArray[np.float64]:
    """Landmarks [68,3] in the head frame with the lower lip lower by `more` IOD, and the jaw by 0.7 of it."""
    moved = head.copy()
    moved[_LOWER_LIP, 1] += more
    moved[_JAW, 1] += 0.7 * more
    return moved


_CLOSED: Final = 0.012
"""Opening in IOD that the face mesh shows for closed lips."""
_LOWER_LIP: Final = np.array([55, 56, 57, 58, 59, 65, 66, 67])
_JAW: Final = np.array([6, 7, 8, 9, 10])
