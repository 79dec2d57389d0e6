"""Keeps the edited region as sharp and as noisy as the frame it lies in, measured while the dub runs.

A profile says how sharp the clip's own mouths come out; what a dub shows has other edges (teeth come and go), and a
camera's focus and a codec's rate change. So both sides are measured in every frame, as variance of the Laplacian inside
the mask (Pech-Pacheco et al. 2000), and sharpening follows slowly; what it cannot give is filled with noise, as far as
that is not seen (`grain` says how much of it is new in every frame). All constants are ours.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.editing.compositing import Patch
from engine.editing.settling import FRAME_S, share_in
from engine.errors import ShapeError
from kernels.native.pixels import fits

GRAIN_LIMIT: Final = 6.0
"""Most noise that is ever added, standard deviation in grey levels."""
LAPLACIAN_GAIN: Final = 20.0
"""Variance of the Laplacian of white noise over its variance: 4 * 4 + 4."""
_LUMA: Final = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""ITU-R BT.709."""
_LEVELS: Final = 219 / 255
"""Levels of limited-range video per grey level."""
_MEMORY: Final = 0.1
"""Share of a new frame in the running means, in 40 ms (`settling`)."""
_GAIN: Final = 0.1
"""Change of the sharpening in 40 ms per unit of the logarithm of what is missing."""
_MOST: Final = 3.0
"""Most sharpening. It shows on lips and teeth alone: skin gets the frame's own finest band (`texture`), which hides the
generator's grid that 1.6 brought out before."""
_FILLED: Final = 0.87
"""Noise fills up to this share of the frame's own variance."""


_UNSEEN: Final = 1.0
"""Standard deviation of noise that is not seen on smooth skin, grey levels: so much may lie there in any case."""
_BLOCK: Final = 8
"""Side of the blocks among which the quietest are looked for, px."""
_QUIET: Final = 0.2
"""Share of the blocks that are the quietest."""


@dataclass(frozen=True, slots=True)
class Fineness:
    """How much fine detail a picture shows inside a mask, in squared grey levels."""

    variance: float
    """Variance of the Laplacian: edges and noise."""
    quiet: float
    """Its mean square in the quietest blocks: what lies on smooth skin, too."""


@dataclass
class Detail:
    """How the region is sharpened now, and the running means behind it."""

    share: float
    """Share of the high frequencies that is added."""
    grain: float
    """Standard deviation of the noise that is added, grey levels."""
    own: float = 0.0
    """Running mean of the frame's own variance of the Laplacian; 0 before the first frame."""
    shown: float = 0.0
    """Running mean of that of the edited region before noise."""
    room: float = 0.0
    """Running mean of how much noisier the frame's smooth skin is than the region's, in squared grey levels."""

    def follow(self, shown: Fineness, own: Fineness, elapsed_s: float) -> None:
        """Take in a frame: the edited region before noise, and the frame's own, so many s after the frame before.

        Noise fills what sharpening cannot give, but hardly more of it than lies on the frame's own smooth skin: edges
        of lips and teeth that are missing would come back as sand.
        """
        if own.variance <= 0.0 or shown.variance <= 0.0:
            return
        memory = share_in(elapsed_s, _MEMORY) if self.own > 0.0 else 1.0
        gain = min(1.0, _GAIN * elapsed_s / FRAME_S)
        self.own += memory * (own.variance - self.own)
        self.shown += memory * (shown.variance - self.shown)
        self.room += memory * (own.quiet - shown.quiet - self.room)
        missing = math.log(self.own / self.shown)
        self.share = min(_MOST, max(0.0, self.share + gain * min(1.0, max(-1.0, missing))))
        allowed = max(0.0, self.room) + LAPLACIAN_GAIN * _UNSEEN**2
        lacking = min(allowed, max(0.0, _FILLED * self.own - self.shown))
        self.grain = min(GRAIN_LIMIT, math.sqrt(lacking / LAPLACIAN_GAIN))


def edges(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Laplacian (4 neighbours) of [h,w], the border repeated.

    Raises:
        ShapeError: not a plane.
    """
    if plane.ndim != 2 or plane.size == 0:
        raise ShapeError(f"plane {plane.shape}; expected [h,w]")
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    padded = functional.pad(torch.from_numpy(plane)[None, None], (1, 1, 1, 1), mode="replicate")
    found: NDArray[np.float32] = functional.conv2d(padded, kernel)[0, 0].numpy()
    return found


def luma(rgb: NDArray[np.floating] | NDArray[np.uint8]) -> NDArray[np.float32]:
    """Luma [h,w] of a picture [h,w,3], in its levels.

    Raises:
        ShapeError: not a picture.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ShapeError(f"picture {rgb.shape}; expected [h,w,3]")
    return rgb.astype(np.float32) @ _LUMA


def fineness(rgb: NDArray[np.floating] | NDArray[np.uint8], inside: NDArray[np.bool_]) -> Fineness:
    """Detail of luma as 8-bit video keeps it: its rounding is noise, too.

    Args:
        rgb: [h,w,3] in 0...255.
        inside: [h,w] where it counts; 0 is returned where that is nowhere. Without a whole block inside, all is quiet.

    Raises:
        ShapeError: shapes that do not belong together.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or inside.shape != rgb.shape[:2]:
        raise ShapeError(f"picture {rgb.shape} and mask {inside.shape}; expected [h,w,3] and [h,w]")
    if not inside.any():
        return Fineness(0.0, 0.0)
    kept = (np.round(luma(rgb) * _LEVELS) / _LEVELS).astype(np.float32)
    loops = fits()
    if loops is not None and min(inside.shape) >= _BLOCK:
        variance, strength, whole = loops.edge_strength(kept, inside, _BLOCK)
    else:
        found = edges(kept)
        variance = float(found[inside].var())
        if min(inside.shape) < _BLOCK:
            return Fineness(variance, variance)
        pair = torch.from_numpy(np.stack([np.square(found), inside.astype(np.float32)]))
        strength, whole = functional.avg_pool2d(pair, _BLOCK)
    blocks = strength[whole >= 1.0]
    return Fineness(variance, float(torch.quantile(blocks, _QUIET)) if blocks.numel() else variance)


def laplacian_variance(rgb: NDArray[np.floating] | NDArray[np.uint8], inside: NDArray[np.bool_]) -> float:
    """Variance of the Laplacian of luma alone, with the arguments of `fineness`."""
    return fineness(rgb, inside).variance


def compare_detail(patch: Patch, rgb: NDArray[np.uint8]) -> tuple[Fineness, Fineness]:
    """Fine detail inside the mask: of the patch, and of the frame [H,W,3] under it.

    Both are 0 where the patch lies beside the frame: a face whose mouth the frame cuts off shows nothing to compare.
    """
    inside, own = patch.mask > 0.5, patch.under(rgb)
    if own.shape[:2] != inside.shape:
        return Fineness(0.0, 0.0), Fineness(0.0, 0.0)
    return fineness(patch.rgb, inside), fineness(own, inside)
