"""Time as the live engine sees it: monotonic nanoseconds, given from outside, never read from the system elsewhere."""

import asyncio
from typing import Final, Protocol

NS: Final = 1_000_000_000
"""Nanoseconds in a second."""

MS: Final = 1_000_000
"""Nanoseconds in a millisecond."""


class Clock(Protocol):
    """A monotonic clock that can be waited on."""

    def now(self) -> int:
        """Monotonic time in ns; its zero means nothing."""

    async def sleep_until(self, at: int) -> None:
        """Return as soon as `now() >= at`; at once, after other tasks had their turn, when that is past."""


class LoopClock:
    """The clock of the running event loop: real time under a real loop, virtual time under a virtual one."""

    def now(self) -> int:
        """Monotonic time in ns."""
        return round(asyncio.get_running_loop().time() * NS)

    async def sleep_until(self, at: int) -> None:
        """Return as soon as `now() >= at`."""
        while True:
            wait = at - self.now()
            await asyncio.sleep(max(0, wait) / NS)
            if self.now() >= at:
                return


def ns(seconds: float) -> int:
    """Seconds as nanoseconds."""
    return round(seconds * NS)


def ms(nanoseconds: float) -> float:
    """Nanoseconds as milliseconds, rounded to a microsecond."""
    return round(nanoseconds / MS, 3)
