"""Channels: order, capacity in ms, the three policies, closing, errors."""

import asyncio

import pytest

from streaming.channel import Channel, ChannelClosed, ChannelFull, Policy
from streaming.virtual_time import NothingLeft, run_virtual
from tests.streaming.passing import passes

pytestmark = pytest.mark.unit


def forty(_: int) -> float:
    return 40.0


def test_items_come_out_in_order_and_the_end_ends_the_reader() -> None:
    async def main() -> list[int]:
        channel = Channel("c", 120, forty, Policy.WAIT)
        for item in (1, 2, 3):
            await channel.put(item)
        channel.close()
        return [item async for item in channel]

    assert run_virtual(main()) == [1, 2, 3]


def test_a_producer_waits_for_room() -> None:
    async def main() -> float:
        channel = Channel("c", 80, forty, Policy.WAIT)
        loop = asyncio.get_running_loop()

        async def read_later() -> None:
            await passes(5)
            assert await channel.get() == 1

        reader = loop.create_task(read_later())
        for item in (1, 2, 3):
            await channel.put(item)
        await reader
        return loop.time()

    assert run_virtual(main()) == 5


def test_a_full_channel_drops_its_oldest_and_counts_them() -> None:
    async def main() -> None:
        channel = Channel("c", 80, forty, Policy.DROP_OLDEST)
        for item in range(5):
            await channel.put(item)
        assert (len(channel), channel.held_ms, channel.dropped) == (2, 80, 3)
        assert [await channel.get(), await channel.get()] == [3, 4]

    run_virtual(main())


def test_a_full_channel_rejects_and_says_how_full_it_is() -> None:
    async def main() -> None:
        channel = Channel("c", 80, forty, Policy.REJECT)
        channel.put_nowait(1)
        channel.put_nowait(2)
        with pytest.raises(ChannelFull, match="80 ms of 80 ms"):
            await channel.put(3)
        assert [channel.get_nowait(), channel.get_nowait(), channel.get_nowait()] == [1, 2, None]

    run_virtual(main())


def test_a_waiting_channel_refuses_put_nowait_when_full() -> None:
    async def main() -> None:
        channel = Channel("c", 40, forty, Policy.WAIT)
        channel.put_nowait(1)
        with pytest.raises(ChannelFull):
            channel.put_nowait(2)

    run_virtual(main())


def test_an_item_longer_than_the_capacity_still_goes_into_an_empty_channel() -> None:
    async def main() -> None:
        channel: Channel[float] = Channel("c", 100, lambda ms: ms, Policy.REJECT)
        channel.put_nowait(500.0)
        with pytest.raises(ChannelFull):
            channel.put_nowait(1.0)
        assert await channel.get() == 500.0
        channel.put_nowait(1.0)

    run_virtual(main())


def test_a_closed_channel_gives_what_it_holds_then_its_error() -> None:
    async def main() -> None:
        channel = Channel("c", 80, forty, Policy.WAIT)
        channel.put_nowait(1)
        channel.close(OSError("lost"))
        channel.close()
        with pytest.raises(ChannelClosed):
            channel.put_nowait(2)
        assert await channel.get() == 1
        with pytest.raises(OSError, match="lost"):
            await channel.get()

    run_virtual(main())


def test_closing_wakes_a_producer_that_waits() -> None:
    async def main() -> None:
        channel = Channel("c", 40, forty, Policy.WAIT)
        channel.put_nowait(1)
        producer = asyncio.get_running_loop().create_task(channel.put(2))
        await passes(1)
        channel.close()
        with pytest.raises(ChannelClosed):
            await producer

    run_virtual(main())


def test_clearing_makes_room_and_counts() -> None:
    async def main() -> None:
        channel = Channel("c", 80, forty, Policy.REJECT)
        channel.put_nowait(1)
        channel.put_nowait(2)
        assert channel.clear() == 2
        assert (channel.dropped, channel.held_ms) == (2, 0)
        channel.put_nowait(3)

    run_virtual(main())


def test_a_reader_of_a_channel_that_nobody_fills_is_found_out() -> None:
    async def main() -> int:
        return await Channel("c", 40, forty, Policy.WAIT).get()

    with pytest.raises(NothingLeft):
        run_virtual(main())


def test_a_capacity_of_nothing_is_refused() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="0 ms"):
            Channel("c", 0, forty, Policy.WAIT)

    run_virtual(main())


def test_what_waits_can_be_taken_at_once_and_is_not_counted_as_dropped() -> None:
    channel: Channel[int] = Channel("test", 100, lambda _: 10.0, Policy.REJECT)
    for index in range(3):
        channel.put_nowait(index)
    assert channel.waiting() == [0, 1, 2]
    assert (channel.waiting(), channel.held_ms, channel.dropped) == ([], 0.0, 0)
