"""Putting a source's times onto the session's: jitter, bursts, drift, restarts."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.clock import MS, NS
from streaming.live.arrival import ArrivalMapper

pytestmark = pytest.mark.unit

STEP = 40 * MS


def test_even_arrival_keeps_the_source_times() -> None:
    mapper = ArrivalMapper()
    assert [mapper.map(i * STEP, 7 * NS + i * STEP) for i in range(5)] == [7 * NS + i * STEP for i in range(5)]


def test_jitter_does_not_reach_the_times_once_the_fastest_way_is_known() -> None:
    rng = random.Random(3)
    mapper = ArrivalMapper()
    times = []
    for i in range(500):
        arrival = i * STEP + rng.randrange(0, 30 * MS)
        times.append((mapper.map(i * STEP, arrival), arrival))
    steps = [b[0] - a[0] for a, b in zip(times[100:], times[101:], strict=False)]
    assert max(abs(step - STEP) for step in steps) < MS
    assert all(media <= arrival for media, arrival in times)


def test_a_burst_at_the_start_is_taken_as_old_pictures() -> None:
    mapper = ArrivalMapper()
    burst = [mapper.map(i * STEP, i * MS) for i in range(50)]
    assert burst == sorted(set(burst))
    after = mapper.map(50 * STEP, 50 * MS + STEP)
    assert after <= 50 * MS + STEP


@pytest.mark.parametrize("ppm", [-200, 200])
def test_a_drifting_source_never_runs_away(ppm: int) -> None:
    mapper = ArrivalMapper()
    for i in range(30_000):
        arrival = round(i * STEP * (1 + ppm * 1e-6))
        media = mapper.map(i * STEP, arrival)
        assert arrival - 5 * MS < media <= arrival
    assert mapper.restarts == 0


def test_a_source_that_begins_anew_is_taken_up_at_once() -> None:
    mapper = ArrivalMapper()
    for i in range(100):
        mapper.map(i * STEP, i * STEP)
    again = mapper.map(0, 100 * STEP + 3 * NS)
    assert again == 100 * STEP + 3 * NS
    assert mapper.restarts == 1


def test_times_that_stand_still_or_go_back_a_little_still_grow() -> None:
    mapper = ArrivalMapper()
    got = [mapper.map(stamp, i * STEP) for i, stamp in enumerate((0, 0, 0, 20 * MS, 10 * MS))]
    assert got == sorted(set(got))


def test_a_way_that_becomes_longer_for_good_is_followed_after_two_seconds() -> None:
    mapper = ArrivalMapper()
    for i in range(100):
        mapper.map(i * STEP, i * STEP)
    longer = [(i * STEP + 600 * MS, mapper.map(i * STEP, i * STEP + 600 * MS)) for i in range(100, 300)]
    late = [arrival - media for arrival, media in longer]
    assert late[0] == 600 * MS
    assert max(late[:50]) <= 600 * MS
    assert set(late[51:]) == {0}
    assert mapper.restarts == 1


def test_a_stall_that_is_caught_up_leaves_the_times_as_they_were() -> None:
    mapper = ArrivalMapper()
    for i in range(100):
        mapper.map(i * STEP, i * STEP)
    stalled = [mapper.map(i * STEP, max(i * STEP, 100 * STEP + 700 * MS)) for i in range(100, 200)]
    assert all(abs(media - i * STEP) <= MS for i, media in zip(range(100, 200), stalled, strict=True))
    assert mapper.restarts == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-3 * NS, 3 * NS), st.integers(0, NS)), min_size=1, max_size=200))
def test_whatever_a_source_says_times_grow_and_are_never_of_the_future(steps: list[tuple[int, int]]) -> None:
    mapper, stamp, arrival, last = ArrivalMapper(), 0, 0, -1
    for forward, passed in steps:
        stamp, arrival = stamp + forward, arrival + passed + MS
        media = mapper.map(stamp, arrival)
        assert last < media <= arrival
        last = media
