"""Lowered forms: the same pictures and gradients, no channel moved, nothing cast to and fro."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from engine.generators.mobile import MobileStyleGAN
from engine.generators.protocol import Region
from kernels.flat import FlatGraph, trace
from kernels.haar import inverse_haar
from kernels.lowering import Lowering, lower, lowered
from tests.engine.generators.made_mobile import random_mobile

pytestmark = pytest.mark.unit

REGION = Region(32, 32, 64, 64)


@pytest.fixture(scope="module")
def generator() -> MobileStyleGAN:
    return random_mobile((16, 16, 12, 8), 5)


@pytest.fixture(scope="module")
def render(generator: MobileStyleGAN) -> FlatGraph:
    return trace(lambda w: generator.region(w[None], REGION), (code(generator),))


def code(generator: MobileStyleGAN) -> Tensor:
    return torch.randn(generator.rows, generator.width, generator=torch.Generator().manual_seed(1))


def count(graph: FlatGraph, name: str) -> int:
    return sum(str(node.target) == name for node in graph.module.graph.nodes)


def test_lowered_picture_equals_the_generators(generator: MobileStyleGAN, render: FlatGraph) -> None:
    w = code(generator)
    torch.testing.assert_close(lower(render, Lowering())(w)[0], generator.region(w[None], REGION), rtol=1e-5, atol=2e-5)


def test_no_element_is_moved_for_the_order_of_bands(render: FlatGraph) -> None:
    as_traced = lower(render, Lowering(order=False))
    assert count(as_traced, "aten.index_select.default") > 0
    assert count(lower(render, Lowering()), "aten.index_select.default") == 0


def test_pointwise_convolutions_become_products(render: FlatGraph) -> None:
    filters = count(lower(render, Lowering()), "aten.convolution.default")
    assert filters == 8  # the depthwise ones of four blocks; the first dense layer has few pixels
    assert count(lower(render, Lowering(products=False)), "aten.convolution.default") == 18


@pytest.mark.parametrize(
    ("lowering", "most"),
    [(Lowering(narrow=torch.bfloat16), 0.02), (Lowering.portable(torch.float16), 0.003)],
    ids=["bfloat16", "float16, portable"],
)
def test_narrow_types_are_close_and_cast_once(
    generator: MobileStyleGAN, render: FlatGraph, lowering: Lowering, most: float
) -> None:
    half = lower(render, lowering)
    w = code(generator)
    true = generator.region(w[None], REGION)
    off = (half(w)[0] - true).square().mean().sqrt() / true.std()
    assert 1e-5 < float(off) < most
    for node in half.module.graph.nodes:
        again = node.target is torch.ops.aten._to_copy.default and node.kwargs.get("dtype") == lowering.narrow
        if again and isinstance(node.args[0], torch.fx.Node):
            assert node.args[0].target is not torch.ops.aten._to_copy.default


@pytest.mark.parametrize(("side", "exact"), [(16, True), (17, False)])
@pytest.mark.parametrize("filter_side", [1, 3])
def test_layers_of_small_maps_stay_exact_in_half_precision(side: int, exact: bool, filter_side: int) -> None:
    noise = torch.Generator().manual_seed(6)
    weight = torch.randn(128, 128, filter_side, filter_side, generator=noise)
    x = torch.randn(1, 128, side, side, generator=noise)

    def layer(x: Tensor) -> Tensor:
        return functional.conv2d(x, weight, padding=filter_side // 2)

    found, true = lower(trace(layer, (x,)), Lowering(narrow=torch.bfloat16))(x)[0], layer(x)
    assert bool(((found - true).abs().max() < 1e-5 * true.abs().max()) == exact)


def test_portable_forms_keep_convolutions_and_move_nothing(render: FlatGraph) -> None:
    kept = lower(render, Lowering.portable(torch.float16))
    assert count(kept, "aten.convolution.default") == count(render, "aten.convolution.default") > 0
    assert count(kept, "aten.index_select.default") == 0 < count(render, "aten.index_select.default")


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-7])
def test_small_gradients_outlive_float16(size: float) -> None:
    """A pixel's share of an objective's gradient is smaller than what float16 holds; scaled up it comes through."""
    noise = torch.Generator().manual_seed(7)
    weight, x = torch.randn(8, 8, 3, 3, generator=noise) / 8, torch.randn(1, 8, 20, 20, generator=noise)
    graph = trace(lambda each: functional.conv2d(each, weight, padding=1), (x,))

    def gradient(run: Callable[..., tuple[Tensor, ...]]) -> Tensor:
        leaf = x.clone().requires_grad_(True)
        return torch.autograd.grad((run(leaf)[0] * x.sin()).sum() * size, leaf)[0]

    true = gradient(graph)
    found = gradient(lowered(graph, Lowering.portable(torch.float16)))
    assert float((found - true).norm() / true.norm()) < 2e-3


def test_lowered_function_has_the_gradient(generator: MobileStyleGAN, render: FlatGraph) -> None:
    run = lowered(render, Lowering())
    w = code(generator).requires_grad_(True)
    run(w)[0].square().mean().backward()  # type: ignore[no-untyped-call]
    found = w.grad
    v = code(generator).requires_grad_(True)
    generator.region(v[None], REGION).square().mean().backward()  # type: ignore[no-untyped-call]
    assert found is not None and v.grad is not None
    assert float((found - v.grad).norm() / v.grad.norm()) < 1e-5


def test_order_stays_where_a_map_is_used_elsewhere_too() -> None:
    weight = torch.randn(8, 4, 1, 1, generator=torch.Generator().manual_seed(3))
    x = torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(4))

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        bands = functional.conv2d(x, weight)
        return inverse_haar(bands), bands

    for found, wanted in zip(lower(trace(both, (x,)), Lowering())(x), both(x), strict=True):
        torch.testing.assert_close(found, wanted)


def test_bias_noise_and_style_move_with_the_filters() -> None:
    noise = torch.Generator().manual_seed(5)
    weight, bias = torch.randn(8, 4, 3, 3, generator=noise), torch.randn(8, generator=noise)
    added, affine = torch.randn(1, 1, 9, 9, generator=noise), torch.randn(8, 5, generator=noise)
    image = torch.randn(1, 4, 9, 9, generator=noise)

    def layer(w: Tensor) -> Tensor:
        x = functional.leaky_relu(functional.conv2d(image * w.sum(), weight, bias, padding=1) + added, 0.2)
        style = functional.linear(w, affine, bias)[:, :, None, None] * 0.5
        return inverse_haar(x[:, :, 1:, :8] * style)

    w = torch.randn(1, 5, generator=noise)
    graph = lower(trace(layer, (w,)), Lowering())
    assert count(graph, "aten.index_select.default") == 0
    torch.testing.assert_close(graph(w)[0], layer(w), rtol=1e-5, atol=1e-5)
