"""Forms of the edit's work that a backend runs, and the W+ search by such steps.

`refine_by` searches as `refine.refine` does, from the same start and with the same rules of recovery; only the step -
objective, gradient and Adam - is one function of tensors (`graphs.wplus_step`), compiled or not.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from engine.editing.graphs import StepData, View
from engine.editing.perceptual import PerceptualLoss
from engine.editing.refine import RefineConfig, Refined, RefineProblem, begun, looks_of, taken
from kernels.backends.repeated import Repeatable
from kernels.native.pixels import Pixels
from kernels.step import STATE, StepState

Runner = Callable[..., tuple[Tensor, ...]]
"""Takes a graph's inputs, gives its results."""

_RISE: Final = 2.0
"""A loss this many times the first one's ends a search, as `refine` has it."""


@dataclass
class FastForms:
    """What an editor uses in place of its eager work; None: nothing."""

    measure: Runner | None = None
    """As `graphs.measured`."""
    step: Runner | None = None
    """As `graphs.wplus_step`."""
    loops: Pixels | None = None
    """For whoever works on pictures (`kernels.native.pixels.using`)."""
    networks: dict[str, Runner] = field(default_factory=dict)
    """For trackers, by the names of their networks (`engine.tracking.running`)."""


def refine_by(
    step: Runner,
    problem: RefineProblem,
    view: View,
    predicted: Tensor,
    last: Tensor,
    steps: int,
    perceptual: PerceptualLoss,
    config: RefineConfig,
) -> Refined:
    """Optimise the offset of w for a number of steps.

    Args:
        step: one step, with `config` inside; a `Repeatable` takes all at once, and is judged afterwards.
        problem: the frame's objective.
        view: how the face mesh sees the frame.
        predicted: [1,3,h,w] picture of `problem.w`.
        last: [R,K] last frame's offset.
        steps: Adam steps; 0 gives zero offset.
        perceptual: the distance.
        config: of the search's start.
    """
    if steps == 0:
        return Refined(torch.zeros_like(last), False)
    goal = looks_of(perceptual, predicted, config)
    iod = torch.as_tensor(problem.iod_px, dtype=torch.float32)
    data = StepData(problem.w, last, problem.target, iod, problem.source, problem.edge)
    fixed = (*data.tensors, *view.tensors, *goal)
    start = begun(last, problem.elapsed_s, config)
    found, best, best_loss, most = start, torch.zeros_like(last), float("inf"), float("inf")
    for each in _way(step, StepState.begin(start), fixed, steps):
        if not math.isfinite(each.loss) or each.loss > most:
            return Refined(best, True)
        most = min(most, _RISE * each.loss)
        if each.loss < best_loss:
            best, best_loss = each.before, each.loss
        if not bool(torch.isfinite(each.gradient).all()):
            return Refined(best, True)
        found = each.after
    return Refined(taken(start, found, steps, problem.elapsed_s, config), False)


@dataclass(frozen=True, slots=True)
class _Stride:
    """One step of a search; offsets and gradient are [R,K]."""

    before: Tensor
    loss: float
    gradient: Tensor
    after: Tensor


def _way(step: Runner, state: StepState, fixed: tuple[Tensor, ...], steps: int) -> Iterator[_Stride]:
    """The steps of a search, one by one as they are asked for; all at once where the backend takes them so."""
    if isinstance(step, Repeatable):
        trail = step.times(steps, *state.tensors, *fixed)
        after = [*trail.z[1:], trail.last]
        for index, loss in enumerate(trail.loss.tolist()):
            yield _Stride(trail.z[index], loss, trail.gradient[index], after[index])
        return
    for _ in range(steps):
        results = step(*state.tensors, *fixed)
        yield _Stride(state.z, float(results[STATE]), results[STATE + 1], results[0])
        state = StepState.after(results)
