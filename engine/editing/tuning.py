"""Joint tuning: one linear map from features to W+ and the generator's own weights, on all frames of a clip together.

Pivotal tuning (Roich et al. 2021, arXiv 2106.05744) fits the generator to fixed codes of single frames. Here the codes
are not fixed per frame but predicted, w = w0 + sum_k phi_k D_k, from what a tracker sees in any frame (`features`), and
the map is fitted together with the weights. What comes out is a generator of this speaker that is steered by pose,
light and eight mouth numbers: frames it was not fitted on need no inversion, and a mouth is edited by changing its
numbers. The joint form, its steps, rates and weights are ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.editing.inversion import Step
from engine.editing.keeping import FitState, Kept
from engine.editing.perceptual import PerceptualLoss
from engine.errors import ShapeError
from engine.generators.protocol import Generator, Region
from engine.generators.stats import WStatistics

_BETAS: Final = (0.8, 0.99)
_WARM_UP: Final = 20


@dataclass(frozen=True, slots=True)
class TuningConfig:
    """How long and how fast the joint tuning runs."""

    steps: int = 480
    """Steps of one frame each."""
    base_rate: float = 0.01
    """Adam rate of the base code (whitened)."""
    slope_rate: float = 0.002
    """Adam rate of the feature directions (whitened); five times as much and codes leave the faces."""
    weight_rate: float = 7e-4
    """Adam rate of the generator's weights, each as a share of its root mean square; 0 leaves them as they are.

    One rate for all, 5e-4, moved the small pointwise filters by several percent a step, and beards and teeth turned
    into hatching; so does three times this share.
    """
    compact: bool = False
    """Whether only the convolutions of the up-blocks are tuned: a profile of a fifth of the size."""
    perceptual: float = 2.0
    """Weight of the perceptual distance, at half size."""
    stages: int = 3
    """Stages of the perceptual network in use."""
    pixel: float = 0.9
    """Weight of the mean absolute difference at full size."""
    slope_prior: float = 0.4
    """Weight of the mean square change of the feature directions."""
    averaging: float = 0.97
    """Decay of the moving mean of all that is fitted, over the second half of the steps; its result is what counts."""
    seed: int = 0
    """Order of the frames."""


@dataclass(frozen=True, slots=True)
class TuningFrame:
    """One frame to fit."""

    picture: Tensor
    """[3,h,w] uint8, the region of the aligned crop."""
    features: Tensor
    """[F] float32: features, mouth numbers last."""
    weight: Tensor
    """[1,h,w] float32: how much each pixel counts."""


@dataclass(frozen=True, slots=True)
class TuningResult:
    """What tuning found; the generator itself was changed in place."""

    base: Tensor
    """[R,K] whitened code at features of zero."""
    slopes: Tensor
    """[F,R,K] whitened change per feature."""
    losses: list[float]
    """Loss of every step."""


def tuned_parameters(generator: Generator, compact: bool = False) -> dict[str, nn.Parameter]:
    """The weights that tuning changes: all of synthesis, neither mapping nor the coarse read-out.

    `compact` leaves out the maps from w to styles and the layers outside the up-blocks: a fifth of the weights remain.
    """
    return {
        name: parameter
        for name, parameter in generator.module().named_parameters()
        if not name.startswith(("mapping", "coarse"))
        and not (compact and (".style." in name or ".up." in name or not name.startswith("blocks.")))
    }


def to_unit(picture: Tensor) -> Tensor:
    """uint8 0...255 -> float32 -1...1."""
    return picture.to(torch.float32) / 127.5 - 1


def tune(
    generator: Generator,
    statistics: WStatistics,
    perceptual: PerceptualLoss,
    region: Region,
    base: Tensor,
    start: Tensor,
    frames: Sequence[TuningFrame],
    config: TuningConfig,
    progress: Step,
    kept: Kept | None = None,
) -> TuningResult:
    """Fit the map from features to W+ and the generator's weights to a clip.

    Args:
        generator: changed in place; its weights need no gradient before or after.
        statistics: whitened W of the untuned generator.
        perceptual: the distance.
        region: the part of the picture that is fitted.
        base: [R,K] whitened code to begin with.
        start: [F,R,K] directions of the features to begin with; the fit is held to them where the clip is silent.
        frames: the clip, all with the same number of features.
        config: steps and rates.
        progress: called after each step.
        kept: keeps the fit on disk while it runs, and may hold one that was broken off.

    Raises:
        ShapeError: no frames, or frames of another size than the region.
    """
    if not frames or any(f.picture.shape != (3, region.height, region.width) for f in frames):
        raise ShapeError(f"expected at least one frame, all [3,{region.height},{region.width}], got {len(frames)}")
    code = base.clone().requires_grad_(True)
    slopes = start.clone().requires_grad_(True)
    tuned = tuned_parameters(generator, config.compact) if config.weight_rate > 0 else {}
    weights = list(tuned.values())
    fitted = [code, slopes, *weights]
    rates = [config.base_rate, config.slope_rate]
    rates += [config.weight_rate * float(weight.detach().square().mean().sqrt()) for weight in weights]
    optimiser = torch.optim.Adam([{"params": [part]} for part in fitted], lr=1e-3, betas=_BETAS, fused=True)
    mean = MovingMean(fitted, config.averaging)
    wanted: dict[int, list[Tensor]] = {}
    state = FitState(fitted, optimiser, mean.means)
    done, losses = (0, []) if kept is None else kept.restore(state)
    for weight in weights:
        weight.requires_grad_(True)
    try:
        for step, index in list(enumerate(_frame_order(len(frames), config.steps, config.seed)))[done:]:
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * _schedule(step, config.steps)
            w = statistics.decode(code + torch.tensordot(frames[index].features, slopes, 1))
            found = generator.region(w[None], region)
            loss = _distance(found, frames[index], perceptual, wanted, index, config)
            loss = loss + config.slope_prior * (slopes - start).square().mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            losses.append(float(loss.detach()))
            mean.update(step >= config.steps // 2)
            if kept is not None:
                kept.offer(losses, state)
            progress(step + 1, config.steps)
    finally:
        for weight in weights:
            weight.requires_grad_(False)
            weight.grad = None
    mean.apply()
    return TuningResult(code.detach(), slopes.detach(), losses)


class MovingMean:
    """Exponential moving mean of parameters (Polyak and Juditsky 1992).

    Steps on single frames are noisy, and the noise shows as hatching where frames differ most: between the lips.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float) -> None:
        """Takes the parameters, changed in place by an optimiser; `decay` 0 keeps the last values."""
        self._parameters: Final = list(parameters)
        self._decay: Final = decay
        self.means: Final[list[Tensor]] = []

    def update(self, begun: bool) -> None:
        """Take in the values after a step; before averaging has begun nothing is kept."""
        with torch.no_grad():
            if begun and not self.means:
                self.means.extend(p.detach().clone() for p in self._parameters)
            elif begun:
                for kept, parameter in zip(self.means, self._parameters, strict=True):
                    kept.lerp_(parameter.detach(), 1 - self._decay)

    def apply(self) -> None:
        """Write the means into the parameters."""
        with torch.no_grad():
            for index, value in enumerate(self.means):
                self._parameters[index].copy_(value)


