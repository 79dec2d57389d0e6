"""Time of named stages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stopwatch(times: dict[str, float], name: str) -> Iterator[None]:
    """Write the time in ms that the block took into `times[name]`."""
    begin = time.perf_counter()
    try:
        yield
    finally:
        times[name] = (time.perf_counter() - begin) * 1000
