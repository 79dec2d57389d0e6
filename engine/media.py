"""The data that moves through the engine: a decoded picture, a piece of sound, and how a patch gets into a picture.

Chroma rule, used in both directions: a chroma sample holds for its whole footprint of luma pixels (2x2 in 4:2:0, 2x1 in
4:2:2). Pictures are made by repeating it, patches are written by averaging over it, so that writing a picture's own RGB
back gives its own planes to within rounding.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError

Subsampling = Literal["420", "422", "444"]
"""Chroma layout: 4:2:0 (half width and height), 4:2:2 (half width), 4:4:4 (full)."""

Matrix = Literal["bt601", "bt709", "bt2020", "fcc", "smpte240m"]
"""Which luma coefficients turn RGB into Y'CbCr (bt2020: the non-constant-luminance kind)."""

Plane = NDArray[np.unsignedinteger[Any]]
"""One plane of samples: uint8 for 8 bits, uint16 (value in the low bits) for more."""

_STEPS: dict[str, tuple[int, int]] = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}
_BAND = 64
"""Rows of chroma that are made RGB at once, so that what lies between stays in the processor's cache."""
_KR_KB: dict[str, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}


def sample_type(bit_depth: int) -> "np.dtype[np.unsignedinteger[Any]]":
    """The numpy type that holds samples of `bit_depth` bits."""
    return np.dtype(np.uint8) if bit_depth == 8 else np.dtype(np.uint16)


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One decoded picture in its own planes, upright, with its time."""

    planes: tuple[Plane, Plane, Plane]
    """Y [H, W], then U and V [ceil(H / sy), ceil(W / sx)]; uint8 for 8 bits, else uint16."""
    subsampling: Subsampling
    """Chroma layout of `planes`."""
    bit_depth: int
    """Bits per sample, 8 to 16."""
    matrix: Matrix
    """Luma coefficients of `planes`."""
    full_range: bool
    """True: samples use 0 ... 2^bits - 1; False: 16 ... 235 (240 for chroma), scaled by the bit depth."""
    pts: int
    """Presentation time in ticks of `time_base`."""
    time_base: Fraction
    """Seconds per tick."""

    def __post_init__(self) -> None:
        """Check that the planes fit each other and their description."""
        if self.subsampling not in _STEPS or self.matrix not in _KR_KB or not 8 <= self.bit_depth <= 16:
            raise ShapeError(
                f"video frame: got subsampling {self.subsampling!r}, matrix {self.matrix!r}, {self.bit_depth} bits; "
                f"expected one of {'/'.join(_STEPS)}, one of {'/'.join(_KR_KB)}, 8 to 16. Convert the picture first."
            )
        if len(self.planes) != 3 or self.planes[0].ndim != 2 or 0 in self.planes[0].shape:
            raise ShapeError("video frame: expected three planes Y, U, V with Y of shape [H, W], neither of them 0.")
        (h, w), (sy, sx) = self.planes[0].shape, _STEPS[self.subsampling]
        chroma = (-(-h // sy), -(-w // sx))
        kind = sample_type(self.bit_depth)
        for name, plane, shape in zip("YUV", self.planes, ((h, w), chroma, chroma), strict=True):
            if plane.shape != shape or plane.dtype != kind:
                raise ShapeError(
                    f"video frame, plane {name}: got {plane.dtype} {list(plane.shape)}, expected {kind} "
                    f"{list(shape)} for {self.bit_depth} bits, 4:{self.subsampling[1]}:{self.subsampling[2]}."
                )

    @property
    def height(self) -> int:
        """Rows of the picture in pixels."""
        return int(self.planes[0].shape[0])

    @property
    def width(self) -> int:
        """Columns of the picture in pixels."""
        return int(self.planes[0].shape[1])

    @property
    def seconds(self) -> float:
        """Presentation time in seconds."""
        return float(self.pts * self.time_base)

    def rgb(self) -> NDArray[np.uint8]:
        """The picture as gamma-coded RGB, uint8 [H, W, 3]; a new array at every call."""
        out = np.empty((self.height, self.width, 3), np.uint8)
        sy = _STEPS[self.subsampling][0]
        for begin in range(0, self.planes[1].shape[0], _BAND):
            chroma = slice(begin, begin + _BAND)
            rows = slice(begin * sy, (begin + _BAND) * sy)
            self._rgb_of((self.planes[0][rows], self.planes[1][chroma], self.planes[2][chroma]), out[rows])
        return out

    def _rgb_of(self, planes: tuple[Plane, Plane, Plane], out: NDArray[np.uint8]) -> None:
        """Write a band of rows of the picture."""
        kr, kb = _KR_KB[self.matrix]
        kg = 1.0 - kr - kb
        y_off, y_scale, c_off, c_scale = _levels(self.bit_depth, self.full_range)
        luma = (planes[0].astype(np.float32) - np.float32(y_off)) * np.float32(255.0 / y_scale) + np.float32(0.5)
        cb = (planes[1].astype(np.float32) - np.float32(c_off)) * np.float32(255.0 / c_scale)
        cr = (planes[2].astype(np.float32) - np.float32(c_off)) * np.float32(255.0 / c_scale)
        red, blue = np.float32(2 - 2 * kr) * cr, np.float32(2 - 2 * kb) * cb
        green = np.float32(-kr / kg) * red + np.float32(-kb / kg) * blue
        sy, sx = _STEPS[self.subsampling]
        for channel, offset in enumerate((red, green, blue)):
            wide = np.repeat(offset, sx, axis=1)[:, : self.width]
            for row in range(sy):
                total = luma[row::sy] + wide[: luma[row::sy].shape[0]]
                out[row::sy, :, channel] = np.clip(total, 0.0, 255.0, out=total)

    @classmethod
    def from_rgb(
        cls,
        rgb: NDArray[np.uint8] | NDArray[np.float32],
        pts: int,
        time_base: Fraction,
        subsampling: Subsampling = "420",
        bit_depth: int = 8,
        matrix: Matrix = "bt709",
        full_range: bool = False,
    ) -> "VideoFrame":
        """A frame made from a picture.

        rgb: [H, W, 3], values 0..255.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
            raise ShapeError(f"picture: got {list(rgb.shape)}, expected [H, W, 3] with neither H nor W 0.")
        h, w = rgb.shape[:2]
        sy, sx = _STEPS[subsampling]
        kind = sample_type(bit_depth)
        chroma = np.full((-(-h // sy), -(-w // sx)), 1 << (bit_depth - 1), kind)
        blank = cls(
            (np.zeros((h, w), kind), chroma, chroma.copy()), subsampling, bit_depth, matrix, full_range, pts, time_base
        )
        return blend_rgb(blank, rgb, np.ones((h, w), np.float32), 0, 0)


@dataclass(frozen=True, eq=False)
class AudioChunk:
    """A piece of mono sound with its time."""

    samples: NDArray[np.float32]
    """[N] float32 in [-1, 1]."""
    sample_rate: int
    """Samples per second."""
    pts: int
    """Time of the first sample in ticks of `time_base`."""
    time_base: Fraction
    """Seconds per tick."""

    def __post_init__(self) -> None:
        """Check the samples' shape and type."""
        if self.samples.ndim != 1 or self.samples.dtype != np.float32 or self.sample_rate <= 0:
            raise ShapeError(
                f"audio chunk: got {self.samples.dtype} {list(self.samples.shape)} at {self.sample_rate} Hz, expected "
                "float32 [N] at a positive rate. Mix down to one channel first."
            )

    @property
    def seconds(self) -> float:
        """Time of the first sample in seconds."""
        return float(self.pts * self.time_base)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.samples) / self.sample_rate


def blend_rgb(
    frame: VideoFrame,
    rgb: NDArray[np.uint8] | NDArray[np.float32],
    mask: NDArray[np.float32],
    top: int,
    left: int,
) -> VideoFrame:
    """Lay a picture over part of a frame, in the frame's own planes, colour matrix and range.

    rgb:  [h, w, 3] values 0..255, gamma-coded as the frame.
    mask: [h, w] float32 0..1, the share of the patch in the result.
    top, left: where the patch's first pixel lies in the frame, in pixels; parts outside the frame are cut off.

    Returns a new frame with new planes. Luma pixels with mask 0, and chroma samples whose whole footprint has mask 0,
    are the input's own, bit for bit. The input is not modified.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or mask.shape != rgb.shape[:2]:
        raise ShapeError(
            f"blend_rgb: got patch {list(rgb.shape)}, mask {list(mask.shape)}; expected [h, w, 3], [h, w]."
        )
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + rgb.shape[0], frame.height), min(left + rgb.shape[1], frame.width)
    planes = (frame.planes[0].copy(), frame.planes[1].copy(), frame.planes[2].copy())
    if y1 <= y0 or x1 <= x0:
        return replace(frame, planes=planes)
    patch = rgb[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32)
    share = np.clip(mask[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32), 0.0, 1.0)
    luma, cb, cr = _to_ycbcr(patch, frame)
    _blend_luma(planes[0][y0:y1, x0:x1], luma, share, frame.bit_depth)
    for plane, chroma in zip(planes[1:], (cb, cr), strict=True):
        _blend_chroma(plane, chroma, share, y0, x0, frame)
    return replace(frame, planes=planes)


def _levels(bits: int, full_range: bool) -> tuple[float, float, float, float]:
    """Offset and scale of luma, offset and scale of chroma, in sample values."""
    unit, middle = float(1 << (bits - 8)), float(1 << (bits - 1))
    if full_range:
        top = float((1 << bits) - 1)
        return 0.0, top, middle, top
    return 16.0 * unit, 219.0 * unit, middle, 224.0 * unit


def _to_ycbcr(
    patch: NDArray[np.float32], frame: VideoFrame
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """Sample values (not yet rounded) of a patch [h, w, 3] in 0..255, all three at full resolution."""
    kr, kb = _KR_KB[frame.matrix]
    y_off, y_scale, c_off, c_scale = _levels(frame.bit_depth, frame.full_range)
    red, green, blue = (patch[..., channel] / np.float32(255.0) for channel in range(3))
    luma = np.float32(kr) * red + np.float32(1 - kr - kb) * green + np.float32(kb) * blue
    cb = (blue - luma) * np.float32(c_scale / (2 - 2 * kb)) + np.float32(c_off)
    cr = (red - luma) * np.float32(c_scale / (2 - 2 * kr)) + np.float32(c_off)
    return luma * np.float32(y_scale) + np.float32(y_off), cb, cr


def _blend_luma(target: Plane, luma: NDArray[np.float32], share: NDArray[np.float32], bits: int) -> None:
    """Mix `luma` into `target` in place, both [h, w]."""
    old = target.astype(np.float32)
    new = np.clip(np.rint(old + share * (luma - old)), 0, (1 << bits) - 1)
    target[...] = np.where(share > 0, new, old).astype(target.dtype)


def _blend_chroma(
    plane: Plane, chroma: NDArray[np.float32], share: NDArray[np.float32], top: int, left: int, frame: VideoFrame
) -> None:
    """Mix full-resolution `chroma` [h, w] into the subsampled `plane` in place: the mean over each footprint."""
    sy, sx = _STEPS[frame.subsampling]
    h, w = share.shape
    cy0, cx0, cy1, cx1 = top // sy, left // sx, -(-(top + h) // sy), -(-(left + w) // sx)

    def per_sample(values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Sum of full-resolution values [h, w] over each chroma sample's footprint."""
        grid = np.zeros(((cy1 - cy0) * sy, (cx1 - cx0) * sx), np.float32)
        grid[top - cy0 * sy : top - cy0 * sy + h, left - cx0 * sx : left - cx0 * sx + w] = values
        lines = sum((grid[:, column::sx] for column in range(1, sx)), start=grid[:, 0::sx])
        return sum((lines[row::sy] for row in range(1, sy)), start=lines[0::sy])

    rows = np.minimum(sy, frame.height - np.arange(cy0, cy1) * sy)
    columns = np.minimum(sx, frame.width - np.arange(cx0, cx1) * sx)
    count = (rows[:, None] * columns[None, :]).astype(np.float32)
    weight = per_sample(share)
    target = plane[cy0:cy1, cx0:cx1]
    old = target.astype(np.float32)
    new = np.clip(np.rint(old + (per_sample(share * chroma) - weight * old) / count), 0, (1 << frame.bit_depth) - 1)
    target[...] = np.where(weight > 0, new, old).astype(target.dtype)
