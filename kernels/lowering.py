"""Forms of a traced graph that run faster, with the same numbers up to rounding.

- 1x1 convolutions become matrix products over pixels: the library's product reaches the processor's peak with weights
  as they are, its convolution only with weights that were packed when the graph was compiled.
- An order of channels that a graph asks for is moved into the weights of the layer before: no element is moved.
- Convolutions and large products run in a narrow type where that is asked for, bfloat16 or float16; sums inside them,
  everything between them, and the layers of small maps stay float32. float16 has three bits more and a smaller range:
  gradients are scaled up on their way through such a graph, and down behind it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, cast

import torch
from torch import Tensor, fx
from torch.nn import functional

from kernels.flat import FlatGraph, trace

aten: Final = torch.ops.aten

NARROW: Final = (torch.bfloat16, torch.float16)
"""Types that convolutions and large products may run in."""
_LARGE: Final = 1 << 21
"""Multiplications of a product from which on it runs in the narrow type; style layers are smaller and stay exact."""
_FEW_PIXELS: Final = 64
_COARSE_PIXELS: Final = 256
"""Pixels of a map up to which its layers stay float32: what is rounded there is seen in the whole face.

Gradients of the default generator's step have a cosine of .973 with float32's when all layers run in bfloat16, .994
without those of 8x8 px, .996 without those of 16x16 px; any one layer above costs .006 at most. They are a tenth of
the arithmetic."""
GRADIENT_SCALE: Final = 1024.0
"""How much larger gradients are inside a function that is lowered to float16.

Its smallest number is 6e-8; the gradient of one pixel of a step's objective is about 1e-6."""
_MOVES: Final = (aten.view.default, aten.permute.default, aten.slice.Tensor, aten.reshape.default)
_POINTWISE: Final = (aten.add.Tensor, aten.mul.Tensor, aten.sub.Tensor, aten.leaky_relu.default, aten.relu.default)


@dataclass(frozen=True, slots=True)
class Lowering:
    """What is changed."""

    products: bool = True
    """Whether 1x1 convolutions become matrix products."""
    order: bool = True
    """Whether orders of channels move into weights."""
    narrow: torch.dtype | None = None
    """What convolutions and large products run in, but for maps of a few pixels (`_COARSE_PIXELS`); None: float32.

    bfloat16 for processors, float16 for engines: TensorRT-RTX builds none with transposed convolutions in bfloat16."""

    @classmethod
    def portable(cls, narrow: torch.dtype | None) -> "Lowering":
        """What is changed in graphs that leave torch: engines know what a 1x1 convolution is."""
        return cls(products=False, narrow=narrow)


def lowered(graph: FlatGraph, lowering: Lowering) -> Callable[..., tuple[Tensor, ...]]:
    """A function of the graph's inputs that runs its lowered form; differentiable, and made to be traced again."""
    module = _with_orders_moved(graph) if lowering.order else graph.module

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        """The lowered graph on the same inputs."""
        return cast(tuple[Tensor, ...], _Interpreter(module, lowering).run(*inputs, *graph.constants))

    return _with_scaled_gradients(run) if lowering.narrow == torch.float16 else run


