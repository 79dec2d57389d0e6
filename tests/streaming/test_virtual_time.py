"""Virtual time: jumps, order, leaks, drifting clocks; and the real clock under it."""

import asyncio

import pytest

from streaming.clock import NS, LoopClock, ms, ns
from streaming.virtual_time import LeakedTasks, VirtualClock, run_virtual
from tests.streaming.passing import passes

pytestmark = pytest.mark.unit


def test_an_hour_passes_at_once() -> None:
    async def main() -> int:
        clock = LoopClock()
        await clock.sleep_until(3600 * NS)
        return clock.now()

    assert run_virtual(main()) == 3600 * NS


def test_timers_of_the_same_instant_run_in_the_order_they_were_set() -> None:
    async def main() -> list[int]:
        order: list[int] = []
        loop = asyncio.get_running_loop()
        for index in range(5):
            loop.call_at(2.0, order.append, index)
        await passes(3)
        return order

    assert run_virtual(main()) == [0, 1, 2, 3, 4]


def test_a_task_left_behind_fails_with_its_name() -> None:
    async def main() -> None:
        main.task = asyncio.get_running_loop().create_task(passes(99), name="forgotten")  # type: ignore[attr-defined]

    with pytest.raises(LeakedTasks, match="forgotten"):
        run_virtual(main())


def test_errors_of_the_main_coroutine_come_out() -> None:
    async def main() -> None:
        await passes(1)
        raise OSError("as it is")

    with pytest.raises(OSError, match="as it is"):
        run_virtual(main())


def test_a_past_time_returns_at_once_but_lets_others_run() -> None:
    async def main() -> tuple[int, list[str]]:
        clock = LoopClock()
        seen: list[str] = []
        asyncio.get_running_loop().call_soon(seen.append, "other")
        await clock.sleep_until(-5)
        return clock.now(), seen

    assert run_virtual(main()) == (0, ["other"])


def test_a_fast_clock_gains_what_it_says() -> None:
    async def main() -> int:
        fast, true = VirtualClock(200.0), LoopClock()
        await true.sleep_until(1000 * NS)
        gained = fast.now() - true.now()
        await fast.sleep_until(fast.now() + NS)
        return gained

    assert run_virtual(main()) == pytest.approx(0.2 * NS, abs=1000)


def test_units() -> None:
    assert ns(0.02) == 20_000_000
    assert ms(20_000_000) == 20.0
