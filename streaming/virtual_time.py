"""An event loop whose time jumps to the next timer: hours of a pipeline in milliseconds, the same every time."""

import asyncio
import heapq
import itertools
import selectors
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class NothingLeft(RuntimeError):
    """Every task waits and no timer is set: nothing would ever happen again."""


class LeakedTasks(RuntimeError):
    """Tasks that were still alive when the main coroutine had ended."""


class _JumpingSelector(selectors.DefaultSelector):
    """Looks for real events without waiting; where there are none, it moves the virtual time on instead."""

    advance: Callable[[float], None]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Real events, or none after the jump."""
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            raise NothingLeft("every task waits, and no timer is set; expected something that could still happen")
        self.advance(timeout)
        return []


class _OrderedTimer(asyncio.TimerHandle):
    """A timer that stands after those of its instant that were set before it."""

    order = 0
    _scheduled: bool
    _when: float

    def __lt__(self, other: object) -> bool:
        """Whether it runs before another one."""
        if not isinstance(other, _OrderedTimer):
            return NotImplemented
        return (self._when, self.order) < (other._when, other.order)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that never waits. Work in other threads is not seen: give tests a worker that runs inline."""

    def __init__(self) -> None:
        """Start at 0 s."""
        self._virtual_s = 0.0
        self._orders = itertools.count()
        self._scheduled: list[asyncio.TimerHandle]
        selector = _JumpingSelector()
        selector.advance = self._advance
        super().__init__(selector)

    def time(self) -> float:
        """Virtual seconds."""
        return self._virtual_s

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer; timers of one instant run in the order in which they were set."""
        timer = _OrderedTimer(when, callback, args, self, context)
        timer.order = next(self._orders)
        heapq.heappush(self._scheduled, timer)
        timer._scheduled = True
        return timer

    def _advance(self, seconds: float) -> None:
        self._virtual_s += seconds


class VirtualClock:
    """A clock under a virtual loop that can run fast or slow against it, as two real clocks do."""

    def __init__(self, ppm: float = 0.0) -> None:
        """Parts per million by which it is fast."""
        self._rate = 1 + ppm * 1e-6

    def now(self) -> int:
        """Monotonic time in ns."""
        return round(asyncio.get_running_loop().time() * self._rate * 1e9)

    async def sleep_until(self, at: int) -> None:
        """Return as soon as `now() >= at`."""
        while True:
            await asyncio.sleep(max(0.0, (at - self.now()) / self._rate / 1e9))
            if self.now() >= at:
                return


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in virtual time, like `asyncio.run`.

    Raises:
        LeakedTasks: it left tasks behind.
        NothingLeft: it waits for something that cannot happen.
    """
    loop = VirtualTimeLoop()
    asyncio.set_event_loop(loop)
    try:
        result = loop.run_until_complete(main)
        loop.run_until_complete(asyncio.sleep(0))
        leaked = asyncio.all_tasks(loop)
    finally:
        _cancel_all(loop)
        loop.run_until_complete(loop.shutdown_asyncgens())
        asyncio.set_event_loop(None)
        loop.close()
    if leaked:
        raise LeakedTasks(f"alive after the end: {', '.join(sorted(task.get_name() for task in leaked))}")
    return result


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
