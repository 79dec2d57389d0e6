"""Encoding once for many: key pictures for who joins, slow viewers, holding sound, errors, nobody watching."""

import asyncio

import numpy as np
import pytest

from streaming.channel import ChannelClosed
from streaming.clock import MS, NS, LoopClock
from streaming.egress.hub import QUEUE_PACKETS, PictureHub, SoundHub, Subscription, drain
from streaming.egress.rate import LinkEstimate
from streaming.encoder import OPUS_DELAY, Encoded
from streaming.live.media import BLOCK, LivePicture, SessionTime, SoundBlock, at_media, silence
from streaming.virtual_time import run_virtual
from tests.streaming.live.fakes import ScriptedWorker, picture

pytestmark = pytest.mark.unit

DELAY = 400 * MS


def shown(index: int) -> LivePicture:
    return LivePicture.passed(at_media(picture(index, width=64, height=64), index * 40 * MS), "preparing")


async def feed(hub: PictureHub, time: SessionTime, first: int, last: int) -> None:
    """Pictures as the output clock gives them: 40 ms before they leave."""
    for index in range(first, last):
        await time.sleep_until(index * 40 * MS + DELAY - 40 * MS)
        hub.picture(shown(index))
    await time.sleep_until(last * 40 * MS + DELAY)


async def collect(subscription: Subscription, time: SessionTime, into: list[tuple[int, Encoded]]) -> None:
    await drain(subscription, lambda packet: into.append((time.now(), packet)))


