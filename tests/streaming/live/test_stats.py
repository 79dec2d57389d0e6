"""Figures of a live session: windows, quantiles, rates, what is told as JSON."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.clock import MS, NS
from streaming.live.media import LivePicture
from streaming.live.stats import LiveStats, Recent
from tests.streaming.live.fakes import picture

pytestmark = pytest.mark.unit


def test_values_are_forgotten_after_four_seconds() -> None:
    recent = Recent()
    for second in range(10):
        recent.add(second * NS, float(second))
    assert recent.quantile(9 * NS, 0.0) == 6.0
    assert recent.quantile(9 * NS, 1.0) == 9.0
    assert recent.quantile(12 * NS + 999 * MS, 0.5) == 9.0
    assert recent.quantile(13 * NS, 0.5) is None


def test_rates_count_from_the_start_until_the_window_is_full() -> None:
    recent = Recent()
    for index in range(200):
        recent.add(index * 40 * MS, 1.0)
        if index == 12:
            assert recent.per_second(index * 40 * MS) == pytest.approx(13.0)
        if index == 50:
            assert recent.per_second(2 * NS) == pytest.approx(25.5)
    assert recent.per_second(199 * 40 * MS) == pytest.approx(25.0)
    assert recent.per_second(100 * NS) == 0.0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_is_one_of_the_values_and_grows_with_its_share(values: list[float], share: float) -> None:
    recent = Recent()
    for value in values:
        recent.add(NS, value)
    found = recent.quantile(NS, share)
    assert found in values
    assert min(values) <= found <= (recent.quantile(NS, 1.0) or 0.0) == max(values)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9


def test_sound_that_leaves_earlier_than_its_pictures_is_positive() -> None:
    stats = LiveStats()
    assert stats.av_offset_ms(NS) is None
    shown = LivePicture(picture(0), picture(0), True, "edited", 2)
    stats.picture_released(NS + 30 * MS, NS, shown)
    assert stats.av_offset_ms(NS) is None
    stats.sound_released(NS + 5 * MS, NS)
    assert stats.av_offset_ms(NS) == 25.0


def test_counts_tell_edited_from_passed_and_everything_is_plain_json() -> None:
    stats = LiveStats()
    for index, reason in enumerate(("edited", "no_face", "edited", "overload")):
        stats.arrived(index * 40 * MS)
        stats.computed(index * 40 * MS, 30 * MS, 20.04)
        shown = LivePicture(picture(index), picture(index), reason == "edited", reason, index)
        stats.picture_released(index * 40 * MS, index * 40 * MS, shown)
    told = json.loads(json.dumps(stats.as_dict(NS)))
    assert (told["frames_in"], told["released"], told["edited"]) == (4, 4, 2)
    assert told["passed_through"] == {"no_face": 1, "overload": 1}
    assert told["efforts"] == {"0": 1, "2": 1}
    assert (told["effort"], told["face"]) == (2, "overload")
    assert (told["edit_ms_p50"], told["job_ms_p95"]) == (20.0, 30.0)
    assert (told["fps_in"], told["fps_edited"]) == (4.0, 2.0)
