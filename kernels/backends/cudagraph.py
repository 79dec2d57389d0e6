"""A function of GPU tensors captured into a CUDA graph and replayed: no launch costs, no allocation.

Rules that make it safe, each with a test: every argument is checked by name for shape, type and device before its
values are copied to where the graph reads them; the function is warmed up on a stream of its own; after capture, which
computes nothing, the graph is replayed once for the first results; **results are overwritten by the next call** unless
copies are asked for; a wrapper belongs to the thread that first called it. Without a GPU calls go straight through, so
that everything but the capture itself is tested anywhere.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import Enum
from typing import Any, Final

import torch
from torch import Tensor

from kernels.errors import ArgumentMismatch, KernelError

OFF_SWITCH: Final = "LIVEDUB_NO_CUDA_GRAPH"
"""Environment variable: any value but 0 makes all wrappers call through."""
_ENABLED: Final[ContextVar[bool]] = ContextVar("livedub_cuda_graphs", default=True)


class Phase(Enum):
    """Where a wrapper is on its way."""

    EAGER = "eager"
    """Calls go to the function itself."""
    CAPTURED = "captured"
    """The graph is there and has not been replayed."""
    REPLAYING = "replaying"
    """Calls replay the graph."""


@contextmanager
def no_cuda_graphs() -> Iterator[None]:
    """Within this block wrappers call straight through."""
    token = _ENABLED.set(False)
    try:
        yield
    finally:
        _ENABLED.reset(token)


class GraphedFunction:
    """A function of tensors, replayed from a CUDA graph after some warm-up calls.

    The results of a call alias static buffers: **the next call overwrites them**, unless `copy_out` is set.

    Args:
        function: takes tensors, gives a tuple of tensors; the same work every time, nothing on the CPU.
        names: of its arguments, for messages.
        warmup: calls before capture, on a stream of their own; at least 1.
        copy_out: whether results are copies that stay.
        enabled: False makes every call go straight through.
        name: for messages.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        names: tuple[str, ...] = (),
        *,
        warmup: int = 2,
        copy_out: bool = False,
        enabled: bool = True,
        name: str = "function",
    ) -> None:
        """Keeps the function; nothing runs yet."""
        if warmup < 1:
            raise ValueError(f"warmup is {warmup}; expected at least 1: capture must not be a function's first run")
        self._function = function
        self._names = names
        self._warmup = warmup
        self._copy_out = copy_out
        self._enabled = enabled
        self.name: Final = name
        self.phase = Phase.EAGER
        self._thread: int | None = None
        self._static: tuple[Tensor, ...] = ()
        self._results: tuple[Tensor, ...] = ()
        self._graph: Any = None

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run it.

        Raises:
            ArgumentMismatch: an argument is of another shape, type or device than at the first call.
            KernelError: called from another thread than the first time.
        """
        self._check(inputs)
        if not self._captures(inputs):
            return self._function(*inputs)
        if self.phase is Phase.EAGER:
            self._capture(inputs)
        for place, value in zip(self._static, inputs, strict=True):
            place.copy_(value)
        self._graph.replay()
        self.phase = Phase.REPLAYING
        return tuple(each.clone() for each in self._results) if self._copy_out else self._results

    def reset(self) -> None:
        """Forget graph, buffers and thread: the next call begins anew, with any shapes."""
        self._graph, self._static, self._results = None, (), ()
        self._thread, self.phase = None, Phase.EAGER

    def _captures(self, inputs: tuple[Tensor, ...]) -> bool:
        off = os.environ.get(OFF_SWITCH, "0") not in ("", "0")
        return self._enabled and _ENABLED.get() and not off and any(each.is_cuda for each in inputs)

    def _check(self, inputs: tuple[Tensor, ...]) -> None:
        here = threading.get_ident()
        if self._thread is None:
            self._thread = here
            self._static = tuple(each.detach().clone() for each in inputs)
        if here != self._thread:
            raise KernelError(
                f"{self.name} was first called by another thread; a graph and its buffers belong to one: make a "
                "wrapper for each thread, or reset() it"
            )
        if len(inputs) != len(self._static):
            raise ArgumentMismatch(f"{self.name} got {len(inputs)} arguments, expected {len(self._static)}")
        for index, (found, first) in enumerate(zip(inputs, self._static, strict=True)):
            label = self._names[index] if index < len(self._names) else f"argument {index}"
            if not isinstance(found, Tensor):
                raise ArgumentMismatch(f"{label} of {self.name} is a {type(found).__name__}, expected a tensor")
            if (found.shape, found.dtype, found.device) != (first.shape, first.dtype, first.device):
                raise ArgumentMismatch(
                    f"{label} of {self.name} is {tuple(found.shape)} {found.dtype} on {found.device}; expected "
                    f"{tuple(first.shape)} {first.dtype} on {first.device} as at the first call; reset() for others"
                )

    def _capture(self, inputs: tuple[Tensor, ...]) -> None:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's stub
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(self._warmup):
                self._function(*self._static)
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._results = tuple(self._function(*self._static))
        self.phase = Phase.CAPTURED
