"""From the 468 points of the mesh to the 68 points of iBUG 300-W, which the rest of the product speaks.

Every one of the 68 is a mesh point or the middle of two. The mesh's own points are used for eyes and lips. The brow
points are halfway between the brow's upper and lower edge, and the jaw line takes those points of the face's outline
that lie where annotators put the 17 jaw points (figures: `bench/results/tracking.json`).
"""

from typing import Any, Final, TypeVar

from numpy.typing import NDArray
from torch import Tensor

from engine.errors import ShapeError
from engine.tracking.mesh import MESH_POINTS

ArrayOrTensor = TypeVar("ArrayOrTensor", NDArray[Any], Tensor)
"""A numpy array or a torch tensor; what goes in comes out."""

_JAW: Final = (
    (127, 127), (234, 93), (132, 132), (58, 58), (172, 172), (136, 150), (149, 149), (148, 176),
    (152, 152),
    (377, 400), (378, 378), (365, 379), (397, 397), (288, 288), (361, 361), (454, 323), (356, 356),
)  # fmt: skip
_BROWS: Final = (
    (70, 46), (63, 53), (105, 52), (66, 65), (107, 55),
    (336, 285), (296, 295), (334, 282), (293, 283), (300, 276),
)  # fmt: skip
_NOSE: Final = (
    (168, 168), (197, 197), (5, 195), (4, 4),
    (75, 240), (97, 97), (2, 2), (326, 326), (305, 460),
)  # fmt: skip
_EYES: Final = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_OUTER_LIPS: Final = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181)
_INNER_LIPS: Final = (78, 82, 13, 312, 308, 317, 14, 87)

MESH_PAIRS: Final[tuple[tuple[int, int], ...]] = (
    *_JAW,
    *_BROWS,
    *_NOSE,
    *((one, one) for one in (*_EYES, *_OUTER_LIPS, *_INNER_LIPS)),
)
"""For each of the 68 points the two mesh points whose middle it is (twice the same where it is a mesh point)."""

_FIRST: Final = [one for one, _ in MESH_PAIRS]
_SECOND: Final = [other for _, other in MESH_PAIRS]


def mesh_to_68(points: ArrayOrTensor) -> ArrayOrTensor:
    """Take the 68 iBUG points from a mesh; linear and differentiable.

    Args:
        points: [...,468,3] (or [...,468,2]) in any unit.

    Returns:
        [...,68,3] (or [...,68,2]) in the same unit and of the same kind.
    """
    if points.ndim < 2 or points.shape[-2] != MESH_POINTS or points.shape[-1] not in (2, 3):
        raise ShapeError(f"mesh has shape {tuple(points.shape)}, expected [..., {MESH_POINTS}, 3]")
    middle: ArrayOrTensor = (points[..., _FIRST, :] + points[..., _SECOND, :]) * 0.5
    return middle
