"""ONNX files that onnxruntime agrees with, and engines really built, without a GPU."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kernels.backends.device import engine_of
from kernels.backends.tensorrt import (
    Builder,
    build_engine,
    builder_for,
    engine_name,
    export_onnx,
    precision_of,
)
from kernels.errors import BackendUnavailable
from kernels.flat import FlatGraph, trace
from kernels.haar import inverse_haar
from kernels.lowering import Lowering, lower, lowered, with_fewer_casts
from kernels.step import STATE, AdamConfig, Step, StepState, optimisation_step

HAS_EXPORTER = importlib.util.find_spec("onnxscript") is not None
HAS_TENSORRT = importlib.util.find_spec("tensorrt_rtx_bindings") is not None


def small_step() -> tuple[FlatGraph, tuple[Tensor, ...]]:
    """A step through every kind of layer that generators and losses have."""
    noise = torch.Generator().manual_seed(0)
    dense, affine = torch.randn(16, 4, 3, 3, generator=noise) / 6, torch.randn(8, 4, generator=noise) / 2
    depthwise, image = torch.randn(4, 1, 3, 3, generator=noise) / 3, torch.randn(1, 4, 6, 6, generator=noise)

    def objective(z: Tensor, goal: Tensor) -> tuple[Tensor, ...]:
        x = functional.conv2d(image * (z @ affine)[:, :, None, None].sum(1, keepdim=True), dense, padding=1)
        x = inverse_haar(functional.leaky_relu(x, 0.2))
        x = functional.conv2d(x, depthwise, padding=1, groups=4)
        x = functional.max_pool2d(functional.avg_pool2d(functional.pad(x, (2, 2, 2, 2), "reflect"), 2), 2, stride=1)
        return ((x - goal).square().mean(),)

    z = torch.randn(1, 8, generator=noise)
    inputs = (*StepState.begin(z).tensors, torch.randn(1, 4, 7, 7, generator=noise))
    return trace(optimisation_step(objective, AdamConfig()), inputs, portable=True), inputs


@pytest.mark.slow
@pytest.mark.skipif(not HAS_EXPORTER, reason="onnxscript is not installed: livedub[tensorrt-rtx]")
def test_onnxruntime_computes_the_same_step(tmp_path: Path) -> None:
    import onnxruntime

    graph, inputs = small_step()
    path = export_onnx(graph, tmp_path / "step.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, dict(zip(names, (each.numpy() for each in inputs), strict=True)))
    wanted = graph(*inputs)
    np.testing.assert_allclose(found[STATE], wanted[STATE].numpy(), rtol=1e-5)
    np.testing.assert_allclose(found[STATE + 1], wanted[STATE + 1].numpy(), rtol=1e-4, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["step.onnx"]


def half_step() -> tuple[FlatGraph, tuple[Tensor, ...], Step]:
    """A step through convolutions, rows that are taken and pixels that are cut, in float16; and itself in float32."""
    noise = torch.Generator().manual_seed(2)
    weights = [torch.randn(16, 16, 3, 3, generator=noise) / 12 for _ in range(3)]
    image, rows = torch.randn(1, 16, 40, 40, generator=noise), torch.tensor([3, 0, 3])

    def render(z: Tensor) -> tuple[Tensor, ...]:
        x = image * z[0, :, None, None]
        for weight in weights:
            x = functional.leaky_relu(functional.conv2d(x, weight, padding=1), 0.2)
        return (x[:, :, 2:, :-2],)

    def stepping(run: Callable[..., tuple[Tensor, ...]]) -> Step:
        return optimisation_step(lambda z, goal: ((run(z)[0][:, rows] - goal).square().mean(),), AdamConfig())

    z = torch.rand(1, 16, generator=noise) + 0.5
    inputs = (*StepState.begin(z).tensors, torch.randn(1, 3, 38, 38, generator=noise))
    plain = trace(render, (z,), portable=True)
    made = trace(stepping(lowered(plain, Lowering.portable(torch.float16))), inputs, portable=True)
    return with_fewer_casts(made), inputs, stepping(render)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_EXPORTER, reason="onnxscript is not installed: livedub[tensorrt-rtx]")
def test_onnxruntime_computes_the_step_in_float16_nearly_as_in_float32(tmp_path: Path) -> None:
    import onnxruntime

    graph, inputs, step = half_step()
    assert precision_of(graph) == "fp16"
    path = export_onnx(graph, tmp_path / "step.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, dict(zip(names, (each.numpy() for each in inputs), strict=True)))
    wanted = step(*inputs)
    np.testing.assert_allclose(found[STATE], wanted[STATE].numpy(), rtol=5e-3)
    off = np.linalg.norm(found[STATE + 1] - wanted[STATE + 1].numpy()) / np.linalg.norm(wanted[STATE + 1].numpy())
    assert 1e-6 < off < 1e-2
    assert all(each.dtype == np.float32 for each in found), "what goes in and out stays float32"


@pytest.mark.slow
@pytest.mark.skipif(not (HAS_EXPORTER and HAS_TENSORRT), reason="TensorRT-RTX is not installed: livedub[tensorrt-rtx]")
def test_a_step_in_float16_becomes_an_engine_without_a_gpu(tmp_path: Path) -> None:
    graph, _, _ = half_step()
    engine = engine_of(graph, tmp_path, "SM89")
    assert engine.name.startswith("sm89-fp16-") and engine.stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [engine]


@pytest.mark.slow
@pytest.mark.skipif(not (HAS_EXPORTER and HAS_TENSORRT), reason="TensorRT-RTX is not installed: livedub[tensorrt-rtx]")
def test_an_engine_is_built_without_a_gpu_and_kept(tmp_path: Path) -> None:
    graph, _ = small_step()
    onnx = export_onnx(graph, tmp_path / "step.onnx")
    engine = build_engine(onnx, tmp_path / "engines", "SM89")
    assert engine.stat().st_size > 1000 and engine.name.startswith("sm89-fp32-")
    before = engine.stat().st_mtime_ns
    assert build_engine(onnx, tmp_path / "engines", "SM89").stat().st_mtime_ns == before


@pytest.mark.unit
@pytest.mark.skipif(not HAS_TENSORRT, reason="TensorRT-RTX is not installed: livedub[tensorrt-rtx]")
def test_generations_that_cannot_be_built_for_and_files_that_are_none_are_refused(tmp_path: Path) -> None:
    onnx = tmp_path / "no.onnx"
    onnx.write_bytes(b"nothing of the kind")
    with pytest.raises(BackendUnavailable, match="not for SM90"):
        build_engine(onnx, tmp_path, "SM90")
    with pytest.raises(BackendUnavailable, match="cannot read no.onnx"):
        build_engine(onnx, tmp_path, "SM89")


@dataclass
class Module:
    """Stands in for a library."""

    __version__: str


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says which libraries are there, and which GPU."""

    def these(rtx: bool, plain: bool, gpu: tuple[int, int] | None) -> None:
        there = {"tensorrt_rtx": Module("1.7") if rtx else None, "tensorrt": Module("11.0") if plain else None}
        for name, each in (there | {"tensorrt_rtx_bindings": None}).items():
            monkeypatch.setitem(sys.modules, name, each)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu is not None)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: gpu)

    return these