def _schedule(step: int, steps: int) -> float:
    """Share of the rate: a short rise, then a cosine down to a tenth."""
    return min(1.0, (step + 1) / _WARM_UP) * (0.1 + 0.45 * (1 + math.cos(math.pi * step / steps)))


def _frame_order(count: int, steps: int, seed: int) -> list[int]:
    """Frames in a random order, every one once before any comes again."""
    order = torch.Generator().manual_seed(seed)
    rounds = [torch.randperm(count, generator=order) for _ in range(-(-steps // count))]
    return torch.cat(rounds)[:steps].tolist() if rounds else []


def _distance(
    found: Tensor,
    frame: TuningFrame,
    perceptual: PerceptualLoss,
    wanted: dict[int, list[Tensor]],
    index: int,
    config: TuningConfig,
) -> Tensor:
    picture = to_unit(frame.picture)[None]
    weight = frame.weight[None]
    if index not in wanted:
        goal = perceptual.goal(functional.avg_pool2d(picture, 2), config.stages)
        wanted[index] = [f.to(torch.bfloat16) for f in goal]
    far = perceptual.distance(functional.avg_pool2d(found, 2), wanted[index], weight).sum()
    near = ((found - picture).abs() * weight).mean() / weight.mean()
    return config.perceptual * far + config.pixel * near
