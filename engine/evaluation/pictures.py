"""Figures on pictures: what changed outside the mask, the seam, sharpness and flicker.

Pure functions on planes. Letters: H, W picture; h, w mask. A mask is float [h,w] in 0..1 with its top left corner at
`origin` = (top, left); what sticks out of the picture is cut off. Ratios to the source are taken by the caller.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.evaluation.figures import require_shape
from engine.media import VideoFrame

Plane = NDArray[np.float32]

INSIDE: Final = 0.5
"""Mask value above which a pixel belongs to the region."""
FLOW_WIDTH: Final = 320
"""Wider regions are made this wide before motion is estimated, in pixels."""
FLOW_MARGIN: Final = 16
"""Pixels around the region that motion estimation sees, too."""


def luma(frame: VideoFrame) -> Plane:
    """The luma plane [H,W] as decoded, in 8-bit steps whatever the frame's bit depth."""
    return np.asarray(frame.planes[0], dtype=np.float32) / np.float32(2 ** (frame.bit_depth - 8))


@dataclass(frozen=True)
class Region:
    """The part of a picture around a mask: where it is, and the mask on exactly that part."""

    rows: slice
    """Rows of the picture."""
    columns: slice
    """Columns of the picture."""
    mask: Plane
    """Mask over `rows` x `columns`, zero in the margin."""

    @classmethod
    def around(cls, mask: Plane, origin: tuple[int, int], shape: tuple[int, int], margin: int) -> "Region":
        """The region of a mask [h,w] at `origin` with `margin` pixels around it, within a picture of `shape`."""
        require_shape("mask", mask, None, None)
        (top, left), (height, width) = origin, shape
        first_row, last_row = max(0, top - margin), min(height, top + mask.shape[0] + margin)
        first_column, last_column = max(0, left - margin), min(width, left + mask.shape[1] + margin)
        if first_row >= last_row or first_column >= last_column:
            raise ShapeError(f"mask at {origin} of {mask.shape}: got a place outside the picture of {shape}")
        padded = np.pad(np.asarray(mask, dtype=np.float32), margin)
        row, column = first_row - (top - margin), first_column - (left - margin)
        cut = padded[row : row + last_row - first_row, column : column + last_column - first_column]
        return cls(slice(first_row, last_row), slice(first_column, last_column), cut)

    def of(self, plane: Plane) -> Plane:
        """This part of a picture's plane [H,W]."""
        return plane[self.rows, self.columns]


