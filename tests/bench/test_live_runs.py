"""The live benchmark's runs on little: a relay that loses, what is read from notes, result files that fit together."""

import asyncio
import gc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.live import RUNS, USUAL, kept_runs
from bench.live_events import Notes, longest_ms, wall
from bench.live_figures import is_painted, slope_per_minute, split_of
from bench.live_first import first
from bench.live_long import figures_of
from bench.live_loss import recovery_ms, seen_between
from bench.live_page import root_of
from bench.live_sessions import filmed, ramp
from bench.machine import write_json
from bench.marking import MarkingEngine
from bench.receiver import Received, watching
from bench.relay import HOST, LossyRelay
from streaming.live.media import LivePicture
from tests.streaming.live.fakes import picture

pytestmark = pytest.mark.unit

PLAIN: NDArray[np.uint8] = np.full((64, 64), 90, np.uint8)
BROKEN: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)


class Echo(asyncio.DatagramProtocol):
    """Sends everything back."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.transport.sendto(data, addr)


class Inbox(asyncio.DatagramProtocol):
    """Keeps what comes."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.changed = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.got.append(data)
        self.changed.set()


def test_a_relay_hands_datagrams_on_both_ways_and_loses_the_share_asked_for() -> None:
    async def main() -> None:
        loop, relay, inbox = asyncio.get_running_loop(), LossyRelay(seed=1), Inbox()
        echo, _ = await loop.create_datagram_endpoint(Echo, (HOST, 0))
        port = echo.get_extra_info("sockname")[1]
        async with relay.open():
            sdp = f"v=0\r\na=candidate:1 1 udp 2130706431 {HOST} {port} typ host\r\n"
            assert relay.answer(sdp) == sdp.replace(str(port), str(relay.port))
            assert relay.offer(sdp + "a=end-of-candidates\r\na=mid:0\r\n") == "v=0\r\na=mid:0\r\n"
            with pytest.raises(ValueError, match="no UDP candidate"):
                relay.answer("v=0\r\n")
            client, _ = await loop.create_datagram_endpoint(lambda: inbox, (HOST, 0))
            client.sendto(b"hello", (HOST, relay.port))
            async with asyncio.timeout(10):
                await inbox.changed.wait()
            assert inbox.got == [b"hello"]
            relay.loss = 0.2
            for _ in range(2000):
                relay._from_client(b"x", (HOST, client.get_extra_info("sockname")[1]))
            assert relay.lost == pytest.approx(400, abs=70)
            client.close()
        echo.close()

    asyncio.run(main())


def test_a_viewer_behind_the_relay_sees_and_hears() -> None:
    async def main() -> Received:
        relay = LossyRelay()
        async with (
            relay.open(),
            filmed(MarkingEngine(1.0), 160, 120) as (session, url),
            watching(url, via=relay) as got,
        ):
            await got.seen(10)
            links = session.as_dict()["links"]
            assert [(link["codec"], link["key_requests"] >= 0) for link in links] == [("H264", True)]
        assert relay.passed > 20
        return got

    got = asyncio.run(main())
    assert all(is_painted(luma) for _, _, luma in got.pictures[2:])


def notes(times: list[float], broken: frozenset[int] = frozenset()) -> Received:
    """What a receiver saw at these times."""
    got = Received()
    got.pictures = [(at, at, BROKEN if i in broken else PLAIN) for i, at in enumerate(times)]
    got.sounds = [(at, round(at / 0.02) * 0.02, np.zeros(960, np.float32)) for at in np.arange(0, 10, 0.02)]
    return got


def test_freezes_damage_and_recovery_are_read_from_the_times() -> None:
    even = [i * 0.04 for i in range(250)]
    clean = seen_between(notes(even), 2.0, 6.0)
    assert clean["pictures_per_second"] == pytest.approx(25, abs=0.5)
    assert (clean["frozen_share"], clean["damaged_share"], clean["sound_lost_share"]) == (0, 0, 0)
    frozen = [at for at in even if not 3.0 < at < 4.0]
    assert seen_between(notes(frozen), 2.0, 6.0)["longest_freeze_ms"] == pytest.approx(1000, abs=45)
    assert seen_between(notes(frozen), 2.0, 6.0)["frozen_share"] == pytest.approx(0.25, abs=0.02)
    damaged = notes(even, frozenset(range(75, 100)))
    assert seen_between(damaged, 2.0, 6.0)["damaged_share"] == pytest.approx(0.25, abs=0.02)
    assert recovery_ms(notes(even), 6.0) == 0
    assert recovery_ms(notes([at for at in even if not 5.9 < at < 6.5]), 6.0) == pytest.approx(520, abs=45)
    assert recovery_ms(notes(even, frozenset(range(150, 160))), 6.0) == pytest.approx(360, abs=45)
    assert longest_ms(notes(frozen), 0, 10) == pytest.approx(1000, abs=45)


