"""A stage: a bounded input, an output, and tasks that it owns. And a harness to try one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, Protocol, Self, TypeVar

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out", covariant=True)
T = TypeVar("T")
U = TypeVar("U")


class Stage(Protocol[In, Out]):
    """Takes items until `end_input`, then drains and ends its output. What it drops, it counts."""

    name: str

    def push(self, item: In) -> None:
        """Take an item; raises ChannelFull where the stage rejects, ChannelClosed after the end."""

    def end_input(self) -> None:
        """Nothing more comes; what is inside still comes out."""

    async def aclose(self) -> None:
        """End at once; may be called again. No task of the stage lives on."""

    def __aiter__(self) -> AsyncIterator[Out]:
        """The results, until the input has ended and is drained; an error of the stage is raised here."""


class TaskOwner:
    """Owns tasks: begins them by name, ends and awaits all of them, keeps the first error.

    Args:
        name: for the tasks' names.
        on_failure: told what each failed task raised.
    """

    def __init__(self, name: str, on_failure: Callable[[Exception], None] | None = None) -> None:
        """Own none yet."""
        self.name = name
        self._on_failure = on_failure
        self.failed: asyncio.Event = asyncio.Event()
        """Set when a task has failed."""
        self.error: Exception | None = None
        """What the first failed task raised."""
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, what: str, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine as a task of this owner."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self.name}:{what}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def end(self) -> None:
        """Cancel and await every task; may be called again, and by one of the tasks."""
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drained(self) -> None:
        """Await every task without ending it."""
        await asyncio.gather(*(t for t in self._tasks if t is not asyncio.current_task()), return_exceptions=True)

    async def __aenter__(self) -> Self:
        """The owner itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """End the tasks."""
        await self.end()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if not isinstance(error, Exception):
            raise error
        self.error = self.error or error
        self.failed.set()
        if self._on_failure is not None:
            self._on_failure(error)


async def run_stage(stage: Stage[T, U], send: Sequence[T], expect: Sequence[U]) -> None:
    """Send items into a stage, end its input, and compare what comes out; the stage is closed in the end.

    Raises:
        AssertionError: something else came out.
    """
    try:
        for item in send:
            stage.push(item)
        stage.end_input()
        got: list[U] = [item async for item in stage]
    finally:
        await stage.aclose()
    if got != list(expect):
        raise AssertionError(f"stage {stage.name}: got {got}, expected {list(expect)}")
