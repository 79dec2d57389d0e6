"""Noise for the edited region: as much of it new in every frame as in the film, the rest lies on the face.

What a generated region lacks beside the film is partly the camera's noise, which is new in every frame, and partly
pores and stubble too fine for the way through the crop, which stay where they are on the skin. Filled with new noise
alone, faces of compressed films boil. So the film's own noise is measured, in the places that change least between two
frames (block-based noise estimation, Amer and Dubois 2005), and only that much is new; what is missing beyond that is a
fixed field that moves with the face. Constants are ours.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.editing.compositing import Patch, patch_to_region
from engine.editing.detail import LAPLACIAN_GAIN, edges
from engine.editing.observation import Observation
from engine.editing.settling import FRAME_S
from engine.errors import ShapeError
from engine.generators.protocol import Region
from engine.tracking.alignment import warp
from kernels.native.pixels import fits

_BLOCK: Final = 8
"""Side of the blocks in which two frames are compared, px."""
_QUIET: Final = 0.2
"""Share of the blocks, the quietest, that tell the noise."""
_RISE: Final = 1.01
"""Most by which the measured noise grows in 40 ms (`settling`): motion looks like noise, stillness never."""
_LEAST_RISE: Final = 0.002
"""What it may grow by in any case in 40 ms, grey levels."""
_STRONGEST: Final = 2.0
"""Most strength of the field beside white noise as sharp: a field that the way into the frame has blurred is coarse."""
_SEED: Final = 68


def temporal_noise(before: NDArray[np.float32], now: NDArray[np.float32]) -> float:
    """Standard deviation of the noise that is new in each of two frames, grey levels.

    From the blocks that changed least: where nothing moved, two frames differ by the noise of both.

    Args:
        before: [h,w] luma in grey levels.
        now: [h,w] the same place one frame later.

    Raises:
        ShapeError: two sizes, or a side below one block.
    """
    if before.shape != now.shape or before.ndim != 2 or min(before.shape) < _BLOCK:
        raise ShapeError(f"luma {before.shape} and {now.shape}; expected twice [h,w], of at least {_BLOCK} px")
    changed = now - before
    if (loops := fits()) is not None:
        _, blocks, _ = loops.edge_strength(changed, np.ones(changed.shape, np.bool_), _BLOCK)
    else:
        blocks = functional.avg_pool2d(torch.from_numpy(edges(changed)).square()[None, None], _BLOCK)
    return math.sqrt(float(torch.quantile(blocks.flatten(), _QUIET)) / (2 * LAPLACIAN_GAIN))


@dataclass
class Grain:
    """A shot's noise: the field that lies on the face, and how much of the film's noise is new in every frame."""

    fresh: float | None = None
    """Standard deviation of the film's own new noise, grey levels; None before the second frame."""
    last: tuple[NDArray[np.float32], int, int] | None = None
    """Luma [h,w] under the last patch in grey levels, and its top and left."""
    field: Tensor | None = None
    """[1,1,h,w] white noise over the region; None before the first frame."""

    def follow(self, luma: NDArray[np.float32], top: int, left: int, elapsed_s: float) -> None:
        """Take in the frame's own luma under the patch.

        Args:
            luma: [h,w] in grey levels.
            top: row of its corner in the frame.
            left: column of its corner in the frame.
            elapsed_s: media time since the frame before, in s.
        """
        if self.last is not None:
            before, now = _shared(self.last, (luma, top, left))
            if min(before.shape) >= _BLOCK:
                found = temporal_noise(before, now)
                frames = elapsed_s / FRAME_S
                most = math.inf if self.fresh is None else self.fresh * _RISE**frames + _LEAST_RISE * frames
                self.fresh = min(found, most)
        self.last = (luma, top, left)

    def onto(self, patch: Patch, deviation: float, observation: Observation, region: Region) -> Patch:
        """The patch with noise in luma: what the film has of new noise is new, the rest lies on the face.

        Args:
            patch: the edited region.
            deviation: of white noise as sharp as what is missing, grey levels; 0 changes nothing.
            observation: where the crop lies.
            region: the part of the crop.
        """
        if deviation <= 0.0:
            return patch
        fresh = min(deviation, self.fresh or 0.0)
        noise = self._new(patch) * np.float32(fresh)
        if (lasting := math.sqrt(deviation**2 - fresh**2)) > 0.0:
            noise += self._lying(patch, lasting, observation, region)
        return replace(patch, rgb=np.clip(patch.rgb + noise[:, :, None], 0, 255))

    def _new(self, patch: Patch) -> NDArray[np.float32]:
        """White noise [h,w], fixed by the frame's own pixels and the patch's place.

        The same frame gives the same noise, however the edit was rounded on its way.
        """
        pixels = patch.rgb if self.last is None else self.last[0]
        seed = round(float(pixels.sum(dtype=np.float64)) * 1000) % (2**31)
        return np.random.default_rng([seed, patch.top, patch.left]).standard_normal(patch.mask.shape, np.float32)

    def _lying(self, patch: Patch, deviation: float, observation: Observation, region: Region) -> NDArray[np.float32]:
        """The field brought to the frame, as sharp as white noise of that deviation: [h,w]."""
        if self.field is None:
            seed = torch.Generator().manual_seed(_SEED)
            self.field = torch.randn((1, 1, region.height, region.width), generator=seed)
        matrix = patch_to_region(observation, region, patch.top, patch.left)
        height, width = patch.mask.shape
        found: NDArray[np.float32] = warp(self.field, matrix, (height, width))[0, 0].numpy()
        inside = patch.mask > 0.5
        if not inside.any():
            return np.zeros_like(found)
        sharp, strong = float(edges(found)[inside].std()), float(found[inside].std())
        scale = min(math.sqrt(LAPLACIAN_GAIN) / max(sharp, 1e-6), _STRONGEST / max(strong, 1e-6))
        return found * np.float32(deviation * scale)


def _shared(
    one: tuple[NDArray[np.float32], int, int], two: tuple[NDArray[np.float32], int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What two pictures with (top, left) in one frame have in common; empty where they do not meet."""
    top, left = max(one[1], two[1]), max(one[2], two[2])
    bottom = max(top, min(item[1] + item[0].shape[0] for item in (one, two)))
    right = max(left, min(item[2] + item[0].shape[1] for item in (one, two)))
    first, second = (item[0][top - item[1] : bottom - item[1], left - item[2] : right - item[2]] for item in (one, two))
    return first, second
