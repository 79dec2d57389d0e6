"""Effort scales the jaw, adds to it, and touches nothing else."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, activations
from engine.speech.effort import EFFORT_MEAN, EFFORT_SPREAD, JAW_MEAN, JAW_SPREAD, WIDEST, open_by_effort
from engine.speech.features import EFFORT_BANDS, FeatureState, extract
from engine.speech.features import effort as effort_of

pytestmark = pytest.mark.unit
JAW, CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")


def controls(jaw: float, close: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Three frames of one mouth, every other control at 0.3."""
    rows = np.full((3, len(CONTROLS)), 0.3, np.float32)
    rows[:, JAW], rows[:, CLOSE] = jaw, close
    return rows


def soft(jaw: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """The jaw as its range bends it."""
    return np.asarray(WIDEST * np.tanh(jaw / WIDEST))


def test_usual_effort_changes_little_and_more_opens() -> None:
    """One spread above the mean scales by the jaw's own relative spread and adds one; below it the reverse."""
    effort = np.float32(EFFORT_MEAN) + np.array([-1, 0, 1], np.float32) * np.float32(EFFORT_SPREAD)
    jaw = open_by_effort(controls(0.2), effort)[:, JAW]
    share = JAW_SPREAD / JAW_MEAN
    expected = [0.2 * (1 - share) - JAW_SPREAD, 0.2, 0.2 * (1 + share) + JAW_SPREAD]
    assert jaw == pytest.approx(soft(np.maximum(expected, 0.0)), rel=1e-5, abs=1e-7)


def test_effort_opens_where_the_sound_asks_for_nothing_but_not_between_closed_lips() -> None:
    """The added part is held back by as much as the lips close."""
    loud = np.full(3, EFFORT_MEAN + EFFORT_SPREAD, np.float32)
    assert open_by_effort(controls(0.0), loud)[:, JAW] == pytest.approx(float(soft(JAW_SPREAD)))
    assert open_by_effort(controls(0.0, close=0.5), loud)[:, JAW] == pytest.approx(float(soft(JAW_SPREAD / 2)))
    assert open_by_effort(controls(0.0, close=1.0), loud)[:, JAW].max() == 0.0


def test_other_controls_stay() -> None:
    """Lips and lip corners do as the network says."""
    before = controls(0.2)
    after = open_by_effort(before, np.full(3, EFFORT_MEAN + 2, np.float32))
    others = [i for i in range(len(CONTROLS)) if i != JAW]
    assert np.array_equal(before[:, others], after[:, others])
    assert before[0, JAW] == np.float32(0.2)


def test_closed_lips_stay_closed_however_loud() -> None:
    """Closing takes back whatever the jaw opens."""
    active = activations(open_by_effort(controls(0.2, close=1.0), np.full(3, EFFORT_MEAN + 3, np.float32)))
    assert active[:, JAW] == pytest.approx(active[:, CLOSE])
    assert active[0, JAW] > 0.2


def test_jaw_stays_within_its_range() -> None:
    """Silence closes it, a shout opens it no farther than it goes."""
    assert open_by_effort(controls(0.2), np.full(3, -60, np.float32))[:, JAW].max() == 0.0
    assert open_by_effort(controls(0.9), np.full(3, 60, np.float32))[:, JAW].max() == pytest.approx(WIDEST, rel=1e-2)
    usual = open_by_effort(controls(0.2), np.full(3, EFFORT_MEAN, np.float32))[0, JAW]
    assert usual == pytest.approx(0.2, rel=0.05)


def test_effort_is_the_level_of_the_second_and_third_formant() -> None:
    """A hum does not count, a whistle at 2 kHz does; units are 10 dB over the running level."""
    assert len(EFFORT_BANDS) > 30
    times = np.arange(16_000) / 16_000
    hum, whistle = (0.1 * np.sin(2 * np.pi * hz * times).astype(np.float32) for hz in (200, 2000))
    low, high = (effort_of(extract(tone, FeatureState())[20:]).mean() for tone in (hum, whistle))
    assert high > low + 0.2
    frames = extract(whistle, FeatureState())
    louder = frames.copy()
    louder[:, EFFORT_BANDS] += 0.25
    assert effort_of(louder) - effort_of(frames) == pytest.approx(1.0, abs=1e-5)


def test_wrong_shapes_are_refused() -> None:
    """One value a frame."""
    with pytest.raises(ShapeError, match="expected"):
        open_by_effort(controls(0.2), np.zeros(4, np.float32))
