"""What figures promise on any material: place, turn, size and units do not count, and slow formulas give the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.evaluation import figures as f

pytestmark = pytest.mark.unit

Series = NDArray[np.float64]
SEEDS = st.integers(0, 2**31)


def faces(seed: int, count: int = 12) -> Series:
    """Random landmarks whose eyes are apart."""
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 30, (count, 68, 2)) + 200
    points[:, 36] = [150, 200] + rng.normal(0, 3, (count, 2))
    points[:, 45] = [250, 210] + rng.normal(0, 3, (count, 2))
    return points


def moved(points: Series, angle: float, scale: float, shift: tuple[float, float]) -> Series:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.asarray(points @ turn.T + shift)


def with_gaps(series: Series, rng: np.random.Generator, share: float = 0.2) -> Series:
    gaps = series.copy()
    gaps[rng.random(len(series)) < share] = np.nan
    return gaps


@settings(deadline=None, max_examples=40)
@given(
    seed=SEEDS,
    angle=st.floats(-3.1, 3.1),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)),
)
def test_place_turn_and_size_of_a_face_do_not_count(
    seed: int, angle: float, scale: float, shift: tuple[float, float]
) -> None:
    plain = faces(seed)
    other = moved(plain, angle, scale, shift)
    np.testing.assert_allclose(f.opening(other), f.opening(plain), rtol=1e-6, atol=1e-9)
    for one, two in zip(plain, other, strict=True):
        a, b = (f.to_eye_frame(points, f.eye_frame(points)) for points in (one, two))
        np.testing.assert_allclose(a, b, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS)
def test_the_eye_frame_has_the_eyes_half_a_unit_to_each_side(seed: int) -> None:
    for points in faces(seed, 4):
        aligned = f.to_eye_frame(points, f.eye_frame(points))
        np.testing.assert_allclose(aligned[[36, 45]], [[-0.5, 0.0], [0.5, 0.0]], atol=1e-9)
        origin, axis = f.eye_frame(points)
        back = origin + axis * (aligned[:, 0] + 1j * aligned[:, 1])
        np.testing.assert_allclose(np.stack([back.real, back.imag], 1), points, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, count=st.integers(12, 60))
def test_correlation_is_that_of_numpy_on_the_frames_that_have_both(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, count + 20))
    a, b = with_gaps(a, rng), with_gaps(b, rng)
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < f.MIN_FRAMES:
        return
    assert f.correlation(a, b) == pytest.approx(np.corrcoef(a[both], b[both])[0, 1])
    assert f.correlation(a, b) == pytest.approx(f.correlation(b, a))


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, gain=st.floats(0.01, 100), level=st.floats(-50, 50))
def test_correlation_does_not_hang_on_units(seed: int, gain: float, level: float) -> None:
    a, b = np.random.default_rng(seed).normal(size=(2, 30))
    plain = f.correlation(a, b)
    assert f.correlation(gain * a + level, b) == pytest.approx(plain, abs=1e-6)
    assert f.correlation(-gain * a + level, b) == pytest.approx(-plain, abs=1e-6)


def wave(seconds: Series) -> Series:
    return np.asarray(np.sin(9 * seconds) + 0.6 * np.sin(16 * seconds + 1) + 0.4 * np.sin(5.3 * seconds + 2))


@settings(deadline=None, max_examples=20)
@given(lag=st.floats(-0.2, 0.2), begin=st.floats(-100, 1e4), gain=st.floats(0.01, 50))
def test_a_lag_does_not_hang_on_when_a_clip_begins_nor_on_units(lag: float, begin: float, gain: float) -> None:
    seconds = np.arange(90) / 25
    plain = f.best_lag(seconds, wave(seconds - lag), wave(seconds))
    other = f.best_lag(seconds + begin, gain * wave(seconds - lag) - 3, wave(seconds))
    assert other.offset_ms == pytest.approx(plain.offset_ms, abs=0.5) and other.r == pytest.approx(plain.r, abs=1e-4)


@settings(deadline=None, max_examples=15)
@given(lag=st.floats(-0.2, 0.2))
def test_who_is_late_is_turned_around_with_the_sides(lag: float) -> None:
    seconds = np.arange(120) / 25
    one = f.best_lag(seconds, wave(seconds - lag), wave(seconds)).offset_ms
    two = f.best_lag(seconds, wave(seconds), wave(seconds - lag)).offset_ms
    assert one == pytest.approx(-two, abs=3)


@settings(deadline=None, max_examples=20)
@given(lag=st.floats(-0.3, 0.3), rate=st.sampled_from([12.0, 24.0, 25.0, 29.97, 60.0]))
def test_a_delayed_series_is_the_series_of_earlier(lag: float, rate: float) -> None:
    """Between frames too, on a smooth curve; what lies beyond its ends is unknown."""
    seconds = np.arange(80) / rate
    slow = np.sin(3 * seconds)
    found = f.delayed(seconds, slow, lag)
    known = np.isfinite(found)
    np.testing.assert_allclose(found[known], np.sin(3 * (seconds[known] - lag)), atol=3e-3)
    inside = (seconds - lag > seconds[1] + 1e-6) & (seconds - lag < seconds[-2] - 1e-6)
    assert known[inside].all() and not known[(seconds - lag < seconds[0]) | (seconds - lag > seconds[-1])].any()


def test_no_delay_gives_the_series_itself_but_for_its_rim() -> None:
    seconds, values = np.arange(30) / 25, np.random.default_rng(0).normal(size=30)
    found = f.delayed(seconds, values, 0.0)
    np.testing.assert_allclose(found[1:-2], values[1:-2], atol=1e-9)
    assert np.isnan(found[[0, -1]]).all()


@pytest.mark.parametrize("lag", [-0.05, 0.0, 0.013])
def test_a_gap_is_not_bridged(lag: float) -> None:
    """Neither frames that are missing nor readings that are."""
    seconds = np.concatenate([np.arange(20), np.arange(24, 50)]) / 25
    found = f.delayed(seconds, np.sin(seconds), lag)
    between = (seconds - lag > 19 / 25 + 1e-6) & (seconds - lag < 24 / 25 - 1e-6)
    assert np.isnan(found[between]).all()
    unread = np.sin(seconds)
    unread[30] = np.nan
    near = np.abs(seconds - lag - seconds[30]) < 0.9 / 25
    assert np.isnan(f.delayed(seconds, unread, lag)[near]).all()


@settings(deadline=None, max_examples=60)
@given(seed=SEEDS, rate=st.sampled_from([10.0, 25.0, 60.0]))
def test_silence_is_what_a_slow_search_calls_silence(seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    seconds = np.arange(60) / rate
    speaking = np.repeat(rng.choice([0.0, 0.05, 0.3, 0.6, 1.0], 20, p=[0.4, 0.2, 0.1, 0.1, 0.2]), 3)
    expected = []
    for row in range(60):
        loud = [at for at in range(row + 1) if speaking[at] >= f.ENDED_BELOW]
        ended = 0 if not loud else loud[-1] + 1
        quiet = ended <= row and speaking[row] < f.SILENT_BELOW
        expected.append(bool(quiet and seconds[row] - seconds[ended] >= f.SILENCE_AFTER_S - 1e-9))
    assert f.silent_frames(seconds, speaking).tolist() == expected


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, rest=st.floats(0, 0.1), allowance=st.floats(0, 0.05))
def test_the_share_that_is_open_falls_with_the_allowance_and_ignores_gaps(
    seed: int, rest: float, allowance: float
) -> None:
    rng = np.random.default_rng(seed)
    openings = rng.random(40) * 0.2
    plain = f.share_open(openings, rest, allowance)
    assert plain == sum(v > rest + allowance for v in openings.tolist()) / 40
    assert f.share_open(openings, rest, allowance + 0.01) <= plain
    holes = np.insert(openings, [0, 7, 40], np.nan)
    assert f.share_open(holes, rest, allowance) == plain


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, gain=st.floats(0.01, 100))
def test_ratios_do_not_hang_on_units_and_are_turned_around_with_the_sides(seed: int, gain: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random((2, 30)) + 0.1
    a[3], b[9] = np.nan, np.nan
    plain = f.ratio(a, b)
    assert f.ratio(gain * a, gain * b) == pytest.approx(plain) and f.ratio(b, a) == pytest.approx(1 / plain)
    assert f.ratio(gain * a, b) == pytest.approx(gain * plain)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS)
def test_the_lip_error_is_the_mean_over_frames_and_points_that_are_known(seed: int) -> None:
    rng = np.random.default_rng(seed)
    measured, target = rng.normal(size=(2, 9, 20, 2))
    measured[2, 5], target[6, 0, 1] = np.nan, np.nan
    rows = [row for row in range(9) if row not in (2, 6)]
    slow = np.mean([np.hypot(*(measured[row, point] - target[row, point])) for row in rows for point in range(20)])
    assert f.lip_target_error(measured, target) == pytest.approx(slow)
    assert f.lip_target_error(measured + 7, target + 7) == pytest.approx(slow)
    assert f.lip_target_error(target, measured) == pytest.approx(slow)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS)
def test_after_the_offset_is_taken_out_none_is_left(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tracked = rng.normal(size=(11, 20, 2))
    judged = tracked + rng.normal(size=(1, 20, 2)) + 0.01 * rng.normal(size=(11, 20, 2))
    judged[4] = np.nan
    offset = f.convention_offset(tracked, judged)
    assert np.abs(f.convention_offset(tracked + offset, judged)).max() < 1e-9
    np.testing.assert_allclose(f.convention_offset(judged, tracked), -offset, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, gain=st.floats(0.01, 100))
def test_identity_is_a_distance_and_cosine_an_angle(seed: int, gain: float) -> None:
    rng = np.random.default_rng(seed)
    a, b, c = rng.normal(size=(3, 7, 16))
    assert f.identity_distance(a, a) == 0 and f.identity_distance(a, b) == pytest.approx(f.identity_distance(b, a))
    assert f.identity_distance(a, c) <= f.identity_distance(a, b) + f.identity_distance(b, c) + 1e-9
    assert -1.0 - 1e-9 <= f.cosine(a[0], b[0]) <= 1.0 + 1e-9
    assert f.cosine(gain * a[0], b[0]) == pytest.approx(f.cosine(a[0], b[0]))
    assert f.cosine(a[0], -gain * a[0]) == pytest.approx(-1.0)


@pytest.mark.parametrize(
    "work",
    [
        lambda: f.correlation(np.full(20, np.nan), np.ones(20)),
        lambda: f.lip_target_error(np.full((3, 20, 2), np.nan), np.zeros((3, 20, 2))),
        lambda: f.convention_offset(np.zeros((0, 20, 2)), np.zeros((0, 20, 2))),
        lambda: f.identity_distance(np.full((2, 8), np.nan), np.zeros((2, 8))),
        lambda: f.ratio(np.full(3, np.nan), np.ones(3)),
        lambda: f.ratio(np.ones(3), np.zeros(3)),
        lambda: f.share_open(np.full(3, np.nan), 0.0, 0.1),
        lambda: f.best_lag(np.arange(5.0), np.arange(5.0), np.arange(5.0)),
    ],
)
def test_what_cannot_be_measured_has_a_reason_in_words_and_no_number(work: object) -> None:
    assert callable(work)
    with pytest.raises(f.NotMeasured) as told:
        work()
    assert len(str(told.value).split()) >= 5
