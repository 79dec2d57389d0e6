"""Bits a second that follow the viewers' links: one link, many links, one encoder."""

import asyncio

import numpy as np
import pytest

from engine.media import VideoFrame
from streaming.aiortc_compat import LinkReport
from streaming.clock import MS, NS, LoopClock
from streaming.egress.hub import PictureHub, drain
from streaming.egress.rate import LinkEstimate, Queue, SentRate, least_rate, shared_rate
from streaming.encoder import Encoded, PictureEncoder
from streaming.live.media import VIDEO_TIME_BASE, LivePicture, SessionTime
from streaming.virtual_time import run_virtual
from tests.streaming.live.fakes import ScriptedWorker

pytestmark = pytest.mark.unit

FULL = 6e6


def noisy(index: int, side: int = 512) -> VideoFrame:
    """A picture that is hard to encode."""
    noise = np.random.default_rng(index).integers(0, 255, (side, side), dtype=np.uint8)
    grey = np.full((side // 2, side // 2), 128, np.uint8)
    return VideoFrame((noise, grey, grey), "420", 8, "bt709", False, index * 3600, VIDEO_TIME_BASE)


def test_a_good_link_has_no_limit_whatever_little_goes_through_it() -> None:
    link = LinkEstimate(FULL)
    for second in range(100):
        link.reported(second * NS, 0.0, 200_000)
        link.estimated(300_000, 200_000)
    assert link.limit is None


def test_a_full_link_is_given_less_until_nothing_is_lost_and_then_slowly_more() -> None:
    link = LinkEstimate(FULL)
    carries, sending, seen = 2e6, FULL, []
    for second in range(60):
        link.reported(second * NS, max(0.0, 1 - carries / sending), sending)
        sending = link.limit or FULL
        seen.append(sending)
    assert min(seen) >= 1e6
    assert max(seen[15:]) <= 2.6e6
    for second in range(60, 120):
        link.reported(second * NS, 0.0, link.limit or FULL)
    assert link.limit is None


def test_a_limit_grows_with_time_and_not_with_the_number_of_reports() -> None:
    seldom, often = LinkEstimate(FULL), LinkEstimate(FULL)
    seldom.limit = often.limit = 1e6
    for at in range(0, 51):
        often.reported(at * NS // 5, 0.0, 1e6)
        if at % 5 == 0:
            seldom.reported(at * NS // 5, 0.0, 1e6)
    assert often.limit == pytest.approx(1e6 * 1.08**11, rel=0.001)
    assert seldom.limit == pytest.approx(often.limit, rel=0.001)


def test_an_estimate_below_what_is_sent_limits_a_link_that_loses_and_a_little_loss_holds() -> None:
    link = LinkEstimate(FULL)
    link.reported(0, 0.08, 3e6)
    link.estimated(1_200_000, 3e6)
    assert link.limit == 1_200_000
    for second, lost in enumerate((0.07, 0.07, 0.07, 0.05, 0.17, 0.05)):
        link.reported(second * NS, lost, 1.2e6)
    assert link.limit == 1_200_000
    assert link.lost == pytest.approx(0.07, abs=0.02)


def test_an_estimate_is_not_believed_where_nothing_is_lost_and_nothing_waits() -> None:
    link = LinkEstimate(FULL)
    for at in range(100):
        link.reported(at * NS // 5, 0.0, 3e6, 0.004 if at % 5 else 0.180)
        link.estimated(650_000, 3e6)
    assert link.limit is None
    assert link.queue.seconds == 0.0


def test_an_estimate_is_believed_as_soon_as_a_second_of_reports_tells_of_a_queue() -> None:
    link = LinkEstimate(FULL)
    limits: list[float | None] = []
    for at in range(20):
        link.reported(at * NS // 5, 0.0, 3e6, 0.020 if at < 5 else 0.400)
        link.estimated(1_000_000, 3e6)
        limits.append(link.limit)
    assert limits[:9] == [None] * 9
    assert limits[10:] == [1_000_000] * 10
    assert link.queue.seconds == pytest.approx(0.380)


def test_a_viewer_without_estimates_gets_less_each_second_while_packets_queue_and_more_when_they_do_not() -> None:
    link = LinkEstimate(FULL)
    link.reported(0, 0.0, 3e6, 0.02)
    for at in range(1, 26):
        link.reported(at * NS // 5, 0.0, link.limit or 3e6, 0.5)
    low = link.limit
    assert low is not None
    assert 3e6 * 0.85**6 < low < 3e6 * 0.85**3
    for second in range(6, 9):
        link.reported(second * NS, 0.0, low, 0.03)
    assert link.limit is not None
    assert low < link.limit < 1.3 * low


def test_a_longer_way_is_no_queue_for_more_than_half_a_minute() -> None:
    queue = Queue()
    seen: list[float] = []
    for second in range(60):
        queue.add(second * NS, 0.01 if second < 10 else 0.21)
        seen.append(round(queue.seconds, 3))
    assert seen[:11] == [0.0] * 11
    assert set(seen[12:38]) == {0.2}
    assert set(seen[41:]) == {0.0}


def test_one_report_tells_of_no_queue() -> None:
    queue = Queue()
    assert queue.seconds == 0.0
    queue.add(0, 5.0)
    assert queue.seconds == 0.0


def test_something_is_always_sent() -> None:
    link = LinkEstimate(FULL)
    for second in range(50):
        link.reported(second * NS, 0.9, link.limit or FULL)
        link.estimated(1, 1e6)
    assert link.limit == least_rate(FULL) == 500_000
    assert least_rate(1.5e6) == 250_000


@pytest.mark.parametrize(
    ("limits", "wanted"),
    [
        ([], FULL),
        ([None], FULL),
        ([None, 1e6], 1e6),
        ([None, None, 1e6], 1e6),
        ([None, None, None, 1e6], FULL),
        ([1e6, 2e6, 3e6, None], 2e6),
        ([1e6, 1e6, 3e6, None, None, None, None, None], 3e6),
        ([9e6], FULL),
    ],
)
def test_the_slowest_link_of_few_and_the_lower_quarter_of_many_decide(
    limits: list[float | None], wanted: float
) -> None:
    assert shared_rate(limits, FULL) == wanted


def test_what_was_sent_in_the_last_second() -> None:
    sent = SentRate()
    for index in range(100):
        sent.add(index * 40 * MS, 1000)
    assert sent.per_second(99 * 40 * MS) == 25 * 8000
    assert sent.per_second(10 * NS) == 0


def test_what_was_sent_is_forgotten_although_nobody_asks() -> None:
    sent = SentRate()
    for index in range(1000):
        sent.add(index * 40 * MS, 1000)
    assert len(sent._sent) == 25


def kbps(packets: list[Encoded]) -> float:
    """Of packets at 25 a second."""
    return sum(len(p.data) for p in packets) * 8 / len(packets) * 25 / 1000


def test_a_limited_encoder_keeps_its_limit_and_an_unlimited_one_is_the_same_as_before() -> None:
    encoder = PictureEncoder("H264", hardware=False)
    before = [encoder.encode(noisy(i), key=False) for i in range(12)]
    assert kbps(before[2:]) > 900
    encoder.limit = 400_000
    less = [encoder.encode(noisy(i), key=False) for i in range(12, 37)]
    assert less[0].key
    assert kbps(less) < 600
    assert encoder.builds == 2
    encoder.limit = 400_000
    encoder.encode(noisy(40), key=False)
    assert encoder.builds == 2


def test_the_encoder_follows_the_links_of_its_viewers_but_not_every_little_change() -> None:
    async def main() -> None:
        time = SessionTime(LoopClock())
        hub = PictureHub(time, ScriptedWorker(lambda _: 1.0), 400 * MS, "H264")
        subscription, recording = hub.subscribe(), hub.subscribe()
        subscription.link = LinkEstimate(0)
        task = asyncio.get_running_loop().create_task(drain(recording, lambda _: None))
        rates: list[int] = []

        async def second(report: LinkReport, count: int = 1) -> None:
            """A second of pictures and one report, `count` times."""
            for _ in range(count):
                hub.reported(subscription, report)
                for _ in range(25):
                    frame = noisy(len(rates), 64)
                    await time.sleep_until(len(rates) * 40 * MS)
                    hub.picture(LivePicture.passed(frame, "preparing"))
                    rates.append(hub.rate)

        await second(LinkReport(lost=0.0), 2)
        assert set(rates[25:]) == {1_500_000}
        await second(LinkReport(lost=0.4))
        await second(LinkReport(lost=0.4))
        low = hub.rate
        assert 250_000 <= low < 1_000_000
        built = hub.encoder.builds
        await second(LinkReport(lost=0.05), 5)
        assert (hub.rate, hub.encoder.builds) == (low, built)
        await second(LinkReport(lost=0.0), 60)
        assert hub.rate == 1_500_000
        assert hub.encoder.builds - built <= 12
        hub.reported(recording, LinkReport(lost=0.9))
        assert hub.rate == 1_500_000
        await hub.aclose()
        await task

    run_virtual(main())