def test_packets_leave_at_media_time_plus_delay_and_are_encoded_once() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        worker = ScriptedWorker(lambda _: 15.0)
        hub = PictureHub(time, worker, DELAY, "H264")
        got: list[list[tuple[int, Encoded]]] = [[], [], []]
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(collect(hub.subscribe(), time, each)) for each in got]
        await feed(hub, time, 0, 20)
        assert hub.viewers == 3
        await hub.aclose()
        await asyncio.gather(*tasks)
        assert worker.jobs == 20
        assert all([p.media // (40 * MS) for _, p in each] == list(range(20)) for each in got)
        assert {now - p.media for now, p in got[0]} == {DELAY}

    run_virtual(main())


def test_who_joins_later_begins_at_a_key_picture_made_for_him() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        hub = PictureHub(time, ScriptedWorker(lambda _: 5.0), DELAY, "H264")
        early, late = hub.subscribe(), None
        got: list[tuple[int, Encoded]] = []
        keys: list[bool] = []
        task = asyncio.get_running_loop().create_task(drain(early, lambda p: keys.append(p.key)))
        await feed(hub, time, 0, 20)
        late = hub.subscribe()
        second = asyncio.get_running_loop().create_task(collect(late, time, got))
        await feed(hub, time, 20, 30)
        await hub.aclose()
        await asyncio.gather(task, second)
        assert got[0][1].key
        assert got[0][1].media == 20 * 40 * MS
        assert keys == [i in (0, 20) for i in range(30)]

    run_virtual(main())


@pytest.mark.parametrize(("is_viewer", "every_s"), [(False, 4), (True, 20)])
def test_requests_for_key_pictures_are_heard_four_times_a_second_at_most_and_some_come_by_themselves(
    is_viewer: bool, every_s: int
) -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        hub = PictureHub(time, ScriptedWorker(lambda _: 1.0), DELAY, "H264")
        media: list[int] = []
        subscription = hub.subscribe()
        subscription.link = LinkEstimate(1.5e6) if is_viewer else None
        task = asyncio.get_running_loop().create_task(
            drain(subscription, lambda p: media.append(p.media) if p.key else None)
        )
        for index in range(50 * every_s + 50):
            if index < 25:
                hub.request_key()
            await feed(hub, time, index, index + 1)
        await hub.aclose()
        await task
        assert 3 <= sum(m < NS for m in media) <= 5
        rest = [m for m in media if m >= NS]
        assert len(rest) >= 2
        assert {round((b - a) / NS) for a, b in zip(rest, rest[1:], strict=False)} == {every_s}

    run_virtual(main())


def test_a_viewer_that_does_not_read_loses_pictures_and_costs_the_others_nothing() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        hub = PictureHub(time, ScriptedWorker(lambda _: 1.0), DELAY, "H264")
        good: list[tuple[int, Encoded]] = []
        stuck = hub.subscribe()
        task = asyncio.get_running_loop().create_task(collect(hub.subscribe(), time, good))
        await feed(hub, time, 0, 40)
        assert len(good) == 40
        assert stuck.overflows >= 1
        first = await stuck.get()
        assert first.key
        assert first.media >= (40 - 2 * QUEUE_PACKETS) * 40 * MS
        await hub.aclose()
        await task

    run_virtual(main())


def test_nothing_is_encoded_while_nobody_watches() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        worker = ScriptedWorker(lambda _: 1.0)
        hub = PictureHub(time, worker, DELAY, "H264")
        subscription = hub.subscribe()
        subscription.close()
        subscription.close()
        await feed(hub, time, 0, 10)
        assert worker.jobs == 0
        with pytest.raises(ChannelClosed):
            await subscription.get()
        await hub.aclose()

    run_virtual(main())


def test_the_compare_view_is_twice_as_wide() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        hub = PictureHub(time, ScriptedWorker(lambda _: 1.0), DELAY, "H264", "compare")
        hub.subscribe()
        await feed(hub, time, 0, 3)
        context = hub.encoder._context
        assert context is not None
        assert (context.width, context.height) == (128, 64)
        await hub.aclose()

    run_virtual(main())


def test_a_failing_encoder_ends_its_viewers_and_says_why() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        hub = PictureHub(time, ScriptedWorker(lambda _: 1.0), DELAY, "H264", "compare")
        subscription = hub.subscribe()
        other = at_media(picture(0, width=32, height=32), 0)
        hub.picture(LivePicture(shown(0).frame, other, True, "edited"))
        with pytest.raises(ChannelClosed):
            await subscription.get()
        assert isinstance(hub.error, ValueError)
        await hub.aclose()

    run_virtual(main())


def test_sound_is_held_for_its_pictures_and_never_gaps_after() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        hub = SoundHub(time, ScriptedWorker(lambda _: 1.0), DELAY)
        subscription = hub.subscribe()
        subscription.hold = lambda: time.now() < NS
        got: list[tuple[int, Encoded]] = []
        task = asyncio.get_running_loop().create_task(collect(subscription, time, got))
        for index in range(100):
            await time.sleep_until(index * 20 * MS + DELAY - 40 * MS)
            hub.sound(SoundBlock(silence() + np.float32(0.01), index))
        await time.sleep_until(3 * NS)
        await hub.aclose()
        await task
        assert got[0][0] >= NS
        assert set(np.diff([p.pts for _, p in got]).tolist()) == {BLOCK}
        assert {now - p.media for now, p in got} == {DELAY}

    run_virtual(main())


def test_a_thread_that_is_seldom_served_delays_sound_but_loses_none() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        hub = SoundHub(time, ScriptedWorker(lambda _: 70.0), DELAY)
        got: list[tuple[int, Encoded]] = []
        task = asyncio.get_running_loop().create_task(collect(hub.subscribe(), time, got))
        for index in range(200):
            await time.sleep_until(index * 20 * MS + DELAY - 40 * MS)
            hub.sound(SoundBlock(silence(), index))
        await time.sleep_until(6 * NS)
        await hub.aclose()
        await task
        assert [(p.pts + OPUS_DELAY) // BLOCK for _, p in got] == list(range(200))
        assert max(now - p.media for now, p in got) < DELAY + 130 * MS

    run_virtual(main())


def test_sound_that_waited_begins_where_the_pictures_began() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        hub = SoundHub(time, ScriptedWorker(lambda _: 1.0), DELAY)
        subscription = hub.subscribe()
        subscription.hold = lambda: time.now() < DELAY + 310 * MS
        subscription.begin_with = lambda: 130 * MS
        got: list[tuple[int, Encoded]] = []
        task = asyncio.get_running_loop().create_task(collect(subscription, time, got))
        for index in range(30):
            await time.sleep_until(index * 20 * MS + DELAY - 40 * MS)
            hub.sound(SoundBlock(silence(), index))
        await time.sleep_until(3 * NS)
        await hub.aclose()
        await task
        assert [(p.pts + OPUS_DELAY) // BLOCK for _, p in got] == list(range(7, 30))
        assert subscription.first_media == 133.5 * MS

    run_virtual(main())
