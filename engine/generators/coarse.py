"""Fits the coarse read-out: a linear map from inner features to the output shrunk to their size.

`MobileStyleGAN` has no picture output below its full size, and what `StyleGAN2` has summed up by then lacks contrast.
Features half-way up tell the picture nearly linearly; reading it there costs a fraction of the full render.
`python -m engine.generators.coarse` fits the read-out by ridge least squares over random faces, prints what it explains
on faces it did not see and writes the file that `load_default_generator` reads (minutes: every face costs one full
render). The shipped file is a fit of the same kind on 16 faces, made before this module; a new run has other samples
and explained 0.956 of the variance.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from engine.errors import BadInputError
from engine.generators.default import COARSE_FILE, COARSE_KEY, read_default_generator

TRUNCATION = 0.8
"""How far from the average face the samples are drawn: nearer than random ones, as people in video are."""

_RIDGE = 1e-3


class Readable(Protocol):
    """The part of a generator that the fit needs."""

    rows: int
    noise_width: int
    resolution: int
    coarse_resolution: int

    def synthesis(self, w: Tensor) -> Tensor:
        """Full picture. w: [B,R,D] -> [B,3,S,S]."""
        ...

    def coarse_inputs(self, w: Tensor) -> Tensor:
        """Regressors of the read-out. w: [B,R,D] -> [B,N,Q,Q]."""
        ...

    def mapping(self, z: Tensor) -> Tensor:
        """Noise to W. z: [B,Z] -> [B,D]."""
        ...


@dataclass(frozen=True, slots=True)
class CoarseFit:
    """A fitted read-out.

    Attributes:
        weight: [3,N] float32.
        explained: share of the pictures' variance explained on held-out faces, at most 1.
    """

    weight: Tensor
    explained: float


def _pair(model: Readable, mean: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Regressors [N,P] and targets [3,P] of one face's P coarse pixels, float64."""
    w = mean + TRUNCATION * (model.mapping(noise) - mean)
    code = w[:, None].expand(-1, model.rows, -1)
    factor = model.resolution // model.coarse_resolution
    target = functional.avg_pool2d(model.synthesis(code), factor)
    return model.coarse_inputs(code)[0].flatten(1).double(), target[0].flatten(1).double()


def fit_coarse(
    model: Readable,
    samples: int = 16,
    held_out: int = 4,
    seed: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> CoarseFit:
    """Fits the read-out to random faces; the model is not changed.

    Args:
        model: the generator.
        samples: faces to fit on, at least 1.
        held_out: faces to judge by, at least 1.
        seed: seed of the faces.
        progress: told (done, total) after every face.

    Raises:
        BadInputError: there is nothing to fit on or to judge by.
    """
    if samples < 1 or held_out < 1:
        raise BadInputError(f"{samples} samples, {held_out} held out; expected at least one of each")
    generator = torch.Generator().manual_seed(seed)
    total = samples + held_out
    with torch.no_grad():
        mean = model.mapping(torch.randn(2000, model.noise_width, generator=generator)).mean(0, keepdim=True)
        noise = torch.randn(total, model.noise_width, generator=generator)
        squares, products = torch.zeros(()).double(), torch.zeros(()).double()
        for index in range(samples):
            inputs, target = _pair(model, mean, noise[index : index + 1])
            squares = squares + inputs @ inputs.T
            products = products + inputs @ target.T
            if progress:
                progress(index + 1, total)
        ridge = _RIDGE * squares.diagonal().mean() * torch.eye(len(squares)).double()
        weight = torch.linalg.solve(squares + ridge, products).T
        missed, spread = 0.0, 0.0
        for index in range(samples, total):
            inputs, target = _pair(model, mean, noise[index : index + 1])
            missed += float((weight @ inputs - target).square().mean())
            spread += float((target - target.mean(1, keepdim=True)).square().mean())
            if progress:
                progress(index + 1, total)
    return CoarseFit(weight.float().contiguous(), 1.0 - missed / spread if spread else 0.0)


def main() -> None:
    """Fits the read-out of the default generator and writes the file that ships."""

    def tell(done: int, total: int) -> None:
        """Writes one line over and over."""
        sys.stderr.write(f"\rface {done} of {total}")

    fit = fit_coarse(read_default_generator(), progress=tell)
    save_file({COARSE_KEY: fit.weight}, COARSE_FILE, metadata={"explained": f"{fit.explained:.4f}"})
    sys.stdout.write(f"\n{COARSE_FILE.name}: explains {fit.explained:.4f} of the variance of unseen faces\n")


if __name__ == "__main__":
    main()
