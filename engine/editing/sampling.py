"""Resampling between upright crops as two matrix products: static shapes, whatever the crops' places and sizes.

`engine.tracking.alignment.warp` cuts, averages and samples a picture; which pixels and how many differ from frame to
frame. Between crops that are not turned against each other rows and columns are resampled alike, so the same numbers
come from a matrix for the rows and one for the columns. A compiled graph takes the two matrices as inputs.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import ShapeError

_TURNED: float = 1e-6
"""Largest share of shear or turn in a matrix that counts as none."""


def resampling(matrix: NDArray[np.float64], picture: tuple[int, int], size: int) -> tuple[Tensor, Tensor]:
    """Matrices that do what `warp` does between upright crops: rows @ picture @ columns.T.

    Args:
        matrix: [3,3] affine without turn or shear, px of the new crop -> px of the picture, continuous coordinates.
        picture: height and width of the picture in px.
        size: side of the new crop in px.

    Returns:
        rows [size,height] and columns [size,width], float32.

    Raises:
        ShapeError: the crops are turned against each other.
    """
    if matrix.shape != (3, 3):
        raise ShapeError(f"matrix has shape {matrix.shape}, expected [3, 3]")
    (xx, xy, x0), (yx, yy, y0) = matrix[:2].tolist()
    scale = float(np.sqrt(abs(xx * yy - xy * yx)))
    if max(abs(xy), abs(yx)) > _TURNED * scale or min(xx, yy) <= 0:
        raise ShapeError(
            f"crops are turned or mirrored against each other: {matrix[:2, :2].tolist()}; expected upright"
        )
    pool = max(int(scale + 1e-6), 1)
    samples = 2 if scale / pool > 1.05 else 1
    return (
        _axis(yy, y0, picture[0], size, pool, samples),
        _axis(xx, x0, picture[1], size, pool, samples),
    )


def _axis(step: float, start: float, length: int, size: int, pool: int, samples: int) -> Tensor:
    """[size,length]: means of `pool` pixels, bilinear sampling with repeated borders, means of `samples`."""
    first, last = _part(step, start, length, size, pool)
    count = -(-(last - first) // pool)
    places = (torch.arange(size * samples, dtype=torch.float64) + 0.5) / samples * step + (start - first)
    places = (places / pool - 0.5).clamp(0, count - 1)
    low = places.floor().to(torch.int64).clamp(max=count - 1)
    high = (low + 1).clamp(max=count - 1)
    share = (places - low).to(torch.float32)
    rows = torch.arange(size * samples)
    sampled = torch.zeros(size * samples, count)
    sampled.index_put_((rows, low), 1 - share, accumulate=True)
    sampled.index_put_((rows, high), share, accumulate=True)
    taken = torch.zeros(count, length)
    pixels = (first + torch.arange(count * pool)).clamp(max=last - 1)
    taken.index_put_((torch.arange(count).repeat_interleave(pool), pixels), torch.tensor(1 / pool), accumulate=True)
    return sampled.reshape(size, samples, count).mean(1) @ taken


def _part(step: float, start: float, length: int, size: int, pool: int) -> tuple[int, int]:
    """First pixel that the crop can see and the one after the last, with the margin that `warp` takes."""
    margin = 2 * pool
    first = min(max(int(np.floor(start)) - margin, 0), length - 1)
    last = min(max(int(np.ceil(start + step * size)) + margin, first + 1), length)
    return first, last
