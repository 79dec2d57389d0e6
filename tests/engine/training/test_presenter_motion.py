"""The presenter's curves: speech laid out in time, mouth amounts that fit, blinks that close, motion that is smooth."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadInputError, ShapeError
from engine.training.presenter_motion import FPS, Speech, amounts_for, blinks, joined, mouth_amounts, nods, wander
from engine.training.voices import Phone, Utterance

pytestmark = pytest.mark.unit


def utterance(seconds: float) -> Utterance:
    """A sentence of one sound at full level."""
    return Utterance(np.ones(round(seconds * 16000), np.float32), (Phone("a", 0.0, seconds),))


def moves() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Three different moves of the mouth's points, [3,68,3]."""
    found = np.zeros((3, 68, 3))
    found[0, 57, 1] = found[1, 54, 0] = found[2, 51, 1] = 0.2
    found[1, 57, 1] = 0.1
    return found


def test_sentences_follow_one_another_with_silence_around() -> None:
    speech = joined([utterance(1.0), utterance(0.5)], lead_s=0.25, gap_s=0.5, seconds=3.0)
    assert len(speech.samples) == 48000
    starts = [(phone.start, phone.end) for phone in speech.phones]
    assert starts == [(0.25, 1.25), (1.75, 2.25)]
    sounding = np.flatnonzero(speech.samples)
    assert sounding[0] == 4000 and sounding[-1] == 36000 - 1
    assert not speech.samples[20000:28000].any()


def test_speech_longer_than_the_video_is_refused() -> None:
    with pytest.raises(BadInputError, match="say less"):
        joined([utterance(2.0)], lead_s=0.5, gap_s=0.0, seconds=2.0)


@given(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3))
def test_amounts_of_a_mixture_are_found_again(mixture: list[float]) -> None:
    wanted = np.tensordot(np.array([mixture]), moves(), 1)
    np.testing.assert_allclose(mouth_amounts(wanted, moves()), [mixture], atol=1e-6)


def test_amounts_are_never_negative_and_bounded() -> None:
    wanted = np.stack([-moves()[0], 5 * moves()[2], moves()[1] - moves()[0]])
    found = mouth_amounts(wanted, moves())
    assert (found >= 0).all() and (found <= 1.1).all()
    np.testing.assert_allclose(found[0], 0.0)
    np.testing.assert_allclose(found[1], [0.0, 0.0, 1.1])


def test_shapes_of_displacements_are_checked() -> None:
    with pytest.raises(ShapeError, match=r"\[T,68,3\]"):
        mouth_amounts(np.zeros((4, 20, 3)), moves())


def test_openings_are_reached_through_what_was_measured() -> None:
    tried, measured = (0.2, 0.4, 0.6, 1.0), (0.01, 0.04, 0.12, 0.2)
    wanted = np.array([0.0, 0.02, 0.04, 0.08, 0.2, 0.9])
    found = amounts_for(wanted, tried, measured, most=0.9)
    np.testing.assert_allclose(found, [0.0, 0.2, 0.4, 0.5, 0.9, 0.9])


def test_a_move_that_opens_nothing_is_refused() -> None:
    with pytest.raises(BadInputError, match="expected one above"):
        amounts_for(np.zeros(3), (0.5, 1.0), (0.0, 0.01), most=1.0)


def test_blink_closes_wholly_and_opens_again() -> None:
    closed = blinks(100, (0.4, 3.8))
    assert closed.max() == 1.0 and closed[:10].max() == 0.0 and closed[20:95].max() == 0.0
    assert closed[12] == 1.0
    assert len(closed) == 100 and closed[97] == 1.0


def test_wander_is_smooth_centred_and_its_seed_decides() -> None:
    curve = wander(200, seed=4)
    assert abs(curve.mean()) < 1e-9 and np.abs(curve).max() == pytest.approx(1.0)
    assert np.abs(np.diff(curve)).max() < 0.25
    assert np.array_equal(curve, wander(200, seed=4)) and not np.array_equal(curve, wander(200, seed=5))


def test_head_beats_with_the_voice() -> None:
    samples = np.zeros(16000 * 4, np.float32)
    samples[32000:36000] = 0.5
    beat = nods(Speech(samples, ()), 4 * FPS)
    assert 2.0 * FPS <= beat.argmax() <= 2.3 * FPS
    assert np.abs(beat).max() == pytest.approx(1.0) and abs(beat[0]) < 0.01
    assert not nods(Speech(np.zeros(16000, np.float32), ()), FPS).any()
