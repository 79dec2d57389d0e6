"""Owned tasks and the harness, tried on a small stage; the worker thread."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from streaming.channel import Channel, ChannelClosed, Policy
from streaming.stage import TaskOwner, run_stage
from streaming.virtual_time import run_virtual
from streaming.worker import ThreadWorker
from tests.streaming.passing import passes

pytestmark = pytest.mark.unit


class Doubler:
    """Doubles numbers, each in a virtual second; 13 breaks it."""

    def __init__(self) -> None:
        self.name = "doubler"
        self._in: Channel[int] = Channel("in", 1000, lambda _: 100.0, Policy.REJECT)
        self._out: Channel[int] = Channel("out", 200, lambda _: 100.0, Policy.WAIT)
        self._tasks = TaskOwner(self.name)
        self._tasks.begin("run", self._run())

    def push(self, item: int) -> None:
        self._in.put_nowait(item)

    def end_input(self) -> None:
        self._in.close()

    async def aclose(self) -> None:
        await self._tasks.end()

    def __aiter__(self) -> AsyncIterator[int]:
        """The doubled numbers."""
        return self._out.__aiter__()

    async def _run(self) -> None:
        try:
            async for item in self._in:
                await passes(1)
                if item == 13:
                    raise ArithmeticError("13")
                await self._out.put(2 * item)
        except ArithmeticError as error:
            self._out.close(error)
            raise
        self._out.close()


def test_what_comes_out_is_compared() -> None:
    async def main() -> None:
        await run_stage(Doubler(), [1, 2, 3, 4, 5], [2, 4, 6, 8, 10])
        with pytest.raises(AssertionError, match=r"got \[2\], expected \[3\]"):
            await run_stage(Doubler(), [1], [3])

    run_virtual(main())


def test_an_error_reaches_the_consumer_and_no_task_lives_on() -> None:
    async def main() -> None:
        with pytest.raises(ArithmeticError, match="13"):
            await run_stage(Doubler(), [1, 13, 2], [])

    run_virtual(main())


def test_closing_in_the_middle_leaves_nothing_and_can_be_repeated() -> None:
    async def main() -> None:
        stage = Doubler()
        stage.push(1)
        await stage.aclose()
        await stage.aclose()
        stage.end_input()
        with pytest.raises(ChannelClosed):
            stage.push(2)

    run_virtual(main())


def test_the_owner_keeps_the_first_error() -> None:
    async def fail(after: float, text: str) -> None:
        await passes(after)
        raise OSError(text)

    async def main() -> None:
        async with TaskOwner("o") as owner:
            owner.begin("second", fail(2, "second"))
            owner.begin("first", fail(1, "first"))
            owner.begin("never", fail(99, "never"))
            await owner.failed.wait()
            await passes(5)
            assert str(owner.error) == "first"

    run_virtual(main())


def test_work_runs_in_one_named_thread_and_errors_come_back() -> None:
    def fail() -> None:
        raise OSError("from the thread")

    async def main() -> set[str]:
        worker = ThreadWorker("livedub-test")
        names = {await worker.run(lambda: threading.current_thread().name) for _ in range(3)}
        with pytest.raises(OSError, match="from the thread"):
            await worker.run(fail)
        worker.close()
        with pytest.raises(RuntimeError):
            await worker.run(fail)
        return names

    assert asyncio.run(main()) == {"livedub-test_0"}
