"""Rules of all streaming tests: no task and no thread of ours lives on after a test."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

T = TypeVar("T")

PATIENCE_S = 3.0
"""How long tasks of other packages may take to end after everything was closed."""


@pytest.fixture(autouse=True)
def nothing_lives_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that leaves a task or a thread of ours behind; `asyncio.run` would end tasks without a word."""
    real = asyncio.run

    async def watched(main: Coroutine[Any, Any, T]) -> T:
        """The coroutine; then whatever it left must end by itself."""
        result = await main
        alive = asyncio.all_tasks() - {asyncio.current_task()}
        if alive:
            _, alive = await asyncio.wait(alive, timeout=PATIENCE_S)
        assert not alive, f"tasks live on: {sorted(str(task.get_coro()) for task in alive if task)}"
        return result

    def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None) -> T:
        """`asyncio.run`, and the check."""
        return real(watched(main), debug=debug)

    before = set(threading.enumerate())
    monkeypatch.setattr(asyncio, "run", run)
    yield
    alive = {each.name for each in set(threading.enumerate()) - before if each.name.startswith("livedub")}
    assert not alive, f"threads live on: {sorted(alive)}"
