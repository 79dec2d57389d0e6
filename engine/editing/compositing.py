"""Putting the edited region back: soft mask, colour of the ring around it, the frame's own pixels elsewhere."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.editing.observation import Observation
from engine.errors import ShapeError
from engine.generators.protocol import Region
from engine.media import VideoFrame, blend_rgb
from engine.tracking.alignment import transform_points, warp
from kernels.native.pixels import fits
from kernels.separable import along, blur_matrix, blurred, enlarged, gaussian

_SCALE: Final = 4
"""The mask is drawn at a quarter of the crop's size: it is soft."""
_FEATHER_PX: Final = 30.0
"""Width of the mask's soft edge in crop px."""
_BORDER_PX: Final = 24.0
"""Over this width the mask falls to zero at the region's own border, in crop px."""
_LEAST: Final = 1 / 255
"""A share below this changes no 8-bit pixel by more than one step: it counts as none."""
_JAW: Final = range(4, 13)
"""Landmarks of the jaw below the cheeks; 8 is the chin."""
_BESIDE_JAW: Final = 0.06
"""How far the mask reaches below the sides of the jaw, in distances of the outer eye corners."""
_BELOW_CHIN: Final = 0.15
"""The same below the chin: a filmed chin that is lower than the wanted one, its beard too, has to go."""
_COARSE: Final = 8
"""A change of colour is found at this fraction of the size ..."""
_SPREAD_PX: Final = 9.0
"""... and spread with a kernel of this standard deviation there."""
_COLOUR_LIMIT: Final = 0.12
"""Largest colour correction, in units of -1...1."""
_FINE_PX: Final = 1.4
"""Standard deviation of the blur that takes away what sharpening adds to, crop px."""


