"""The module computes what the file says: operation by operation by hand, whole networks against LiteRT."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError
from engine.tracking.mesh import MESH_POINTS, MeshNet
from engine.tracking.tflite_net import TfliteNet

RANDOM = np.random.default_rng(0)


def _values(*shape: int) -> NDArray[np.float32]:
    return RANDOM.standard_normal(shape).astype(np.float32)


@pytest.mark.unit
@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_convolution_pads_as_tensorflow(tiny_model: Any, tmp_path: Path, size: int, stride: int, padding: str) -> None:
    weight, bias = _values(4, 3, 3, 2), _values(4)
    out = -(-size // stride) if padding == "same" else (size - 3) // stride + 1
    x = tiny_model.tensor((1, size, size, 2))
    numbers = [x, tiny_model.constant(weight), tiny_model.constant(bias)]
    tiny_model.add(
        "CONV_2D", numbers, (1, out, out, 4), StrideH=stride, StrideW=stride, Padding=int(padding == "valid")
    )
    net = TfliteNet(tiny_model.write(tmp_path / "x.tflite"))
    picture = torch.from_numpy(_values(1, 2, size, size))
    (got,) = net(picture)
    total = max((out - 1) * stride + 3 - size, 0) if padding == "same" else 0
    before = total // 2
    padded = functional.pad(picture, (before, total - before, before, total - before))
    kernel = torch.from_numpy(weight).permute(0, 3, 1, 2)
    expected = torch.zeros(1, 4, out, out)
    for row in range(out):
        for column in range(out):
            part = padded[0, :, row * stride : row * stride + 3, column * stride : column * stride + 3]
            expected[0, :, row, column] = (kernel * part).sum((1, 2, 3)) + torch.from_numpy(bias)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.unit
def test_depthwise_convolution_keeps_channels_apart(tiny_model: Any, tmp_path: Path) -> None:
    weight, bias = _values(1, 1, 1, 3), _values(3)
    x = tiny_model.tensor((1, 2, 2, 3))
    numbers = [x, tiny_model.constant(weight), tiny_model.constant(bias)]
    tiny_model.add("DEPTHWISE_CONV_2D", numbers, (1, 2, 2, 3), StrideH=1, StrideW=1, DepthMultiplier=1)
    picture = torch.from_numpy(_values(1, 3, 2, 2))
    (got,) = TfliteNet(tiny_model.write(tmp_path / "x.tflite"))(picture)
    expected = picture * torch.from_numpy(weight).reshape(3, 1, 1) + torch.from_numpy(bias).reshape(3, 1, 1)
    torch.testing.assert_close(got, expected)


@pytest.mark.unit
def test_small_operations(tiny_model: Any, tmp_path: Path) -> None:
    slope = _values(1, 1, 2)
    x = tiny_model.tensor((1, 4, 4, 2))
    bent = tiny_model.add("PRELU", [x, tiny_model.constant(slope)], (1, 4, 4, 2))
    padding = tiny_model.constant(np.array([[0, 0], [0, 0], [0, 0], [0, 1]], dtype=np.int32))
    wide = tiny_model.add("PAD", [bent, padding], (1, 4, 4, 3))
    twice = tiny_model.add("ADD", [wide, wide], (1, 4, 4, 3))
    pooled = tiny_model.add(
        "MAX_POOL_2D", [twice], (1, 2, 2, 3), StrideH=2, StrideW=2, FilterHeight=2, FilterWidth=2, Padding=1
    )
    size = tiny_model.constant(np.array([4, 4], dtype=np.int32))
    grown = tiny_model.add("RESIZE_BILINEAR", [pooled, size], (1, 4, 4, 3), HalfPixelCenters=1)
    joined = tiny_model.add("CONCATENATION", [grown, twice], (1, 4, 4, 6), Axis=3)
    positive = tiny_model.add("RELU", [joined], (1, 4, 4, 6))
    shape = tiny_model.constant(np.array([1, 96, 1], dtype=np.int32))
    tiny_model.add("RESHAPE", [positive, shape], (1, 96, 1))
    picture = torch.from_numpy(_values(2, 2, 4, 4))
    (got,) = TfliteNet(tiny_model.write(tmp_path / "x.tflite"))(picture)
    slopes = torch.from_numpy(slope).reshape(1, 2, 1, 1)
    step = torch.where(picture > 0, picture, picture * slopes)
    step = 2 * torch.cat([step, torch.zeros(2, 1, 4, 4)], 1)
    small = step.reshape(2, 3, 2, 2, 2, 2).amax((3, 5))
    large = functional.interpolate(small, (4, 4), mode="bilinear", align_corners=False)
    expected = torch.cat([large, step], 1).clamp(min=0).permute(0, 2, 3, 1).reshape(2, 96, 1)
    torch.testing.assert_close(got, expected)


@pytest.mark.unit
def test_wrong_input_shape_is_told(tiny_model: Any, tmp_path: Path) -> None:
    tiny_model.add("RELU", [tiny_model.tensor((1, 4, 6, 3))], (1, 4, 6, 3))
    net = TfliteNet(tiny_model.write(tmp_path / "x.tflite"))
    assert net.input_shape == (3, 4, 6)
    with pytest.raises(ShapeError, match=r"\(1, 3, 6, 4\)"):
        net(torch.zeros(1, 3, 6, 4))


@pytest.mark.unit
def test_mesh_refuses_another_network(weights: Callable[[str], Path]) -> None:
    with pytest.raises(WeightsFormatError, match="expected a face mesh"):
        MeshNet(weights("detector-short"))


@pytest.mark.unit
def test_mesh_refuses_other_sizes(weights: Callable[[str], Path]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        MeshNet(weights("mesh"))(torch.zeros(1, 3, 128, 128))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "low"), [("mesh", 0.0), ("detector-short", -1.0), ("detector-full", -1.0), ("detector-back", -1.0)]
)
@pytest.mark.parametrize("person", ["003_neutral", "083_smiling", "noise"])
def test_equals_an_independent_run_of_the_file(
    weights: Callable[[str], Path],
    face_picture: Callable[[str, int], NDArray[np.uint8]],
    name: str,
    low: float,
    person: str,
) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    net = TfliteNet(weights(name))
    side = net.input_shape[1]
    picture = RANDOM.random((side, side, 3)) if person == "noise" else face_picture(person, side) / 255
    x = (picture * (1 - low) + low).astype(np.float32)[None]
    original = litert.Interpreter(str(weights(name)), num_threads=1)
    original.allocate_tensors()
    original.set_tensor(original.get_input_details()[0]["index"], x)
    original.invoke()
    with torch.inference_mode():
        got = net(torch.from_numpy(x).permute(0, 3, 1, 2))
    for details, ours in zip(original.get_output_details(), got, strict=True):
        theirs = original.get_tensor(details["index"])
        values = ours.permute(0, 2, 3, 1) if ours.dim() == 4 else ours
        assert np.abs(values.numpy() - theirs).max() < 1e-3 * max(1.0, float(np.abs(theirs).max()) / 100)


@pytest.mark.unit
def test_mesh_is_differentiable_and_frozen(
    weights: Callable[[str], Path], face_picture: Callable[[str, int], NDArray[np.uint8]]
) -> None:
    net = MeshNet(weights("mesh"))
    x = torch.from_numpy(face_picture("003_neutral", 192)).permute(2, 0, 1)[None].float().div(255).requires_grad_()
    points, score = net(x)
    assert points.shape == (1, MESH_POINTS, 3)
    (gradient,) = torch.autograd.grad(points[0, 14, 1] + score[0], x)
    assert float(gradient.abs().max()) > 0
    assert list(net.parameters()) == []
