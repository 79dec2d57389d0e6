"""A generator of small pictures behind the protocol of a large one: its pictures, enlarged.

Editing works on the aligned crop of 1024 px; masks, soft edges and regions are in its pixels. A generator of 256 or
512 px takes part by having its pictures enlarged smoothly. Detail is not invented: the clip's own sharpness and grain
are added where they are missing, as for any generator.
"""

from typing import Final

from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError
from engine.generators.protocol import Generator, Region

_REACH: Final = 3
"""Pixels of the small picture that a bicubic pixel can depend on, and one more."""


class Enlarged:
    """Pictures of `generator` enlarged to `resolution`.

    Args:
        generator: the small one; its weights stay its own.
        resolution: side of the enlarged picture in pixels, a multiple of the generator's.

    Raises:
        ShapeError: the resolution is no multiple.
    """

    def __init__(self, generator: Generator, resolution: int) -> None:
        """Keeps the generator."""
        if resolution % generator.resolution or resolution <= generator.resolution:
            raise ShapeError(f"{generator.resolution} px cannot be enlarged to {resolution} px; expected a multiple")
        self._generator: Final = generator
        self._factor: Final = resolution // generator.resolution
        self.rows = generator.rows
        self.width = generator.width
        self.noise_width = generator.noise_width
        self.resolution = resolution
        self.coarse_resolution = generator.coarse_resolution
        self.region_step = 1

    def synthesis(self, w: Tensor) -> Tensor:
        """Full picture, enlarged: w [B,R,D] float -> [B,3,S,S]."""
        return self._enlarged(self._generator.synthesis(w))

    def region(self, w: Tensor, region: Region) -> Tensor:
        """The same pixels as `synthesis` inside `region` alone: w [B,R,D] -> [B,3,h,w].

        Raises:
            ShapeError: the region is empty or leaves the picture.
        """
        region.check(self.region_step, self.resolution)
        step, size, factor = self._generator.region_step, self._generator.resolution, self._factor
        top, left = region.top / factor, region.left / factor
        bottom, right = (region.top + region.height) / factor, (region.left + region.width) / factor
        box = (top - _REACH, left - _REACH, bottom + _REACH, right + _REACH)
        small = Region.around(box, step, size)
        picture = self._enlarged(self._generator.region(w, small))
        first, second = region.top - small.top * factor, region.left - small.left * factor
        return picture[:, :, first : first + region.height, second : second + region.width]

    def _enlarged(self, picture: Tensor) -> Tensor:
        return functional.interpolate(picture, scale_factor=self._factor, mode="bicubic", align_corners=False)

    def coarse(self, w: Tensor) -> Tensor:
        """The generator's own coarse picture: w [B,R,D] -> [B,3,Q,Q]."""
        return self._generator.coarse(w)

    def mapping(self, z: Tensor) -> Tensor:
        """Noise to W, as the generator's."""
        return self._generator.mapping(z)

    def module(self) -> nn.Module:
        """The generator's own network: tuning and identity are its."""
        return self._generator.module()
