"""Gradients taken apart equal torch's own, in double precision, for every form that generators and losses use."""

import functools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kernels import decompositions
from kernels.flat import trace

pytestmark = pytest.mark.unit

aten = torch.ops.aten


@functools.cache
def random(*shape: int, seed: int = 0) -> Tensor:
    """Made once: a function that draws numbers while it is traced is refused."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_of(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The gradient of a weighted sum of a function's results."""

    def gradient(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_(True)
        found = function(leaf)
        weights = torch.linspace(0.5, 1.5, found.numel(), dtype=found.dtype).reshape(found.shape)
        return torch.autograd.grad((found * weights).sum(), leaf)[0]

    return gradient


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "3x3": ((2, 4, 9, 7), lambda x: functional.conv2d(x, random(6, 4, 3, 3), padding=1)),
    "no padding": ((1, 4, 9, 7), lambda x: functional.conv2d(x, random(6, 4, 3, 3))),
    "wide padding": ((1, 2, 5, 5), lambda x: functional.conv2d(x, random(3, 2, 3, 3), padding=4)),
    "1x1": ((2, 4, 5, 6), lambda x: functional.conv2d(x, random(3, 4, 1, 1))),
    "depthwise": ((2, 4, 6, 6), lambda x: functional.conv2d(x, random(4, 1, 3, 3), padding=1, groups=4)),
    "two groups": ((1, 4, 6, 6), lambda x: functional.conv2d(x, random(6, 2, 3, 3), padding=1, groups=2)),
    "stride 2": ((1, 3, 9, 8), lambda x: functional.conv2d(x, random(5, 3, 3, 3), stride=2, padding=1)),
    "stride 2, depthwise": ((1, 3, 9, 8), lambda x: functional.conv2d(x, random(3, 1, 3, 3), stride=2, groups=3)),
    "stride 2, depthwise, padded": (
        (2, 3, 8, 9),
        lambda x: functional.conv2d(x, random(3, 1, 3, 3), stride=2, padding=1, groups=3),
    ),
    "stride 3 and 2, depthwise, padded widely": (
        (1, 3, 7, 8),
        lambda x: functional.conv2d(x, random(3, 1, 3, 2), stride=(3, 2), padding=(2, 3), groups=3),
    ),
    "transposed": ((1, 3, 5, 4), lambda x: functional.conv_transpose2d(x, random(3, 5, 3, 3), stride=2)),
    "transposed, padded": (
        (1, 3, 5, 4),
        lambda x: functional.conv_transpose2d(x, random(3, 1, 4, 4), stride=2, padding=1, groups=3),
    ),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_gradient_of_convolutions_for_their_input(name: str) -> None:
    shape, function = CONVOLUTIONS[name]
    x = random(*shape, seed=1)
    function(x)
    graph = trace(gradient_of(function), (x,))
    assert "convolution_backward" not in graph.module.code
    torch.testing.assert_close(graph(x)[0], gradient_of(function)(x))


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_gradient_of_filters_that_depend_on_the_input(groups: int, stride: int) -> None:
    x = random(2, 4, 7, 6)

    def function(weight: Tensor) -> Tensor:
        return functional.conv2d(x, weight, stride=stride, padding=1, groups=groups)

    weight = random(4, 4 // groups, 3, 3, seed=2)
    graph = trace(gradient_of(function), (weight,))
    assert "convolution_backward" not in graph.module.code
    torch.testing.assert_close(graph(weight)[0], gradient_of(function)(weight))


def test_gradient_of_a_bias() -> None:
    x, weight = random(2, 3, 5, 5), random(4, 3, 3, 3)
    found = gradient_of(lambda bias: functional.conv2d(x, weight, bias))
    bias = random(4, seed=3)
    torch.testing.assert_close(trace(found, (bias,))(bias)[0], found(bias))


OTHERS: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor], str]] = {
    "average pooling": ((1, 2, 8, 12), lambda x: functional.avg_pool2d(x, 4), "avg_pool2d_backward"),
    "average pooling with pixels left over": (
        (1, 2, 9, 7), lambda x: functional.avg_pool2d(x, (2, 3)), "avg_pool2d_backward",
    ),
    "maximum pooling": ((1, 2, 8, 6), lambda x: functional.max_pool2d(x, 2), "max_pool2d_with_indices_backward"),
    "maximum pooling with pixels left over": (
        (1, 2, 7, 9), lambda x: functional.max_pool2d(x, 2), "max_pool2d_with_indices_backward",
    ),
    "overlapping maxima": (
        (2, 2, 7, 6), lambda x: functional.max_pool2d(x, 2, stride=1), "max_pool2d_with_indices_backward",
    ),
    "nearest": (
        (1, 2, 3, 4), lambda x: functional.interpolate(x, scale_factor=2, mode="nearest"),
        "upsample_nearest2d_backward",
    ),
    "bilinear": (
        (1, 2, 3, 4), lambda x: functional.interpolate(x, size=(7, 9), mode="bilinear"),
        "upsample_bilinear2d_backward",
    ),
    "bicubic": (
        (1, 2, 3, 4), lambda x: functional.interpolate(x, scale_factor=4, mode="bicubic"),
        "upsample_bicubic2d_backward",
    ),
    "reflection": ((1, 2, 5, 6), lambda x: functional.pad(x, (2, 2, 1, 1), "reflect"), "reflection_pad2d_backward"),
    "reflection as far as it goes": (
        (1, 1, 4, 3), lambda x: functional.pad(x, (2, 2, 3, 3), "reflect"), "reflection_pad2d_backward",
    ),
    "reflection on one side": (
        (1, 2, 4, 5), lambda x: functional.pad(x, (0, 3, 1, 0), "reflect"), "reflection_pad2d_backward",
    ),
    "a slice": ((2, 5, 6), lambda x: x[:, 1:-2, 2:], "slice_scatter"),
    "a slice from the end on": ((2, 5, 6), lambda x: x[:, -3:-1], "slice_scatter"),
    "a slice past the end": ((2, 5, 6), lambda x: x[..., 4:99], "slice_scatter"),
    "one place": ((2, 5, 6), lambda x: x[:, 3] * x[:, -1], "select_scatter"),
    "a place of the last axis": ((2, 5, 6), lambda x: x[..., 5], "select_scatter"),
    "prelu": ((1, 2, 5, 6), lambda x: functional.prelu(x, random(2)), "prelu_kernel_backward"),
    "leaky": ((1, 2, 5, 6), lambda x: functional.leaky_relu(x, 0.2), "leaky_relu_backward"),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_gradient_of_everything_else(name: str) -> None:
    shape, function, operation = OTHERS[name]
    x = random(*shape, seed=4)
    function(x)
    graph = trace(gradient_of(function), (x,), portable=True)
    assert operation not in graph.module.code
    torch.testing.assert_close(graph(x)[0], gradient_of(function)(x))


def test_maximum_pooling_stays_whole_for_compilers_that_know_it() -> None:
    graph = trace(gradient_of(lambda x: functional.max_pool2d(x, 2)), (random(1, 2, 4, 4),))
    assert "max_pool2d_with_indices_backward" in graph.module.code


@pytest.mark.parametrize(
    "function",
    [
        lambda x: functional.conv2d(x, random(4, 2, 3, 3), dilation=2),
        lambda x: functional.avg_pool2d(x, 3, stride=1),
        lambda x: functional.max_pool2d(x, 3, stride=2, padding=1),
        lambda x: x[:, :, 1::3],
    ],
    ids=["dilated", "overlapping means", "padded maxima", "every third row"],
)
def test_what_is_not_taken_apart_stays_as_it_is_and_right(function: Callable[[Tensor], Tensor]) -> None:
    x = random(1, 2, 8, 8)
    function(x)
    graph = trace(gradient_of(function), (x,), portable=True)
    assert "backward" in graph.module.code or "scatter" in graph.module.code
    torch.testing.assert_close(graph(x)[0], gradient_of(function)(x))


def test_table_has_what_converters_lack() -> None:
    known = decompositions.table(portable=True)
    assert {aten.convolution_backward.default, aten.avg_pool2d_backward.default} <= set(known)


@pytest.mark.parametrize("keepdim", [True, False])
@pytest.mark.parametrize("dims", [[2, 3], [-2, -1]])
def test_long_sums_over_pixels_go_along_rows_first(dims: list[int], keepdim: bool) -> None:
    x = random(1, 3, 80, 60)
    graph = trace(lambda each: each.sum(dims, keepdim), (x,))
    assert graph.module.code.count("sum.dim_IntList") == 2 and graph.size == 2
    torch.testing.assert_close(graph(x)[0], x.sum(dims, keepdim))
    assert trace(lambda each: each.sum(dims, keepdim), (x,), portable=True).size == 1


@pytest.mark.parametrize("name", ["short", "other axes", "a column", "another type"])
def test_other_sums_stay_whole(name: str) -> None:
    cases: dict[str, tuple[Tensor, Callable[[Tensor], Tensor]]] = {
        "short": (random(1, 3, 64, 64), lambda each: each.sum((2, 3))),
        "other axes": (random(1, 3, 80, 60), lambda each: each.sum((1, 2))),
        "a column": (random(1, 1, 5000, 1), lambda each: each.sum((2, 3))),
        "another type": (random(1, 3, 80, 60), lambda each: each.sum((2, 3), dtype=torch.float64)),
    }
    x, function = cases[name]
    graph = trace(function, (x,))
    assert graph.module.code.count("sum.dim_IntList") == 1
    torch.testing.assert_close(graph(x)[0], function(x))


TAKEN: dict[str, Callable[[Tensor], Tensor]] = {
    "rows": lambda x: x[:, torch.tensor([3, 1, 1, -1])],
    "columns": lambda x: x[..., torch.tensor([0, 4, 0])],
    "the first axis": lambda x: x[torch.tensor([1, 0, 1])],
}


@pytest.mark.parametrize("name", TAKEN)
def test_gradient_of_taken_rows_is_a_product_where_the_graph_leaves_torch(name: str) -> None:
    """Rows taken twice get both gradients; engines know no scatter that adds."""
    x = random(2, 4, 5, seed=5)
    found = gradient_of(TAKEN[name])
    graph = trace(found, (x,), portable=True)
    assert "index_put" not in graph.module.code
    torch.testing.assert_close(graph(x)[0], found(x))
    assert "index_put" in trace(found, (x,)).module.code


def test_rows_that_are_replaced_or_taken_along_two_axes_stay_whole_and_right() -> None:
    x, rows, places = random(4, 5, seed=6), random(2, 5, seed=7), torch.tensor([2, 0])
    replaced = trace(lambda each: each.index_put((places,), rows), (x,), portable=True)
    torch.testing.assert_close(replaced(x)[0], x.index_put((places,), rows))
    found = gradient_of(lambda each: each[places, places])
    graph = trace(found, (x,), portable=True)
    assert "index_put" in graph.module.code and "index_put" in replaced.module.code
    torch.testing.assert_close(graph(x)[0], found(x))