def _with_scaled_gradients(run: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """The same function, whose gradients are `GRADIENT_SCALE` times as large inside: those of pixels are too small."""

    def scaled(*inputs: Tensor) -> tuple[Tensor, ...]:
        """See `run`."""
        smaller = [_ScaledGradient.apply(value, 1 / GRADIENT_SCALE) for value in inputs]  # type: ignore[no-untyped-call]
        results = run(*smaller)
        return tuple(_ScaledGradient.apply(value, GRADIENT_SCALE) for value in results)  # type: ignore[no-untyped-call]

    return scaled


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        """The same tensor."""
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Its gradient, scaled."""
        return gradient * ctx.factor, None


def lower(graph: FlatGraph, lowering: Lowering) -> FlatGraph:
    """The lowered form as a graph."""
    return with_fewer_casts(trace(lowered(graph, lowering), graph.examples))


def with_fewer_casts(graph: FlatGraph) -> FlatGraph:
    """The same graph where nothing is made float32 only to be made narrow again: changes no number."""
    _note_shapes(graph.module, graph)
    for node in list(graph.module.graph.nodes):
        narrow = _cast_to(node)
        if narrow in NARROW:
            path = [node.args[0]]
            while path[-1].target in _MOVES and len(path[-1].users) == 1:
                path.append(path[-1].args[0])
            if _cast_to(path[-1]) == torch.float32 and path[-1].args[0].meta["dtype"] == narrow:
                _rewire(graph.module.graph, node, path)
    graph.module.graph.eliminate_dead_code()
    graph.module.recompile()
    return graph


def _cast_to(node: fx.Node) -> torch.dtype | None:
    """The type that a node makes of another; None for other nodes."""
    found = node.kwargs.get("dtype") if node.target is aten._to_copy.default else None
    return cast(torch.dtype | None, found)


def _rewire(graph: fx.Graph, node: fx.Node, path: list[fx.Node]) -> None:
    """Leads the narrow tensor around the two casts: `path` goes from the second cast's input up to the first cast."""
    value = cast(fx.Node, path[-1].args[0])
    with graph.inserting_before(node):
        for move in reversed(path[:-1]):
            value = graph.call_function(cast(Any, move.target), (value, *move.args[1:]), move.kwargs)
            value.meta["dtype"] = node.kwargs["dtype"]
    node.replace_all_uses_with(value)


class _Interpreter(fx.Interpreter):
    """Runs a graph with other operations in place of some."""

    def __init__(self, module: fx.GraphModule, lowering: Lowering) -> None:
        super().__init__(module)
        self._lowering = lowering

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One operation."""
        if target is aten.convolution.default:
            return self._convolution(*args)
        if target is aten.mm.default:
            return self._product(*args)
        return super().call_function(target, args, kwargs)

    def _convolution(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
        transposed: bool,
        output_padding: list[int],
        groups: int,
    ) -> Tensor:
        plain = groups == 1 and not transposed and list(stride) == [1, 1]
        single = tuple(weight.shape[2:]) == (1, 1) and not any(padding)
        if self._lowering.products and plain and (single or _is_small(x, weight, padding)):
            found = self._as_product(x, weight, padding)
        else:
            rest = (None, stride, padding, dilation, transposed, output_padding, groups)
            narrow = self._lowering.narrow
            if narrow is not None and x.dtype == torch.float32 and x.shape[2] * x.shape[3] > _COARSE_PIXELS:
                found = aten.convolution.default(x.to(narrow), weight.to(narrow), *rest).to(torch.float32)
            else:
                found = aten.convolution.default(x, weight, *rest)
        return found if bias is None else found + bias[:, None, None]

    def _as_product(self, x: Tensor, weight: Tensor, padding: list[int]) -> Tensor:
        """A dense convolution of stride 1 as one product: pixels' neighbourhoods times filters."""
        b, _, h, w = x.shape
        rows, columns = weight.shape[2:]
        padded = functional.pad(x, (padding[1], padding[1], padding[0], padding[0])) if any(padding) else x
        seen = padded.permute(0, 2, 3, 1)
        if rows * columns > 1:
            seen = torch.cat([seen[:, y : y + h, x : x + w] for y in range(rows) for x in range(columns)], 3)
        flat = weight.permute(2, 3, 1, 0).reshape(-1, weight.shape[0])
        return self._product(seen.reshape(b * h * w, -1), flat).reshape(b, h, w, -1).permute(0, 3, 1, 2)

    def _product(self, a: Tensor, b: Tensor) -> Tensor:
        large = a.shape[0] * a.shape[1] * b.shape[1] >= _LARGE and a.shape[0] > _COARSE_PIXELS
        narrow = self._lowering.narrow
        if narrow is not None and large and a.dtype == torch.float32:
            return torch.mm(a.to(narrow), b.to(narrow)).to(torch.float32)
        return torch.mm(a, b)


def _is_small(x: Tensor, weight: Tensor, padding: list[int]) -> bool:
    """Whether a convolution that keeps the size spends more on its weights than on its pixels."""
    same = all(2 * pad + 1 == side for pad, side in zip(padding, weight.shape[2:], strict=True))
    return same and x.shape[2] * x.shape[3] <= _FEW_PIXELS


class _Shapes(fx.Interpreter):
    """Runs a graph once and notes every tensor's shape and type."""

    def run_node(self, n: fx.Node) -> Any:
        """One node."""
        found = super().run_node(n)
        if isinstance(found, Tensor):
            n.meta["shape"], n.meta["dtype"] = tuple(found.shape), found.dtype
        return found


def _note_shapes(module: fx.GraphModule, graph: FlatGraph) -> None:
    with torch.no_grad():
        _Shapes(module).run(*graph.examples, *graph.constants)


def _with_orders_moved(graph: FlatGraph) -> fx.GraphModule:
    """The graph's module with `index_select` of channels moved up into weights where that is possible."""
    module = fx.GraphModule(graph.module, _copied(graph.module.graph))
    _note_shapes(module, graph)
    for node in list(module.graph.nodes):
        if node.target is aten.index_select.default and node.args[1] == 1 and _movable(node.args[0]):
            moved = _moved(module.graph, node.args[0], node.args[2])
            node.replace_all_uses_with(moved)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _copied(graph: fx.Graph) -> fx.Graph:
    copy = fx.Graph()
    copy.output(copy.graph_copy(graph, {}))
    return copy


def _movable(node: Any) -> bool:
    """Whether a node's channels can be put into another order by weights alone."""
    if not isinstance(node, fx.Node) or len(node.meta.get("shape", ())) != 4 or len(node.users) != 1:
        return False
    if node.target is aten.convolution.default:
        return bool(node.args[8] == 1 and not node.args[6])
    if node.target in _POINTWISE:
        large = [each for each in node.all_input_nodes if _spread(each)]
        return len(large) == 1 and _movable(large[0])
    return node.target is aten.slice.Tensor and node.args[1] in (2, 3) and _movable(node.args[0])


def _spread(node: fx.Node) -> bool:
    """Whether it is a map of pixels with channels."""
    shape = node.meta.get("shape", ())
    return len(shape) == 4 and shape[1] > 1 and shape[2:] != (1, 1)


def _moved(graph: fx.Graph, node: fx.Node, order: fx.Node) -> fx.Node:
    """The node's value with its channels in `order`, weights being put into that order instead."""

    def ordered(value: Any, axis: int) -> Any:
        """The value with its bands in the order that the transform reads."""
        return graph.call_function(aten.index_select.default, (value, axis, order))

    with graph.inserting_before(node.next):
        if node.target is aten.convolution.default:
            x, weight, bias, *rest = cast(tuple[Any, ...], node.args)
            args: tuple[Any, ...] = (x, ordered(weight, 0), None if bias is None else ordered(bias, 0), *rest)
        else:
            large = next(each for each in node.all_input_nodes if _spread(each))
            moved = _moved(graph, large, order)
            args = tuple(moved if each is large else _small(graph, each, order) for each in node.args)
        made = graph.call_function(cast(Any, node.target), args, node.kwargs)
    made.meta = dict(node.meta)
    return made


def _small(graph: fx.Graph, value: Any, order: fx.Node) -> Any:
    """A number, or a tensor that spreads over pixels or channels: put into order where it has channels."""
    shape: tuple[int, ...] = value.meta.get("shape", ()) if isinstance(value, fx.Node) else ()
    if len(shape) < 3 or shape[-3] == 1:
        return value
    return _reordered(graph, value, len(shape) - 3, order)


def _reordered(graph: fx.Graph, value: fx.Node, axis: int, order: fx.Node) -> fx.Node:
    """A small tensor with one axis put into order as far up as possible: at best in constants, at no cost."""
    shape = value.meta["shape"]
    args: tuple[Any, ...] = tuple(value.args)
    if value.target is aten.unsqueeze.default:
        new = args[1] % len(shape)
        inner = _reordered(graph, args[0], axis - (new < axis), order)
        made = graph.call_function(value.target, (inner, args[1]))
    elif value.target is aten.mm.default and axis == 1:
        made = graph.call_function(value.target, (args[0], _reordered(graph, args[1], 1, order)))
    elif value.target in (aten.add.Tensor, aten.mul.Tensor):
        parts = [_aligned(graph, each, axis - len(shape), shape[axis], order) for each in args]
        made = graph.call_function(value.target, tuple(parts), value.kwargs)
    else:
        made = graph.call_function(aten.index_select.default, (value, axis, order))
    made.meta = dict(value.meta)
    return made


def _aligned(graph: fx.Graph, value: Any, from_end: int, size: int, order: fx.Node) -> Any:
    """An operand of a sum or product: ordered along the axis that meets the result's, unless it is spread over it."""
    shape: tuple[int, ...] = value.meta.get("shape", ()) if isinstance(value, fx.Node) else ()
    if len(shape) + from_end < 0 or shape[from_end] != size:
        return value
    return _reordered(graph, value, len(shape) + from_end, order)
