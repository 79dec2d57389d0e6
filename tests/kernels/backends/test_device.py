"""Graphs on a GPU for tensors in the processor's memory: refusals, engines really built, the way through buffers."""

import ctypes
import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels.backends import device
from kernels.backends.device import EngineFunction, captured, engine_of, engine_runner, load_engine, on_device
from kernels.errors import ArgumentMismatch, BackendUnavailable
from kernels.flat import FlatGraph, trace

HAS_BUILDER = all(importlib.util.find_spec(name) is not None for name in ("onnxscript", "tensorrt_rtx_bindings"))
CPU = torch.device("cpu")


def product() -> FlatGraph:
    weight = torch.linspace(-1, 1, 12).reshape(4, 3)
    return trace(lambda x, y: ((x @ weight).tanh() + y, x * 2), (torch.zeros(2, 4), torch.zeros(3)), portable=True)


class MadeEngine:
    """Stands in for an engine: reads and writes memory at the addresses that it was told, as a GPU would its own."""

    def __init__(self, graph: FlatGraph, outputs: Mapping[str, tuple[int, ...]], fails: bool = False) -> None:
        self.graph, self.fails = graph, fails
        self.shapes = {f"in{i}": tuple(each.shape) for i, each in enumerate(graph.examples)} | dict(outputs)
        self.outputs = list(outputs)
        self.addresses: dict[str, int] = {}
        self.streams: list[int] = []
        self.num_io_tensors = len(self.shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return SimpleNamespace(name="OUTPUT" if name in self.outputs else "INPUT")

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def create_execution_context(self) -> "MadeEngine":
        return self

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def memory(self, name: str) -> Tensor:
        """The tensor at an address."""
        count = max(1, torch.Size(self.shapes[name]).numel())
        raw = (ctypes.c_float * count).from_address(self.addresses[name])
        return torch.frombuffer(raw, dtype=torch.float32).reshape(self.shapes[name])

    def execute_async_v3(self, stream: int) -> bool:
        self.streams.append(stream)
        if self.fails:
            return False
        found = self.graph(*(self.memory(name) for name in self.shapes if name not in self.outputs))
        for name, value in zip(self.outputs, found, strict=True):
            self.memory(name).copy_(value)
        return True


OUTPUTS = {"sum": (2, 3), "double": (2, 4)}


@pytest.mark.unit
def test_inputs_and_results_go_through_the_engine_s_own_memory() -> None:
    graph = product()
    engine = MadeEngine(graph, OUTPUTS)
    run = EngineFunction(engine, graph.examples, CPU)
    x, y = torch.linspace(0, 1, 8).reshape(2, 4), torch.arange(3.0)
    first, double = run(x, y)
    for found, wanted in zip((first, double), graph(x, y), strict=True):
        torch.testing.assert_close(found, wanted)
    kept = first.clone()
    run(x.T.reshape(2, 4).flip(0), -y)
    assert torch.equal(first, kept), "results are new tensors: the next call overwrites none of them"
    assert engine.streams == [0, 0] and len(set(engine.addresses.values())) == 4


@pytest.mark.unit
def test_inputs_of_other_shapes_are_refused_before_anything_runs() -> None:
    engine = MadeEngine(product(), OUTPUTS)
    run = EngineFunction(engine, product().examples, CPU)
    with pytest.raises(ArgumentMismatch, match=r"input 0 is \(3, 4\)"):
        run(torch.zeros(3, 4), torch.zeros(3))
    assert engine.streams == []


@pytest.mark.unit
def test_an_engine_of_another_graph_is_refused() -> None:
    graph = product()
    with pytest.raises(BackendUnavailable, match=r"takes \[\(2, 4\), \(3,\)\], expected \[\(3,\), \(2, 4\)\]"):
        EngineFunction(MadeEngine(graph, OUTPUTS), graph.examples[::-1], CPU)


@pytest.mark.unit
def test_an_engine_that_cannot_be_enqueued_is_an_error() -> None:
    run = EngineFunction(MadeEngine(product(), OUTPUTS, fails=True), product().examples, CPU)
    with pytest.raises(BackendUnavailable, match="could not enqueue"):
        run(torch.zeros(2, 4), torch.zeros(3))


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def never() -> FlatGraph:
    raise AssertionError("nothing is traced for a device that is not there")


@pytest.mark.unit
@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_both_say_so_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BackendUnavailable, match="no CUDA device answers here: TensorRT engines run on NVIDIA GPUs"):
        engine_runner(never, tmp_path, "region render")
    with pytest.raises(BackendUnavailable, match="no CUDA device answers here: CUDA graphs run on NVIDIA GPUs"):
        captured(never, "region render")


@pytest.mark.unit
def test_a_gpu_s_generation_decides_which_engine_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a device that only says what it is: the engine is built for it, kept by the folder, and loaded."""
    graph, asked = product(), []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (8, 9))
    monkeypatch.setattr(torch.cuda, "Stream", lambda: SimpleNamespace(cuda_stream=7))

    def engine_file(graph: FlatGraph, folder: Path, generation: str) -> Path:
        asked.append((folder, generation))
        return folder / "engine"

    def function(engine: object, examples: tuple[Tensor, ...], place: torch.device, stream: Any) -> tuple[Any, ...]:
        return engine, examples, place.type, stream.cuda_stream

    monkeypatch.setattr(device, "engine_of", engine_file)
    monkeypatch.setattr(device, "load_engine", lambda path, name: f"{path.name} of {name}")
    monkeypatch.setattr(device, "EngineFunction", function)
    made: Any = engine_runner(lambda: graph, tmp_path, "region render")
    assert asked == [(tmp_path, "SM89")]
    assert made == ("engine of region render", graph.examples, "cuda", 7)


@pytest.mark.unit
def test_a_graph_on_another_device_is_the_same_graph() -> None:
    graph = product()
    there = on_device(graph, torch.device("meta"))
    assert {each.device.type for each in (*there.constants, *there.examples)} == {"meta"}
    assert there.module is graph.module and len(there.constants) == len(graph.constants) > 0


@pytest.mark.slow
@pytest.mark.skipif(not HAS_BUILDER, reason="TensorRT-RTX is not installed: livedub[tensorrt-rtx]")
def test_an_engine_is_built_and_kept_and_without_a_driver_not_loaded(tmp_path: Path) -> None:
    path = engine_of(product(), tmp_path, "SM89")
    before = path.stat().st_mtime_ns
    assert engine_of(product(), tmp_path, "SM89") == path and path.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_size > 1000
    if not torch.cuda.is_available():
        with pytest.raises(BackendUnavailable, match="cannot load the engine of the region render"):
            load_engine(path, "region render")


@pytest.fixture
def gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.mark.gpu
@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("make", [captured, lambda graph, name: engine_runner(graph, Path("engines"), name)])
def test_on_a_gpu_both_compute_what_the_graph_computes(
    make: Callable[..., Callable[..., tuple[Tensor, ...]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "engines").mkdir()
    run = make(product, "product")
    for step in range(3):
        x, y = torch.linspace(-step, step, 8).reshape(2, 4), torch.arange(3.0) + step
        for found, wanted in zip(run(x, y), product()(x, y), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
