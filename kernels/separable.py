"""Blurs and enlargements of pictures, one axis after the other.

The library's depthwise convolutions with long filters, and its enlargement, reach a small part of a processor's speed
on three channels. A small blur is a sum of shifted copies here, a wide one of a small picture and every enlargement a
product with one matrix per axis: three to five times as fast, and equal up to rounding.

Letters: B batch, C channels, H and W sizes of the picture.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from kernels.native.pixels import fits


def gaussian(sigma: float) -> Tensor:
    """Filter of a Gaussian blur, float32 [2 r + 1] with r = 3 sigma, of sum 1."""
    reach = int(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    return kernel / kernel.sum()


def blurred(picture: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur by shifted copies, with the border's pixels repeated outside; for small blurs.

    Args:
        picture: [B,C,H,W] float.
        sigma: standard deviation in px.

    Raises:
        ValueError: the picture has other axes.
    """
    _check(picture)
    weights = gaussian(sigma).tolist()
    reach = len(weights) // 2
    for axis in (3, 2):
        size = picture.shape[axis]
        around = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
        padded = functional.pad(picture, around, mode="replicate")
        found = padded.narrow(axis, reach, size) * weights[reach]
        for away in range(1, reach + 1):
            for start in (reach - away, reach + away):
                found = found.add_(padded.narrow(axis, start, size), alpha=weights[start])
        picture = found
    return picture


def along(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """A linear map of each axis: pictures [B,C,H,W], matrices [H',H] and [W',W] -> [B,C,H',W']."""
    _check(picture)
    return torch.matmul(rows, picture @ columns.T)


@lru_cache(maxsize=32)
def blur_matrix(size: int, sigma: float, repeat: bool) -> Tensor:
    """[size,size]: a Gaussian blur along an axis; the border's pixels repeated outside, or zeros there."""
    kernel = gaussian(sigma).to(torch.float64)
    reach = len(kernel) // 2
    units = torch.eye(size, dtype=torch.float64)[:, None]
    padded = functional.pad(units, (reach, reach), mode="replicate" if repeat else "constant")
    return functional.conv1d(padded, kernel[None, None])[:, 0].T.to(torch.float32)


@lru_cache(maxsize=32)
def enlarging_matrix(size: int, enlarged: int) -> Tensor:
    """[enlarged,size]: bilinear enlargement along an axis, as `interpolate` with pixels' borders in line does it."""
    units = torch.eye(size, dtype=torch.float64)[:, None]
    found = functional.interpolate(units, size=enlarged, mode="linear", align_corners=False)
    return found[:, 0].T.to(torch.float32)


def enlarged(picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear enlargement of small pictures: [B,C,H,W] -> [B,C,*size]."""
    return along(picture, enlarging_matrix(picture.shape[2], size[0]), enlarging_matrix(picture.shape[3], size[1]))


def coarse_part(picture: Tensor, factor: int, sigma: float) -> Tensor:
    """What is left of a picture after a wide Gaussian blur that is found at a fraction of its size.

    Args:
        picture: [B,C,H,W] float, H and W multiples of the factor.
        factor: how much smaller.
        sigma: standard deviation in px of the small picture.

    Returns:
        [B,C,H,W].

    Raises:
        ValueError: the picture has other axes or sizes.
    """
    _check(picture)
    height, width = picture.shape[2:]
    if height % factor or width % factor:
        raise ValueError(f"picture is {height} x {width}; expected multiples of {factor}")
    small = functional.avg_pool2d(picture, factor)
    return along(small, *(_coarse_matrix(size, factor, sigma) for size in (height, width)))


def fine_part(picture: Tensor, factor: int, sigma: float) -> Tensor:
    """What a wide Gaussian blur takes away: the picture without its `coarse_part`, with the same arguments."""
    loops = fits(picture)
    if loops is None or picture.shape[2] % factor or picture.shape[3] % factor:
        return picture - coarse_part(picture, factor, sigma)
    small = loops.shrunk(picture, factor)
    rows, columns = (blur_matrix(size, sigma, True) for size in small.shape[2:])
    return loops.with_enlarged(picture, along(small, rows, columns), factor, -1.0)


@lru_cache(maxsize=32)
def _coarse_matrix(size: int, factor: int, sigma: float) -> Tensor:
    small = size // factor
    return enlarging_matrix(small, size) @ blur_matrix(small, sigma, True)


def _check(picture: Tensor) -> None:
    if picture.ndim != 4 or not picture.is_floating_point():
        raise ValueError(f"picture is {tuple(picture.shape)} {picture.dtype}; expected float [B,C,H,W]")
