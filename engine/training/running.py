"""What training runs have in common: how they tell how far they are, check their settings, and follow a loss down."""

from collections.abc import Callable
from typing import Final, Protocol

import torch
from torch import Tensor, nn

from engine.errors import BadInputError

Progress = Callable[[str, float], None]
"""Called with a line of text and the share done, 0 ... 1."""

_TOLD: Final = 50
"""Steps from one line of progress to the next."""


class Descent(Protocol):
    """Settings of a run that follows its loss down with a rate that falls to zero in a straight line."""

    @property
    def steps(self) -> int:
        """Optimiser steps."""

    @property
    def learning_rate(self) -> float:
        """Rate of AdamW at the begin."""

    @property
    def weight_decay(self) -> float:
        """Decoupled weight decay."""


def require_at_least(least: int, settings: object, *names: str) -> None:
    """Check settings that count something.

    Raises:
        BadInputError: one of them is smaller.
    """
    for name in names:
        if getattr(settings, name) < least:
            raise BadInputError(f"{name} is {getattr(settings, name)}, expected at least {least}")


def descend(
    network: nn.Module, run: Descent, loss: Callable[[], Tensor], what: str, progress: Progress | None = None
) -> None:
    """Train a network with AdamW.

    Args:
        network: whose parameters change.
        run: how long and how fast.
        loss: of new material, each time that it is called.
        what: is trained, for lines of progress.
        progress: takes one line every 50 steps.
    """
    optimiser = torch.optim.AdamW(network.parameters(), run.learning_rate, weight_decay=run.weight_decay)
    for step in range(run.steps):
        for group in optimiser.param_groups:
            group["lr"] = run.learning_rate * (1.0 - step / run.steps)
        value = loss()
        optimiser.zero_grad(set_to_none=True)
        value.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks the annotation
        optimiser.step()
        if progress is not None and (step + 1) % _TOLD == 0:
            progress(f"{what}: step {step + 1}, loss {value.item():.4f}", (step + 1) / run.steps)