@pytest.mark.unit
@pytest.mark.parametrize(
    ("rtx", "plain", "gpu", "generation", "name"),
    [
        (True, True, (8, 9), "SM89", "TensorRT-RTX"),
        (True, False, None, "SM89", "TensorRT-RTX"),
        (False, True, (8, 9), "SM89", "TensorRT"),
        (True, True, (9, 0), "SM90", "TensorRT"),
    ],
)
def test_engines_are_built_by_what_is_there_and_knows_the_gpu(
    installed: Callable[..., None], rtx: bool, plain: bool, gpu: tuple[int, int] | None, generation: str, name: str
) -> None:
    """TensorRT-RTX builds anywhere, but not for Hopper; TensorRT for the GPU in the machine."""
    installed(rtx, plain, gpu)
    builder = builder_for(generation)
    assert builder.name == name and builder.anywhere == (name == "TensorRT-RTX")
    assert builder.version == ("rtx1.7" if builder.anywhere else "trt11.0")


@pytest.mark.unit
@pytest.mark.parametrize(
    ("rtx", "plain", "gpu", "generation", "reason"),
    [
        (True, False, (9, 0), "SM90", r"not for SM90; TensorRT is not installed; install livedub\[tensorrt\]"),
        (True, True, None, "SM90", "not for SM90; TensorRT builds for the machine's own GPU alone, which is not there"),
        (False, True, (8, 0), "SM90", r"livedub\[tensorrt-rtx\]; TensorRT builds for .* alone, which is SM80"),
        (False, False, (8, 9), "SM89", r"install livedub\[tensorrt-rtx\]; .*install livedub\[tensorrt\]"),
    ],
)
def test_why_no_engine_can_be_built_is_said_of_both(
    installed: Callable[..., None], rtx: bool, plain: bool, gpu: tuple[int, int] | None, generation: str, reason: str
) -> None:
    installed(rtx, plain, gpu)
    with pytest.raises(BackendUnavailable, match=reason):
        builder_for(generation)


@pytest.mark.unit
def test_names_tell_gpu_precision_graph_and_library() -> None:
    rtx, plain = Builder("TensorRT-RTX", Module("1.7"), True), Builder("TensorRT", Module("11.0"), False)
    assert engine_name("0123456789abcdef01", "SM89", "fp16", rtx) == "sm89-fp16-0123456789abcdef-rtx1.7.engine"
    assert engine_name("0123456789abcdef01", "SM90", "fp32", plain) == "sm90-fp32-0123456789abcdef-trt11.0.engine"


@pytest.mark.unit
@pytest.mark.parametrize(("narrow", "name"), [(None, "fp32"), (torch.float16, "fp16"), (torch.bfloat16, "bf16")])
def test_precision_is_read_off_the_graph(narrow: torch.dtype | None, name: str) -> None:
    weight = torch.randn(8, 8, 3, 3, generator=torch.Generator().manual_seed(1))
    plain = trace(lambda x: functional.conv2d(x, weight, padding=1), (torch.zeros(1, 8, 32, 32),), portable=True)
    assert precision_of(lower(plain, Lowering.portable(narrow))) == name


@pytest.mark.unit
def test_without_tensorrt_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings", "tensorrt"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailable, match=r"install livedub\[tensorrt-rtx\]"):
        build_engine(tmp_path / "any.onnx", tmp_path, "SM89")
