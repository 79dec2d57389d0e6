"""Figures on series against cases worked out by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ShapeError
from engine.evaluation import figures as f

pytestmark = pytest.mark.unit


def times(count: int = 100, rate: float = 25.0) -> f.Series:
    return np.arange(count) / rate


def speech_like(seconds: f.Series) -> f.Series:
    """Openings of a mouth: three rates that share no period."""
    return 0.1 + 0.03 * np.sin(9 * seconds) + 0.02 * np.sin(17.3 * seconds + 1) + 0.02 * np.sin(4.1 * seconds + 2)


def test_opening_is_the_gap_over_the_eye_distance() -> None:
    points = np.zeros((2, 68, 2))
    points[:, 36], points[:, 45] = (10, 20), (50, 50)
    points[0, 62], points[0, 66] = (30, 60), (30, 70)
    np.testing.assert_allclose(f.opening(points), [10 / 50, 0])


def test_eye_frame_takes_out_place_turn_and_size() -> None:
    points = np.zeros((68, 2))
    points[36], points[45] = (100, 100), (100, 140)
    points[48] = (90, 120)
    aligned = f.to_eye_frame(points, f.eye_frame(points))
    np.testing.assert_allclose(aligned[[36, 45, 48]], [(-0.5, 0), (0.5, 0), (0, 0.25)], atol=1e-12)


def test_a_face_whose_eyes_coincide_is_an_error() -> None:
    with pytest.raises(ShapeError, match="eye corners"):
        f.eye_frame(np.zeros((68, 2)))


def test_wrong_shapes_name_the_argument() -> None:
    with pytest.raises(ShapeError, match=r"points: got shape \(67, 2\)"):
        f.eye_frame(np.zeros((67, 2)))
    with pytest.raises(ShapeError, match="b: got shape"):
        f.correlation(np.zeros(12), np.zeros(13))


def test_lip_target_error_is_the_mean_distance() -> None:
    target = np.zeros((2, 2, 2))
    measured = target.copy()
    measured[0, 0] = (0.3, 0.4)
    assert f.lip_target_error(measured, target) == pytest.approx(0.5 / 4)


def test_frames_without_a_reading_are_left_out() -> None:
    target = np.zeros((3, 2, 2))
    measured = target + 0.1
    measured[1] = np.nan
    assert f.lip_target_error(measured, target) == pytest.approx(0.1 * 2**0.5)
    with pytest.raises(f.NotMeasured):
        f.lip_target_error(np.full((3, 2, 2), np.nan), target)


def test_convention_offset_is_the_mean_difference_over_frames_read_by_both() -> None:
    tracked = np.zeros((3, 2, 2))
    judged = tracked + np.array([[0.1, 0.0], [0.0, -0.2]])
    judged[0] += 0.02
    judged[1] -= 0.02
    judged[2] = np.nan
    np.testing.assert_allclose(f.convention_offset(tracked, judged), [[0.1, 0.0], [0.0, -0.2]], atol=1e-12)


def test_correlation_by_hand_and_with_gaps() -> None:
    a = np.arange(12.0)
    b = 3 * a + 1
    b[4] = np.nan
    assert f.correlation(a, b) == pytest.approx(1)
    assert f.correlation(a, -a) == pytest.approx(-1)
    even = np.tile([1.0, -1.0], 6)
    halves = np.repeat([1.0, -1.0], 6)
    assert f.correlation(even, halves) == pytest.approx(0)


def test_correlation_says_why_there_is_none() -> None:
    with pytest.raises(f.NotMeasured, match="9 frames"):
        f.correlation(np.arange(9.0), np.arange(9.0))
    with pytest.raises(f.NotMeasured, match="does not vary"):
        f.correlation(np.arange(20.0), np.ones(20))


@pytest.mark.parametrize("lag_ms", [-120.0, -80.0, -33.0, 0.0, 13.0, 40.0, 80.0, 200.0])
def test_best_lag_reads_a_known_shift_to_two_milliseconds(lag_ms: float) -> None:
    seconds = times()
    lag = f.best_lag(seconds, speech_like(seconds - lag_ms / 1000), speech_like(seconds))
    assert lag.offset_ms == pytest.approx(lag_ms, abs=2)
    assert lag.r > 0.99


@settings(deadline=None, max_examples=20)
@given(st.floats(-0.15, 0.15), st.sampled_from([22.13, 29.97, 30.0]))
def test_best_lag_holds_at_any_frame_rate(lag_s: float, rate: float) -> None:
    seconds = times(90, rate)
    found = f.best_lag(seconds, speech_like(seconds - lag_s), speech_like(seconds))
    assert found.offset_ms == pytest.approx(1000 * lag_s, abs=3)


def test_best_lag_bears_gaps_and_noise() -> None:
    seconds = times(200)
    measured = speech_like(seconds - 0.08) + np.random.default_rng(0).normal(0, 0.012, 200)
    measured[30:50] = np.nan
    keep = np.ones(200, dtype=bool)
    keep[120:140] = False
    lag = f.best_lag(seconds[keep], measured[keep], speech_like(seconds)[keep])
    assert lag.offset_ms == pytest.approx(80, abs=8)


def test_best_lag_around_a_documented_offset() -> None:
    seconds = times(300)
    lag = f.best_lag(seconds, speech_like(seconds - 0.15), speech_like(seconds), centre_s=0.12, reach_s=0.08)
    assert lag.offset_ms == pytest.approx(150, abs=2)


@settings(deadline=None, max_examples=30)
@given(lag_s=st.floats(-0.2, 0.2), height=st.floats(0.5, 0.99), bend=st.floats(1.0, 60.0))
def test_the_best_lag_and_its_correlation_are_the_top_of_the_parabola(lag_s: float, height: float, bend: float) -> None:
    """With correlations that are a parabola over the lag, both are exact."""
    seconds = times(100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f, "delayed", lambda at, series, lag: np.full(len(at), lag))
        patch.setattr(f, "correlation", lambda measured, moved: height - bend * (moved[0] - lag_s) ** 2)
        lag = f.best_lag(seconds, seconds, seconds)
    assert lag.offset_ms == pytest.approx(1000 * lag_s, abs=1e-6)
    assert lag.r == pytest.approx(height, abs=1e-9)


def test_lags_that_would_be_noise_or_lie_outside_are_not_stated() -> None:
    seconds, noise = times(400), np.random.default_rng(1)
    with pytest.raises(f.NotMeasured, match="noise"):
        f.best_lag(seconds, noise.normal(size=400), noise.normal(size=400))
    slow = np.sin(0.8 * seconds)
    with pytest.raises(f.NotMeasured, match="rim"):
        f.best_lag(seconds, np.sin(0.8 * (seconds - 0.6)), slow)
    with pytest.raises(f.NotMeasured, match="4 frames"):
        f.best_lag(seconds[:4], slow[:4], slow[:4])


def test_silence_counts_from_three_tenths_after_speech_ends() -> None:
    seconds = times(50)
    speaking = np.where(seconds < 0.8, 1.0, 0.0)
    silent = f.silent_frames(seconds, speaking)
    assert seconds[silent][0] == pytest.approx(1.12)
    assert silent.sum() == 50 - 28


def test_fading_activity_is_not_silence_and_a_word_starts_it_anew() -> None:
    seconds = times(40)
    fading = np.full(40, 0.3)
    assert not f.silent_frames(seconds, fading).any()
    word = np.zeros(40)
    word[20] = 0.9
    assert np.flatnonzero(f.silent_frames(seconds, word)).tolist() == [*range(8, 20), *range(29, 40)]


def test_share_open_counts_readings_above_rest() -> None:
    assert f.share_open(np.array([0.02, 0.05, np.nan, 0.031]), rest=0.02, allowance=0.01) == pytest.approx(2 / 3)
    with pytest.raises(f.NotMeasured):
        f.share_open(np.array([np.nan]), rest=0.02, allowance=0.01)


def test_identity_and_cosine_by_hand() -> None:
    edited, source = np.array([[0.0, 3.0], [1.0, 1.0]]), np.array([[4.0, 0.0], [1.0, 1.0]])
    assert f.identity_distance(edited, source) == pytest.approx(2.5)
    assert f.cosine(np.array([1.0, 0.0]), np.array([1.0, 1.0])) == pytest.approx(0.5**0.5)


def test_ratio_of_means_over_frames_with_both() -> None:
    assert f.ratio(np.array([1.0, 3.0, np.nan]), np.array([1.0, 1.0, 5.0])) == pytest.approx(2)
    for bad in (np.array([np.nan]), np.array([0.0])):
        with pytest.raises(f.NotMeasured):
            f.ratio(np.array([1.0]), bad)


def test_require_shape_accepts_any_length_where_none_stands() -> None:
    anything: Any = np.zeros((5, 2))
    f.require_shape("x", anything, None, 2)
    with pytest.raises(ShapeError):
        f.require_shape("x", anything, 5, 2, None)
