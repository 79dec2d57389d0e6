"""Landmark-guided W+ optimisation of one frame (Su et al. 2024), from the predicted w and with last frame's offset.

The terms follow the paper's (landmark, perceptual, smoothness); weights, rates and the pixel and prior terms are ours.
The perceptual term holds the picture to the predicted one, so that a landmark network cannot be satisfied by a smear.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from engine.editing.perceptual import PerceptualLoss
from engine.editing.settling import FRAME_S, kept_in, share_in
from engine.generators.stats import WStatistics


@dataclass(frozen=True, slots=True)
class RefineConfig:
    """Weights of the per-frame objective and the optimiser's rate."""

    rate: float = 0.03
    """Adam rate in whitened W."""
    beta1: float = 0.5
    """Momentum; 0.9 lags behind a moving target."""
    landmark: float = 300.0
    """Weight of the mean squared distance of the mouth and jaw points from their targets, in IOD squared."""
    perceptual: float = 2.0
    """Weight of the perceptual distance from the predicted picture, at a quarter of its size."""
    stages: int = 3
    """Stages of the perceptual network that this distance uses.

    Three at weight 2 leave the landmarks as near as four at weight 1 do, and the picture 6-11 % farther from the
    predicted one by the whole network, for 40 % less work."""
    pixel: float = 2.0
    """Weight of the mean absolute difference from the source in the mask's soft edge."""
    prior: float = 0.5
    """Weight of the mean square of the offset."""
    smoothness: float = 0.5
    """Weight of the mean square of the offset's change since the last frame."""
    keep: float = 0.85
    """Share of the last frame's offset that the search begins with, where that was 40 ms ago (`settling`)."""
    whole: int = 8
    """Steps from which on the whole way that a search has gone is taken; of fewer, a share, told for 40 ms.

    Adam's first step is the gradient's sign: every number of the offset moves by the full rate, however near it is.
    With one step a frame pictures boiled (flicker 5.2 times the clip's; 0.8 with an eighth of the way)."""


@dataclass(frozen=True, slots=True)
class RefineProblem:
    """One frame's objective."""

    w: Tensor
    """[R,512] predicted."""
    render: Callable[[Tensor], Tensor]
    """w [R,512] -> region [1,3,h,w]."""
    points: Callable[[Tensor], Tensor]
    """Region -> landmarks [1,68,3] px of the frame."""
    target: Tensor
    """[68,2] px of the frame."""
    weight: Tensor
    """[68] weight of each landmark."""
    iod_px: float | Tensor
    """Inter-ocular distance in px of the frame."""
    source: Tensor
    """[1,3,h,w] the frame's own region, -1...1."""
    edge: Tensor
    """[1,1,h,w] weight of the mask's soft edge."""
    elapsed_s: float = FRAME_S
    """Media time since the frame before, in s."""


@dataclass(frozen=True, slots=True)
class Refined:
    """What the steps found."""

    offset: Tensor
    """[R,K] whitened offset from the predicted w."""
    recovered: bool
    """Whether a loss that rose or was no number made the search fall back to the best offset seen."""


def refine(
    problem: RefineProblem,
    predicted: Tensor,
    last: Tensor,
    steps: int,
    statistics: WStatistics,
    perceptual: PerceptualLoss,
    config: RefineConfig,
) -> Refined:
    """Optimise the offset of w for a number of steps.

    Args:
        problem: the frame's objective.
        predicted: [1,3,h,w] picture of `problem.w`.
        last: [R,K] last frame's offset.
        steps: Adam steps; 0 gives zero offset.
        statistics: whitened W.
        perceptual: the distance.
        config: weights and rate.
    """
    if steps == 0:
        return Refined(torch.zeros_like(last), False)
    goal = looks_of(perceptual, predicted, config)
    start = begun(last, problem.elapsed_s, config)
    offset = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([offset], lr=config.rate, betas=(config.beta1, 0.99))
    best, best_loss, first = torch.zeros_like(last), float("inf"), float("nan")
    recovered = False
    for step in range(steps):
        picture = problem.render(problem.w + offset @ statistics.basis)
        loss = objective(problem, picture, offset, last, goal, perceptual, config)
        value = float(loss.detach())
        if not torch.isfinite(loss) or (step and value > 2 * first):
            recovered = True
            break
        first = value if step == 0 else first
        if value < best_loss:
            best, best_loss = offset.detach().clone(), value
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        if offset.grad is None or not bool(torch.isfinite(offset.grad).all()):
            recovered = True
            break
        optimiser.step()
    return Refined(best if recovered else taken(start, offset.detach(), steps, problem.elapsed_s, config), recovered)


def begun(last: Tensor, elapsed_s: float, config: RefineConfig) -> Tensor:
    """The offset [R,K] that a search begins with, so many s after the frame whose offset was `last`."""
    return kept_in(elapsed_s, config.keep) * last


def taken(start: Tensor, found: Tensor, steps: int, elapsed_s: float, config: RefineConfig) -> Tensor:
    """The offset [R,K] that a search from `start` to `found` is worth after so many steps (`RefineConfig.whole`)."""
    return torch.lerp(start, found, share_in(elapsed_s, min(1.0, steps / config.whole)))


def looks_of(perceptual: PerceptualLoss, predicted: Tensor, config: RefineConfig) -> list[Tensor]:
    """Features of the predicted picture [1,3,h,w] that a search holds its pictures to: `PerceptualLoss.goal`'s."""
    return perceptual.goal(functional.avg_pool2d(predicted, 4), config.stages)


def objective(
    problem: RefineProblem,
    picture: Tensor,
    offset: Tensor,
    last: Tensor,
    goal: list[Tensor],
    perceptual: PerceptualLoss,
    config: RefineConfig,
) -> Tensor:
    """What the steps make small: a scalar.

    Args:
        problem: the frame's targets.
        picture: [1,3,h,w] rendered at `offset`.
        offset: [R,K] whitened.
        last: [R,K] last frame's.
        goal: features of the predicted picture at a quarter of its size.
        perceptual: the distance.
        config: weights.
    """
    far = (problem.points(picture)[0, :, :2] - problem.target) / problem.iod_px
    landmark = (far.square().sum(1) * problem.weight).sum() / problem.weight.sum()
    looks = perceptual.distance(functional.avg_pool2d(picture, 4), goal).sum()
    edge = ((picture - problem.source).abs() * problem.edge).mean() / problem.edge.mean().clamp(min=1e-6)
    return (
        config.landmark * landmark
        + config.perceptual * looks
        + config.pixel * edge
        + config.prior * offset.square().mean()
        + config.smoothness * (offset - last).square().mean()
    )
