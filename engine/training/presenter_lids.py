"""Blinks of the made-up presenter: faces with closed eyes are too rare in the generator, so lids are drawn down.

The skin between brow and lid edge is stretched over the eye, as a lid does; what the lid has not reached stays.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.errors import ShapeError

_EYES: Final = (((36, 37, 38, 39), (36, 41, 40, 39)), ((42, 43, 44, 45), (42, 47, 46, 45)))
"""Points of the upper and the lower lid edge, from left to right, of both eyes."""

_LASHES: Final = 0.012
"""How far below the marked edge of the upper lid its lashes reach, in IOD."""
_SKIN: Final = 0.14
"""Height of the skin above the eye that gives way, in IOD."""


def _edge(points: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Height of a lid's edge over columns x: the cubic through its four points [4,2]."""
    middle, half = points[:, 0].mean(), float(np.ptp(points[:, 0])) / 2
    coefficients = np.polyfit((points[:, 0] - middle) / half, points[:, 1], 3)
    return np.asarray(np.polyval(coefficients, (x - middle) / half))


def close_lids(picture: Tensor, points: NDArray[np.float64], amount: float) -> Tensor:
    """Closes the eyes of an upright face.

    Args:
        picture: [1,3,S,S] float.
        points: [68,2] px of the picture.
        amount: how far, 0 open ... 1 closed.

    Returns:
        The picture with lids drawn down, [1,3,S,S].

    Raises:
        ShapeError: picture or points have another shape.
    """
    size = picture.shape[-1]
    if picture.shape != (1, 3, size, size) or points.shape != (68, 2):
        raise ShapeError(f"picture {tuple(picture.shape)}, points {points.shape}; expected [1,3,S,S] and [68,2]")
    if amount <= 0:
        return picture
    iod = float(np.linalg.norm(points[45] - points[36]))
    centres = np.arange(size) + 0.5
    source = np.repeat(centres[:, None], size, axis=1)
    for upper, lower in _EYES:
        columns = (centres > points[upper[0], 0]) & (centres < points[upper[3], 0])
        x = centres[columns]
        top = _edge(points[list(upper)], x)
        gap = np.maximum(_edge(points[list(lower)], x) - top, 0.0)
        lashes = np.minimum(_LASHES * iod, 0.3 * gap)
        edge, fold = top + lashes, top - _SKIN * iod
        reached = edge + min(amount, 1.0) * (gap - lashes)
        y = centres[:, None]
        drawn = fold + (y - fold) * (edge - fold) / (reached - fold)
        source[:, columns] = np.where((y > fold) & (y <= reached), drawn, source[:, columns])
    grid = np.stack([np.repeat(centres[None], size, axis=0), source], -1) / size * 2 - 1
    flow = torch.from_numpy(grid).to(picture.dtype)[None]
    return functional.grid_sample(picture, flow, mode="bilinear", padding_mode="border", align_corners=False)
