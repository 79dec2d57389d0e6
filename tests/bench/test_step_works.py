"""What the step benchmark runs: operations counted as they are, gradients compared with the float32 ones."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from bench import step_works
from bench.step_works import GENERATORS, Variant, arithmetic, gradient_cosine, make, make_generator
from engine.generators.mobile import MobileStyleGAN
from engine.generators.protocol import Region
from kernels.step import STATE
from tests.engine.generators.made_mobile import random_mobile

PLAIN = Variant("default", 0, "plain")
STEP = Variant("default", 2, "eager")


def operations(weight: Tensor, groups: int, stride: int, *, learnt: bool = False) -> int:
    """Counted for a filter on an 8x8 map with its gradients."""
    x = torch.randn(1, 4, 8, 8, requires_grad=True)
    weight.requires_grad_(learnt)
    counted = {torch.ops.aten.convolution_backward: step_works._gradients}
    with FlopCounterMode(display=False, custom_mapping=counted) as counter:
        functional.conv2d(x, weight, padding=1, stride=stride, groups=groups).sum().backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


@pytest.mark.unit
@pytest.mark.parametrize("stride", [1, 2])
def test_gradients_count_as_much_as_their_filter(stride: int) -> None:
    pixels = (8 // stride) ** 2
    dense, depthwise = torch.randn(6, 4, 3, 3), torch.randn(4, 1, 3, 3)
    assert operations(dense, 1, stride) == 2 * (2 * pixels * 6 * 4 * 9)
    assert operations(dense, 1, stride, learnt=True) == 3 * (2 * pixels * 6 * 4 * 9)
    assert operations(depthwise, 4, stride, learnt=True) == 3 * (2 * pixels * 4 * 9)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> MobileStyleGAN:
    """A small generator in place of the public one."""
    model = random_mobile((16, 16, 12, 8), 5)
    region = Region(32, 32, 64, 64)
    monkeypatch.setattr(step_works, "make_generator", lambda name: (model, region))
    return model


@pytest.mark.unit
def test_a_render_of_the_region_takes_less_than_the_picture(small: MobileStyleGAN) -> None:
    whole, part = (arithmetic(Variant("default", 0, backend))["gflop"] for backend in ("plain", "eager"))
    assert 0 < part < whole


@pytest.mark.unit
def test_a_render_has_no_gradient_to_compare(small: MobileStyleGAN) -> None:
    assert gradient_cosine(PLAIN, make(PLAIN, Path()).run()) is None


@pytest.mark.unit
def test_the_gradient_is_compared_with_the_float32_one(small: MobileStyleGAN, monkeypatch: pytest.MonkeyPatch) -> None:
    true = torch.tensor([[3.0, 4.0]])

    def stepping(*inputs: Tensor) -> tuple[Tensor, ...]:
        return (*(torch.zeros(1, 2) for _ in range(STATE + 1)), true)

    monkeypatch.setattr(step_works, "_step", lambda *arguments: (stepping, ()))
    found = (*(torch.zeros(1, 2) for _ in range(STATE + 1)), torch.tensor([[4.0, 3.0]]))
    assert gradient_cosine(STEP, found) == pytest.approx(0.96)
    assert gradient_cosine(STEP, stepping()) == pytest.approx(1.0)


@pytest.mark.slow
def test_every_random_generator_can_be_stepped() -> None:
    for name in GENERATORS[1:]:
        generator, region = make_generator(name)
        assert generator.resolution == int(name.partition("-")[2]) and region.width <= generator.resolution / 2
    variant = Variant("stylegan2-256", 2, "eager")
    results = make(variant, Path()).run()
    cosine = gradient_cosine(variant, results)
    assert torch.isfinite(results[STATE]) and cosine is not None and cosine > 0.98
