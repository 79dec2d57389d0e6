"""Where computing happens: one named thread per device or codec. The event loop only waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")


class Worker(Protocol):
    """Runs synchronous work elsewhere, one piece after the other, in the order asked for."""

    async def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work and give its result or raise its error.

        A piece that has begun is finished even when the caller is cancelled.
        """

    def close(self) -> None:
        """Take no more work; a piece that runs is finished first."""


class ThreadWorker:
    """One thread, with a name that tools can show."""

    def __init__(self, name: str) -> None:
        """The thread starts with the first piece of work."""
        self.name = name
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[], T]) -> T:
        """Do a piece of work in the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Take no more work; pieces that wait are dropped, the one that runs is finished."""
        self._pool.shutdown(wait=True, cancel_futures=True)
