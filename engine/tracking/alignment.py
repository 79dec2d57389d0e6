"""The aligned crop of a face: the quad of the published FFHQ alignment, and warping a picture to and from it.

Coordinates are continuous: (0, 0) is the top-left corner of a picture, the centre of its first pixel is (0.5, 0.5).
"""

import math
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.errors import ShapeError
from kernels.native.pixels import fits

_EYES_TIMES: Final = 2.0
"""Half side of the FFHQ crop in distances between the eyes' middles."""
_MOUTH_TIMES: Final = 1.8
"""The same in distances from the eyes' middle to the mouth; the larger of the two holds."""
_CENTRE_DOWN: Final = 0.1
"""Centre of the crop, from the eyes' middle towards the mouth."""
_PIXELS_ENOUGH: Final = 2
"""Where a crop makes a decoded picture much smaller, this many pixels each way are averaged into one, not all."""


def ffhq_quad(points68: NDArray[Any]) -> NDArray[np.float64]:
    """Corners of the aligned crop of a face, as published for the FFHQ data set.

    Args:
        points68: [68,2] or [68,3] px of the frame.

    Returns:
        [4,2] px of the frame: top left, bottom left, bottom right, top right of the crop.
    """
    if points68.shape not in ((68, 2), (68, 3)):
        raise ShapeError(f"landmarks have shape {points68.shape}, expected [68, 2] or [68, 3]")
    points = points68[:, :2].astype(np.float64)
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    eyes = (left + right) / 2
    across = right - left
    down = (points[48] + points[54]) / 2 - eyes
    x = across + np.array([down[1], -down[0]])
    x *= max(math.hypot(*across) * _EYES_TIMES, math.hypot(*down) * _MOUTH_TIMES) / math.hypot(*x)
    y = np.array([-x[1], x[0]])
    centre = eyes + down * _CENTRE_DOWN
    return np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])


