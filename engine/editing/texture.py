"""Gives rendered skin the frame's own texture: pores, stubble and noise are filmed, not generated.

A generator draws stubble and grain as an even pattern of its own, and sharpening brings that pattern out. The skin
around a mouth is in the frame, too, only elsewhere: moved by as much as the jaw and the lips are. So the finest band of
the rendered region is replaced by the same band of the frame, carried along with the landmarks from where they are to
where they shall be; lips, teeth and the inside of the mouth keep the rendered one. Splitting a face into a coarse
layer and a layer of detail that is transferred is Liu et al. 2001 (expression ratio images) and Shih et al. 2014; sizes
are ours.
"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.editing.compositing import convex_hull, inner_distance, smooth_step
from engine.editing.settling import share_in
from engine.errors import ShapeError
from engine.generators.protocol import Region
from kernels.native.pixels import fits
from kernels.separable import blurred, enlarged, fine_part

_BAND_PX: Final = 12.0
"""Standard deviation of the blur that parts texture from the rest, crop px: hairs, pores and patches of a beard are
finer, the shape of a chin is not."""
_COARSE: Final = 4
"""The blur is found at this fraction of the size."""
_GRID_PX: Final = 8
"""Step of the grid on which the displacement is found."""
_RENEWED: Final = 0.25
"""Share of a new frame in the running texture, in 40 ms (`settling`)."""
_MOST_GAIN: Final = 1.6
"""Largest factor on the running texture."""
_NEAR: Final = 0.02
"""Distance, in distances of the outer eye corners, below which a landmark's pull no longer grows."""
_FAR: Final = 0.5
"""Distance at which a landmark pulls as much as what stays where it is."""
_OFF_LIPS: Final = (0.03, 0.10)
"""Distances from the lips at which the frame's texture begins and is complete, in the same unit."""
_LIPS: Final = np.arange(48, 60)
_OUTLINE: Final = (0.2, 0.35)
"""Strengths of a block's mean, of a range of 2, from which on it lies at an outline in part and wholly: light and dark
of stubble and noise cancel out in it."""
_AROUND_PX: Final = 8.0
"""How far an outline reaches, crop px."""


