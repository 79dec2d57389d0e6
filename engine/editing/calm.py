"""Rendered skin changes as slowly as skin does.

A generator redraws folds and shades of the skin with every number that steers it, so that they tremble between frames.
Light (`light`) and the finest texture (`texture`) are the frame's own; what lies between them is a running mean that
moves with the wanted landmarks (recursive temporal filtering with motion compensation: Dubois and Sabri 1984). Changes
too large to be trembling - a fold that forms, a jaw's outline, a switched lamp - are shown at once, and so are lips and
all between them. Constants are ours.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.editing.compositing import smooth_step
from engine.editing.settling import share_in
from engine.editing.texture import carried, skin
from engine.errors import ShapeError
from engine.generators.protocol import Region
from kernels.native.pixels import fits
from kernels.separable import enlarged

_COARSE: Final = 4
"""The mean is kept at this fraction of the size: what is finer is texture."""
_GRID_PX: Final = 4
"""Step of the grid on which its motion is found, px of that size."""
_RENEWED: Final = 0.15
"""Share of a new frame in the running mean, in 40 ms (`settling`).

With 0.25 the skin of one clip changed 1.156 times as much as the film's, for 1.142, of another 1.093, for 1.086."""
_TREMBLING: Final = 0.1
"""Change, of a range of 2, up to which it is taken for trembling; twice as much is shown as it is.

With 0.08, and 0.3 renewed, the skin of one clip changed 1.16 times as much as the film's, for 1.14 (0.25 renewed)."""
_OFF_LIPS: Final = (-0.01, 0.03)
"""Distances from the lips at which skin begins to be calmed and wholly is, in distances of the outer eye corners."""


@dataclass(frozen=True, slots=True)
class Calm:
    """A shot's running skin."""

    picture: Tensor
    """[1,3,h/4,w/4] as it is shown."""
    change: Tensor
    """[1,3,h/4,w/4] that minus the rendered one."""
    target: NDArray[np.float64]
    """[68,2] wanted landmarks of the last frame, crop px."""

    @classmethod
    def following(
        cls, last: Self | None, picture: Tensor, target: NDArray[np.float64], region: Region, elapsed_s: float
    ) -> Self:
        """Take in a frame.

        Args:
            last: of the frame before; None at the begin of a shot.
            picture: [1,3,h,w] rendered, -1...1, in the frame's light.
            target: [68,2] wanted landmarks, crop px.
            region: where the region lies in the crop.
            elapsed_s: media time since the frame before, in s.

        Raises:
            ShapeError: sizes that do not belong together.
        """
        if picture.shape != (1, 3, region.height, region.width) or target.shape != (68, 2):
            raise ShapeError(
                f"picture {tuple(picture.shape)} and landmarks {target.shape}; expected "
                f"[1,3,{region.height},{region.width}] and [68,2]"
            )
        small = _shrunk(picture)
        if last is None:
            return cls(small, torch.zeros_like(small), target)
        before = carried(last.picture, _placed(last.target, region), _placed(target, region), _small(region), _GRID_PX)
        difference = before - small
        size = functional.avg_pool2d(difference.abs().amax(1, keepdim=True), 3, 1, 1, count_include_pad=False)
        calmed = _shrunk(skin(target, region, _OFF_LIPS)) * (1 - smooth_step(size / _TREMBLING - 1))
        change = (1 - share_in(elapsed_s, _RENEWED)) * calmed * difference
        return cls(small + change, change, target)

    def onto(self, picture: Tensor) -> Tensor:
        """The rendered picture [1,3,h,w] that was taken in, calmed."""
        loops = fits(picture)
        if loops is None or picture.shape[2:] != tuple(_COARSE * size for size in self.change.shape[2:]):
            return picture + enlarged(self.change, (picture.shape[2], picture.shape[3]))
        return loops.with_enlarged(picture, self.change, _COARSE, 1.0)


def _shrunk(picture: Tensor) -> Tensor:
    loops = fits(picture)
    return functional.avg_pool2d(picture, _COARSE) if loops is None else loops.shrunk(picture, _COARSE)


def _small(region: Region) -> Region:
    return Region(0, 0, region.height // _COARSE, region.width // _COARSE)


def _placed(points: NDArray[np.float64], region: Region) -> NDArray[np.float64]:
    """Landmarks in px of the small region."""
    return (points - (region.left, region.top)) / _COARSE
