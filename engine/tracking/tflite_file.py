"""Reading a TensorFlow Lite file into plain Python: which operations on which tensors, with which constants.

Only what float networks for faces use is understood; anything else is refused by name. Values are numpy arrays in the
file's own layout (pictures [B,H,W,C], convolution weights [out,kH,kW,in]); half-precision constants become float32.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import tflite
from numpy.typing import NDArray

from engine.errors import WeightsError, WeightsFormatError

_IDENTIFIER: Final = b"TFL3"
_DTYPES: Final[Mapping[int, str]] = {
    tflite.TensorType.FLOAT32: "<f4",
    tflite.TensorType.FLOAT16: "<f2",
    tflite.TensorType.INT32: "<i4",
}
_KINDS: Final[Mapping[int, str]] = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)
}
_PADDINGS: Final[Mapping[int, str]] = {tflite.Padding.SAME: "same", tflite.Padding.VALID: "valid"}


@dataclass(frozen=True, slots=True)
class Operation:
    """One node of the graph."""

    kind: str
    """Name as in the TensorFlow Lite schema, e.g. CONV_2D."""
    inputs: tuple[int, ...]
    """Tensor numbers, in the order the operation defines."""
    output: int
    """Tensor number of the only output."""
    options: Mapping[str, int | bool | str] = field(default_factory=dict)
    """What the operation's own options say: stride, padding ("same" or "valid"), window, axis."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A network as the file describes it."""

    inputs: tuple[int, ...]
    """Tensor numbers of the network's inputs."""
    outputs: tuple[int, ...]
    """Tensor numbers of the network's outputs."""
    shapes: Mapping[int, tuple[int, ...]]
    """Shape of every tensor, batch included."""
    constants: Mapping[int, NDArray[Any]]
    """Tensors whose values are in the file: float32 or int32."""
    operations: tuple[Operation, ...]
    """The nodes, in an order in which they can be computed."""