@dataclass(frozen=True, slots=True)
class Patch:
    """A finished piece of the picture in frame coordinates."""

    rgb: NDArray[np.float32]
    """[h,w,3] 0...255."""
    mask: NDArray[np.float32]
    """[h,w] 0...1."""
    top: int
    """First row in the frame."""
    left: int
    """First column in the frame."""

    def into(self, frame: VideoFrame) -> VideoFrame:
        """The frame with this patch laid over it; pixels where the mask is 0 are its own."""
        return blend_rgb(frame, self.rgb, self.mask, self.top, self.left)

    def under(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What a frame [H,W,3] shows where the patch lies: [h,w,3]."""
        height, width = self.mask.shape
        return rgb[self.top : self.top + height, self.left : self.left + width]


def lower_face_mask(observation: Observation, target: NDArray[np.float64], region: Region) -> Tensor:
    """Soft mask of the lower face in the region: what the edit may replace.

    The hull of the filmed and the wanted jaw and of the skin beside and below the nose, grown below the chin, with a
    soft edge inwards; zero at the region's border.

    Args:
        observation: the frame's.
        target: [68,2] wanted landmarks in crop px.
        region: the part of the crop that is rendered.

    Returns:
        [1,1,h,w] float32 in 0...1 at the region's full size.
    """
    hull = lower_face_hull(observation.points, target)
    ys = region.top + (torch.arange(region.height // _SCALE) + 0.5) * _SCALE
    xs = region.left + (torch.arange(region.width // _SCALE) + 0.5) * _SCALE
    inside = inner_distance(hull, xs, ys)
    mask = smooth_step(inside / _FEATHER_PX + 0.25)
    border = torch.minimum(
        torch.minimum(ys - region.top, region.top + region.height - ys)[:, None],
        torch.minimum(xs - region.left, region.left + region.width - xs)[None, :],
    )
    mask = mask * smooth_step((border - _SCALE) / _BORDER_PX)
    size = (region.height, region.width)
    full = enlarged(mask[None, None], size)
    return torch.where(full < _LEAST, 0.0, full)


def lower_face_hull(points: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners [M,2] of what an edit may replace, whatever the region: jaws, and skin beside and below the nose.

    Args:
        points: [68,2] filmed landmarks in crop px.
        target: [68,2] wanted landmarks in crop px.
    """
    eye = float(np.hypot(*(points[45] - points[36])))
    up = (points[27] - points[8]) / max(float(np.hypot(*(points[27] - points[8]))), 1e-6)
    grown = [up * eye * (_BESIDE_JAW + (_BELOW_CHIN - _BESIDE_JAW) * (1 - ((i - 8) / 4) ** 2)) for i in _JAW]
    jaw = [place[i] - more for place in (points, target) for i, more in zip(_JAW, grown, strict=True)]
    nose = points[33] - up * 0.05 * eye
    cheeks = [0.55 * points[3] + 0.45 * points[31], 0.55 * points[13] + 0.45 * points[35]]
    return convex_hull(np.stack([*jaw, nose, *cheeks, *(target[i] for i in (48, 54))]))


def smooth_step(x: Tensor) -> Tensor:
    """0 below 0, 1 above 1, with zero slope at both."""
    x = x.clamp(0, 1)
    return x * x * (3 - 2 * x)


def convex_hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners [M,2] of the convex hull of [N,2] points, clockwise as seen with y down (Andrew 1979)."""
    order = points[np.lexsort((points[:, 1], points[:, 0]))]

    def half(items: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        """One side of the hull: points in order whose chain never turns back."""
        chain: list[NDArray[np.float64]] = []
        for point in items:
            while len(chain) > 1 and _turn(chain[-2], chain[-1], point) <= 0:
                chain.pop()
            chain.append(point)
        return chain[:-1]

    return np.stack(half(order) + half(order[::-1]))


def _turn(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))


def inner_distance(hull: NDArray[np.float64], xs: Tensor, ys: Tensor) -> Tensor:
    """Distance in px to the nearest edge line of a hull, negative outside: [len(ys), len(xs)]."""
    nearest: Tensor | None = None
    for a, b in zip(hull, np.roll(hull, -1, axis=0), strict=True):
        edge = (b - a) / max(float(np.hypot(*(b - a))), 1e-9)
        distance = (ys[:, None] - a[1]) * float(edge[0]) - (xs[None, :] - a[0]) * float(edge[1])
        nearest = distance if nearest is None else torch.minimum(nearest, distance)
    assert nearest is not None
    return nearest.to(torch.float32)


def colour_change(found: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """What brings the region's light and colour to the source's, as its edge says (`spread_change`).

    Args:
        found: [1,3,h,w] rendered region, -1...1.
        source: [1,3,h,w] the same part of the frame.
        mask: [1,1,h,w].

    Returns:
        [1,3,h/8,w/8] to be added (`recoloured`).

    Raises:
        ShapeError: sizes that do not belong together.
    """
    return spread_change(found, source, 4 * mask * (1 - mask), _SPREAD_PX)


def spread_change(found: Tensor, source: Tensor, weight: Tensor, spread: float) -> Tensor:
    """The difference of two pictures where they may be compared, spread over all of them.

    By a normalised convolution (Knutsson and Westin 1993): it changes slowly and knows nothing of what has no weight.

    Args:
        found: [1,3,h,w] rendered region, -1...1.
        source: [1,3,h,w] what it is compared with.
        weight: [1,1,h,w] where, 0...1.
        spread: standard deviation of the kernel, in eighths of the region's px.

    Returns:
        [1,3,h/8,w/8] to be added (`recoloured`).

    Raises:
        ShapeError: sizes that do not belong together.
    """
    if found.shape != source.shape or found.shape[1] != 3 or weight.shape != (1, 1, *found.shape[2:]):
        raise ShapeError(
            f"rendered {tuple(found.shape)}, frame {tuple(source.shape)} and mask {tuple(weight.shape)}; expected "
            "twice [1,3,h,w] and [1,1,h,w]"
        )
    where = shrunk(weight)
    difference = shrunk(source - found).clamp(-2 * _COLOUR_LIMIT, 2 * _COLOUR_LIMIT)
    rows, columns = (blur_matrix(size, spread, False) for size in where.shape[2:])
    summed = along(torch.cat([difference * where, where], 1), rows, columns)
    return (summed[:, :3] / summed[:, 3:].clamp(min=1e-4)).clamp(-_COLOUR_LIMIT, _COLOUR_LIMIT)


def shrunk(picture: Tensor) -> Tensor:
    """Means of blocks: [1,C,h,w] -> [1,C,h/8,w/8]."""
    loops = fits(picture)
    return functional.avg_pool2d(picture, _COARSE) if loops is None else loops.shrunk(picture, _COARSE)


def recoloured(found: Tensor, change: Tensor) -> Tensor:
    """The rendered region [1,3,h,w] with a coarse change of colour [1,3,h/8,w/8] added."""
    loops = fits(found)
    if loops is None or found.shape[2:] != tuple(_COARSE * size for size in change.shape[2:]):
        return enlarged(change, (found.shape[2], found.shape[3])) + found
    return loops.with_enlarged(found, change, _COARSE, 1.0)


def match_colour(found: Tensor, source: Tensor, mask: Tensor) -> Tensor:
    """A rendered region [1,3,h,w] in light and colour of the source's, as its edge says (`colour_change`)."""
    return recoloured(found, colour_change(found, source, mask))


def sharpen(picture: Tensor, share: float) -> Tensor:
    """Add a share of what a small blur takes away: picture [1,3,h,w]."""
    if abs(share) < 1e-3:
        return picture
    if (loops := fits(picture)) is not None:
        return loops.sharpened(picture, gaussian(_FINE_PX), share)
    return picture + share * (picture - blurred(picture, _FINE_PX))


def patch_to_region(observation: Observation, region: Region, top: int, left: int) -> NDArray[np.float64]:
    """[3,3] px of a patch, whose corner lies at (top, left) in the frame -> px of the region."""
    shift_frame, shift_region = np.eye(3), np.eye(3)
    shift_frame[:2, 2] = (left, top)
    shift_region[:2, 2] = (-region.left, -region.top)
    matrix: NDArray[np.float64] = shift_region @ observation.frame_to_crop @ shift_frame
    return matrix


def to_frame(
    picture: Tensor,
    mask: Tensor,
    observation: Observation,
    region: Region,
    size: tuple[int, int],
) -> Patch:
    """Bring the region from the crop into the frame.

    Args:
        picture: [1,3,h,w] -1...1, crop px of the region.
        mask: [1,1,h,w].
        observation: where the crop lies.
        region: the part of the crop.
        size: height and width of the frame.
    """
    edges = ((region.left, region.top), (region.left + region.width, region.top + region.height))
    corners = np.array([(x, y) for x in (edges[0][0], edges[1][0]) for y in (edges[0][1], edges[1][1])], np.float64)
    placed = transform_points(corners, observation.crop_to_frame)
    left, top = (max(0, int(v)) for v in np.floor(placed.min(0)))
    right, bottom = int(np.ceil(placed[:, 0].max())), int(np.ceil(placed[:, 1].max()))
    height, width = max(1, min(bottom, size[0]) - top), max(1, min(right, size[1]) - left)
    matrix = patch_to_region(observation, region, top, left)
    both = warp(torch.cat([picture, mask], 1), matrix, (height, width), sharp=True)[0]
    share = torch.where(both[3] < _LEAST, 0.0, both[3]).clamp(max=1.0)
    rgb = ((both[:3].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0)
    return Patch(rgb.contiguous().numpy(), share.contiguous().numpy(), top, left)
