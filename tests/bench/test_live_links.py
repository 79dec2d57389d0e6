"""A narrow way, and what a browser's counts tell of it."""

import asyncio
from typing import Any

import pytest

from bench.live import NAMED, RUNS, USUAL
from bench.live_links import Seen, between, of_rates
from bench.relay import LossyRelay
from streaming.virtual_time import run_virtual
from tests.streaming.passing import passes

pytestmark = pytest.mark.unit


class Wire:
    """In place of a socket: notes what is sent, and when."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []
        self.closed = False

    def sendto(self, data: bytes, addr: tuple[str, int]) -> None:
        assert addr == ("there", 1)
        self.sent.append((round(asyncio.get_running_loop().time() * 1000), data[0]))

    def is_closing(self) -> bool:
        return self.closed


def joined(relay: LossyRelay) -> Wire:
    """The relay's way to a client that has been heard of."""
    wire: Any = Wire()
    relay._client, relay._down = ("there", 1), wire
    assert isinstance(wire, Wire)
    return wire


def burst(relay: LossyRelay, count: int, first: int = 0) -> None:
    """Packets of 1250 bytes: 10 kbit."""
    for index in range(count):
        relay._from_server(bytes([first + index]) * 1250, ("here", 2))


def test_a_narrow_way_lets_packets_queue_in_order_and_loses_what_does_not_fit() -> None:
    async def main() -> None:
        relay = LossyRelay()
        wire = joined(relay)
        relay.bits_per_second, relay.queue_s = 1e6, 0.1
        burst(relay, 20)
        await passes(1)
        assert wire.sent == [(10 * (i + 1), i) for i in range(11)]
        assert (relay.passed, relay.lost) == (11, 9)

    run_virtual(main())


def test_a_way_that_is_widened_sends_what_queued_before_what_comes_and_then_at_once() -> None:
    async def main() -> None:
        relay = LossyRelay()
        wire = joined(relay)
        burst(relay, 2)
        assert wire.sent == [(0, 0), (0, 1)]
        relay.bits_per_second = 1e6
        burst(relay, 3, 2)
        relay.bits_per_second = None
        burst(relay, 1, 5)
        await passes(1)
        burst(relay, 1, 6)
        assert wire.sent[2:] == [(10, 2), (20, 3), (30, 4), (30, 5), (1000, 6)]

    run_virtual(main())


def test_what_is_left_in_a_queue_goes_nowhere_once_the_relay_is_closed() -> None:
    async def main() -> None:
        relay = LossyRelay()
        wire = joined(relay)
        relay.bits_per_second = 1e6
        burst(relay, 2)
        wire.closed = True
        await passes(1)
        assert wire.sent == []

    run_virtual(main())


def test_figures_of_a_browser_are_of_the_time_between_two_reports() -> None:
    first = Seen.of(10.0, {"bytesReceived": 1_000_000, "framesDecoded": 100, "qpSum": 2000})
    told = {"bytesReceived": 3_000_000, "framesDecoded": 200, "qpSum": 4500, "totalFreezesDuration": 0.5}
    last = Seen.of(14.0, {**told, "packetsLost": 7})
    assert between(first, last) == {
        "received_kbps": 4000,
        "pictures_per_second": 25.0,
        "quantiser": 25.0,
        "frozen_share": 0.125,
        "packets_lost": 7,
    }
    nothing = between(first, Seen.of(12.0, {"bytesReceived": 1_000_000, "framesDecoded": 100, "qpSum": 2000}))
    assert (nothing["quantiser"], nothing["received_kbps"]) == (None, 0)


def test_rates_over_some_time() -> None:
    told = of_rates([(5900, None), (1200, 90), (2000, 10), (1800, 20)])
    assert told == {"encoder_kbps": {"least": 1200, "last": 1800}, "queue_ms_p50": 20}
    assert of_rates([(5900, None)])["queue_ms_p50"] is None


def test_runs_that_need_a_browser_are_made_only_when_they_are_named() -> None:
    assert {"sharp", "narrow", "page"} <= set(NAMED) <= set(RUNS)
    assert not set(NAMED) & set(USUAL)
    assert set(NAMED) | set(USUAL) == set(RUNS)
