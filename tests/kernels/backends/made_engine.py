"""An engine that stands in for a GPU's: it reads and writes memory at the addresses that it was told."""

import ctypes
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from kernels.flat import FlatGraph


class MadeEngine:
    """Runs a graph on the processor, in float32, wherever its contexts say that inputs and results lie."""

    def __init__(self, graph: FlatGraph, outputs: Mapping[str, tuple[int, ...]], fails: bool = False) -> None:
        self.graph, self.fails = graph, fails
        self.shapes = {f"in{i}": tuple(each.shape) for i, each in enumerate(graph.examples)} | dict(outputs)
        self.outputs = list(outputs)
        self.contexts: list[MadeContext] = []
        self.turns: list[int] = []
        """Which context each enqueue was of."""
        self.num_io_tensors = len(self.shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.shapes)[index]

    def get_tensor_mode(self, name: str) -> Any:
        return SimpleNamespace(name="OUTPUT" if name in self.outputs else "INPUT")

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def create_execution_context(self) -> "MadeContext":
        self.contexts.append(MadeContext(self))
        return self.contexts[-1]


class MadeContext:
    """One way through the engine."""

    def __init__(self, engine: MadeEngine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}
        self.streams: list[int] = []

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def memory(self, name: str) -> Tensor:
        """The tensor at an address."""
        shape = self.engine.shapes[name]
        raw = (ctypes.c_float * max(1, torch.Size(shape).numel())).from_address(self.addresses[name])
        return torch.frombuffer(raw, dtype=torch.float32).reshape(shape)

    def execute_async_v3(self, stream: int) -> bool:
        engine = self.engine
        self.streams.append(stream)
        engine.turns.append(engine.contexts.index(self))
        if engine.fails:
            return False
        found = engine.graph(*(self.memory(name) for name in engine.shapes if name not in engine.outputs))
        for name, value in zip(engine.outputs, found, strict=True):
            self.memory(name).copy_(value)
        return True
