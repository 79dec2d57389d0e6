"""The reader: what is in the file comes out; what it cannot understand is refused by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import WeightsError, WeightsFormatError
from engine.tracking.tflite_file import read_tflite

pytestmark = pytest.mark.unit

WEIGHT = np.arange(2 * 3 * 3 * 1, dtype=np.float32).reshape(2, 3, 3, 1)
BIAS = np.array([0.5, -1.5], dtype=np.float32)


def _convolution(model: Any, weight: NDArray[Any], **options: int) -> Any:
    x = model.tensor((1, 4, 4, 1))
    numbers = [x, model.constant(weight), model.constant(BIAS)]
    model.add("CONV_2D", numbers, (1, 2, 2, 2), **({"StrideH": 2, "StrideW": 2, "Padding": 0} | options))
    return model


def test_graph_comes_out_as_written(tiny_model: Any, tmp_path: Path) -> None:
    graph = read_tflite(_convolution(tiny_model, WEIGHT).write(tmp_path / "x.tflite"))
    assert graph.inputs == (0,)
    assert graph.outputs == (3,)
    assert graph.shapes[0] == (1, 4, 4, 1)
    np.testing.assert_array_equal(graph.constants[1], WEIGHT)
    (operation,) = graph.operations
    assert (operation.kind, operation.inputs, operation.output) == ("CONV_2D", (0, 1, 2), 3)
    assert operation.options == {"stride": 2, "padding": "same"}


def test_half_precision_constants_become_single(tiny_model: Any, tmp_path: Path) -> None:
    half = tiny_model.constant(np.array([0.1, 2.0], dtype=np.float16))
    tiny_model.add("DEQUANTIZE", [half], (2,))
    graph = read_tflite(tiny_model.write(tmp_path / "x.tflite"))
    assert graph.operations == ()
    assert graph.constants[1].dtype == np.float32
    np.testing.assert_array_equal(graph.constants[1], np.array([0.1, 2.0], dtype=np.float16).astype(np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"StrideW": 1}, "strides 2 x 1"),
        ({"DilationHFactor": 2}, "dilation"),
        ({"FusedActivationFunction": 1}, "fused activation"),
    ],
)
def test_unknown_options_are_refused(tiny_model: Any, tmp_path: Path, options: dict[str, int], message: str) -> None:
    with pytest.raises(WeightsFormatError, match=message):
        read_tflite(_convolution(tiny_model, WEIGHT, **options).write(tmp_path / "x.tflite"))


def test_unknown_operation_is_refused_by_name(tiny_model: Any, tmp_path: Path) -> None:
    tiny_model.add("COS", [tiny_model.tensor((1, 2, 2, 1))], (1, 2, 2, 1))
    with pytest.raises(WeightsFormatError, match="operation COS is not supported"):
        read_tflite(tiny_model.write(tmp_path / "x.tflite"))


def test_quantised_weights_are_refused(tiny_model: Any, tmp_path: Path) -> None:
    with pytest.raises(WeightsFormatError, match="type number 9"):
        read_tflite(_convolution(tiny_model, WEIGHT.astype(np.int8)).write(tmp_path / "x.tflite"))


def test_missing_file_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="livedub weights fetch"):
        read_tflite(tmp_path / "none.tflite")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 zip", b"\x00" * 100], ids=["empty", "zip", "zeros"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.tflite"
    path.write_bytes(content)
    with pytest.raises(WeightsFormatError, match="no TensorFlow Lite file"):
        read_tflite(path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6])
def test_truncated_file_is_refused(weights: Callable[[str], Path], tmp_path: Path, share: float) -> None:
    content = weights("detector-short").read_bytes()
    path = tmp_path / "x.tflite"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(WeightsFormatError, match="damaged"):
        read_tflite(path)
