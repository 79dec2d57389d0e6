"""Decoded pictures of FFmpeg to `VideoFrame` and back: formats, colour tags, copying.

Rule for formats: planar 8- and 10-bit 4:2:0, 4:2:2 and 4:4:4 are taken as they are (an alpha plane is dropped).
Anything else is converted by swscale: RGB and palettes to 4:4:4 BT.709 limited range, grey to 4:2:0, other chroma
layouts to the nearest of the three that loses no chroma, or 4:2:0; more than 8 bits to 10.
"""

from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace

from engine.errors import MediaError
from engine.media import Matrix, Plane, Subsampling, VideoFrame, sample_type
from streaming.orientation import Orientation

UNSPECIFIED = 2
"""Code point of ITU-T H.273 for "not said"."""

_MATRICES: dict[int, Matrix] = {
    1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020",
}  # fmt: skip
_DIRECT: dict[str, tuple[Subsampling, int]] = {
    f"{prefix}{layout}p{suffix}": (layout, bits)
    for layout in ("420", "422", "444")
    for prefix, suffix, bits in (
        ("yuv", "", 8), ("yuvj", "", 8), ("yuva", "", 8), ("yuv", "10le", 10), ("yuva", "10le", 10),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Colour:
    """Colour tags as code points of ITU-T H.273; 2 is "not said"."""

    primaries: int = UNSPECIFIED
    """Colour primaries."""
    transfer: int = UNSPECIFIED
    """Transfer characteristics (gamma)."""
    matrix: int = UNSPECIFIED
    """Matrix coefficients."""
    range: int = 0
    """0 not said, 1 limited, 2 full."""

    def matrix_name(self, width: int, height: int) -> Matrix:
        """The matrix to compute with: as tagged, else BT.709 for high definition and BT.601 below, as players do."""
        hd = width >= 1280 or height > 576
        return _MATRICES.get(self.matrix, "bt709" if hd else "bt601")


@dataclass(frozen=True)
class PictureFormat:
    """What a stream's pictures become in `VideoFrame`."""

    subsampling: Subsampling
    """Chroma layout of the planes."""
    bit_depth: int
    """8 or 10."""
    colour: Colour
    """Tags, after conversion where there is one."""
    converted_from: str | None = None
    """The source's pixel format when swscale has to convert it."""

    @classmethod
    def of(cls, frame: av.VideoFrame, colour: Colour) -> "PictureFormat":
        """The format for a stream whose first decoded frame is `frame` and whose tags are `colour`."""
        name = frame.format.name
        if name in _DIRECT:
            layout, bits = _DIRECT[name]
            if name.startswith("yuvj"):
                colour = Colour(colour.primaries, colour.transfer, colour.matrix, 2)
            return cls(layout, bits, colour)
        fmt = frame.format
        if fmt.is_bayer or not fmt.components:
            raise MediaError(f"pixel format {name}: cannot be shown as a picture; expected YUV, RGB or grey video.")
        bits = 10 if max(part.bits for part in fmt.components) > 8 else 8
        if fmt.is_rgb or fmt.has_palette:
            return cls("444", bits, Colour(colour.primaries, colour.transfer, 1, 1), name)
        grey = not any(part.is_chroma for part in fmt.components)
        sizes = (16, 16) if grey else (fmt.chroma_width(32), fmt.chroma_height(32))
        wide: Subsampling = "444" if sizes[0] == 32 else ("422" if sizes == (16, 32) else "420")
        return cls(wide, bits, colour, name)

    @property
    def pix_fmt(self) -> str:
        """FFmpeg's name for the planes."""
        return f"yuv{self.subsampling}p" + ("10le" if self.bit_depth == 10 else "")


@dataclass(frozen=True)
class VideoFormat:
    """All that pictures of one stream have in common."""

    width: int
    """Columns of the upright picture."""
    height: int
    """Rows of the upright picture."""
    picture: PictureFormat
    """Format of the planes as coded."""
    orientation: Orientation
    """How coded pictures are turned upright."""
    rate: Fraction
    """Average pictures per second, as the file states it; the times of the pictures decide."""
    time_base: Fraction
    """Seconds per tick."""
    pixel_aspect: Fraction | None
    """Width over height of a pixel as coded; None when the file does not say."""

    @property
    def step(self) -> int:
        """Ticks of one picture at `rate`."""
        return max(1, round(1 / self.rate / self.time_base))


def from_av(frame: av.VideoFrame, fmt: PictureFormat, pts: int, time_base: Fraction) -> VideoFrame:
    """Copy a decoded frame out of FFmpeg's buffers, as coded (not turned)."""
    if fmt.converted_from is not None:
        if frame.format.is_rgb or frame.format.has_palette:
            frame = frame.reformat(
                format=fmt.pix_fmt, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
        else:
            frame = frame.reformat(format=fmt.pix_fmt)
    y, u, v = (_plane_array(plane, fmt.bit_depth).copy() for plane in frame.planes[:3])
    matrix = fmt.colour.matrix_name(frame.width, frame.height)
    return VideoFrame((y, u, v), fmt.subsampling, fmt.bit_depth, matrix, fmt.colour.range == 2, pts, time_base)


def to_av(planes: tuple[Plane, Plane, Plane], pix_fmt: str, bit_depth: int) -> av.VideoFrame:
    """A frame of FFmpeg holding a copy of the given planes."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, pix_fmt)
    for target, plane in zip(frame.planes, planes, strict=True):
        _plane_array(target, bit_depth)[...] = plane
    return frame


def _plane_array(plane: VideoPlane, bit_depth: int) -> Plane:
    """A view [h, w] of one plane's memory, without the padding of its rows."""
    kind = sample_type(bit_depth)
    rows = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)
    return rows[: plane.height, : plane.width]
