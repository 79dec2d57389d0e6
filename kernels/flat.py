"""A function of tensors as one flat graph of ATen operations, with its constants beside it.

The graph has static shapes, no mutation and no Python: every backend starts from it. What depends on constants alone
is computed once, when the graph is made; what depends on some inputs alone can be split off and kept while they stay
(`split`). Constants are inputs of the graph, so that one compiled graph serves all networks of one shape: other weights
give other constants and the same `key`.
"""

import hashlib
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

from kernels.decompositions import table
from kernels.tracing import tracing

aten: Final = torch.ops.aten

_ALIASES: Final = (aten.detach.default, aten.alias.default, aten.lift_fresh_copy.default, aten.lift_fresh.default)
_VIEWS: Final = (aten.expand.default,)
"""Kept in the graph even where they are constant: their results are larger than what they are made of."""


@dataclass(frozen=True)
class FlatGraph:
    """A traced function."""

    module: fx.GraphModule
    """Takes the inputs, then the constants; gives a tuple of tensors."""
    constants: tuple[Tensor, ...]
    """What the graph needs beside its inputs."""
    examples: tuple[Tensor, ...]
    """Inputs that it was traced with: their shapes, types and devices are the only ones it takes."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run it, operation by operation."""
        return tuple(self.module(*inputs, *self.constants))

    @property
    def key(self) -> str:
        """16 hex digits: the same for graphs of equal operations, shapes and types, whatever the constants' values."""
        digest = hashlib.sha256()
        for node in self.module.graph.nodes:
            digest.update(f"{node.op} {node.name} {node.target} {node.args} {node.kwargs}\n".encode())
        for value in (*self.examples, *self.constants):
            layout = f"{tuple(value.shape)} {value.stride()} {value.dtype} {value.device.type}\n"
            digest.update(layout.encode())
        return digest.hexdigest()[:16]

    @property
    def size(self) -> int:
        """Operations in the graph."""
        return sum(node.op == "call_function" for node in self.module.graph.nodes)


def trace(function: Callable[..., Any], examples: Sequence[Tensor], portable: bool = False) -> FlatGraph:
    """Trace a function once.

    Args:
        function: takes tensors like `examples`, gives a tensor or a tuple of tensors; may call autograd inside. Its
            control flow must not depend on values, and it must take no other state than constant tensors.
        examples: inputs of the shapes, types and device that the graph is for.
        portable: whether the graph will leave torch (`decompositions.table`).

    Returns:
        The graph; what depends on constants alone has been computed.

    Raises:
        ValueError: the function draws random numbers: a graph would draw them once, or others than the function.
    """

    def flattened(*inputs: Tensor) -> tuple[Tensor, ...]:
        """The function on tensors alone."""
        found = function(*inputs)
        return found if isinstance(found, tuple) else (found,)

    inputs = tuple(example.detach() for example in examples)
    with tracing():
        joint = make_fx(flattened, decomposition_table=table(portable))(*inputs)
        pure = make_fx(torch.func.functionalize(joint, remove="mutations"))(*inputs)
    for node in pure.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
            raise ValueError(f"the function draws random numbers ({node.target}); draw them outside and pass them in")
    _drop_aliases(pure)
    _shorten_stacks(pure)
    return _lifted(pure, inputs)


def split(graph: FlatGraph, still: Sequence[int]) -> tuple[FlatGraph, Callable[[tuple[Tensor, ...]], FlatGraph]]:
    """Split off what depends on some inputs alone, so that it is computed once while they stay the same.

    Args:
        graph: the whole.
        still: numbers of the inputs that stay.

    Returns:
        The first part, a graph of the still inputs, and a function that makes the second part, a graph of the other
        inputs, from the first part's results: they are its constants.
    """
    places = _placeholders(graph.module)
    count = len(graph.examples)
    moving = {places[i] for i in range(count) if i not in set(still)}
    depends = _dependents(graph.module, moving)
    frontier = _frontier(graph.module, depends)
    head = _extract(graph.module, [places[i] for i in still] + places[count:], frontier)
    kept = [graph.examples[i] for i in still]
    first = FlatGraph(head, graph.constants, tuple(kept))
    others = [i for i in range(count) if i not in set(still)]
    tail = _remainder(graph.module, [places[i] for i in others], frontier)

    def second(results: tuple[Tensor, ...]) -> FlatGraph:
        """The part that is left, with the first part's results as constants."""
        return FlatGraph(tail, results, tuple(graph.examples[i] for i in others))

    return first, second


def _lifted(module: fx.GraphModule, inputs: tuple[Tensor, ...]) -> FlatGraph:
    """Computes what depends on constants alone and makes inputs of the results."""
    depends = _dependents(module, set(_placeholders(module)))
    frontier = _frontier(module, depends)
    constants = cast(tuple[Tensor, ...], _extract(module, [], frontier)())
    tail = _remainder(module, _placeholders(module), frontier)
    return FlatGraph(tail, tuple(_dense(value.detach()) for value in constants), inputs)


