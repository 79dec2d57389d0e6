"""Flat graphs on a CUDA device, for programs whose tensors lie in the processor's memory.

Inputs are copied to the device and results back; weights stay there. Every thread has buffers of its own. Neither form
has been run on a GPU yet: what is tested without one is the building of engines, the way of inputs and results through
an engine's buffers, several steps over two sets of them, and the refusals.
"""

import hashlib
import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx

from kernels.backends.cudagraph import GraphedFunction
from kernels.backends.engines import EngineFunction
from kernels.backends.repeated import PingPong, Steps, repeated
from kernels.backends.tensorrt import build_engine, builder_for, engine_name, export_onnx, precision_of
from kernels.errors import BackendUnavailable
from kernels.flat import FlatGraph

Runner = Callable[..., tuple[Tensor, ...]]
"""Takes a graph's inputs, gives its results."""

_NO_DEVICE: Final = "no CUDA device answers here"


def captured(make: Callable[[], FlatGraph], name: str, steps: bool = False) -> Runner:
    """A graph replayed as a CUDA graph (`kernels.backends.cudagraph`); results lie in the processor's memory.

    Args:
        make: gives the graph.
        name: for messages.
        steps: whether it is an optimisation step; several are then one CUDA graph (`repeated.Repeatable`).

    Raises:
        BackendUnavailable: no CUDA device answers.
    """
    if not torch.cuda.is_available():
        raise BackendUnavailable(f"{_NO_DEVICE}: CUDA graphs run on NVIDIA GPUs alone")
    device = torch.device("cuda")
    graph = on_device(make(), device)

    def once() -> Runner:
        """The graph, for one thread."""
        graphed = GraphedFunction(graph, name=name)
        return lambda *inputs: tuple(each.cpu() for each in graphed(*(value.to(device) for value in inputs)))

    run = per_thread(once)
    return Steps(run, lambda count: repeated(graph, count), device, name) if steps else run


def per_thread(make: Callable[[], Runner]) -> Runner:
    """A function that every thread has its own of, made at its first call there: buffers belong to one thread."""
    mine = threading.local()

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        """This thread's own."""
        if not hasattr(mine, "runner"):
            mine.runner = make()
        found: tuple[Tensor, ...] = mine.runner(*inputs)
        return found

    return run


def on_device(graph: FlatGraph, device: torch.device) -> FlatGraph:
    """The same graph with constants, examples and what it makes itself on another device."""
    copied = fx.Graph()
    copied.output(copied.graph_copy(graph.module.graph, {}))
    for node in copied.nodes:
        if "device" in node.kwargs:
            node.kwargs = {**node.kwargs, "device": device}
    constants = tuple(value.to(device) for value in graph.constants)
    examples = tuple(value.to(device) for value in graph.examples)
    return replace(graph, module=fx.GraphModule(graph.module, copied), constants=constants, examples=examples)


def engine_runner(make: Callable[[], FlatGraph], folder: Path, name: str, steps: bool = False) -> Runner:
    """A graph as a TensorRT engine for this machine's GPU, built now unless it is in the folder.

    Args:
        make: gives the graph, traced with `portable=True`.
        folder: where engines are kept.
        name: for messages.
        steps: whether it is an optimisation step; several are then one CUDA graph (`repeated.PingPong`).

    Raises:
        BackendUnavailable: no CUDA device answers, no TensorRT is installed or it builds nothing for this GPU.
    """
    if not torch.cuda.is_available():
        raise BackendUnavailable(
            f"{_NO_DEVICE}: TensorRT engines run on NVIDIA GPUs alone (they can be built here; running them has not "
            "been tried on a GPU yet)"
        )
    major, minor = torch.cuda.get_device_capability()
    graph, generation, device = make(), f"SM{major}{minor}", torch.device("cuda")
    engine = load_engine(engine_of(graph, folder, generation), name, generation)

    def once() -> Runner:
        """The engine, for one thread."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's stub
        return EngineFunction(engine, graph.examples, device, stream)

    run = per_thread(once)
    return Steps(run, lambda count: PingPong(engine, graph.examples, count, device), device, name) if steps else run


def engine_of(graph: FlatGraph, folder: Path, generation: str) -> Path:
    """The engine file of a graph for a GPU generation, built unless it is in the folder.

    It is named after the graph and its constants: two exports of one graph differ in what the exporter notes.

    Raises:
        BackendUnavailable: as `tensorrt.builder_for`, `tensorrt.export_onnx` and `tensorrt.build_engine`.
    """
    digest = hashlib.sha256(graph.key.encode())
    for value in graph.constants:
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    path = folder / engine_name(digest.hexdigest(), generation, precision_of(graph), builder_for(generation))
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            onnx = export_onnx(graph, Path(place) / "graph.onnx")
            os.replace(build_engine(onnx, Path(place), generation, precision_of(graph)), path)
    return path


def load_engine(path: Path, name: str, generation: str) -> Any:
    """An engine from its file.

    Raises:
        BackendUnavailable: no TensorRT for that generation is installed, or it cannot load the file (without a driver
            it cannot).
    """
    builder = builder_for(generation)
    trt = builder.module
    engine = trt.Runtime(trt.Logger(trt.Logger.ERROR)).deserialize_cuda_engine(path.read_bytes())
    if engine is None:
        raise BackendUnavailable(f"{builder.name} cannot load the engine of the {name}, {path}; is the driver its own?")
    return engine
