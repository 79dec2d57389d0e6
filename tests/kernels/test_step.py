"""The step: torch's Adam number by number, gradients of real generators' renders, parts that the edit cannot move."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.generators.protocol import Region
from engine.generators.stylegan2 import StyleGAN2Config
from kernels.flat import split, trace
from kernels.step import STATE, AdamConfig, StepState, optimisation_step
from tests.engine.generators.made_mobile import random_mobile
from tests.engine.generators.made_stylegan2 import randomised

pytestmark = pytest.mark.unit


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bowl(z: Tensor, centre: Tensor) -> tuple[Tensor, ...]:
    """A loss with a known gradient, and something beside it."""
    return (z - centre).square().sum() + (z**4).sum(), z.mean()


def test_steps_are_those_of_torchs_adam() -> None:
    config = AdamConfig(0.05, 0.6, 0.95)
    step = optimisation_step(bowl, config)
    centre, start = draw(3, 4), draw(3, 4, seed=1)
    leaf = start.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([leaf], lr=config.rate, betas=(config.beta1, config.beta2))
    state = StepState.begin(start)
    for _ in range(7):
        state = StepState.after(step(*state.tensors, centre))
        optimiser.zero_grad()
        bowl(leaf, centre)[0].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        torch.testing.assert_close(state.z, leaf.detach(), rtol=1e-9, atol=1e-9)


def test_results_are_those_of_the_place_before_the_step() -> None:
    z, centre = draw(2, 2), draw(2, 2, seed=1)
    results = optimisation_step(bowl, AdamConfig())(*StepState.begin(z).tensors, centre)
    torch.testing.assert_close(results[STATE], bowl(z, centre)[0])
    torch.testing.assert_close(results[STATE + 1], 2 * (z - centre) + 4 * z**3)
    torch.testing.assert_close(results[STATE + 2], z.mean())


def test_one_graph_is_right_for_every_step() -> None:
    step = optimisation_step(bowl, AdamConfig())
    state, centre = StepState.begin(draw(2, 3)), draw(2, 3, seed=2)
    graph = trace(step, (*state.tensors, centre))
    other = state
    for _ in range(5):
        state, other = StepState.after(graph(*state.tensors, centre)), StepState.after(step(*other.tensors, centre))
    torch.testing.assert_close(state.z, other.z)


def test_nothing_is_written_in_place() -> None:
    state = StepState.begin(draw(2, 3))
    before = [each.clone() for each in state.tensors]
    optimisation_step(bowl, AdamConfig())(*state.tensors, draw(2, 3))
    for found, wanted in zip(state.tensors, before, strict=True):
        assert torch.equal(found, wanted)


def _mobile() -> Any:
    return random_mobile((16, 16, 12, 8), 5).double()


def _stylegan2() -> Any:
    return randomised(StyleGAN2Config((16, 16, 12, 8, 8), 32, 24, 2)).double().requires_grad_(False)


GENERATORS: dict[str, tuple[Callable[[], Any], Region]] = {
    "MobileStyleGAN": (_mobile, Region(32, 32, 64, 64)),
    "StyleGAN2": (_stylegan2, Region(24, 16, 32, 24)),
}


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("whole", [False, True], ids=["region", "full"])
def test_gradient_of_a_render_equals_autograds(name: str, whole: bool) -> None:
    make, region = GENERATORS[name]
    generator = make()
    w = draw(generator.rows, generator.width, seed=3)

    def objective(offset: Tensor, w: Tensor) -> tuple[Tensor, ...]:
        code = (w + offset)[None]
        picture = generator.synthesis(code) if whole else generator.region(code, region)
        return (picture.tanh().square().mean(),)

    offset = torch.zeros_like(w)
    graph = trace(optimisation_step(objective, AdamConfig()), (*StepState.begin(offset).tensors, w))
    results = graph(*StepState.begin(offset).tensors, w)
    leaf = offset.clone().requires_grad_(True)
    loss = objective(leaf, w)[0]
    loss.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None and float(leaf.grad.norm()) > 0
    assert float((results[STATE + 1] - leaf.grad).norm() / leaf.grad.norm()) < 1e-6
    torch.testing.assert_close(results[STATE], loss.detach())
    assert "convolution_backward" not in graph.module.code


@pytest.mark.parametrize("name", GENERATORS)
def test_blocks_that_the_edit_cannot_move_are_computed_once(name: str) -> None:
    make, region = GENERATORS[name]
    generator = make()
    w = draw(generator.rows, generator.width, seed=3)
    still = generator.rows // 2

    def render(coarse: Tensor, fine: Tensor) -> Tensor:
        rows = [*torch.split(coarse, 1), *torch.split(fine, 1)]
        picture: Tensor = generator.region(torch.stack(rows, 1), region)
        return picture

    graph = trace(render, (w[:still], w[still:]))
    first, second = split(graph, (0,))
    tail = second(first(w[:still]))
    assert 0 < tail.size < graph.size * 3 / 4
    moved = w[still:] + 0.1
    torch.testing.assert_close(tail(moved)[0], render(w[:still], moved))
