"""Paints rough pictures of a mouth in motion, to lead the generator to real ones.

Landmarks alone do not open a generated mouth: it grows thick lips that satisfy the landmark network. So the closed
mouth is bent to the wanted landmarks, upper and lower part each on its own, and the gap is filled with teeth and dark.
The result looks painted; the code that comes nearest to it within likely faces does not.
"""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_UPPER: Final = [*range(48, 55), *range(60, 65)]
_LOWER: Final = [48, *range(54, 60), 60, *range(64, 68)]
_UPPER_GAP: Final = [60, 61, 62, 63, 64]
_LOWER_GAP: Final = [60, 67, 66, 65, 64]
_JAW_AND_REST: Final = [*range(17), *range(27, 48)]
_TEETH: Final = (0.45, 0.32, 0.25)
_DARK: Final = (-0.72, -0.86, -0.86)


def bend(points: NDArray[np.float64], moved: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Smooth backward motion [size,size,2] px: adding it to a place gives where its pixel comes from.

    Args:
        points: [N,2] px where they are.
        moved: [N,2] px where they go.
        size: side of the picture in px.
    """
    reach = 0.35 * size

    def hold(distance: NDArray[np.float64]) -> NDArray[np.float64]:
        """Wendland's function (1995): 1 at no distance, smoothly 0 at the reach."""
        share = np.clip(1.0 - distance / reach, 0.0, None)
        return share**4 * (4 * distance / reach + 1)

    apart = np.linalg.norm(moved[:, None] - moved[None], axis=-1)
    strengths = np.linalg.solve(hold(apart) + 0.02 * np.eye(len(moved)), points - moved)
    axis = np.arange(size) + 0.5
    places = np.stack(np.meshgrid(axis, axis), -1)
    field = np.zeros((size, size, 2))
    for place, strength in zip(moved, strengths, strict=True):
        field += hold(np.linalg.norm(places - place, axis=-1))[..., None] * strength
    return field


def _bent(picture: Tensor, field: NDArray[np.float64]) -> Tensor:
    size = picture.shape[-1]
    axis = np.arange(size) + 0.5
    grid = (np.stack(np.meshgrid(axis, axis), -1) + field) / size * 2 - 1
    flow = torch.from_numpy(grid).to(picture.dtype)[None]
    return functional.grid_sample(picture, flow, mode="bilinear", padding_mode="border", align_corners=False)


def _soft(distance: NDArray[np.float64]) -> Tensor:
    """[H,W] signed distance in px -> share inside, with an edge of about two pixels."""
    return torch.from_numpy(np.clip(distance * 0.5 + 0.5, 0.0, 1.0)).float()


def paint_mouth(picture: Tensor, points: NDArray[np.float64], moved: NDArray[np.float64]) -> Tensor:
    """The picture with its mouth at other landmarks, [1,3,S,S].

    Args:
        picture: [1,3,S,S] float in -1...1, the mouth closed.
        points: [68,2] px of the picture.
        moved: [68,2] px where they shall be.
    """
    size = picture.shape[-1]
    centres = np.arange(size) + 0.5
    upper_edge = np.interp(centres, moved[_UPPER_GAP, 0], moved[_UPPER_GAP, 1])
    lower_edge = np.interp(centres, moved[_LOWER_GAP, 0], moved[_LOWER_GAP, 1])
    lower_edge = np.maximum(lower_edge, upper_edge)
    halves = []
    for lips in (_UPPER, _LOWER):
        chosen = _JAW_AND_REST + lips
        halves.append(_bent(picture, bend(points[chosen], moved[chosen], size)))
    y = centres[:, None]
    below = _soft(y - (upper_edge + lower_edge)[None] / 2)
    mixed = halves[0] * (1 - below) + halves[1] * below
    teeth_edge = upper_edge + 0.45 * (lower_edge - upper_edge)
    teeth = _soft(teeth_edge[None] - y)[None, None]
    colours = [torch.tensor(colour)[None, :, None, None] for colour in (_TEETH, _DARK)]
    gap_colour = colours[0] * teeth + colours[1] * (1 - teeth)
    open_columns = torch.from_numpy(np.clip((lower_edge - upper_edge - 1.0) / 2, 0.0, 1.0)).float()
    gap = torch.minimum(_soft(y - upper_edge[None]), _soft(lower_edge[None] - y)) * open_columns
    painted: Tensor = mixed * (1 - gap) + gap_colour * gap
    return painted
