"""Maxima of overlapping windows: the library's values and gradient, also among equal numbers and in a traced graph."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from kernels.flat import trace
from kernels.pooling import window_maximum
from kernels.tracing import tracing

pytestmark = pytest.mark.unit


def few_levels(seed: int, shape: tuple[int, ...] = (2, 3, 7, 9), levels: int = 4) -> Tensor:
    """Maps with many equal numbers, zeros among them, as rectifiers give them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, levels, shape, generator=generator).to(torch.float32).requires_grad_(True)


def gradient_of(value: Tensor, x: Tensor) -> Tensor:
    """Gradient of a sum in which every window has a weight of its own."""
    weight = torch.arange(1.0, value.numel() + 1).reshape(value.shape)
    return torch.autograd.grad((value * weight).sum(), x)[0]


@given(seed=st.integers(0, 1000), levels=st.sampled_from([1, 2, 4, 1000]))
def test_values_and_gradient_are_the_library_s(seed: int, levels: int) -> None:
    x = few_levels(seed, levels=levels)
    wanted = functional.max_pool2d(x, 2, stride=1)
    with tracing():
        found = window_maximum(x)
    assert torch.equal(found, wanted)
    assert torch.equal(gradient_of(found, x), gradient_of(wanted, x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_half_numbers_keep_their_type_and_layout(layout: torch.memory_format) -> None:
    x = few_levels(3).detach().to(torch.bfloat16).contiguous(memory_format=layout).requires_grad_(True)
    with tracing():
        found = window_maximum(x)
    wanted = functional.max_pool2d(x, 2, stride=1)
    assert found.dtype == torch.bfloat16 and torch.equal(found, wanted)
    slopes = [torch.autograd.grad(each.float().square().sum(), x)[0] for each in (found, wanted)]
    torch.testing.assert_close(slopes[0], slopes[1], atol=0.05, rtol=0.01)


def test_a_traced_gradient_keeps_no_places() -> None:
    """The library's form notes int64 places; compiled code then works one number at a time."""

    def slope(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_(True)
        with torch.enable_grad():
            return torch.autograd.grad(window_maximum(leaf).square().sum(), leaf)[0]

    x = few_levels(5).detach()
    graph = trace(slope, (x,))
    names = [str(node.target) for node in graph.module.graph.nodes if node.op == "call_function"]
    assert not any("max_pool" in name for name in names)
    leaf = x.clone().requires_grad_(True)
    wanted = torch.autograd.grad(functional.max_pool2d(leaf, 2, stride=1).square().sum(), leaf)[0]
    torch.testing.assert_close(graph(x)[0], wanted, atol=1e-6, rtol=1e-6)


def test_untraced_maps_go_the_library_s_way(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def pool(x: Tensor, size: int, stride: int) -> Tensor:
        asked.append((size, stride))
        return x

    monkeypatch.setattr(functional, "max_pool2d", pool)
    window_maximum(few_levels(0))
    assert asked == [(2, 1)]


@pytest.mark.parametrize("x", [torch.ones(3, 4, 4), torch.ones(1, 3, 1, 4), torch.ones(1, 3, 4, 4, dtype=torch.int64)])
def test_what_is_no_map_is_refused(x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"expected float \[B,C,H,W\]"):
        window_maximum(x)
