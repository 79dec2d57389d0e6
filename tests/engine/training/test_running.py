"""What training runs have in common: settings that count, rates that fall, losses that go down, progress."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine.errors import BadInputError
from engine.training.aligning import AlignConfig
from engine.training.closing import ClosingConfig
from engine.training.config import TrainConfig
from engine.training.running import descend, require_at_least
from engine.training.telling import MoodConfig

pytestmark = pytest.mark.unit


@dataclass(frozen=True)
class Run:
    """A short run."""

    steps: int = 120
    learning_rate: float = 0.1
    weight_decay: float = 0.0


class Place(nn.Module):
    """A number that is looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor([4.0]))

    def far(self) -> Tensor:
        """Squared distance from one."""
        return (self.x - 1.0).square().sum()


def test_a_loss_is_followed_down_and_each_fiftieth_step_is_told() -> None:
    place, told = Place(), list[tuple[str, float]]()
    descend(place, Run(), place.far, "place", lambda text, done: told.append((text, done)))
    assert float(place.x.detach()) == pytest.approx(1.0, abs=0.1)
    assert [done for _, done in told] == [50 / 120, 100 / 120]
    assert told[0][0].startswith("place: step 50, loss ") and told[1][0].startswith("place: step 100, loss ")
    first, second = (float(text.split()[-1]) for text, _ in told)
    assert second < first < 9.0


def test_the_rate_falls_to_zero_in_a_straight_line() -> None:
    """Adam's step under a steady gradient is the rate itself."""
    place = Place()
    seen: list[float] = []

    def steady() -> Tensor:
        seen.append(float(place.x.detach()))
        return place.x.sum()

    descend(place, Run(steps=10), steady, "place")
    seen.append(float(place.x.detach()))
    steps = [before - after for before, after in zip(seen[:-1], seen[1:], strict=True)]
    assert steps == pytest.approx([0.1 * (1 - step / 10) for step in range(10)], rel=1e-3)


def test_decay_pulls_weights_towards_zero_where_the_loss_does_not_mind() -> None:
    kept, pulled = Place(), Place()
    for place, decay in ((kept, 0.0), (pulled, 0.5)):
        descend(place, Run(steps=20, weight_decay=decay), lambda place=place: 0.0 * place.x.sum(), "place")  # type: ignore[misc]
    assert float(kept.x.detach()) == 4.0
    assert 0.0 < float(pulled.x.detach()) < 3.0


def test_gradients_of_one_step_do_not_reach_the_next() -> None:
    place, seen = Place(), list[float]()

    def noting() -> Tensor:
        seen.append(0.0 if place.x.grad is None else float(place.x.grad.abs()))
        return 1e6 * place.x.sum() if len(seen) == 1 else place.x.sum()

    descend(place, Run(steps=3), noting, "place")
    assert seen == [0.0, 1e6, 1.0]


COUNTED = [
    (TrainConfig(), ("steps", "batch", "threads", "checkpoint_steps", "segments", "emotional_segments", "sentences")),
    (AlignConfig(), ("steps", "batch", "speakers", "held_out", "threads")),
    (ClosingConfig(), ("steps", "batch")),
    (MoodConfig(), ("members", "steps", "groups", "batch", "streams", "judged")),
]


@pytest.mark.parametrize(
    ("config", "name"), [(config, name) for config, names in COUNTED for name in names],
    ids=[f"{type(config).__name__}.{name}" for config, names in COUNTED for name in names],
)  # fmt: skip
@pytest.mark.parametrize("value", [0, -3])
def test_what_counts_something_is_at_least_one(config: Any, name: str, value: int) -> None:
    with pytest.raises(BadInputError, match=f"^{name} is {value}, expected at least 1$"):
        replace(config, **{name: value})
    replace(config, **{name: 1})


def test_the_least_is_taken_and_the_first_that_is_smaller_is_named() -> None:
    require_at_least(2, Run(steps=2), "steps")
    with pytest.raises(BadInputError, match="^learning_rate is 0.1, expected at least 2$"):
        require_at_least(2, Run(steps=1), "learning_rate", "steps")
