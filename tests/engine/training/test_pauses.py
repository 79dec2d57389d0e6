"""Pauses of recordings: found where it is quiet; with the phones they cover a recording once, whatever they are."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.training.recordings import pauses, with_pauses
from engine.training.voices import SILENCE, Phone

pytestmark = pytest.mark.unit

LENGTH = 6.0
SPANS = st.lists(st.floats(0.0, LENGTH), max_size=12, unique=True).map(
    lambda edges: list(zip(sorted(edges)[::2], sorted(edges)[1::2], strict=False))
)


@settings(deadline=None, max_examples=100)
@given(spoken=SPANS, quiet=SPANS)
def test_phones_and_pauses_cover_a_recording_once_and_in_order(
    spoken: list[tuple[float, float]], quiet: list[tuple[float, float]]
) -> None:
    found = with_pauses([Phone("a", begin, end) for begin, end in spoken], quiet, LENGTH)
    assert found[0].start == pytest.approx(0.0, abs=1e-6) and found[-1].end == pytest.approx(LENGTH)
    for one, other in pairwise(found):
        assert other.start == pytest.approx(one.end, abs=1e-6) and one.end > one.start
    for phone in found:
        if phone.ipa != SILENCE:
            assert any(begin - 1e-9 <= phone.start and phone.end <= end + 1e-9 for begin, end in spoken)
            assert all(min(phone.end, finish) - max(phone.start, begin) <= 1e-9 for begin, finish in quiet)


@settings(deadline=None, max_examples=50)
@given(spoken=SPANS)
def test_without_pauses_phones_stay_as_they_are_but_for_the_shortest(spoken: list[tuple[float, float]]) -> None:
    found = [phone for phone in with_pauses([Phone("a", *span) for span in spoken], [], LENGTH) if phone.ipa]
    assert [(phone.start, phone.end) for phone in found] == [span for span in spoken if span[1] - span[0] > 0.005]


def voice(quiet: list[tuple[float, float]], seconds: float = 4.0, floor: float = 1e-5) -> NDArray[np.float32]:
    """Noise with quiet stretches."""
    at = np.arange(round(16_000 * seconds)) / 16_000
    level = np.full(len(at), 0.2)
    for begin, end in quiet:
        level[(at >= begin) & (at < end)] = floor
    return (level * np.random.default_rng(0).standard_normal(len(at))).astype(np.float32)


@pytest.mark.parametrize("gain", [0.01, 1.0, 4.0])
def test_pauses_are_found_to_a_frame_however_loud_the_recording_is(gain: float) -> None:
    quiet = [(0.5, 0.8), (1.5, 1.63), (3.2, 4.0)]
    found = pauses(np.float32(gain) * voice(quiet, floor=1e-5))
    assert len(found) == 3
    np.testing.assert_allclose(found, quiet, atol=0.011)


@pytest.mark.parametrize(("seconds", "count"), [(0.08, 0), (0.11, 0), (0.13, 1), (0.5, 1)])
def test_only_what_lasts_is_a_pause(seconds: float, count: int) -> None:
    assert len(pauses(voice([(1.0, 1.0 + seconds)]))) == count


@pytest.mark.parametrize(("below_db", "count"), [(30.0, 0), (45.0, 1)])
def test_only_what_is_far_below_the_loud_parts_is_a_pause(below_db: float, count: int) -> None:
    assert len(pauses(voice([(1.0, 1.5)], floor=0.2 * 10 ** (-below_db / 20)))) == count
