"""A TensorFlow Lite graph as a PyTorch module: same numbers, differentiable, weights frozen.

Pictures are [B,C,H,W] inside (channels last in memory, which is about 1.5 times as fast on a CPU); the file's [B,H,W,C]
order is restored where a picture is reshaped into a list.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError
from engine.tracking.tflite_file import Graph, Operation, read_tflite

_AXIS_FROM_FILE: Final[Mapping[int, int]] = {0: 0, 1: 2, 2: 3, 3: 1}
"""Where an axis of a [B,H,W,C] picture is in [B,C,H,W]."""


class TfliteNet(nn.Module):
    """Runs the graph of a TensorFlow Lite file.

    The weights are buffers, so no optimiser takes them for parameters; gradients reach the input only.
    """

    def __init__(self, path: Path) -> None:
        """Read the network from a file.

        Raises:
            WeightsError: the file cannot be read, or (WeightsFormatError) is not what is understood here.
        """
        super().__init__()
        graph = read_tflite(path)
        if len(graph.inputs) != 1 or len(graph.shapes[graph.inputs[0]]) != 4:
            raise WeightsFormatError(f"{path} has {len(graph.inputs)} inputs, expected one picture")
        batch, height, width, channels = graph.shapes[graph.inputs[0]]
        self.input_shape: Final = (channels, height, width)
        self._input = graph.inputs[0]
        self._outputs = graph.outputs
        self._layers = nn.ModuleList(_layer(operation, graph) for operation in graph.operations)
        self._wiring = [
            (tuple(number for number in operation.inputs if number not in graph.constants), operation.output)
            for operation in graph.operations
        ]

    def extra_repr(self) -> str:
        """The expected input, for printing."""
        return f"input_shape={self.input_shape}, layers={len(self._layers)}"

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute all outputs of the network.

        Args:
            x: [B,C,H,W] float32 with C, H, W of `input_shape`; the range is the network's own.

        Returns:
            One tensor per output: [B,C,H,W] for pictures, the file's own shape (batch first) for lists.
        """
        if x.dim() != 4 or tuple(x.shape[1:]) != self.input_shape:
            raise ShapeError(f"network input has shape {tuple(x.shape)}, expected [B, {self.input_shape}]")
        values = {self._input: x.contiguous(memory_format=torch.channels_last)}
        for layer, (inputs, output) in zip(self._layers, self._wiring, strict=True):
            values[output] = layer(*(values[number] for number in inputs))
        return tuple(values[number] for number in self._outputs)


class _Convolution(nn.Module):
    """Convolution, full or depthwise, padded as TensorFlow pads."""

    def __init__(self, operation: Operation, graph: Graph) -> None:
        super().__init__()
        weight = torch.from_numpy(graph.constants[operation.inputs[1]])
        self.stride = int(operation.options["stride"])
        if operation.kind == "CONV_2D":
            self.groups = 1
            weight = weight.permute(0, 3, 1, 2)
        else:
            self.groups = weight.shape[3]
            weight = weight.permute(3, 0, 1, 2)
        self.edges = _edges(graph.shapes[operation.inputs[0]], weight.shape[2], self.stride, operation)
        self.weight: Tensor
        self.bias: Tensor
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", torch.from_numpy(graph.constants[operation.inputs[2]]))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B,I,H,W] -> [B,O,h,w]."""
        left, right, top, bottom = self.edges
        if left == right and top == bottom:
            return functional.conv2d(x, self.weight, self.bias, self.stride, (top, left), groups=self.groups)
        return functional.conv2d(functional.pad(x, self.edges), self.weight, self.bias, self.stride, groups=self.groups)