def quad_transform(quad: NDArray[Any], size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Matrices between a square crop and the frame it lies in.

    Args:
        quad: [4,2] px of the frame, corners of a parallelogram: top left, bottom left, bottom right, top right.
        size: side of the crop in px.

    Returns:
        [3,3] crop px -> frame px, and its inverse, both for continuous coordinates (column vectors x, y, 1).
    """
    if quad.shape != (4, 2):
        raise ShapeError(f"quad has shape {quad.shape}, expected [4, 2]")
    if size < 1:
        raise ShapeError(f"crop size is {size} px, expected at least 1")
    top_left, bottom_left, _, top_right = quad.astype(np.float64)
    forward = np.eye(3)
    forward[:2, 0] = (top_right - top_left) / size
    forward[:2, 1] = (bottom_left - top_left) / size
    forward[:2, 2] = top_left
    if abs(np.linalg.det(forward)) < 1e-12:
        raise ShapeError(f"quad {quad.tolist()} has no area; expected the corners of a square")
    return forward, np.linalg.inv(forward).astype(np.float64)


def transform_points(points: NDArray[Any], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move points by an affine matrix.

    Args:
        points: [N,2] or [N,3]; a third coordinate (depth) is scaled as lengths are.
        matrix: [3,3] for continuous coordinates.
    """
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ShapeError(f"points have shape {points.shape}, expected [N, 2] or [N, 3]")
    moved = points[:, :2].astype(np.float64) @ matrix[:2, :2].T + matrix[:2, 2]
    if points.shape[1] == 2:
        return moved
    return np.concatenate([moved, points[:, 2:] * _scale(matrix)], axis=1)


def warp(image: Tensor, matrix: NDArray[np.float64], size: int | tuple[int, int], sharp: bool = False) -> Tensor:
    """Resample a picture into a crop; differentiable with respect to the picture.

    Bilinear where the crop magnifies; where it makes smaller, the picture is averaged over as many pixels as fall into
    one of the crop. Outside the picture its border is repeated. Only the needed part of the picture is touched.

    Args:
        image: [B,C,H,W] float32, any range.
        matrix: [3,3] affine, crop px -> px of `image`, continuous coordinates.
        size: side of the crop in px, or its (height, width).
        sharp: keep fine detail, for pictures that are seen: bicubic where the crop magnifies (values may overshoot);
            where it makes smaller, no more is averaged than one of its pixels covers.

    Returns:
        [B,C,size,size].
    """
    if image.dim() != 4 or not image.is_floating_point():
        raise ShapeError(f"image has shape {tuple(image.shape)} and type {image.dtype}, expected [B, C, H, W] float")
    if matrix.shape != (3, 3):
        raise ShapeError(f"matrix has shape {matrix.shape}, expected [3, 3]")
    height, width = (size, size) if isinstance(size, int) else size
    shrink = _scale(matrix)
    pool = max(int(shrink / (2 if sharp else 1) + 1e-6), 1)
    part, offset = _needed(image, matrix, (height, width), pool)
    samples = max(2, math.ceil(shrink / pool - 0.25)) if shrink / pool > 1.05 else 1
    mode = "bicubic" if sharp and shrink < 1 else "bilinear"
    if (loops := fits(part)) is not None:
        to_part = (matrix[:2] - ((0, 0, offset[0]), (0, 0, offset[1]))) / pool - ((0, 0, 0.5), (0, 0, 0.5))
        return loops.resample(part, to_part, (height, width), samples, mode == "bicubic", pool)
    if pool > 1:
        part = functional.avg_pool2d(_in_whole_windows(part, pool), pool)
    grid = _grid(matrix, offset, pool, (height, width), samples, part)
    crop = functional.grid_sample(
        part, grid.expand(image.shape[0], -1, -1, -1), mode=mode, padding_mode="border", align_corners=False
    )
    return crop.reshape(*crop.shape[:2], samples**2, height, width).mean(2) if samples > 1 else crop


def crop_from_rgb(rgb: NDArray[np.uint8], matrix: NDArray[np.float64], size: int) -> Tensor:
    """Cut a small aligned crop out of a decoded picture, quickly: for networks to look at.

    As `warp`, but large reductions average a regular choice of the pixels instead of all.

    Args:
        rgb: [H,W,3] uint8.
        matrix: [3,3] crop px -> frame px.
        size: side of the crop in px.

    Returns:
        [1,3,size,size] float32 in [0,1].
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
        raise ShapeError(f"picture has shape {rgb.shape} and type {rgb.dtype}, expected [H, W, 3] uint8")
    step = max(int(_scale(matrix) / _PIXELS_ENOUGH + 1e-6), 1)
    part, to_part = seen_part(rgb, matrix, (size, size), step)
    return warp(part.mul_(1 / 255), to_part @ matrix, size)


def seen_part(
    rgb: NDArray[np.uint8], matrix: NDArray[np.float64], size: tuple[int, int], step: int = 1
) -> tuple[Tensor, NDArray[np.float64]]:
    """The part of a decoded picture that a crop can see, so that no other pixel is made a float.

    Args:
        rgb: [H,W,3] uint8.
        matrix: [3,3] crop px -> frame px.
        size: height and width of the crop in px.
        step: every how many pixels one is taken, each way.

    Returns:
        [1,3,h,w] float32 in 0...255, and [3,3] frame px -> px of the part.
    """
    margin = 2 + 2 * int(_scale(matrix))
    top, left, bottom, right = _window(matrix, size, rgb.shape[:2], margin)
    part = torch.from_numpy(np.ascontiguousarray(rgb[top:bottom:step, left:right:step])).permute(2, 0, 1)
    to_part = np.diag([1 / step, 1 / step, 1.0])
    to_part[:2, 2] = (0.5 - (left + 0.5) / step, 0.5 - (top + 0.5) / step)
    return part[None].to(torch.float32), to_part


def _scale(matrix: NDArray[np.float64]) -> float:
    """How many px of the frame one px of the crop spans."""
    return math.sqrt(abs(float(np.linalg.det(matrix[:2, :2]))))


def _window(
    matrix: NDArray[np.float64], size: tuple[int, int], shape: tuple[int, ...], margin: int
) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the part of a picture that a crop can see: never empty, within the picture."""
    height, width = size
    corners = transform_points(np.array([[0.0, 0.0], [width, 0.0], [width, height], [0.0, height]]), matrix)
    (left, top), (right, bottom) = corners.min(0), corners.max(0)
    rows, columns = shape
    first_row = min(max(math.floor(top) - margin, 0), rows - 1)
    first_column = min(max(math.floor(left) - margin, 0), columns - 1)
    last_row = min(max(math.ceil(bottom) + margin, first_row + 1), rows)
    last_column = min(max(math.ceil(right) + margin, first_column + 1), columns)
    return first_row, first_column, last_row, last_column


def _needed(
    image: Tensor, matrix: NDArray[np.float64], size: tuple[int, int], pool: int
) -> tuple[Tensor, tuple[int, int]]:
    """The part of an image that a crop can see, and its left and top in px."""
    top, left, bottom, right = _window(matrix, size, tuple(image.shape[2:]), margin=2 * pool)
    return image[:, :, top:bottom, left:right], (left, top)


def _in_whole_windows(part: Tensor, pool: int) -> Tensor:
    """A picture with its border repeated below and at the right, so that pooling windows fill it."""
    below, beside = -part.shape[2] % pool, -part.shape[3] % pool
    return functional.pad(part, (0, beside, 0, below), mode="replicate") if below or beside else part


def _grid(
    matrix: NDArray[np.float64],
    offset: tuple[int, int],
    pool: int,
    size: tuple[int, int],
    samples: int,
    part: Tensor,
) -> Tensor:
    """Where to sample `part`, in grid_sample's units: [1, samples² H, W, 2], each point of a pixel in a block of rows.

    Sums of a row's and a column's share, which are found in double precision.
    """
    height, width = size
    parts, counts = (part.shape[3] * pool, part.shape[2] * pool), (width, height)
    grid = torch.empty(samples, samples, height, width, 2, device=part.device, dtype=part.dtype)
    within = (torch.arange(samples, device=part.device, dtype=torch.float64)[:, None] + 0.5) / samples
    x, y = (torch.arange(count, device=part.device) + within for count in counts)
    for axis, (by_x, by_y, begin) in enumerate(matrix[:2].tolist()):
        unit = 2 / parts[axis]
        along = (x * (by_x * unit)).to(part.dtype)[None, :, None]
        beside = (y * (by_y * unit) + ((begin - offset[axis]) * unit - 1)).to(part.dtype)[:, None, :, None]
        torch.add(beside, along, out=grid[..., axis])
    return grid.view(1, samples**2 * height, width, 2)
