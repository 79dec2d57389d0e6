"""What sums up an utterance: each number tells what it is named after, frames follow the voice, windows are bounded."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.intonation import COLUMNS, FRAME, IntonationState, listen
from engine.speech.utterance import (
    FEATURES,
    KEPT,
    LEAST,
    NEWEST,
    STATISTICS,
    Window,
    features,
    statistics,
)
from tests.engine.speech.test_intonation import made_voice

pytestmark = pytest.mark.unit


def rows_of(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """All frames of a sound."""
    return listen(samples, IntonationState())


def voiced_frame(level_db: float = -20.0) -> NDArray[np.float32]:
    """A frame that counts as voiced."""
    frame = np.zeros(COLUMNS, np.float32)
    frame[[FRAME.voicing, FRAME.level]] = 0.9, level_db
    return frame


def test_statistics_tell_a_rise_a_tremor_and_a_wider_range() -> None:
    flat = rows_of(made_voice(2.0, 150.0))
    voiced = np.ones(len(flat), bool)
    times = np.arange(len(flat)) / 50
    rising, wide, trembling = flat.copy(), flat.copy(), flat.copy()
    rising[:, FRAME.pitch] += 0.3 * times
    wide[:, FRAME.pitch] += 0.3 * np.sin(2 * np.pi * 0.5 * times)
    trembling[:, FRAME.pitch] += 0.05 * np.sin(2 * np.pi * 6.0 * times)
    plain = statistics(flat, voiced)
    assert statistics(rising, voiced)[5] - plain[5] == pytest.approx(0.3, abs=0.12)
    assert statistics(wide, voiced)[1] > plain[1] + 0.15
    bend = statistics(trembling, voiced) - plain
    assert bend[8] > 2.0
    assert abs(bend[0]) < 0.02


def test_a_gap_between_phrases_is_no_rise() -> None:
    """Two level phrases, the second higher: no slope."""
    frames = rows_of(made_voice(2.0, 150.0))
    voiced = np.ones(len(frames), bool)
    voiced[40:60] = False
    frames[60:, FRAME.pitch] += 0.5
    assert abs(statistics(frames, voiced)[5]) < 0.02


def test_statistics_refuse_what_holds_no_voice() -> None:
    frames = np.zeros((5, COLUMNS), np.float32)
    with pytest.raises(ShapeError, match="one voiced"):
        statistics(frames, np.zeros(5, bool))
    with pytest.raises(ShapeError, match="expected"):
        statistics(frames, np.ones(4, bool))


def test_a_window_counts_what_is_voiced_and_near_the_loudest() -> None:
    window = Window()
    frame = np.zeros(COLUMNS, np.float32)
    frame[[FRAME.voicing, FRAME.level]] = 0.9, -20.0
    faint, hoarse = frame.copy(), frame.copy()
    faint[FRAME.level], hoarse[FRAME.voicing] = -60.0, 0.2
    assert [window.add(row) for row in (frame, faint, hoarse)] == [True, False, False]
    assert window.newest() is None
    for _ in range(5_000):
        window.add(frame)
    assert len(window.frames) == len(window.voiced) == KEPT
    assert window.newest() is not None
    window.clear()
    assert window.newest() is None and window.peak_db > -25.0


def spoken(window: Window, frames: int) -> None:
    for _ in range(frames):
        window.add(voiced_frame())


def paused(window: Window, frames: int) -> None:
    for _ in range(frames):
        window.add(np.full(COLUMNS, -100.0, np.float32))


def test_an_utterance_is_heard_whole_and_a_short_one_with_what_came_before() -> None:
    window = Window()
    spoken(window, LEAST - 1)
    assert window.newest() is None
    spoken(window, 101)
    paused(window, 30)
    spoken(window, NEWEST + 40)
    newest = window.newest()
    assert newest is not None
    assert newest[1].all() and len(newest[1]) == NEWEST + 40
    paused(window, 30)
    spoken(window, 10)
    newest = window.newest()
    assert newest is not None
    assert newest[1].sum() == NEWEST
    paused(window, 5)
    spoken(window, 150)
    newest = window.newest()
    assert newest is not None
    assert newest[1].sum() == 160, "a gap of 0.1 s does not end an utterance"


@pytest.mark.parametrize(
    ("column", "shift", "place"),
    [(FRAME.pitch, 0.5, 0), (FRAME.level, 6.0, 13), (FRAME.crest, 3.0, 15), (FRAME.edge, -0.2, 11)],
)
def test_a_shift_of_a_column_is_a_shift_of_its_mean(column: int, shift: float, place: int) -> None:
    frames = rows_of(made_voice(2.0, 150.0, swing=0.1))
    voiced = np.ones(len(frames), bool)
    moved = frames.copy()
    moved[:, column] += shift
    assert statistics(moved, voiced)[place] - statistics(frames, voiced)[place] == pytest.approx(shift, abs=1e-3)


def test_a_final_rise_creak_and_faster_changes_are_told() -> None:
    frames = rows_of(made_voice(2.0, 150.0))
    voiced = np.ones(len(frames), bool)
    plain = statistics(frames, voiced)
    rising, creaking, lively = frames.copy(), frames.copy(), frames.copy()
    rising[-20:, FRAME.pitch] += np.linspace(0.0, 0.4, 20)
    creaking[10:20, FRAME.pitch] -= 1.0
    lively[::2, FRAME.level] += 6.0
    assert (statistics(rising, voiced) - plain)[18] == pytest.approx(0.2, abs=0.05)
    assert (statistics(rising, voiced) - plain)[19] > 0.2
    assert (statistics(creaking, voiced) - plain)[17] == pytest.approx(10 / len(frames), abs=0.01)
    assert (statistics(lively, voiced) - plain)[21] > 3.0


def test_features_are_causal_bounded_and_nothing_for_the_usual_frame() -> None:
    rng = np.random.default_rng(0)
    frames = rows_of(made_voice(2.0, 150.0, swing=0.2))
    voiced = rng.random(len(frames)) < 0.8
    usual = frames.mean(axis=0).astype(np.float64)
    rows = features(frames, voiced, usual)
    assert rows.shape == (len(frames), FEATURES)
    assert np.abs(rows).max() <= 4.0
    later = frames.copy()
    later[60:] += 1.0
    np.testing.assert_array_equal(features(later, voiced, usual)[:60], rows[:60])
    still = np.repeat(frames[:1], 30, axis=0)
    even = features(still, np.ones(30, bool), frames[0].astype(np.float64))
    np.testing.assert_allclose(even[:, 1:17], 0.0, atol=1e-5)
    np.testing.assert_allclose(even[:, 18:], 0.0, atol=1e-5)


def test_features_do_not_depend_on_loudness_but_for_the_level() -> None:
    frames = rows_of(made_voice(1.0, 150.0))
    louder = frames.copy()
    louder[:, [FRAME.level, *range(FRAME.bands, COLUMNS)]] += 5.0
    voiced, usual = np.ones(len(frames), bool), frames.mean(axis=0).astype(np.float64)
    moved = features(louder, voiced, usual) - features(frames, voiced, usual)
    np.testing.assert_allclose(moved[:, 12], 0.5, atol=1e-4)
    np.testing.assert_allclose(np.delete(moved, 12, axis=1), 0.0, atol=1e-4)


def test_features_refuse_other_shapes() -> None:
    with pytest.raises(ShapeError, match="usual"):
        features(np.zeros((5, COLUMNS), np.float32), np.ones(5, bool), np.zeros(3))


def test_statistics_are_finite_on_a_single_voiced_frame() -> None:
    frames = np.zeros((5, COLUMNS), np.float32)
    found = statistics(frames, np.arange(5) == 2)
    assert found.shape == (STATISTICS,) and np.isfinite(found).all()