def carried(
    source: Tensor,
    points: NDArray[np.float64],
    target: NDArray[np.float64],
    region: Region,
    step: int = _GRID_PX,
) -> Tensor:
    """The frame's region with its landmarks moved to where they shall be.

    Displacements between landmarks are found by inverse distance weighting (Shepard 1968) and fade out far from all.

    Args:
        source: [1,3,h,w] the frame's own region, -1...1.
        points: [68,2] filmed landmarks, crop px.
        target: [68,2] wanted landmarks, crop px.
        region: where the region lies in the crop.
        step: px between the places where the displacement is found; divides the region's sides.

    Returns:
        [1,3,h,w].

    Raises:
        ShapeError: sizes that do not belong together.
    """
    if source.shape != (1, 3, region.height, region.width) or points.shape != (68, 2) or target.shape != (68, 2):
        raise ShapeError(
            f"picture {tuple(source.shape)}, landmarks {points.shape} and {target.shape}; expected "
            f"[1,3,{region.height},{region.width}] and twice [68,2]"
        )
    eye = max(float(np.hypot(*(points[45] - points[36]))), 1.0)
    places = torch.from_numpy((target - (region.left, region.top)).astype(np.float32))
    moves = torch.from_numpy((points - target).astype(np.float32))
    size, still = (region.height // step, region.width // step), (_FAR * eye) ** -3
    if (loops := fits(source)) is not None:
        shift = loops.scattered(places, moves, _NEAR * eye, still, step, size)
        return loops.displaced(source, shift, step)
    ys, xs = ((torch.arange(count) + 0.5) * step for count in size)
    down = (ys[:, None, None] - places[:, 1]).square() + (_NEAR * eye) ** 2
    pull = (down + (xs[None, :, None] - places[:, 0]).square()).rsqrt() ** 3
    shift = (pull @ moves) / (pull.sum(-1, keepdim=True) + still)
    full = enlarged(shift.permute(2, 0, 1)[None], (region.height, region.width))[0]
    across = (torch.arange(region.width) + 0.5 + full[0]) * (2 / region.width) - 1
    along = (torch.arange(region.height) + 0.5)[:, None] + full[1]
    grid = torch.stack([across, along * (2 / region.height) - 1], -1)[None]
    return functional.grid_sample(source, grid, mode="bicubic", padding_mode="border", align_corners=False)


def skin(target: NDArray[np.float64], region: Region, off_lips: tuple[float, float] = _OFF_LIPS) -> Tensor:
    """Where texture may come from the frame: 1 on skin, falling to 0 towards the wanted lips; [1,1,h,w].

    Args:
        target: [68,2] wanted landmarks, crop px.
        region: where the region lies in the crop.
        off_lips: distances from the lips at which skin begins and is complete, in distances of the outer eye corners.

    Raises:
        ShapeError: not 68 points in a plane.
    """
    if target.shape != (68, 2):
        raise ShapeError(f"landmarks {target.shape}; expected [68,2]")
    eye = max(float(np.hypot(*(target[45] - target[36]))), 1.0)
    ys = region.top + (torch.arange(region.height // _GRID_PX) + 0.5) * _GRID_PX
    xs = region.left + (torch.arange(region.width // _GRID_PX) + 0.5) * _GRID_PX
    off = -inner_distance(convex_hull(target[_LIPS]), xs, ys) / eye
    share = smooth_step((off - off_lips[0]) / (off_lips[1] - off_lips[0]))
    size = (region.height, region.width)
    return enlarged(share[None, None], size)


def fine(picture: Tensor) -> Tensor:
    """The finest band of a picture [1,3,h,w]: what a blur takes away."""
    return fine_part(picture, _COARSE, _BAND_PX / _COARSE)


def off_outlines(*bands: Tensor) -> Tensor:
    """Where no band [1,3,h,w] holds an outline, 1, falling to 0 around those that do: [1,1,h,w].

    What is wider and stronger than pores and stubble is a jaw before hair or a collar. Where the head is turned it is
    carried to another place than the generator draws it, and would be seen twice.
    """
    if (loops := fits(*bands)) is not None and not any(size % _GRID_PX for size in bands[0].shape[2:]):
        means = [loops.shrunk(band, _GRID_PX) for band in bands]
    else:
        means = [functional.avg_pool2d(band, _GRID_PX, ceil_mode=True) for band in bands]
    coarse = torch.cat(means, 1).abs().amax(1, keepdim=True)
    around = blurred(functional.max_pool2d(coarse, 3, 1, 1), _AROUND_PX / _GRID_PX)
    full = enlarged(around, (bands[0].shape[2], bands[0].shape[3]))
    return 1 - smooth_step((full - _OUTLINE[0]) / (_OUTLINE[1] - _OUTLINE[0]))


@dataclass(frozen=True, slots=True)
class Texture:
    """A shot's running texture."""

    band: Tensor
    """[1,3,h,w] finest band, where the landmarks were wanted in the last frame."""
    fresh: Tensor
    """[1,3,h,w] that of the last frame alone."""
    target: NDArray[np.float64]
    """[68,2] those landmarks, crop px."""

    @classmethod
    def following(
        cls,
        last: Self | None,
        filmed: Tensor,
        target: NDArray[np.float64],
        region: Region,
        elapsed_s: float,
    ) -> Self:
        """Take in a frame; the texture so far moves with the wanted landmarks and is renewed by a share.

        A tracker's noise moves each frame's texture by a pixel or so; taken alone it would swim on the skin.

        Args:
            last: of the frame before; None at the begin of a shot.
            filmed: [1,3,h,w] the frame's own region, its landmarks moved to where they are wanted (`carried`).
            target: [68,2] wanted landmarks, crop px.
            region: where the region lies in the crop.
            elapsed_s: media time since the frame before, in s.
        """
        fresh = fine(filmed)
        if last is None:
            return cls(fresh, fresh, target)
        before = carried(last.band, last.target, target, region)
        return cls(torch.lerp(before, fresh, share_in(elapsed_s, _RENEWED)), fresh, target)

    def onto(self, picture: Tensor, source: Tensor, share: Tensor, mask: Tensor) -> Tensor:
        """The picture with its finest band replaced, as strong as the frame's own: a mean of frames is weaker.

        Towards the mask's edge it is the frame's alone: what is blended with the frame has to be the same there.

        Args:
            picture: [1,3,h,w] rendered, -1...1.
            source: [1,3,h,w] the frame's own region.
            share: [1,1,h,w] how far, 0...1 (`skin`).
            mask: [1,1,h,w] what the edit may replace, 0...1.

        Raises:
            ShapeError: sizes that do not belong together.
        """
        if (
            {picture.shape, source.shape, self.band.shape} != {picture.shape}
            or share.shape != mask.shape
            or mask.shape[2:] != picture.shape[2:]
        ):
            raise ShapeError(
                f"picture {tuple(picture.shape)}, frame {tuple(source.shape)}, texture {tuple(self.band.shape)} and "
                f"share {tuple(share.shape)} and mask {tuple(mask.shape)}; expected three times [1,3,h,w] and twice "
                "[1,1,h,w]"
            )
        kept = torch.lerp(self.fresh, self.band, mask)
        own, mean = ((share * band.square()).sum() for band in (fine(source), kept))
        band = float((own / mean.clamp(min=1e-9)).sqrt().clamp(1.0, _MOST_GAIN)) * kept
        drawn = fine(picture)
        return picture + share * off_outlines(band, drawn) * (band - drawn)
