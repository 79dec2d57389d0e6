"""Flat graphs: equal to the function, constants folded, keys by form, parts that stay split off."""

import pytest
import torch
from torch import Tensor, nn

from kernels.flat import FlatGraph, split, trace
from kernels.haar import inverse_haar
from kernels.tracing import is_tracing, tracing

pytestmark = pytest.mark.unit


def layers(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 3)).requires_grad_(False)


def rows() -> Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(1))


def operations(graph: FlatGraph) -> list[str]:
    return [str(node.target) for node in graph.module.graph.nodes if node.op == "call_function"]


def test_graph_equals_the_function() -> None:
    net = layers()
    torch.testing.assert_close(trace(net, (rows(),))(rows())[0], net(rows()))


def test_graph_has_no_mutation() -> None:
    assert not any("_." in name or name.endswith("out") for name in operations(trace(layers(), (rows(),))))


def test_what_depends_on_constants_alone_is_computed_once() -> None:
    weight = torch.eye(4)
    graph = trace(lambda x: x @ (weight.exp() + 1.0).T, (rows(),))
    assert operations(graph) == ["aten.mm.default"]
    torch.testing.assert_close(graph.constants[0], (weight.exp() + 1.0).T)


def test_key_depends_on_form_not_on_weights() -> None:
    one, other = trace(layers(0), (rows(),)), trace(layers(1), (rows(),))
    assert one.key == other.key
    assert not torch.equal(one(rows())[0], other(rows())[0])
    assert trace(layers(), (torch.zeros(5, 4),)).key != one.key
    assert trace(layers().double(), (rows().double(),)).key != one.key
    net = layers()
    assert trace(lambda x: net(x) + 1, (rows(),)).key != one.key


def test_constants_are_not_shared_with_the_network() -> None:
    net = layers()
    graph = trace(net, (rows(),))
    before = graph(rows())[0].clone()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    torch.testing.assert_close(graph(rows())[0], before)


def test_gradients_are_part_of_the_graph() -> None:
    net = layers()

    def loss(x: Tensor) -> tuple[Tensor, Tensor]:
        leaf = x.detach().requires_grad_(True)
        value = net(leaf).square().sum()
        return value.detach(), torch.autograd.grad(value, leaf)[0]

    graph = trace(loss, (rows(),))
    for found, wanted in zip(graph(rows()), loss(rows()), strict=True):
        torch.testing.assert_close(found, wanted)


def staged(still: Tensor, moving: Tensor) -> tuple[Tensor, Tensor]:
    """Two layers on the first, one on both."""
    inner = (still @ torch.full((4, 4), 0.5)).tanh() @ torch.full((4, 4), 0.25)
    return inner * moving + inner, moving + 1.0


def test_part_that_stays_is_split_off() -> None:
    still, moving = rows(), rows() + 1
    graph = trace(staged, (still, moving))
    first, second = split(graph, (0,))
    assert operations(first) == ["aten.mm.default", "aten.tanh.default", "aten.mm.default"]
    tail = second(first(still))
    assert "aten.mm.default" not in operations(tail) and len(tail.examples) == 1
    for found, wanted in zip(tail(moving), staged(still, moving), strict=True):
        torch.testing.assert_close(found, wanted)


def test_kept_part_is_that_of_its_input() -> None:
    first, second = split(trace(staged, (rows(), rows())), (0,))
    other = rows() * 2
    torch.testing.assert_close(second(first(other))(rows())[0], staged(other, rows())[0])


def test_rows_of_a_stack_depend_on_no_other_row() -> None:
    weights = [torch.full((4, 4), 0.1 * (i + 1)) for i in range(3)]

    def generator(coarse: Tensor, fine: Tensor) -> Tensor:
        w = torch.stack([coarse[0:1], coarse[1:2], fine], 1)
        x = w[:, 0] @ weights[0]
        for row in range(1, 3):
            x = (x + w[:, 1:3][:, row - 1] @ weights[row]).tanh()
        return x

    coarse, fine = rows()[:2], rows()[2:]
    first, second = split(trace(generator, (coarse, fine)), (0,))
    tail = second(first(coarse))
    assert operations(tail).count("aten.tanh.default") == 1
    assert operations(first).count("aten.tanh.default") == 1
    torch.testing.assert_close(tail(fine)[0], generator(coarse, fine))


def test_kernels_take_their_composed_form_only_while_a_graph_is_traced() -> None:
    seen: list[bool] = []

    def function(x: Tensor) -> Tensor:
        seen.append(is_tracing())
        return inverse_haar(x)

    x = torch.randn(1, 8, 3, 5, generator=torch.Generator().manual_seed(2))
    graph = trace(function, (x,))
    assert seen == [True] and not is_tracing()
    assert not any("scatter" in name for name in operations(graph))
    torch.testing.assert_close(graph(x)[0], inverse_haar(x))


def test_tracing_ends_with_its_block_even_by_an_error() -> None:
    with pytest.raises(KeyError), tracing():
        assert is_tracing()
        raise KeyError
    assert not is_tracing()


def test_random_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="random numbers"):
        trace(lambda x: x + torch.randn(3, 4), (rows(),))
