"""Emotions as shares: names, intensities, blending without a jump."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import BadInputError
from engine.speech.controls import FRAME_RATE
from engine.speech.emotions import CHOICES, EMOTIONS, EmotionBlend, check_choice, emotion_shares

pytestmark = pytest.mark.unit


@given(st.sampled_from(EMOTIONS), st.floats(0.0, 1.0))
def test_shares_add_up_to_one(name: str, intensity: float) -> None:
    """Whatever the intensity; none of it is neutral."""
    shares = emotion_shares(name, intensity)
    assert shares.sum() == pytest.approx(1.0, abs=1e-6)
    assert shares.min() >= 0.0
    if name != "neutral":
        assert shares[EMOTIONS.index(name)] == pytest.approx(intensity, abs=1e-6)


@pytest.mark.parametrize(("name", "intensity"), [("bored", 1.0), ("happy", 1.2), ("happy", -0.1), ("auto", 0.5)])
def test_what_is_no_emotion_is_refused(name: str, intensity: float) -> None:
    """With the names that there are."""
    with pytest.raises(BadInputError, match="expected"):
        emotion_shares(name, intensity)


def test_a_stream_begins_neutral_and_stays_so() -> None:
    """Until something is chosen."""
    shown = EmotionBlend().follow(100)
    np.testing.assert_array_equal(shown, np.tile(emotion_shares("neutral"), (100, 1)))


def test_a_change_takes_its_time_and_has_no_jump() -> None:
    """A straight line from one to the other."""
    blend = EmotionBlend()
    blend.choose("happy", 0.8, 0.4)
    shown = blend.follow(60)[:, EMOTIONS.index("happy")]
    frames = int(0.4 * FRAME_RATE)
    np.testing.assert_allclose(np.diff(shown[:frames]), 0.8 / frames, atol=1e-5)
    np.testing.assert_allclose(shown[frames - 1 :], 0.8, atol=1e-6)


def test_a_change_within_a_change_goes_on_from_where_it_is() -> None:
    """No jump then either, and shares still add up."""
    blend = EmotionBlend()
    blend.choose("happy", blend_s=0.5)
    first = blend.follow(10)
    blend.choose("sad", 0.5, 0.5)
    second = blend.follow(40)
    steps = np.abs(np.diff(np.concatenate([first, second]), axis=0))
    assert steps.max() <= 1.0 / 25 + 1e-5
    np.testing.assert_allclose(second.sum(axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(second[-1], emotion_shares("sad", 0.5), atol=1e-5)


def test_no_blend_is_a_change_at_once() -> None:
    """From the next frame on."""
    blend = EmotionBlend()
    blend.choose("fear", 1.0, 0.0)
    np.testing.assert_array_equal(blend.follow(1)[0], emotion_shares("fear"))


@given(st.lists(st.integers(0, 30), max_size=6))
def test_any_cut_gives_the_same_blend(lengths: list[int]) -> None:
    """The state carries everything."""
    whole, cut = EmotionBlend(), EmotionBlend()
    for blend in (whole, cut):
        blend.choose("angry", 0.7)
    pieces = [cut.follow(length) for length in lengths]
    np.testing.assert_array_equal(np.concatenate([np.zeros((0, 8)), *pieces]), whole.follow(sum(lengths)))


@pytest.mark.parametrize("blend_s", [-0.1, 11.0])
def test_a_blend_has_a_sensible_length(blend_s: float) -> None:
    """And says which."""
    with pytest.raises(BadInputError, match="0 ... 10 seconds"):
        EmotionBlend().choose("happy", 1.0, blend_s)


def test_auto_is_a_choice_and_no_emotion_of_its_own() -> None:
    assert CHOICES == (*EMOTIONS, "auto")
    check_choice("auto", 0.5)
    check_choice("sad", 1.0)
    for name, intensity, message in (("bored", 1.0, "emotion is 'bored'.*auto"), ("auto", 1.5, "intensity is 1.5")):
        with pytest.raises(BadInputError, match=message):
            check_choice(name, intensity)
    with pytest.raises(BadInputError, match="emotion is 'auto'"):
        emotion_shares("auto")