def _dense(value: Tensor) -> Tensor:
    """A tensor of its own memory without gaps or overlaps; filters with channels side by side, as convolutions want."""
    if value.ndim == 4 and value.shape[1] > 1:
        return value.clone(memory_format=torch.channels_last)
    return value.clone(memory_format=torch.preserve_format)


def _placeholders(module: fx.GraphModule) -> list[fx.Node]:
    return [node for node in module.graph.nodes if node.op == "placeholder"]


def _dependents(module: fx.GraphModule, sources: set[fx.Node]) -> set[fx.Node]:
    """The sources and all that is computed from them."""
    found = set(sources)
    for node in module.graph.nodes:
        if node.op != "placeholder" and any(each in found for each in node.all_input_nodes):
            found.add(node)
    return found


def _frontier(module: fx.GraphModule, depends: set[fx.Node]) -> list[fx.Node]:
    """Nodes outside `depends` whose tensors are used inside it or given out, views of small tensors left inside."""
    for node in module.graph.nodes:
        if node not in depends and node.target in _VIEWS and any(user in depends for user in node.users):
            depends.add(node)
    used = []
    for node in module.graph.nodes:
        inside = any(user in depends or user.op == "output" for user in node.users)
        if node not in depends and node.op != "output" and inside:
            used.append(node)
    return used


def _extract(module: fx.GraphModule, inputs: Sequence[fx.Node], outputs: Sequence[fx.Node]) -> fx.GraphModule:
    """The part of a graph that makes `outputs` from `inputs` and constants."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in inputs:
        copies[node] = graph.placeholder(node.name)
    wanted = set(outputs)
    for node in reversed(list(module.graph.nodes)):
        if node in wanted:
            wanted.update(node.all_input_nodes)
    for node in module.graph.nodes:
        if node in wanted and node not in copies and node.op != "placeholder":
            copies[node] = graph.node_copy(node, lambda each: copies[each])
    graph.output(tuple(copies[node] for node in outputs))
    return fx.GraphModule(module, graph)


def _remainder(module: fx.GraphModule, inputs: Sequence[fx.Node], frontier: Sequence[fx.Node]) -> fx.GraphModule:
    """The part of a graph after `frontier`, which become inputs behind `inputs`."""
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for index, node in enumerate(inputs):
        copies[node] = graph.placeholder(f"input_{index}")
    for index, node in enumerate(frontier):
        copies[node] = graph.placeholder(f"constant_{index}")
    moving = set(inputs) | set(frontier)
    for node in module.graph.nodes:
        needed = node not in copies and node.op == "call_function"
        if (
            needed
            and all(each in copies for each in node.all_input_nodes)
            and (node.all_input_nodes and any(each in moving for each in node.all_input_nodes))
        ):
            copies[node] = graph.node_copy(node, lambda each: copies[each])
            moving.add(node)
    (results,) = next(node for node in module.graph.nodes if node.op == "output").args
    graph.output(tuple(copies[node] for node in cast(tuple[fx.Node, ...], results)))
    tail = fx.GraphModule(module, graph)
    tail.graph.eliminate_dead_code()
    tail.recompile()
    return tail


def _drop_aliases(module: fx.GraphModule) -> None:
    """Operations that give their input, as far as numbers go."""
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in _ALIASES:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _shorten_stacks(module: fx.GraphModule) -> None:
    """Rows taken out of a stack of rows are the rows themselves, so that each depends on no other."""
    for node in list(module.graph.nodes):
        if node.op != "call_function":
            continue
        found = _taken_row(node)
        if found is not None:
            node.replace_all_uses_with(found)
    module.graph.eliminate_dead_code()
    module.recompile()


def _taken_row(node: fx.Node) -> fx.Node | None:
    """What select(stack(rows, 1), 1, k) is: rows[k]; through slices of the stack along its rows."""
    if node.target is not aten.select.int:
        return None
    source, axis, index = node.args
    while isinstance(source, fx.Node) and source.target is aten.slice.Tensor:
        whole, cut_axis, *limits = source.args
        if cut_axis != axis and limits[:2] not in ([], [0, 2**63 - 1]):
            return None
        if cut_axis == axis:
            index = operator.add(cast(int, index), cast(int, limits[0] if limits else 0))
        source = whole
    if not isinstance(source, fx.Node) or source.target is not aten.stack.default:
        return None
    rows = cast(Sequence[fx.Node], source.args[0])
    at = source.args[1] if len(source.args) > 1 else 0
    return rows[cast(int, index)] if at == axis and cast(int, index) >= 0 else None
