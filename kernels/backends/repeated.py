"""Several optimisation steps as one call, so that a GPU takes no word from the processor between them.

What a search needs to know of its way (`Trail`) comes back at once. A graph's steps are written one after the other and
captured as one CUDA graph; an engine's are enqueued one after the other over two sets of state buffers, each reading
what the one before wrote, and captured likewise (`cudagraph`). Steps are `kernels.step`'s.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

import torch
from torch import Tensor

from kernels.backends.cudagraph import GraphedFunction
from kernels.backends.engines import enqueue, memory_of
from kernels.errors import KernelError
from kernels.step import STATE, Step

Runner = Callable[..., tuple[Tensor, ...]]
"""Takes a graph's inputs, gives its results."""


@dataclass(frozen=True, slots=True)
class Trail:
    """What some steps went through, N of them."""

    z: Tensor
    """[N,...] before each step."""
    loss: Tensor
    """[N] at those."""
    gradient: Tensor
    """[N,...] at those."""
    last: Tensor
    """[...] after the last step."""


@runtime_checkable
class Repeatable(Protocol):
    """A step that can be taken several times in one call."""

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """One step, as `kernels.step` lays it down."""

    def times(self, count: int, *inputs: Tensor) -> Trail:
        """So many steps from the same inputs, the state handed on."""


def repeated(step: Step, count: int) -> Runner:
    """A function of a step's inputs that takes it some times; gives the tensors of a `Trail`.

    Args:
        step: as `kernels.step` lays it down.
        count: how many times, at least 1.

    Raises:
        ValueError: `count` is less.
    """
    _at_least_one(count)

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        """State and data to what the steps went through."""
        state, data = inputs[:STATE], inputs[STATE:]
        seen = []
        for _ in range(count):
            results = step(*state, *data)
            seen.append((state[0], *results[STATE : STATE + 2]))
            state = results[:STATE]
        return (*(torch.stack(each) for each in zip(*seen, strict=True)), state[0])

    return run


class PingPong:
    """An engine of a step, enqueued some times over two sets of state buffers; a function for `GraphedFunction`.

    Args:
        engine: a TensorRT engine of a step.
        examples: inputs of the graph that it was built from.
        count: how many steps, at least 1.
        device: where its buffers lie.

    Raises:
        BackendUnavailable: the engine takes other inputs.
        KernelError: it is no step's: what it gives first is not what it takes first.
        ValueError: `count` is less than 1.
    """

    def __init__(self, engine: Any, examples: Sequence[Tensor], count: int, device: torch.device) -> None:
        """Takes memory, and makes an execution context for either direction."""
        _at_least_one(count)
        given, results = memory_of(engine, examples, device)
        state, after = list(given)[:STATE], list(results)[:STATE]
        if [given[name].shape for name in state] != [results[name].shape for name in after]:
            raise KernelError(f"the engine gives {after} for {state}, of other shapes; expected an optimisation step's")
        self._count: Final = count
        self._memory: Final = given | results  # all of it lives as long as the contexts that write to it
        self._sets: Final = ([given[name] for name in state], [results[name] for name in after])
        self._data: Final = [given[name] for name in list(given)[STATE:]]
        self._told: Final = [results[name] for name in list(results)[STATE : STATE + 2]]
        self._contexts: Final = [engine.create_execution_context() for _ in self._sets]
        for turn, context in enumerate(self._contexts):
            places = {name: buffer.data_ptr() for name, buffer in self._memory.items()}
            places |= {name: buffer.data_ptr() for name, buffer in zip(state, self._sets[turn], strict=True)}
            places |= {name: buffer.data_ptr() for name, buffer in zip(after, self._sets[1 - turn], strict=True)}
            for name, place in places.items():
                context.set_tensor_address(name, place)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """A step's inputs to the tensors of a `Trail`, new ones.

        Raises:
            BackendUnavailable: the engine could not be enqueued.
        """
        for place, value in zip((*self._sets[0], *self._data), inputs, strict=True):
            place.copy_(value)
        seen = []
        for turn in range(self._count):
            before = self._sets[turn % 2][0].clone()
            enqueue(self._contexts[turn % 2], before.device)
            seen.append((before, *(each.clone() for each in self._told)))
        return (*(torch.stack(each) for each in zip(*seen, strict=True)), self._sets[self._count % 2][0].clone())


class Steps:
    """A `Repeatable` on a device, for tensors in the processor's memory; captured anew for each count and thread.

    Args:
        once: runs one step; tensors in the processor's memory.
        several: gives a function of a step's inputs on the device that takes so many steps, as `repeated` does.
        device: where that runs.
        name: for messages.
    """

    def __init__(self, once: Runner, several: Callable[[int], Runner], device: torch.device, name: str) -> None:
        """Captures nothing yet."""
        self._once: Final = once
        self._several: Final = several
        self._device: Final = device
        self._name: Final = name
        self._mine: Final = threading.local()

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """One step."""
        return self._once(*inputs)

    def times(self, count: int, *inputs: Tensor) -> Trail:
        """So many steps from the same inputs, the state handed on."""
        loops: dict[int, GraphedFunction] = self._mine.__dict__.setdefault("loops", {})
        if count not in loops:
            loops[count] = GraphedFunction(self._several(count), name=f"{count} times the {self._name}")
        with torch.no_grad():
            found = loops[count](*(value.to(self._device) for value in inputs))
            return Trail(*(each.to("cpu", copy=True) for each in found))


def _at_least_one(count: int) -> None:
    if count < 1:
        raise ValueError(f"{count} steps asked for, expected at least 1")
