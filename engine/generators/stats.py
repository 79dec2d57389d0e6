"""Where faces lie in W: its mean and principal axes, which make a whitened space to search and to regularise in.

Letters: D = 512 numbers of a row of W, K principal axes. A code v [...,K] has about unit variance in every component
over random faces, so that |v|^2 is how unlikely a face is.
"""

from dataclasses import dataclass
from typing import Protocol, Self

import torch
from torch import Tensor

from engine.errors import ShapeError

AXES = 300
"""Principal axes kept unless asked otherwise: they hold 96 % of the variance of the default generator's W."""

SAMPLES = 4000
"""Faces drawn for the statistics unless asked otherwise."""


class Mapper(Protocol):
    """The part of a generator that the statistics need."""

    width: int
    noise_width: int

    def mapping(self, z: Tensor) -> Tensor:
        """Noise to W. z: [B,Z] -> [B,D]."""
        ...


@dataclass(frozen=True, slots=True)
class WStatistics:
    """Mean and principal axes of W.

    Attributes:
        mean: [D] float32, the average face.
        basis: [K,D] float32, orthogonal axes, each as long as W's standard deviation along it, longest first.
    """

    mean: Tensor
    basis: Tensor

    def __post_init__(self) -> None:
        """Checks the shapes.

        Raises:
            ShapeError: mean is no vector, or basis no set of vectors of the same length.
        """
        if self.mean.ndim != 1 or self.basis.ndim != 2 or self.basis.shape[1] != self.mean.shape[0]:
            shapes = f"mean {tuple(self.mean.shape)}, basis {tuple(self.basis.shape)}"
            raise ShapeError(f"{shapes}; expected [D] and [K,D] with the same D")

    @classmethod
    def sample(cls, generator: Mapper, axes: int = AXES, samples: int = SAMPLES, seed: int = 0) -> Self:
        """Statistics of `samples` random faces; the same seed gives the same result.

        Args:
            generator: what maps noise to W.
            axes: K, at most D and fewer than `samples`.
            samples: faces to draw.
            seed: seed of the noise.

        Raises:
            ShapeError: more axes are asked for than there are.
        """
        if not 0 < axes <= min(generator.width, samples - 1):
            raise ShapeError(f"{axes} axes of {samples} samples of {generator.width} numbers; ask for fewer axes")
        noise = torch.randn(samples, generator.noise_width, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            w = generator.mapping(noise).double()
        mean = w.mean(0)
        centred = w - mean
        variances, vectors = torch.linalg.eigh(centred.T @ centred / samples)
        chosen = vectors.T.flip(0)[:axes]
        peaks = chosen.gather(1, chosen.abs().argmax(1, keepdim=True))
        scale = variances.flip(0)[:axes].clamp_min(0.0).sqrt()[:, None]
        return cls(mean.float(), (chosen * peaks.sign() * scale).float())

    def encode(self, w: Tensor) -> Tensor:
        """Whitened code of the nearest point on the axes. w: [...,D] -> [...,K].

        Raises:
            ShapeError: the last dimension is not D.
        """
        if w.shape[-1:] != self.mean.shape:
            raise ShapeError(f"w is {tuple(w.shape)}; expected [...,{self.mean.shape[0]}]")
        return (w - self.mean) @ (self.basis / self.basis.square().sum(1, keepdim=True).clamp_min(1e-12)).T

    def decode(self, v: Tensor) -> Tensor:
        """Point of W with that whitened code. v: [...,K] -> [...,D].

        Raises:
            ShapeError: the last dimension is not K.
        """
        if v.shape[-1:] != self.basis.shape[:1]:
            raise ShapeError(f"v is {tuple(v.shape)}; expected [...,{self.basis.shape[0]}]")
        return v @ self.basis + self.mean

    def to(self, device: torch.device | str) -> "WStatistics":
        """The same statistics on another device."""
        return WStatistics(self.mean.to(device), self.basis.to(device))