def test_windows_of_a_long_run_forget_what_they_have_read() -> None:
    got = notes([i * 0.04 for i in range(250)])
    gc.collect()
    figures = figures_of(got, 0.5, 10.0)
    assert (figures["pictures_per_second"], figures["sound_gaps"]) == (25.0, 0)
    assert figures["memory_mb"] > 20
    kept = [[index] for index in range(50_000)]
    assert figures_of(got, 1.0, 10.0)["objects"] - figures["objects"] == pytest.approx(len(kept), abs=5000)
    assert (got.pictures, got.sounds) == ([], [])
    assert slope_per_minute([1, 2, 3, 4], [10.0, 12.0, 14.0, 16.0]) == 2.0
    assert slope_per_minute([1, 2], [1.0, 2.0]) is None


def test_notes_tell_when_edits_stop_and_begin() -> None:
    noted = Notes()
    for index, why in enumerate(("edited", "edited", "no_face", "no_face", "edited")):
        noted.picture(LivePicture(picture(index), picture(index), why == "edited", why))
    assert noted.first(0.05, edited=False) == pytest.approx(0.03)
    assert noted.first(0.09, edited=True) == pytest.approx(0.07)
    assert noted.first(0.2, edited=True) is None
    assert {int(value) for plane in wall(ramp(32, 16)).planes for value in np.unique(plane)} == {120}


def test_results_of_another_machine_are_not_kept_beside_new_ones(tmp_path: Path) -> None:
    head = {"machine": {"cores": 2}, "versions": {"av": "1"}}
    place = tmp_path / "live.json"
    assert kept_runs(place, head) == {}
    write_json(place, {**head, "runs": {"camera": {"late": 0}}})
    assert kept_runs(place, head) == {"camera": {"late": 0}}
    assert kept_runs(place, {**head, "machine": {"cores": 4}}) == {}
    assert set(USUAL) < set(RUNS)
    assert root_of("http://127.0.0.1:1/api/sessions/x") == "http://127.0.0.1:1/"


def test_the_first_edited_picture_comes_after_the_delay_and_the_way_to_it_is_told_in_order() -> None:
    found = asyncio.run(first(0.0, MarkingEngine(5.0)))
    steps = ("session_begun", "answered", "first_picture", "ready_to_edit", "first_edited_sent")
    assert len(found["camera"]) == 3
    for marks in found["camera"]:
        times = [marks[name] for name in steps]
        assert times == sorted(times) and times[0] >= 0
        assert marks["first_edited_sent"] >= marks["of_that_the_delay"] <= marks["first_seen"]
        assert marks["passed_through_before"] == 0
    for name in ("recording", "recording_of_a_server_that_was_not_ready"):
        assert found[name]["first_edited_sent"] >= found[name]["of_that_the_delay"] > 200
    assert found["making_ready_ms"] > 0
    assert len(found["viewer_joins_to_first_picture_ms"]) == 3
    assert all(0 < ms < 60_000 for ms in found["viewer_joins_to_first_picture_ms"])


def test_the_time_from_capture_to_viewer_is_split_without_rest() -> None:
    stats = {"delay_ms": 440, "edit_ms_p50": 10.5}
    parts = split_of(stats, 150.0, {"p50": 7.8, "p95": 9.0})
    assert parts == {"algorithmic": 150.0, "compute": 10.5, "held_for_evenness": 279.5, "transport": 7.8}
    assert sum(parts.values()) == pytest.approx(440 + 7.8)
    nothing = split_of({"delay_ms": 440, "edit_ms_p50": None}, 150.0, None)
    assert (nothing["compute"], nothing["held_for_evenness"], nothing["transport"]) == (None, None, None)
