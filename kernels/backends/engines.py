"""TensorRT engines as functions of tensors: memory for what they take and give, and the way to enqueue them."""

import contextlib
from collections.abc import Sequence
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from kernels.backends.aoti import check_arguments
from kernels.errors import BackendUnavailable
from kernels.lowering import NARROW


class Stream(Protocol):
    """What is asked of `torch.cuda.Stream`."""

    cuda_stream: int
    """Its handle."""


def memory_of(
    engine: Any, examples: Sequence[Tensor], device: torch.device
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """New float32 tensors for all that an engine takes and gives, by name, in the engine's order.

    Args:
        engine: a TensorRT engine.
        examples: inputs of the graph that it was built from.
        device: where they lie.

    Raises:
        BackendUnavailable: the engine takes other inputs.
    """
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    given = [name for name in names if engine.get_tensor_mode(name).name == "INPUT"]
    shapes = {name: tuple(engine.get_tensor_shape(name)) for name in names}
    expected = [tuple(example.shape) for example in examples]
    if [shapes[name] for name in given] != expected:
        raise BackendUnavailable(f"the engine takes {[shapes[name] for name in given]}, expected {expected}")
    buffers = {name: torch.empty(shapes[name], dtype=torch.float32, device=device) for name in names}
    return {name: buffers.pop(name) for name in given}, buffers


def enqueue(context: Any, device: torch.device) -> None:
    """Enqueue an engine on the device's current stream.

    Raises:
        BackendUnavailable: it could not be.
    """
    handle = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    if not context.execute_async_v3(handle):
        raise BackendUnavailable("TensorRT could not enqueue the engine; its log says why")


def widened(inputs: Sequence[Tensor], examples: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Inputs in bfloat16 or float16 as the float32 that an engine takes; others as they are."""
    pairs = zip(inputs, examples, strict=False)
    found = [value.to(example.dtype) if value.dtype in NARROW else value for value, example in pairs]
    return (*found, *inputs[len(found) :])


class EngineFunction:
    """An engine as a function of tensors in the processor's memory: static shapes, float32, one stream of its own.

    It belongs to one thread: its buffers are overwritten by every call.

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
        self._device: Final = device
        self._engine: Final = engine
        given, results = memory_of(engine, examples, device)
        self._inputs: Final = list(given.values())
        self._results: Final = list(results.values())
        self._context: Final = engine.create_execution_context()
        for name, buffer in (given | results).items():
            self._context.set_tensor_address(name, buffer.data_ptr())

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run it; results are new tensors.

        Raises:
            ArgumentMismatch: inputs of other shapes, types or devices than the graph's.
            BackendUnavailable: the engine could not be enqueued.
        """
        inputs = widened(inputs, self._examples)
        check_arguments(inputs, self._examples)
        with self._within(), torch.no_grad():
            for place, value in zip(self._inputs, inputs, strict=True):
                place.copy_(value)
            enqueue(self._context, self._device)
            return tuple(place.to("cpu", copy=True) for place in self._results)

    def _within(self) -> contextlib.AbstractContextManager[object]:
        """Copies and the engine follow one another on its stream."""
        return contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)  # type: ignore[arg-type]
