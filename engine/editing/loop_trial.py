"""What an edit does with the loops over pixels, on one small picture: they are compared and timed on it.

Each part goes through a function of the product that takes the loops where they are used, and together the parts call
every loop (`kernels.native.pixels.Pixels`). A part is judged by itself: a wrong one is not averaged away by others
that are right.
"""

import math
from typing import Final

import numpy as np
import torch
from torch import Tensor

from engine.editing.compositing import match_colour, sharpen
from engine.editing.detail import fineness
from engine.editing.grain import temporal_noise
from engine.editing.texture import carried, fine, off_outlines
from engine.generators.protocol import Region
from engine.tracking.alignment import warp

UNIT: Final = 127.5
"""Grey levels in one unit of a picture in -1...1."""
_SIDE: Final = 256
_REGION: Final = Region(64, 32, _SIDE, _SIDE)
_TURN: Final = 0.06
_SHARE: Final = 0.7
"""Of sharpening."""
_MOVED_PX: Final = 6.0
"""Most that a landmark is moved."""
_GOLDEN: Final = math.pi * (3 - math.sqrt(5))


def example() -> Tensor:
    """A picture [1,4,256,256] in -1...1: slopes, an outline, more noise below it; channels differ."""
    noise = torch.randn(1, 4, _SIDE, _SIDE, generator=torch.Generator().manual_seed(0))
    slope = torch.linspace(-0.3, 0.3, _SIDE) * torch.tensor([1.0, -1.0, 0.5, 1.0])[:, None, None]
    below = (torch.arange(_SIDE) > 0.6 * _SIDE).to(torch.float32)[:, None]
    return ((0.05 + 0.1 * below) * noise + slope + 1.2 * below - 0.6).clamp(-1, 1)


def parts_of(picture: Tensor) -> tuple[Tensor, ...]:
    """What an edit makes of a picture [1,4,256,256], -1...1: pictures, and figures in grey levels as shares of `UNIT`.

    By turns: into a frame that shows it larger, and smaller; as a network sees it, twice; sharpened; in another one's
    colour; its finest band; carried along with landmarks; off outlines; fine detail, as a whole and where it is quiet;
    noise.
    """
    colours, other, mask = picture[:, :3], picture[:, :3].flip(3), (2 * picture[:, 3:]).sigmoid()
    points = _spiral()
    moved = points + _MOVED_PX * np.sin(np.arange(136.0)).reshape(68, 2)
    rgb = ((colours[0].permute(1, 2, 0) + 1) * UNIT).numpy()
    detail = fineness(rgb, mask[0, 0].numpy() > 0.5)
    return (
        warp(picture, _placed(0.7), 192, sharp=True),
        warp(picture, _placed(1.28), 192, sharp=True),
        warp(colours, _placed(0.9), 192),
        warp(colours.contiguous(memory_format=torch.channels_last), _placed(2.6), 90),
        sharpen(colours, _SHARE),
        match_colour(colours, other, mask),
        fine(colours),
        carried(colours, points, moved, _REGION),
        off_outlines(fine(colours), fine(other)),
        torch.tensor(math.sqrt(detail.variance) / UNIT),
        torch.tensor(math.sqrt(detail.quiet) / UNIT),
        torch.tensor(temporal_noise(rgb[:, :, 0], rgb[:, ::-1, 1]) / UNIT),
    )


def _placed(scale: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """[3,3] a little turned and partly beside the picture; scale: px of it per px of the crop."""
    return np.array([[scale, _TURN, 2.0], [-_TURN, scale, 30.0], [0.0, 0.0, 1.0]])


def _spiral() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """[68,2] places all over the region, in crop px."""
    index = np.arange(68) + 0.5
    reach, angle = 0.5 * _SIDE * np.sqrt(index / 68), _GOLDEN * index
    middle = (_REGION.left + 0.5 * _SIDE, _REGION.top + 0.5 * _SIDE)
    return np.stack([reach * np.cos(angle), reach * np.sin(angle)], 1) + middle
