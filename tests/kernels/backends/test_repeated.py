"""Several steps in one call: the numbers of steps one by one, two sets of buffers in turn, loops of each thread."""

import threading
from typing import Any

import pytest
import torch
from torch import Tensor

from kernels.backends import repeated as module
from kernels.backends.cudagraph import GraphedFunction
from kernels.backends.repeated import PingPong, Repeatable, Steps, repeated
from kernels.errors import BackendUnavailable, KernelError
from kernels.flat import FlatGraph, trace
from kernels.step import STATE, AdamConfig, Step, StepState, optimisation_step
from tests.kernels.backends.made_engine import MadeEngine

pytestmark = pytest.mark.unit

CPU = torch.device("cpu")


def towards(z: Tensor, centre: Tensor) -> tuple[Tensor, ...]:
    """An objective that gives something out beside its loss."""
    return (z - centre).square().sum() + (z**4).sum(), z.mean()


STEP: Step = optimisation_step(towards, AdamConfig(0.05))
CENTRE = torch.linspace(-1, 1, 6).reshape(2, 3)


def begun() -> tuple[Tensor, ...]:
    return (*StepState.begin(torch.linspace(0.5, -0.3, 6).reshape(2, 3)).tensors, CENTRE)


def graph() -> FlatGraph:
    return trace(STEP, begun())


OUTPUTS = {
    **{name: (2, 3) for name in ("z2", "m2", "v2")}, "p1": (), "p2": (), "loss": (), "gradient": (2, 3), "mean": (),
}  # fmt: skip


def one_by_one(count: int) -> tuple[Tensor, ...]:
    """What a `Trail` should hold."""
    *state, centre = begun()
    seen = []
    for _ in range(count):
        results = STEP(*state, centre)
        seen.append((state[0], results[STATE], results[STATE + 1]))
        state = list(results[:STATE])
    return (*(torch.stack(each) for each in zip(*seen, strict=True)), state[0])


def assert_the_same(found: Any, count: int) -> None:
    for mine, wanted in zip(found, one_by_one(count), strict=True):
        torch.testing.assert_close(mine, wanted)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_steps_written_one_after_the_other_are_those_taken_one_by_one(count: int) -> None:
    assert_the_same(repeated(STEP, count)(*begun()), count)


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_an_engine_over_two_sets_of_buffers_takes_the_same_steps(count: int) -> None:
    """Twice, from the same inputs: nothing of the first call is left in the buffers of the second."""
    engine = MadeEngine(graph(), OUTPUTS)
    run = PingPong(engine, begun(), count, CPU)
    for _ in range(2):
        assert_the_same(run(*begun()), count)
    assert engine.turns == [turn % 2 for turn in range(count)] * 2


def test_what_one_direction_writes_the_other_reads() -> None:
    engine = MadeEngine(graph(), OUTPUTS)
    PingPong(engine, begun(), 2, CPU)
    there, back = (context.addresses for context in engine.contexts)
    for index, after in enumerate(list(OUTPUTS)[:STATE]):
        assert there[after] == back[f"in{index}"] and back[after] == there[f"in{index}"]
        assert there[after] != there[f"in{index}"]
    assert all(there[name] == back[name] for name in (f"in{STATE}", "loss", "gradient", "mean"))


def test_results_are_not_overwritten_by_the_next_call() -> None:
    run = PingPong(MadeEngine(graph(), OUTPUTS), begun(), 3, CPU)
    first = run(*begun())
    kept = [each.clone() for each in first]
    run(begun()[0] + 1, *begun()[1:])
    assert all(torch.equal(mine, copy) for mine, copy in zip(first, kept, strict=True))


def test_an_engine_that_is_no_step_or_cannot_be_enqueued_is_refused() -> None:
    turned = {**OUTPUTS, "z2": (3, 2)}
    with pytest.raises(KernelError, match=r"gives \['z2', .*expected an optimisation step's"):
        PingPong(MadeEngine(graph(), turned), begun(), 2, CPU)
    with pytest.raises(BackendUnavailable, match="the engine takes"):
        PingPong(MadeEngine(graph(), OUTPUTS), begun()[:-1], 2, CPU)
    with pytest.raises(BackendUnavailable, match="could not enqueue"):
        PingPong(MadeEngine(graph(), OUTPUTS, fails=True), begun(), 2, CPU)(*begun())


@pytest.mark.parametrize("count", [0, -1])
def test_less_than_one_step_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} steps asked for, expected at least 1"):
        repeated(STEP, count)
    with pytest.raises(ValueError, match="expected at least 1"):
        PingPong(MadeEngine(graph(), OUTPUTS), begun(), count, CPU)


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the CUDA graphs that are made."""
    made: list[str] = []

    def graphed(function: Any, *, name: str) -> GraphedFunction:
        made.append(name)
        return GraphedFunction(function, name=name)

    monkeypatch.setattr(module, "GraphedFunction", graphed)
    return made


def test_each_count_is_one_graph_that_is_made_once(loops: list[str]) -> None:
    steps = Steps(STEP, lambda count: repeated(STEP, count), CPU, "W+ step")
    assert isinstance(steps, Repeatable) and not isinstance(STEP, Repeatable)
    for count in (2, 5, 2):
        trail = steps.times(count, *begun())
        assert_the_same((trail.z, trail.loss, trail.gradient, trail.last), count)
    assert loops == ["2 times the W+ step", "5 times the W+ step"]
    for found, wanted in zip(steps(*begun()), STEP(*begun()), strict=True):
        torch.testing.assert_close(found, wanted)


def test_every_thread_has_loops_of_its_own(loops: list[str]) -> None:
    """A graph and its buffers belong to one thread; without this the second thread's call is refused."""
    steps = Steps(STEP, lambda count: repeated(STEP, count), CPU, "W+ step")
    found: list[Tensor] = []
    for _ in range(2):
        thread = threading.Thread(target=lambda: found.append(steps.times(2, *begun()).last))
        thread.start()
        thread.join()
    assert len(found) == len(loops) == 2 and torch.equal(*found)


@pytest.mark.gpu
def test_on_a_gpu_captured_steps_are_those_taken_one_by_one() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from kernels.backends.device import captured

    steps = captured(graph, "step", steps=True)
    assert isinstance(steps, Repeatable)
    for count in (2, 3, 2):
        trail = steps.times(count, *begun())
        for mine, wanted in zip((trail.z, trail.loss, trail.gradient, trail.last), one_by_one(count), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-5)
