"""What the engine asks of a generator, whichever network it is.

Letters: B batch, R rows of W+ (one per layer that takes a style), D width of a row (512), Z width of the noise, S
output size in pixels.
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from engine.errors import ShapeError


@dataclass(frozen=True, slots=True)
class Region:
    """A rectangle of the generator's picture, in output pixels.

    Attributes:
        top: first row, a multiple of the generator's `region_step`.
        left: first column, likewise.
        height: rows, likewise.
        width: columns, likewise.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the rectangle in the last two dimensions of a picture."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    @classmethod
    def around(cls, box: tuple[float, float, float, float], step: int, size: int) -> "Region":
        """Smallest allowed rectangle that holds a box, cut to the picture.

        Args:
            box: top, left, bottom, right in output pixels.
            step: alignment in pixels.
            size: side of the square picture in pixels, a multiple of `step`.

        Raises:
            ShapeError: the box lies wholly outside the picture.
        """
        top, left = (max(0, int(v // step) * step) for v in box[:2])
        bottom, right = (min(size, -int(-v // step) * step) for v in box[2:])
        if bottom <= top or right <= left:
            raise ShapeError(f"region box {box} lies outside the {size}x{size} picture; expected some overlap")
        return cls(top, left, bottom - top, right - left)

    def check(self, step: int, size: int) -> None:
        """Checks alignment and bounds.

        Raises:
            ShapeError: the rectangle is misaligned, empty or leaves the picture.
        """
        values = (self.top, self.left, self.height, self.width)
        inside = self.top >= 0 and self.left >= 0 and self.top + self.height <= size and self.left + self.width <= size
        if any(v % step for v in values) or self.height <= 0 or self.width <= 0 or not inside:
            raise ShapeError(
                f"{self} does not fit a {size}x{size} picture in steps of {step} px; use Region.around to align it"
            )


class Generator(Protocol):
    """A face generator with a layer-wise latent code."""

    rows: int
    """R: rows of W+."""
    width: int
    """D: numbers in a row."""
    noise_width: int
    """Z: numbers of the noise that `mapping` takes."""
    resolution: int
    """S: side of the output picture in pixels."""
    coarse_resolution: int
    """Side of the picture that `coarse` gives, in pixels."""
    region_step: int
    """Alignment of regions, in output pixels."""

    def synthesis(self, w: Tensor) -> Tensor:
        """Full picture. w: [B,R,D] float -> [B,3,S,S], about -1...1."""
        ...

    def region(self, w: Tensor, region: Region) -> Tensor:
        """The same pixels as `synthesis` inside `region` alone. w: [B,R,D] -> [B,3,h,w]."""
        ...

    def coarse(self, w: Tensor) -> Tensor:
        """A small picture read from inner features: close to the shrunken output, a fraction of its cost."""
        ...

    def mapping(self, z: Tensor) -> Tensor:
        """Noise to W. z: [B,Z] float, standard normal -> [B,D]."""
        ...

    def module(self) -> nn.Module:
        """The network that tuning may change (without mapping)."""
        ...
