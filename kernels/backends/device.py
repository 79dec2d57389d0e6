"""Flat graphs on a CUDA device, for programs whose tensors lie in the processor's memory.

Inputs are copied to the device and results back; weights stay there. Neither form has been run on a GPU yet: what is
tested without one is the building of engines, the way of inputs and results through an engine's buffers, and the
refusals.
"""

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from kernels.backends.aoti import check_arguments
from kernels.backends.cudagraph import GraphedFunction
from kernels.backends.tensorrt import build_engine, export_onnx, library
from kernels.errors import BackendUnavailable
from kernels.flat import FlatGraph

Runner = Callable[..., tuple[Tensor, ...]]
"""Takes a graph's inputs, gives its results."""

_NO_DEVICE: Final = "no CUDA device answers here"


class Stream(Protocol):
    """What is asked of `torch.cuda.Stream`."""

    cuda_stream: int
    """Its handle."""


def captured(make: Callable[[], FlatGraph], name: str) -> Runner:
    """A graph replayed as a CUDA graph (`kernels.backends.cudagraph`); results lie in the processor's memory.

    Args:
        make: gives the graph.
        name: for messages.

    Raises:
        BackendUnavailable: no CUDA device answers.
    """
    if not torch.cuda.is_available():
        raise BackendUnavailable(f"{_NO_DEVICE}: CUDA graphs run on NVIDIA GPUs alone")
    device = torch.device("cuda")
    graphed = GraphedFunction(on_device(make(), device), name=name)
    return lambda *inputs: tuple(each.cpu() for each in graphed(*(value.to(device) for value in inputs)))


def on_device(graph: FlatGraph, device: torch.device) -> FlatGraph:
    """The same graph with constants and examples on another device."""
    constants = tuple(value.to(device) for value in graph.constants)
    return replace(graph, constants=constants, examples=tuple(value.to(device) for value in graph.examples))


def engine_runner(make: Callable[[], FlatGraph], folder: Path, name: str) -> Runner:
    """A graph as a TensorRT-RTX engine for this machine's GPU, built now unless it is in the folder.

    Args:
        make: gives the graph, traced with `portable=True`.
        folder: where engines are kept.
        name: for messages.

    Raises:
        BackendUnavailable: no CUDA device answers, TensorRT-RTX is not installed or builds nothing for this GPU.
    """
    if not torch.cuda.is_available():
        raise BackendUnavailable(
            f"{_NO_DEVICE}: TensorRT engines run on NVIDIA GPUs alone (they can be built here; running them has not "
            "been tried on a GPU yet)"
        )
    major, minor = torch.cuda.get_device_capability()
    graph = make()
    path = engine_of(graph, folder, f"SM{major}{minor}")
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's stub
    return EngineFunction(load_engine(path, name), graph.examples, torch.device("cuda"), stream)


def engine_of(graph: FlatGraph, folder: Path, generation: str) -> Path:
    """The engine file of a graph for a GPU generation, built unless it is in the folder; needs no GPU.

    It is named after the graph and its constants: two exports of one graph differ in what the exporter notes.

    Raises:
        BackendUnavailable: as `tensorrt.export_onnx` and `tensorrt.build_engine`.
    """
    digest = hashlib.sha256(graph.key.encode())
    for value in graph.constants:
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    path = folder / f"{generation.lower()}-fp32-{digest.hexdigest()[:16]}-{library().__version__}.engine"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            onnx = export_onnx(graph, Path(place) / "graph.onnx")
            os.replace(build_engine(onnx, Path(place), generation), path)
    return path


def load_engine(path: Path, name: str) -> Any:
    """An engine from its file.

    Raises:
        BackendUnavailable: TensorRT-RTX is not installed, or cannot load it (without a driver it cannot).
    """
    trt = library()
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise BackendUnavailable(f"TensorRT-RTX cannot load the engine of the {name}, {path}; is the driver its own?")
    return engine


class EngineFunction:
    """An engine as a function of tensors in the processor's memory: static shapes, float32, one stream of its own.

    Args:
        engine: a TensorRT engine.
        examples: inputs of the graph that it was built from.
        device: where its buffers lie.
        stream: where it is enqueued; None only for tests without a device.

    Raises:
        BackendUnavailable: the engine takes other inputs.
    """

    def __init__(
        self, engine: Any, examples: tuple[Tensor, ...], device: torch.device, stream: Stream | None = None
    ) -> None:
        """Takes memory for inputs and results, and tells the engine where it lies."""
        self._examples: Final = examples
        self._stream: Final = stream
        self._engine: Final = engine
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        given = [name for name in names if engine.get_tensor_mode(name).name == "INPUT"]
        shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
        expected = [tuple(example.shape) for example in examples]
        if [shapes[name] for name in given] != expected:
            raise BackendUnavailable(f"the engine takes {[shapes[name] for name in given]}, expected {expected}")
        buffers = {name: torch.empty(shapes[name], dtype=torch.float32, device=device) for name in names}
        self._inputs: Final = [buffers[name] for name in given]
        self._results: Final = [buffers[name] for name in names if name not in given]
        self._context: Final = engine.create_execution_context()
        for name, buffer in buffers.items():
            self._context.set_tensor_address(name, buffer.data_ptr())

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run it; results are new tensors.

        Raises:
            ArgumentMismatch: inputs of other shapes, types or devices than the graph's.
            BackendUnavailable: the engine could not be enqueued.
        """
        check_arguments(inputs, self._examples)
        with self._within(), torch.no_grad():
            for place, value in zip(self._inputs, inputs, strict=True):
                place.copy_(value)
            if not self._context.execute_async_v3(0 if self._stream is None else self._stream.cuda_stream):
                raise BackendUnavailable("TensorRT-RTX could not enqueue the engine; its log says why")
            return tuple(place.to("cpu", copy=True) for place in self._results)

    def _within(self) -> contextlib.AbstractContextManager[object]:
        """Copies and the engine follow one another on its stream."""
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)  # type: ignore[arg-type]
