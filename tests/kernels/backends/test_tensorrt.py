"""ONNX files that onnxruntime agrees with, and engines really built, without a GPU."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kernels.backends.tensorrt import build_engine, engine_name, export_onnx
from kernels.errors import BackendUnavailable
from kernels.flat import FlatGraph, trace
from kernels.haar import inverse_haar
from kernels.step import STATE, AdamConfig, StepState, optimisation_step

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
    assert engine_name(onnx, "SM89") != engine_name(onnx, "SM75")


@pytest.mark.unit
def test_without_tensorrt_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendUnavailable, match=r"install livedub\[tensorrt-rtx\]"):
        build_engine(tmp_path / "any.onnx", tmp_path, "SM89")
