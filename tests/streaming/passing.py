"""Time that passes in tests, and never in the real world: virtual seconds, or one turn of the loop."""

import asyncio

from streaming.clock import LoopClock, ns
from streaming.virtual_time import VirtualTimeLoop


async def passes(seconds: float) -> None:
    """Return when so many virtual seconds have passed."""
    assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop), "a test may not wait for real time"
    clock = LoopClock()
    await clock.sleep_until(clock.now() + ns(seconds))


async def one_turn() -> None:
    """Let every other task have its turn."""
    await LoopClock().sleep_until(0)
