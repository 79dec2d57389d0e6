"""Flat graphs as ONNX files and TensorRT-RTX engines.

Both are built without a GPU: the ONNX file by torch's exporter (package `onnxscript`), the engine by TensorRT-RTX for
the GPU generations named (extra `tensorrt-rtx`). Constants are inside, so an engine belongs to one speaker. Running an
engine needs an NVIDIA driver and has not been tried here; `python -m bench step` says so. Graphs must be traced with
`portable=True` and stay float32: strongly typed engines compute what the graph says.
"""

import hashlib
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from kernels.errors import BackendUnavailable
from kernels.flat import FlatGraph

OPSET: Final = 18
"""ONNX operator set that files are written in."""
GENERATIONS: Final = ("SM75", "SM80", "SM86", "SM89", "SM120")
"""GPU generations that TensorRT-RTX builds for on a machine without one; Hopper (SM90) is not among them."""


class _Baked(nn.Module):
    """A flat graph with its constants inside."""

    def __init__(self, graph: FlatGraph) -> None:
        super().__init__()
        self.graph = graph.module
        self._names = [f"constant_{index}" for index in range(len(graph.constants))]
        for name, value in zip(self._names, graph.constants, strict=True):
            self.register_buffer(name, value)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Runs the graph."""
        return tuple(self.graph(*inputs, *(self.get_buffer(name) for name in self._names)))


def export_onnx(graph: FlatGraph, path: Path) -> Path:
    """Write a flat graph as ONNX, whole or not at all.

    Args:
        graph: traced with `portable=True`.
        path: the file to write; weights are inside it.

    Raises:
        BackendUnavailable: the exporter is not installed, or has no form for an operation of the graph.
    """
    try:
        import onnxscript  # noqa: F401 - what torch's exporter needs
    except ImportError as error:
        raise BackendUnavailable(f"ONNX files need onnxscript ({error}); install livedub[tensorrt-rtx]") from error
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=path.parent) as folder:
        warnings.simplefilter("ignore")  # torch's exporter warns about its own parts
        program = torch.export.export(_Baked(graph), graph.examples)
        try:
            written = torch.onnx.export(program, graph.examples, dynamo=True, opset_version=OPSET, verbose=False)
        except torch.onnx.OnnxExporterError as error:
            raise BackendUnavailable(f"the graph has no ONNX form: {str(error)[:300]}") from error
        assert written is not None  # without a file name the exporter gives a program
        part = Path(folder) / path.name
        written.save(str(part), external_data=False)
        os.replace(part, path)
    return path


def engine_name(onnx: Path, generation: str) -> str:
    """File name of an engine: what it is for, and a hash of the ONNX file with all weights and shapes."""
    digest = hashlib.sha256(onnx.read_bytes()).hexdigest()[:16]
    return f"{generation.lower()}-fp32-{digest}-{_version()}.engine"


def build_engine(onnx: Path, folder: Path, generation: str) -> Path:
    """Build a TensorRT-RTX engine from an ONNX file, unless it is there; needs no GPU.

    Args:
        onnx: the file.
        folder: where engines are kept.
        generation: one of `GENERATIONS`.

    Returns:
        The engine file.

    Raises:
        BackendUnavailable: TensorRT-RTX is not installed, cannot read the file, or cannot build for that GPU.
    """
    trt = library()
    if generation not in GENERATIONS:
        raise BackendUnavailable(f"TensorRT-RTX builds for {', '.join(GENERATIONS)} here, not for {generation}")
    path = folder / engine_name(onnx, generation)
    if path.exists():
        return path
    said = _Said(trt)
    builder = trt.Builder(said.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, said.logger)
    if not parser.parse(onnx.read_bytes()):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise BackendUnavailable(f"TensorRT-RTX cannot read {onnx.name}: {errors[:400]}")
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(trt.ComputeCapability, generation), 0)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BackendUnavailable(f"TensorRT-RTX cannot build {onnx.name} for {generation}: {said.last[:400]}")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as part:
        part.write(bytes(engine))
    os.replace(part.name, path)
    return path


class _Said:
    """A TensorRT logger that keeps the last error."""

    def __init__(self, trt: Any) -> None:
        said = self
        self.last = "no reason given"

        class Logger(trt.ILogger):  # type: ignore[misc]  # no stubs
            """Keeps errors."""

            def log(self, severity: Any, message: str) -> None:
                """Take one line."""
                if severity <= trt.ILogger.Severity.ERROR:
                    said.last = message

        self.logger = Logger()


def library() -> Any:
    """TensorRT-RTX's Python module, under the name that its wheels give it.

    Raises:
        BackendUnavailable: it is not installed.
    """
    import importlib

    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise BackendUnavailable("TensorRT-RTX is not installed; install livedub[tensorrt-rtx]")


def _version() -> str:
    return str(library().__version__)
