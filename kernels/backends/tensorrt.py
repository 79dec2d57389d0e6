"""Flat graphs as ONNX files and TensorRT engines.

The ONNX file is made by torch's exporter (package `onnxscript`) anywhere. Two libraries build engines from it:
TensorRT-RTX for the GPU generations of `GENERATIONS`, without a GPU (extra `tensorrt-rtx`), and TensorRT for the GPU
that is in the machine, for all others (extra `tensorrt`). Constants are inside, so an engine belongs to one speaker.
Engines are strongly typed: they compute what the graph says, in the types that it says (`kernels.lowering`). Running
one needs an NVIDIA driver and has not been tried here, nor has building with TensorRT.
"""

import hashlib
import importlib
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
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
_RTX: Final = ("tensorrt_rtx", "tensorrt_rtx_bindings")
"""TensorRT-RTX's Python module, under the names that its wheels give it."""
_PLAIN: Final = ("tensorrt",)
_NAMES: Final = {torch.float16: "fp16", torch.bfloat16: "bf16"}


@dataclass(frozen=True)
class Builder:
    """A library that builds engines."""

    name: str
    """Its own."""
    module: Any
    """Its Python module; both have the same classes."""
    anywhere: bool
    """Whether it builds for GPUs that are not in the machine."""

    @property
    def version(self) -> str:
        """Name and version as in file names."""
        return f"{'rtx' if self.anywhere else 'trt'}{self.module.__version__}"


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


def precision_of(graph: FlatGraph) -> str:
    """What a graph's arithmetic runs in, as in file names: fp16 or bf16 where any of it does, else fp32."""
    kinds = {value.dtype for value in graph.constants}
    kinds |= {node.kwargs.get("dtype") for node in graph.module.graph.nodes}
    return next((name for kind, name in _NAMES.items() if kind in kinds), "fp32")


def engine_name(digest: str, generation: str, precision: str, builder: Builder) -> str:
    """File name of an engine: GPU, precision, a hash of its graph with weights and shapes, and what built it."""
    return f"{generation.lower()}-{precision}-{digest[:16]}-{builder.version}.engine"


def builder_for(generation: str) -> Builder:
    """What builds engines for a GPU generation here.

    Args:
        generation: as "SM89".

    Raises:
        BackendUnavailable: nothing that is installed does; all reasons are given.
    """
    reasons = []
    rtx = _imported(_RTX)
    if rtx is not None and generation in GENERATIONS:
        return Builder("TensorRT-RTX", rtx, True)
    reasons.append(
        "TensorRT-RTX is not installed; install livedub[tensorrt-rtx]"
        if rtx is None
        else f"TensorRT-RTX builds for {', '.join(GENERATIONS)} here, not for {generation}"
    )
    plain = _imported(_PLAIN)
    if plain is not None and generation == own_generation():
        return Builder("TensorRT", plain, False)
    reasons.append(
        "TensorRT is not installed; install livedub[tensorrt]"
        if plain is None
        else f"TensorRT builds for the machine's own GPU alone, which is {own_generation() or 'not there'}"
    )
    raise BackendUnavailable("; ".join(reasons))


def own_generation() -> str | None:
    """The generation of this machine's GPU, as "SM89"; None where none answers."""
    if not torch.cuda.is_available():
        return None
    major, minor = torch.cuda.get_device_capability()
    return f"SM{major}{minor}"


def build_engine(onnx: Path, folder: Path, generation: str, precision: str = "fp32") -> Path:
    """Build an engine from an ONNX file, unless it is there; with TensorRT-RTX this needs no GPU.

    Args:
        onnx: the file.
        folder: where engines are kept.
        generation: of the GPU, as "SM89".
        precision: what the file's arithmetic runs in, for the engine's name.

    Returns:
        The engine file.

    Raises:
        BackendUnavailable: no library is there for that GPU, it cannot read the file, or cannot build it.
    """
    builder = builder_for(generation)
    trt = builder.module
    path = folder / engine_name(hashlib.sha256(onnx.read_bytes()).hexdigest(), generation, precision, builder)
    if path.exists():
        return path
    said = _Said(trt)
    maker = trt.Builder(said.logger)
    network = maker.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, said.logger)
    if not parser.parse(onnx.read_bytes()):
        errors = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
        raise BackendUnavailable(f"{builder.name} cannot read {onnx.name}: {errors[:400]}")
    config = maker.create_builder_config()
    if builder.anywhere:
        config.num_compute_capabilities = 1
        config.set_compute_capability(getattr(trt.ComputeCapability, generation), 0)
    engine = maker.build_serialized_network(network, config)
    if engine is None:
        raise BackendUnavailable(f"{builder.name} cannot build {onnx.name} for {generation}: {said.last[:400]}")
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


def _imported(names: Sequence[str]) -> Any:
    """The first of some modules that can be imported; None: none can."""
    for name in names:
        try:
            return importlib.import_module(name)
        except (ImportError, OSError):
            continue
    return None