def untouched(mask: Plane | None, origin: tuple[int, int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels [H,W] outside the soft mask; without a mask the whole picture."""
    outside = np.ones(shape, dtype=bool)
    if mask is not None:
        region = Region.around(mask, origin, shape, 0)
        outside[region.rows, region.columns] = region.mask <= 0
    return outside


def outside_changed(
    edited: VideoFrame, source: VideoFrame, mask: Plane | None, origin: tuple[int, int]
) -> tuple[int, int]:
    """Pixels outside the mask that differ from the source, and pixels outside the mask.

    Compared are the decoded samples themselves, without any conversion. A chroma sample that several pixels share
    (4:2:0, 4:2:2) belongs to the outside when all of its pixels do; if it differs, all of them count as changed.
    """
    if [p.shape for p in edited.planes] != [p.shape for p in source.planes]:
        raise ShapeError(
            f"edited frame: got planes {[p.shape for p in edited.planes]}, "
            f"expected the source's {[p.shape for p in source.planes]}"
        )
    shape = (source.height, source.width)
    outside = untouched(mask, origin, shape)
    total = int(outside.sum())
    if edited is source:
        return 0, total
    changed = outside & (edited.planes[0] != source.planes[0])
    for ours, theirs in zip(edited.planes[1:], source.planes[1:], strict=True):
        differs = ours != theirs
        if differs.any():
            changed |= _whole_footprints(outside, differs)
    return int(changed.sum()), total


def _whole_footprints(outside: NDArray[np.bool_], differs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels [H,W] of the chroma samples in `differs` whose pixels are all outside."""
    height, width = outside.shape
    step_y, step_x = -(-height // differs.shape[0]), -(-width // differs.shape[1])
    padding = ((0, differs.shape[0] * step_y - height), (0, differs.shape[1] * step_x - width))
    grid = np.pad(outside, padding, constant_values=True)
    whole = grid.reshape(differs.shape[0], step_y, differs.shape[1], step_x).all(axis=(1, 3)) & differs
    return whole.repeat(step_y, axis=0).repeat(step_x, axis=1)[:height, :width]


def gradient_across(plane: Plane, mask: Plane, origin: tuple[int, int]) -> float:
    """Mean gradient across the mask's edge.

    At every pixel the picture's gradient is projected on the mask's own gradient: the mean of its size, weighted by
    how steep the mask is there. A hard mask weighs the pixels beside its edge, a soft one its whole feather.

    Args:
        plane: [H,W] luma.
        mask: [h,w] soft mask.
        origin: its (top, left) in the plane.

    Returns:
        Luma steps per pixel; NaN when the mask has no edge within the picture.
    """
    require_shape("plane", plane, None, None)
    region = Region.around(mask, origin, (plane.shape[0], plane.shape[1]), 2)
    mask_y, mask_x = np.gradient(region.mask)
    plane_y, plane_x = np.gradient(region.of(plane))
    weight = float(np.hypot(mask_y, mask_x).sum())
    return float(np.abs(mask_y * plane_y + mask_x * plane_x).sum() / weight) if weight > 0 else float("nan")


def laplacian_variance(plane: Plane, mask: Plane, origin: tuple[int, int]) -> float:
    """Variance of the Laplacian (4 neighbours) where the mask is above `INSIDE`; NaN when that is nowhere.

    Args:
        plane: [H,W] luma.
        mask: [h,w] soft mask.
        origin: its (top, left) in the plane.
    """
    require_shape("plane", plane, None, None)
    region = Region.around(mask, origin, (plane.shape[0], plane.shape[1]), 1)
    p = np.pad(region.of(plane), 1, mode="edge")
    laplacian = p[:-2, 1:-1] + p[2:, 1:-1] + p[1:-1, :-2] + p[1:-1, 2:] - 4 * p[1:-1, 1:-1]
    inside = region.mask > INSIDE
    return float(laplacian[inside].var()) if inside.any() else float("nan")


class MotionCompensation:
    """What remains of the change between consecutive pictures once motion is taken out."""

    def __init__(self) -> None:
        """Prepares the estimator (dense inverse search optical flow, OpenCV's "medium" preset)."""
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def residual(self, before: Plane, now: Plane, mask: Plane, origin: tuple[int, int]) -> float:
        """Mean absolute difference of consecutive regions, the earlier one moved onto the later one.

        Motion is estimated within the same stream (edited on edited, source on source), so that lips that move
        differently from the source's do not count, and what flow cannot explain (brightness, texture that comes and
        goes) does.

        Args:
            before: [H,W] luma of the earlier picture.
            now: [H,W] luma of the later picture.
            mask: [h,w] soft mask of the later picture.
            origin: its (top, left).

        Returns:
            Luma steps; NaN when the mask is nowhere above `INSIDE`.
        """
        require_shape("now", now, None, None)
        require_shape("before", before, *now.shape)
        region = Region.around(mask, origin, (now.shape[0], now.shape[1]), FLOW_MARGIN)
        first, second = self._shrunk(region.of(before)), self._shrunk(region.of(now))
        inside = self._shrunk(region.mask) > INSIDE
        if not inside.any():
            return float("nan")
        later, earlier = (np.clip(np.rint(part), 0, 255).astype(np.uint8) for part in (second, first))
        flow = self._flow.calc(later, earlier, None)  # type: ignore[call-overload]  # None: no first guess
        rows, columns = np.indices(second.shape, dtype=np.float32)
        moved = cv2.remap(first, columns + flow[..., 0], rows + flow[..., 1], cv2.INTER_LINEAR)
        return float(np.abs(second - moved)[inside].mean())

    def _shrunk(self, plane: Plane) -> Plane:
        scale = min(1.0, FLOW_WIDTH / plane.shape[1])
        if scale == 1.0:
            return np.ascontiguousarray(plane)
        size = (FLOW_WIDTH, max(1, round(plane.shape[0] * scale)))
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), dtype=np.float32)
