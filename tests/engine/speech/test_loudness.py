"""Loudness scales the jaw, adds to it, and touches nothing else."""

import numpy as np
import pytest

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, activations
from engine.speech.encoding import band_loudness
from engine.speech.features import CHANNELS
from engine.speech.loudness import JAW_MEAN, JAW_SPREAD, LOUDNESS_MEAN, LOUDNESS_SPREAD, open_by_loudness
from engine.speech.whisper import MEL_BANDS

pytestmark = pytest.mark.unit
JAW, CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")


def controls(jaw: float, close: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Three frames of one mouth, every other control at 0.3."""
    rows = np.full((3, len(CONTROLS)), 0.3, np.float32)
    rows[:, JAW], rows[:, CLOSE] = jaw, close
    return rows


def test_usual_loudness_changes_nothing_and_more_opens() -> None:
    """One spread above the mean scales by the jaw's own relative spread and adds one; below it the reverse."""
    loudness = np.float32(LOUDNESS_MEAN) + np.array([-1, 0, 1], np.float32) * np.float32(LOUDNESS_SPREAD)
    jaw = open_by_loudness(controls(0.2), loudness)[:, JAW]
    share = JAW_SPREAD / JAW_MEAN
    expected = [0.2 * (1 - share) - JAW_SPREAD, 0.2, 0.2 * (1 + share) + JAW_SPREAD]
    assert jaw == pytest.approx(np.maximum(expected, 0.0), rel=1e-5, abs=1e-7)


def test_effort_opens_where_the_sound_asks_for_nothing_but_not_between_closed_lips() -> None:
    """The added part is held back by as much as the lips close."""
    loud = np.full(3, LOUDNESS_MEAN + LOUDNESS_SPREAD, np.float32)
    assert open_by_loudness(controls(0.0), loud)[:, JAW] == pytest.approx(JAW_SPREAD)
    assert open_by_loudness(controls(0.0, close=0.5), loud)[:, JAW] == pytest.approx(JAW_SPREAD / 2)
    assert open_by_loudness(controls(0.0, close=1.0), loud)[:, JAW].max() == 0.0


def test_other_controls_stay() -> None:
    """Lips and lip corners do as the network says."""
    before = controls(0.2)
    after = open_by_loudness(before, np.full(3, LOUDNESS_MEAN + 2, np.float32))
    others = [i for i in range(len(CONTROLS)) if i != JAW]
    assert np.array_equal(before[:, others], after[:, others])
    assert before[0, JAW] == np.float32(0.2)


def test_closed_lips_stay_closed_however_loud() -> None:
    """Closing takes back whatever the jaw opens."""
    active = activations(open_by_loudness(controls(0.2, close=1.0), np.full(3, LOUDNESS_MEAN + 3, np.float32)))
    assert active[:, JAW] == pytest.approx(active[:, CLOSE])
    assert active[0, JAW] > 0.2


def test_jaw_stays_within_its_range() -> None:
    """Silence closes it, a shout opens it no farther than it goes."""
    assert open_by_loudness(controls(0.2), np.full(3, -60, np.float32))[:, JAW].max() == 0.0
    assert open_by_loudness(controls(0.9), np.full(3, 60, np.float32))[:, JAW].max() == 1.0


def test_band_loudness_is_the_mean_of_both_mel_frames() -> None:
    """It is read from the last columns of the network's input."""
    extra = CHANNELS - MEL_BANDS
    inputs = np.zeros((2, 384 + 2 * extra), np.float32)
    inputs[:, 384 + 1], inputs[:, 384 + extra + 1] = 2.0, 4.0
    assert band_loudness(inputs).tolist() == [3.0, 3.0]


def test_wrong_shapes_are_refused() -> None:
    """One loudness a frame."""
    with pytest.raises(ShapeError, match="expected"):
        open_by_loudness(controls(0.2), np.zeros(4, np.float32))
