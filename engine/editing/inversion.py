"""Inversion of one picture: first one code for all rows (or an encoder's), then a code per row, in whitened W.

Whitened coordinates (Wulff and Torralba 2020, arXiv 2009.06529) keep the search on the generator's own faces; plain
descent on raw W+ leaves them. Steps, rates and weights are ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from engine.editing.perceptual import PerceptualLoss
from engine.errors import ShapeError
from engine.generators.protocol import Generator
from engine.generators.stats import WStatistics

Step = Callable[[int, int], None]
"""Called with steps done and steps in all."""

_BETAS: Final = (0.8, 0.99)


@dataclass(frozen=True, slots=True)
class InversionConfig:
    """How long and how fast an inversion searches."""

    shared_steps: int = 40
    """Steps on one code for all rows."""
    row_steps: int = 30
    """Steps on a code per row."""
    shared_rate: float = 0.15
    """Adam rate of the first part, falling to a third."""
    row_rate: float = 0.06
    """Adam rate of the second part, falling to a third."""
    perceptual: float = 2.0
    """Weight of the perceptual distance, at half of the coarse size."""
    pixel: float = 0.6
    """Weight of the mean absolute difference."""
    prior: float = 0.06
    """Weight of the mean square of the shared code."""
    spread: float = 0.01
    """Weight of the mean square distance of the rows from the shared code, or from the start that was given."""


def face_mask(size: int) -> Tensor:
    """Soft weight of the face in an aligned crop: [1,1,size,size], 1 inside, 0.05 far outside."""
    at = (torch.arange(size) + 0.5) / size
    distance = (((at[None, :] - 0.5) / 0.33) ** 2 + ((at[:, None] - 0.58) / 0.44) ** 2).sqrt()
    return (0.05 + 0.95 * ((1.1 - distance) / 0.2).clamp(0, 1))[None, None]


def invert(
    generator: Generator,
    statistics: WStatistics,
    perceptual: PerceptualLoss,
    picture: Tensor,
    config: InversionConfig,
    progress: Step,
    start: Tensor | None = None,
) -> Tensor:
    """Find the code whose coarse picture looks like an aligned face.

    Args:
        generator: any generator with a coarse picture.
        statistics: its whitened W.
        perceptual: the distance.
        picture: [1,3,Q,Q] float in -1...1, Q the generator's coarse resolution.
        config: steps and weights.
        progress: called after each step.
        start: [R,K] whitened coordinates to begin with (an encoder's, see `engine.generators.encoder_start`); the
            search for one code for all rows is then left out.

    Returns:
        [R,K] whitened coordinates per row.

    Raises:
        ShapeError: the picture or the start has another shape.
    """
    size = generator.coarse_resolution
    if picture.shape != (1, 3, size, size):
        raise ShapeError(f"picture is {tuple(picture.shape)}; expected [1,3,{size},{size}] in -1...1")
    axes = len(statistics.basis)
    if start is not None and start.shape != (generator.rows, axes):
        raise ShapeError(f"start is {tuple(start.shape)}; expected [{generator.rows},{axes}] whitened coordinates")
    mask = face_mask(size)
    small = functional.avg_pool2d(mask, 2)
    wanted = perceptual.goal(functional.avg_pool2d(picture, 2))
    shared_steps = config.shared_steps if start is None else 0
    total = shared_steps + config.row_steps

    def distance(code: Tensor) -> Tensor:
        """Weighted distance from the picture of codes [R,K]."""
        found = generator.coarse(statistics.decode(code)[None])
        far = perceptual.distance(functional.avg_pool2d(found, 2), wanted, small).sum()
        near = ((found - picture).abs() * mask).mean() / mask.mean()
        return config.perceptual * far + config.pixel * near

    shared = torch.zeros(axes, requires_grad=True)
    optimiser = torch.optim.Adam([shared], lr=config.shared_rate, betas=_BETAS)
    for step in range(shared_steps):
        _set_rate(optimiser, config.shared_rate * (1 - step / shared_steps / 1.5))
        loss = distance(shared.expand(generator.rows, -1)) + config.prior * shared.square().mean()
        _descend(optimiser, loss)
        progress(step + 1, total)
    centre = shared.detach().expand(generator.rows, -1) if start is None else start.detach()
    rows = centre.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([rows], lr=config.row_rate, betas=_BETAS)
    for step in range(config.row_steps):
        _set_rate(optimiser, config.row_rate * (1 - step / config.row_steps / 1.5))
        loss = distance(rows) + config.spread * (rows - centre).square().mean()
        _descend(optimiser, loss)
        progress(shared_steps + step + 1, total)
    return rows.detach()


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = rate


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()
