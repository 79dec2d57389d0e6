"""Joint tuning: its schedule, its order of frames, what it changes and how it ends."""

import copy

import pytest
import torch

from engine.editing.perceptual import PerceptualLoss
from engine.editing.tuning import (
    MovingMean,
    TuningConfig,
    TuningFrame,
    TuningResult,
    _frame_order,
    _schedule,
    to_unit,
    tune,
    tuned_parameters,
)
from engine.generators.mobile import MobileStyleGAN
from engine.generators.stats import WStatistics
from tests.engine.editing.made_up import SMALL_REGION

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("steps", [40, 300])
def test_rate_rises_then_falls_to_a_tenth_and_never_to_nothing(steps: int) -> None:
    rates = [_schedule(step, steps) for step in range(steps)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1]) and rates[peak:] == sorted(rates[peak:], reverse=True)
    assert 0 < min(rates) and max(rates) <= 1.0
    assert rates[-1] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(("count", "steps"), [(1, 5), (4, 3), (5, 17), (7, 0)])
def test_every_frame_comes_once_before_any_comes_again(count: int, steps: int) -> None:
    order = _frame_order(count, steps, 3)
    assert len(order) == steps
    for begin in range(0, steps, count):
        turn = order[begin : begin + count]
        assert len(turn) == len(set(turn)) and set(turn) <= set(range(count))


def test_order_follows_the_seed() -> None:
    assert _frame_order(20, 40, 1) == _frame_order(20, 40, 1) != _frame_order(20, 40, 2)


def test_pixels_become_units() -> None:
    assert to_unit(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_a_mean_without_decay_is_the_last_value() -> None:
    value = torch.tensor([1.0])
    mean = MovingMean([value], 0.0)
    for step in (2.0, 5.0):
        value.fill_(step)
        mean.update(True)
    value.fill_(9.0)
    mean.apply()
    assert value.item() == 5.0


def test_compact_tunes_fewer_weights_all_of_them_in_the_blocks(small: MobileStyleGAN) -> None:
    every, few = tuned_parameters(small), tuned_parameters(small, compact=True)
    assert set(few) < set(every)
    assert all(name.startswith("blocks.") and ".style." not in name for name in few)
    assert sum(p.numel() for p in few.values()) < 0.3 * sum(p.numel() for p in every.values())
    assert not any(name.startswith(("mapping", "coarse")) for name in every) and "out_bias" in every


def clip(count: int = 3) -> list[TuningFrame]:
    noise = torch.Generator().manual_seed(8)
    return [
        TuningFrame(
            torch.randint(0, 256, (3, 64, 64), generator=noise).to(torch.uint8),
            torch.randn(3, generator=noise), torch.ones(1, 64, 64),
        )
        for _ in range(count)
    ]  # fmt: skip


def tuned(
    model: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss, config: TuningConfig,
    frames: list[TuningFrame] | None = None,
) -> TuningResult:  # fmt: skip
    base = torch.zeros(model.rows, 24)
    start = torch.zeros(3, *base.shape)
    return tune(
        model, statistics, perceptual, SMALL_REGION, base, start, frames or clip(), config, lambda done, total: None
    )


def test_tuning_repeats_with_its_seed(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    config = TuningConfig(steps=4)
    models = [copy.deepcopy(small) for _ in range(2)]
    one, other = (tuned(model, statistics, perceptual, config) for model in models)
    assert torch.equal(one.base, other.base) and torch.equal(one.slopes, other.slopes) and one.losses == other.losses
    pairs = zip(models[0].parameters(), models[1].parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_compact_leaves_all_other_weights(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    model = copy.deepcopy(small)
    tuned(model, statistics, perceptual, TuningConfig(steps=2, compact=True))
    few = tuned_parameters(small, compact=True)
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, small.get_parameter(n))}
    assert changed and changed <= set(few)


def test_pixels_without_weight_are_not_fitted(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """What the picture shows there changes nothing of what is found."""
    weight = torch.ones(1, 64, 64)
    weight[:, :, 32:] = 0.0
    config = TuningConfig(steps=3, perceptual=0.0, weight_rate=0.0)
    found = []
    for shade in (0, 255):
        frames = [TuningFrame(f.picture.clone(), f.features, weight) for f in clip()]
        for frame in frames:
            frame.picture[:, :, 32:] = shade
        found.append(tuned(small, statistics, perceptual, config, frames).base)
    assert torch.allclose(found[0], found[1], atol=1e-5)


class Stopped(Exception):
    """The user has had enough."""


def test_a_fit_that_is_stopped_leaves_no_gradients(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    model = copy.deepcopy(small)

    def stop(done: int, total: int) -> None:
        raise Stopped

    base = torch.zeros(model.rows, 24)
    with pytest.raises(Stopped):
        tune(
            model, statistics, perceptual, SMALL_REGION, base, torch.zeros(3, *base.shape), clip(),
            TuningConfig(steps=3), stop,
        )  # fmt: skip
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