def read_tflite(path: Path) -> Graph:
    """Read a network from a TensorFlow Lite file.

    Raises:
        WeightsError: the file cannot be read.
        WeightsFormatError: it is no TensorFlow Lite file, is damaged, or uses what is not understood here.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error}. Run `livedub weights fetch`.") from error
    if content[4:8] != _IDENTIFIER:
        raise WeightsFormatError(
            f"{path} starts with {content[:8]!r}, expected the mark {_IDENTIFIER!r} at byte 4: no TensorFlow Lite file"
        )
    try:
        return _graph(tflite.Model.GetRootAs(content, 0))
    except (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise WeightsFormatError(
            f"{path} is damaged ({error}), expected a whole TensorFlow Lite file. Run `livedub weights fetch`."
        ) from error


def _graph(model: Any) -> Graph:
    """The only subgraph of a model."""
    if model.SubgraphsLength() != 1:
        raise WeightsFormatError(f"TensorFlow Lite file with {model.SubgraphsLength()} subgraphs, expected 1")
    source = model.Subgraphs(0)
    shapes: dict[int, tuple[int, ...]] = {}
    constants: dict[int, NDArray[Any]] = {}
    for number in range(source.TensorsLength()):
        tensor = source.Tensors(number)
        shapes[number] = tuple(int(tensor.Shape(axis)) for axis in range(tensor.ShapeLength()))
        values = _constant(model, tensor, shapes[number])
        if values is not None:
            constants[number] = values
    operations: list[Operation] = []
    for index in range(source.OperatorsLength()):
        operation = _operation(model, source.Operators(index))
        if operation.kind == "DEQUANTIZE" and operation.inputs[0] in constants:
            constants[operation.output] = constants[operation.inputs[0]]
        else:
            operations.append(operation)
    return Graph(
        inputs=tuple(int(source.Inputs(index)) for index in range(source.InputsLength())),
        outputs=tuple(int(source.Outputs(index)) for index in range(source.OutputsLength())),
        shapes=shapes,
        constants=constants,
        operations=tuple(operations),
    )


def _constant(model: Any, tensor: Any, shape: tuple[int, ...]) -> NDArray[Any] | None:
    """Values of a tensor that the file carries, None for one that is computed."""
    buffer = model.Buffers(tensor.Buffer())
    if buffer.DataLength() == 0:
        return None
    if tensor.Type() not in _DTYPES:
        raise WeightsFormatError(
            f"TensorFlow Lite tensor {tensor.Name()!r} has type number {tensor.Type()}, "
            f"expected one of {sorted(_DTYPES)} (float32, float16, int32)"
        )
    values = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype=_DTYPES[tensor.Type()]).reshape(shape)
    return values.astype(np.float32) if values.dtype == np.float16 else values.copy()


def _operation(model: Any, source: Any) -> Operation:
    """One node, with its options."""
    code = model.OperatorCodes(source.OpcodeIndex())
    kind = _KINDS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    if kind not in _OPTIONS:
        raise WeightsFormatError(f"TensorFlow Lite operation {kind} is not supported; expected one of {list(_OPTIONS)}")
    if source.OutputsLength() != 1:
        raise WeightsFormatError(f"TensorFlow Lite operation {kind} has {source.OutputsLength()} outputs, expected 1")
    return Operation(
        kind=kind,
        inputs=tuple(int(source.Inputs(index)) for index in range(source.InputsLength())),
        output=int(source.Outputs(0)),
        options=_OPTIONS[kind](source),
    )


def _table(source: Any, kind: type[Any]) -> Any:
    """The options of a node as a table of the schema, activation checked: none of our files fuses one."""
    table = kind()
    union = source.BuiltinOptions()
    table.Init(union.Bytes, union.Pos)
    if hasattr(table, "FusedActivationFunction") and table.FusedActivationFunction() != 0:
        raise WeightsFormatError(f"{kind.__name__} with a fused activation is not supported; expected none")
    return table


def _convolution(source: Any) -> dict[str, int | bool | str]:
    """Options of CONV_2D."""
    table = _table(source, tflite.Conv2DOptions)
    return _window(table)


def _depthwise(source: Any) -> dict[str, int | bool | str]:
    """Options of DEPTHWISE_CONV_2D."""
    table = _table(source, tflite.DepthwiseConv2DOptions)
    if table.DepthMultiplier() != 1:
        raise WeightsFormatError(f"depth multiplier {table.DepthMultiplier()} is not supported; expected 1")
    return _window(table)


def _window(table: Any) -> dict[str, int | bool | str]:
    """Stride and padding of a convolution or pooling."""
    dilation = (table.DilationHFactor(), table.DilationWFactor()) if hasattr(table, "DilationHFactor") else (1, 1)
    if table.StrideH() != table.StrideW() or dilation != (1, 1):
        raise WeightsFormatError(
            f"strides {table.StrideH()} x {table.StrideW()} with dilation {dilation} are not supported; "
            "expected equal strides and no dilation"
        )
    return {"stride": int(table.StrideH()), "padding": _PADDINGS[table.Padding()]}


def _pooling(source: Any) -> dict[str, int | bool | str]:
    """Options of MAX_POOL_2D."""
    table = _table(source, tflite.Pool2DOptions)
    if table.FilterHeight() != table.FilterWidth():
        raise WeightsFormatError("pooling window is not square; expected a square one")
    return {"window": int(table.FilterHeight()), **_window(table)}


def _resize(source: Any) -> dict[str, int | bool | str]:
    """Options of RESIZE_BILINEAR."""
    table = _table(source, tflite.ResizeBilinearOptions)
    if table.AlignCorners() or not table.HalfPixelCenters():
        raise WeightsFormatError("resize without half-pixel centres is not supported; expected half-pixel centres")
    return {}


def _concatenation(source: Any) -> dict[str, int | bool | str]:
    """Options of CONCATENATION."""
    return {"axis": int(_table(source, tflite.ConcatenationOptions).Axis())}


def _addition(source: Any) -> dict[str, int | bool | str]:
    """Options of ADD: none but the activation, which is checked."""
    _table(source, tflite.AddOptions)
    return {}


def _no_options(source: Any) -> dict[str, int | bool | str]:
    """Operations whose inputs say all."""
    return {}


_OPTIONS: Final[Mapping[str, Callable[[Any], dict[str, int | bool | str]]]] = {
    "ADD": _addition,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "DEQUANTIZE": _no_options,
    "MAX_POOL_2D": _pooling,
    "PAD": _no_options,
    "PRELU": _no_options,
    "RELU": _no_options,
    "RESHAPE": _no_options,
    "RESIZE_BILINEAR": _resize,
}