class _MaxPool(nn.Module):
    """Maximum over windows."""

    def __init__(self, operation: Operation, graph: Graph) -> None:
        super().__init__()
        self.window = int(operation.options["window"])
        self.stride = int(operation.options["stride"])
        self.edges = _edges(graph.shapes[operation.inputs[0]], self.window, self.stride, operation)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B,C,H,W] -> [B,C,h,w]."""
        if any(self.edges):
            x = functional.pad(x, self.edges, value=float("-inf"))
        return functional.max_pool2d(x, self.window, self.stride)


class _Pad(nn.Module):
    """Zeros around a picture or behind its channels."""

    def __init__(self, operation: Operation, graph: Graph) -> None:
        super().__init__()
        (_, _), rows, columns, channels = graph.constants[operation.inputs[1]].tolist()
        self.amounts = (*columns, *rows, *channels)

    def forward(self, x: Tensor) -> Tensor:
        """x: [B,C,H,W] -> the same, larger by the zeros."""
        return functional.pad(x, self.amounts)


class _Prelu(nn.Module):
    """x where positive, x times a slope per channel where negative."""

    def __init__(self, operation: Operation, graph: Graph) -> None:
        super().__init__()
        self.slope: Tensor
        self.register_buffer("slope", torch.from_numpy(graph.constants[operation.inputs[1]]).reshape(-1))

    def forward(self, x: Tensor) -> Tensor:
        """x: [B,C,H,W], any size."""
        return functional.prelu(x, self.slope)


class _Reshape(nn.Module):
    """Picture to list, in the order of the file; the batch stays."""

    def __init__(self, operation: Operation, graph: Graph) -> None:
        super().__init__()
        self.shape = graph.shapes[operation.output][1:]

    def forward(self, x: Tensor) -> Tensor:
        """x: [B,C,H,W] -> [B, ...] as the file lists it, channels last."""
        if x.dim() == 4:
            x = x.permute(0, 2, 3, 1)
        return x.reshape(x.shape[0], *self.shape)


class _Concatenation(nn.Module):
    """Tensors joined along one axis."""

    def __init__(self, operation: Operation, graph: Graph) -> None:
        super().__init__()
        axis = int(operation.options["axis"])
        self.axis = _AXIS_FROM_FILE[axis] if len(graph.shapes[operation.output]) == 4 else axis

    def forward(self, *parts: Tensor) -> Tensor:
        """parts: equal in shape but along the axis."""
        return torch.cat(parts, self.axis)


class _Resize(nn.Module):
    """Bilinear resize to a fixed size."""

    def __init__(self, operation: Operation, graph: Graph) -> None:
        super().__init__()
        self.size = graph.shapes[operation.output][1:3]

    def forward(self, x: Tensor) -> Tensor:
        """x: [B,C,H,W] -> [B,C,h,w] of the file's size."""
        return functional.interpolate(x, self.size, mode="bilinear", align_corners=False)


class _Add(nn.Module):
    """Sum of two tensors of one shape."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """one, other: of one shape."""
        return one + other


def _edges(shape: tuple[int, ...], window: int, stride: int, operation: Operation) -> tuple[int, int, int, int]:
    """Padding (left, right, top, bottom) that TensorFlow gives an input of shape [B,H,W,C]."""
    if operation.options["padding"] == "valid":
        return 0, 0, 0, 0
    rows, columns = (max((-(-size // stride) - 1) * stride + window - size, 0) for size in shape[1:3])
    return columns // 2, columns - columns // 2, rows // 2, rows - rows // 2


def _layer(operation: Operation, graph: Graph) -> nn.Module:
    """The module that computes one operation."""
    match operation.kind:
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            return _Convolution(operation, graph)
        case "MAX_POOL_2D":
            return _MaxPool(operation, graph)
        case "PAD":
            return _Pad(operation, graph)
        case "PRELU":
            return _Prelu(operation, graph)
        case "RESHAPE":
            return _Reshape(operation, graph)
        case "CONCATENATION":
            return _Concatenation(operation, graph)
        case "RESIZE_BILINEAR":
            return _Resize(operation, graph)
        case "ADD":
            return _Add()
        case "RELU":
            return nn.ReLU()
        case _:
            raise WeightsFormatError(f"TensorFlow Lite operation {operation.kind} is not supported on computed values")
