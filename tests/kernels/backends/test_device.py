"""Graphs on a GPU for tensors in the processor's memory: refusals, engines really built, the way through buffers."""

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels.backends import device
from kernels.backends.device import captured, engine_of, engine_runner, load_engine, on_device, per_thread
from kernels.backends.engines import EngineFunction
from kernels.backends.repeated import Repeatable
from kernels.errors import ArgumentMismatch, BackendUnavailable
from kernels.flat import FlatGraph, trace
from tests.kernels.backends.made_engine import MadeEngine

HAS_BUILDER = all(importlib.util.find_spec(name) is not None for name in ("onnxscript", "tensorrt_rtx_bindings"))
CPU = torch.device("cpu")
CPU3 = torch.arange(3.0)


def product() -> FlatGraph:
    weight = torch.linspace(-1, 1, 12).reshape(4, 3)
    return trace(lambda x, y: ((x @ weight).tanh() + y, x * 2), (torch.zeros(2, 4), torch.zeros(3)), portable=True)


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
    (context,) = engine.contexts
    assert context.streams == [0, 0] and len(set(context.addresses.values())) == 4


@pytest.mark.unit
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_narrow_inputs_are_widened(kind: torch.dtype) -> None:
    """Features of a network that runs in bfloat16 on the processor go into an engine of float32."""
    run = EngineFunction(MadeEngine(product(), OUTPUTS), product().examples, CPU)
    x, y = torch.linspace(0, 1, 8).reshape(2, 4), torch.arange(3.0)
    for found, wanted in zip(run(x.to(kind), y), product()(x.to(kind).float(), y), strict=True):
        torch.testing.assert_close(found, wanted)
    with pytest.raises(ArgumentMismatch, match="float64"):
        run(x.double(), y)
    with pytest.raises(ArgumentMismatch, match="3 inputs, expected 2"):
        run(x.to(kind), y, y)


@pytest.mark.unit
def test_inputs_of_other_shapes_are_refused_before_anything_runs() -> None:
    engine = MadeEngine(product(), OUTPUTS)
    run = EngineFunction(engine, product().examples, CPU)
    with pytest.raises(ArgumentMismatch, match=r"input 0 is \(3, 4\)"):
        run(torch.zeros(3, 4), torch.zeros(3))
    assert engine.turns == []


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

    def loaded(path: Path, name: str, generation: str) -> str:
        return f"{path.name} of {name} for {generation}"

    monkeypatch.setattr(device, "load_engine", loaded)
    monkeypatch.setattr(device, "EngineFunction", lambda *given: lambda: function(*given))
    run = engine_runner(lambda: graph, tmp_path, "region render")
    assert asked == [(tmp_path, "SM89")]
    assert run() == ("engine of region render for SM89", graph.examples, "cuda", 7)  # type: ignore[comparison-overlap]
    assert isinstance(engine_runner(lambda: graph, tmp_path, "W+ step", steps=True), Repeatable)


@pytest.mark.unit
def test_a_graph_on_another_device_is_the_same_graph() -> None:
    graph = product()
    there = on_device(graph, torch.device("meta"))
    assert {each.device.type for each in (*there.constants, *there.examples)} == {"meta"}
    assert there.size == graph.size and len(there.constants) == len(graph.constants) > 0


@pytest.mark.unit
def test_what_a_graph_makes_itself_is_made_on_the_other_device() -> None:
    """Ones in the shape of an input, say: made on the processor they would not meet what lies on a GPU."""

    def raised(x: Tensor) -> Tensor:
        return x + torch.ones_like(x, device=x.device)

    graph = trace(raised, (CPU3,))
    there = on_device(graph, torch.device("meta"))
    assert [each.device.type for each in there(*there.examples)] == ["meta"]
    made = [node.kwargs["device"] for node in there.module.graph.nodes if "device" in node.kwargs]
    assert made and {torch.device(each).type for each in made} == {"meta"}
    torch.testing.assert_close(graph(CPU3)[0], CPU3 + 1)


@pytest.mark.unit
def test_every_thread_has_buffers_of_its_own() -> None:
    made: list[int] = []

    def make() -> Callable[..., tuple[Tensor, ...]]:
        made.append(threading.get_ident())
        return lambda *inputs: inputs

    run = per_thread(make)
    run(CPU3), run(CPU3)
    thread = threading.Thread(target=lambda: run(CPU3))
    thread.start()
    thread.join()
    assert len(made) == 2 and len(set(made)) == 2


@pytest.mark.slow
@pytest.mark.skipif(not HAS_BUILDER, reason="TensorRT-RTX is not installed: livedub[tensorrt-rtx]")
def test_an_engine_is_built_and_kept_and_without_a_driver_not_loaded(tmp_path: Path) -> None:
    path = engine_of(product(), tmp_path, "SM89")
    before = path.stat().st_mtime_ns
    assert engine_of(product(), tmp_path, "SM89") == path and path.stat().st_mtime_ns == before
    assert list(tmp_path.iterdir()) == [path] and path.stat().st_size > 1000
    if not torch.cuda.is_available():
        with pytest.raises(BackendUnavailable, match="cannot load the engine of the region render"):
            load_engine(path, "region render", "SM89")


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
