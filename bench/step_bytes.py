"""Bytes that a render or a step moves between its operations and memory.

Every operation reads each operand once and writes each result once: what caches keep in between is not taken off, so
the rate can lie above what a copy of large blocks reaches. Views move nothing. Of compiled graphs Inductor counts the
same way over the kernels that it fused (`GraphLowering.count_bytes`), so that the difference is what fusion saves.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_UNWRITTEN: Final = (torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.empty_strided)
"""They take memory and leave it as it is."""


class BytesMoved(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts while it is entered, gradients included."""

    total: int = 0
    """Bytes so far."""

    def __torch_dispatch__(
        self, function: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and count what it touched."""
        results = function(*args, **(kwargs or {}))
        read, written = (
            [each for each in tree_leaves(values) if isinstance(each, Tensor)] for values in ((args, kwargs), results)
        )
        if function._schema.is_mutable or not _only_views(written, read, function.overloadpacket):
            self.total += sum(map(size_of, (*read, *written)))
        return results


def _only_views(written: Sequence[Tensor], read: Sequence[Tensor], operation: object) -> bool:
    """Whether an operation that changes no operand leaves memory alone."""
    places = {each.untyped_storage().data_ptr() for each in read}
    return operation in _UNWRITTEN or all(each.untyped_storage().data_ptr() in places for each in written)


def size_of(value: Tensor) -> int:
    """Bytes of memory that reading a tensor touches: an expanded one holds fewer than it has elements."""
    own = [size if stride else min(size, 1) for size, stride in zip(value.shape, value.stride(), strict=True)]
    elements: int = math.prod(own)
    return elements * value.element_size()


def moved_by(run: Callable[[], object]) -> int:
    """Bytes of one run, operation by operation."""
    with BytesMoved() as counter:  # type: ignore[no-untyped-call]
        run()
    total: int = counter.total
    return total


@dataclass
class Fused:
    """What Inductor compiled while `counting_fused` was entered."""

    total: int | None = None
    """Bytes of all kernels; None until it has compiled something."""


@contextmanager
def counting_fused() -> Iterator[Fused]:
    """Lets Inductor count bytes of what is compiled meanwhile; a package that was there already counts nothing."""
    from torch._inductor import metrics
    from torch._logging._internal import set_logs

    found = Fused()
    metrics.reset()
    set_logs(inductor_metrics=True)  # it counts only where somebody listens
    try:
        yield found
    finally:
        set_logs()
        found.total = metrics.num_bytes_accessed or None
