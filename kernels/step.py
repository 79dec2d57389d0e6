"""One optimisation step as a pure function, made to be traced: objective, gradient and Adam in plain tensor operations.

Contract. `step(z, m, v, power1, power2, *data)` gives `(z', m', v', power1', power2', loss, gradient, *extra)`:

- z, m, v, gradient: tensors of one shape, what is optimised and its two moments, all float32.
- power1, power2: scalars, beta1^t and beta2^t after t steps, 1 before the first: no Python number counts the steps, so
  that one graph is right for all of them.
- loss: scalar, of z, before the step; extra: whatever else the objective gives, of z, too.
- data: all that changes from frame to frame; shapes, types and devices are those that the step was traced with.
- Nothing is written in place, nothing is kept between calls: the state is the arguments.

The rule of Adam (Kingma and Ba 2015) is torch.optim.Adam's, number by number.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

Objective = Callable[..., tuple[Tensor, ...]]
"""(z, *data) -> scalar loss, and any tensors to be given out beside it."""
Step = Callable[..., tuple[Tensor, ...]]
"""See the module's contract."""

_EPSILON: Final = 1e-8
STATE: Final = 5
"""How many of a step's arguments and results are state."""


@dataclass(frozen=True, slots=True)
class StepState:
    """What a step hands to the next."""

    z: Tensor
    """What is optimised, float32."""
    m: Tensor
    """Running mean of the gradient."""
    v: Tensor
    """Running mean of the gradient's square."""
    power1: Tensor
    """beta1^t, a scalar."""
    power2: Tensor
    """beta2^t, a scalar."""

    @classmethod
    def begin(cls, z: Tensor) -> Self:
        """The state before the first step."""
        one = torch.ones((), dtype=z.dtype, device=z.device)
        return cls(z, torch.zeros_like(z), torch.zeros_like(z), one, one.clone())

    @classmethod
    def after(cls, results: tuple[Tensor, ...]) -> Self:
        """The state after a step, from the step's results."""
        return cls(*results[:STATE])

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """In the order of a step's arguments."""
        return self.z, self.m, self.v, self.power1, self.power2


@dataclass(frozen=True, slots=True)
class AdamConfig:
    """How far a step goes."""

    rate: float = 0.03
    """Step size."""
    beta1: float = 0.5
    """Decay of the gradient's running mean."""
    beta2: float = 0.99
    """Decay of its square's."""


def optimisation_step(objective: Objective, config: AdamConfig) -> Step:
    """The step of an objective.

    Args:
        objective: differentiable with respect to its first argument; only that gradient is computed.
        config: Adam's rate and decays.
    """

    def step(z: Tensor, m: Tensor, v: Tensor, power1: Tensor, power2: Tensor, *data: Tensor) -> tuple[Tensor, ...]:
        """One Adam step: state and data to the new state and the loss."""
        leaf = z.detach().requires_grad_(True)
        with torch.enable_grad():
            loss, *extra = objective(leaf, *data)
            (gradient,) = torch.autograd.grad(loss, leaf)
        m = m + (gradient - m) * (1 - config.beta1)
        v = v * config.beta2 + gradient * gradient * (1 - config.beta2)
        power1, power2 = power1 * config.beta1, power2 * config.beta2
        spread = v.sqrt() / (1 - power2).sqrt() + _EPSILON
        moved = z - config.rate / (1 - power1) * (m / spread)
        return (moved, m, v, power1, power2, loss.detach(), gradient, *(each.detach() for each in extra))

    return step
