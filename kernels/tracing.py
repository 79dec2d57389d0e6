"""Whether a function is being traced into a flat graph.

Kernels and generators that are written for eager execution (writing in place, scaling filters instead of maps) take
the form that a compiler fuses best while a graph is traced: single operations that make new tensors. Both forms give
the same numbers, and tests compare them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

_TRACING: Final[ContextVar[bool]] = ContextVar("livedub_tracing", default=False)


def is_tracing() -> bool:
    """Whether a graph is being traced in this thread."""
    return _TRACING.get()


@contextmanager
def tracing() -> Iterator[None]:
    """Within this block kernels and generators take their composed forms."""
    token = _TRACING.set(True)
    try:
        yield
    finally:
        _TRACING.reset(token)
