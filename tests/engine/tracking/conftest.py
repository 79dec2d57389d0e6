"""Makes tiny TensorFlow Lite files, and a tracker and pictures for the tests of tracking."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import flatbuffers
import numpy as np
import pytest
import tflite
import torch
from numpy.typing import NDArray

from engine.tracking import FaceTracker

TYPES = {
    "float32": tflite.TensorType.FLOAT32,
    "float16": tflite.TensorType.FLOAT16,
    "int32": tflite.TensorType.INT32,
    "int8": tflite.TensorType.INT8,
}
OPTIONS = {
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "ADD": "AddOptions",
    "CONCATENATION": "ConcatenationOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
}


@dataclass
class TinyModel:
    """A network to write as a TensorFlow Lite file: tensors and operations in order."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    values: list[NDArray[Any] | None] = field(default_factory=list)
    operations: list[tuple[str, tuple[int, ...], int, dict[str, int]]] = field(default_factory=list)
    inputs: tuple[int, ...] = (0,)
    outputs: tuple[int, ...] = ()

    def tensor(self, shape: Sequence[int]) -> int:
        """Add a computed tensor."""
        self.shapes.append(tuple(shape))
        self.values.append(None)
        return len(self.shapes) - 1

    def constant(self, values: NDArray[Any]) -> int:
        """Add a tensor with values."""
        self.shapes.append(values.shape)
        self.values.append(values)
        return len(self.shapes) - 1

    def add(self, kind: str, inputs: Sequence[int], shape: Sequence[int], **options: int) -> int:
        """Add an operation and its output tensor; the last one added is the network's output."""
        output = self.tensor(shape)
        self.operations.append((kind, tuple(inputs), output, options))
        self.outputs = (output,)
        return output

    def write(self, path: Path) -> Path:
        """Write the file."""
        builder = flatbuffers.Builder(1024)
        kinds = sorted({kind for kind, *_ in self.operations})
        subgraph = self._subgraph(builder, kinds)
        codes = _vector(builder, tflite.ModelStartOperatorCodesVector, [_code(builder, kind) for kind in kinds])
        buffers = [_buffer(builder, b"")]
        buffers += [_buffer(builder, values.tobytes()) for values in self.values if values is not None]
        buffer_list = _vector(builder, tflite.ModelStartBuffersVector, buffers)
        subgraphs = _vector(builder, tflite.ModelStartSubgraphsVector, [subgraph])
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddBuffers(builder, buffer_list)
        builder.Finish(tflite.ModelEnd(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    def _subgraph(self, builder: Any, kinds: list[str]) -> int:
        tensors: list[int] = []
        stored = 0
        for shape, values in zip(self.shapes, self.values, strict=True):
            stored += values is not None
            tensors.append(_tensor(builder, shape, values, stored if values is not None else 0))
        operators = [
            _operator(builder, kinds.index(kind), kind, inputs, output, options)
            for kind, inputs, output, options in self.operations
        ]
        tensor_list = _vector(builder, tflite.SubGraphStartTensorsVector, tensors)
        operator_list = _vector(builder, tflite.SubGraphStartOperatorsVector, operators)
        inputs = _numbers(builder, tflite.SubGraphStartInputsVector, self.inputs)
        outputs = _numbers(builder, tflite.SubGraphStartOutputsVector, self.outputs)
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensor_list)
        tflite.SubGraphAddInputs(builder, inputs)
        tflite.SubGraphAddOutputs(builder, outputs)
        tflite.SubGraphAddOperators(builder, operator_list)
        return int(tflite.SubGraphEnd(builder))


def _vector(builder: Any, start: Callable[[Any, int], Any], offsets: Sequence[int]) -> int:
    start(builder, len(offsets))
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _numbers(builder: Any, start: Callable[[Any, int], Any], numbers: Sequence[int]) -> int:
    start(builder, len(numbers))
    for number in reversed(numbers):
        builder.PrependInt32(number)
    return int(builder.EndVector())


def _code(builder: Any, kind: str) -> int:
    code = getattr(tflite.BuiltinOperator, kind)
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, 127))
    tflite.OperatorCodeAddBuiltinCode(builder, code)
    return int(tflite.OperatorCodeEnd(builder))


def _buffer(builder: Any, content: bytes) -> int:
    data = builder.CreateByteVector(content) if content else None
    tflite.BufferStart(builder)
    if data is not None:
        tflite.BufferAddData(builder, data)
    return int(tflite.BufferEnd(builder))


def _tensor(builder: Any, shape: Sequence[int], values: NDArray[Any] | None, buffer: int) -> int:
    numbers = _numbers(builder, tflite.TensorStartShapeVector, shape)
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, numbers)
    tflite.TensorAddType(builder, TYPES["float32" if values is None else str(values.dtype)])
    tflite.TensorAddBuffer(builder, buffer)
    return int(tflite.TensorEnd(builder))


def _operator(builder: Any, code: int, kind: str, inputs: Sequence[int], output: int, options: dict[str, int]) -> int:
    table = None
    if name := OPTIONS.get(kind):
        getattr(tflite, f"{name}Start")(builder)
        for key, value in options.items():
            getattr(tflite, f"{name}Add{key}")(builder, value)
        table = getattr(tflite, f"{name}End")(builder)
    input_list = _numbers(builder, tflite.OperatorStartInputsVector, inputs)
    output_list = _numbers(builder, tflite.OperatorStartOutputsVector, (output,))
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, code)
    tflite.OperatorAddInputs(builder, input_list)
    tflite.OperatorAddOutputs(builder, output_list)
    if table is not None:
        tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, OPTIONS[kind]))
        tflite.OperatorAddBuiltinOptions(builder, table)
    return int(tflite.OperatorEnd(builder))


@pytest.fixture
def tiny_model() -> TinyModel:
    """An empty network to fill and write."""
    return TinyModel()


@pytest.fixture(scope="session")
def face_picture(data_dir: Path) -> Callable[[str, int], NDArray[np.uint8]]:
    """Gives a frontal portrait, [S,S,3] RGB of side S, by person and expression ("003_neutral")."""

    def read(name: str, side: int) -> NDArray[np.uint8]:
        picture = cv2.imread(str(data_dir / "faces" / f"london_{name}.jpg"))
        assert picture is not None
        return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)[:, :, ::-1].copy().astype(np.uint8)

    return read


@pytest.fixture(scope="session")
def _shared_tracker(weights: Callable[[str], Path]) -> FaceTracker:
    torch.set_num_threads(1)
    return FaceTracker(weights("mesh"), weights("detector-short"), weights("detector-full"))


@pytest.fixture
def tracker(_shared_tracker: FaceTracker) -> FaceTracker:
    """A tracker with its real networks, before its first frame."""
    _shared_tracker.reset()
    return _shared_tracker


@pytest.fixture
def mirrored_meshes(
    tracker: FaceTracker, face_picture: Callable[[str, int], NDArray[np.uint8]]
) -> tuple[NDArray[np.float64], ...]:
    """Meshes of a portrait of 700 px and of its mirror image."""
    picture = face_picture("003_neutral", 700)
    meshes = []
    for view in (picture, np.ascontiguousarray(picture[:, ::-1])):
        tracker.reset()
        face = tracker.track(view, 0.0).face
        assert face is not None
        meshes.append(face.mesh.astype(np.float64))
    return tuple(meshes)
