"""What the face shows: chosen, or told from the voice, in step with the sound and without a jump."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadInputError, ShapeError, WeightsError
from engine.speech.auto import AUTO_BLEND_S, ShownEmotion
from engine.speech.emotions import EMOTIONS, EmotionBlend
from tests.engine.speech.test_mood import high_pitch_is_happy, syllables

pytestmark = pytest.mark.unit

HAPPY = EMOTIONS.index("happy")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A network that takes a high pitch for happy."""
    path = tmp_path / "m.safetensors"
    high_pitch_is_happy().save(path, {})
    return path


def ready_frames(heard: int) -> int:
    """Control frames that the encoder answers when so many samples were heard, chunk by chunk of 20 ms."""
    return max(0, (heard - 520) // 320 + 1)


def test_without_auto_it_is_the_blend_of_what_was_chosen(weights: Path) -> None:
    shown, blend = ShownEmotion(weights), EmotionBlend()
    shown.choose("sad", 0.5)
    blend.choose("sad", 0.5)
    np.testing.assert_array_equal(shown.follow(60), blend.follow(60))
    assert shown.shown["sad"] > 0.3
    assert sum(shown.shown.values()) == pytest.approx(1.0, abs=1e-3)


def test_nothing_is_shown_before_the_first_frame(weights: Path) -> None:
    assert ShownEmotion(weights).shown == {}


def test_a_voice_that_rises_is_shown_happy_slowly_and_by_the_intensity_asked(weights: Path) -> None:
    sound = np.concatenate([syllables(9.0, 120.0), syllables(6.0, 190.0)])
    strongest = []
    for intensity in (1.0, 0.5):
        shown = ShownEmotion(weights)
        shown.choose("auto", intensity)
        shown.hear(sound)
        rows = shown.follow(ready_frames(len(sound)))
        assert rows[:400, 0].min() == 1.0
        np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-4)
        assert np.abs(np.diff(rows, axis=0)).max() <= 1.0 / (AUTO_BLEND_S * 50) + 1e-3
        strongest.append(float(rows[:, HAPPY].max()))
    assert strongest[0] > 0.5
    assert strongest[1] == pytest.approx(strongest[0] / 2, rel=0.1)


@settings(deadline=None, max_examples=5)
@given(cuts=st.lists(st.integers(1, 16_000 * 12), max_size=12))
def test_the_same_frames_come_however_the_sound_is_cut(cuts: list[int]) -> None:
    import tempfile

    sound = np.concatenate([syllables(8.0, 120.0), syllables(4.0, 190.0)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "m.safetensors")
        high_pitch_is_happy().save(path, {})
        whole, parts = ShownEmotion(path), ShownEmotion(path)
        whole.choose("auto")
        parts.choose("auto")
    whole.hear(sound)
    wanted = whole.follow(ready_frames(len(sound)))
    rows, done = [], 0
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(sound)], strict=True):
        parts.hear(sound[begin:end])
        ready = ready_frames(end)
        rows.append(parts.follow(ready - done))
        done = ready
    np.testing.assert_allclose(np.concatenate(rows), wanted, atol=1e-5)
    assert wanted[:, HAPPY].max() > 0.1


@pytest.mark.parametrize("start", [1, 319, 320, 16_003, 48_000])
def test_auto_may_begin_in_the_middle_and_is_in_step_from_there(weights: Path, start: int) -> None:
    """Frames that are answered always have their mood; what was told is kept while another emotion is chosen."""
    sound = np.concatenate([syllables(9.0, 120.0), syllables(6.0, 190.0)])
    shown = ShownEmotion(weights)
    shown.hear(sound[:start])
    done = ready_frames(start)
    shown.follow(done)
    shown.choose("auto")
    for end in range(start + 640, len(sound), 640):
        if end // 640 == 300:
            shown.choose("sad", blend_s=0.0)
            assert shown.follow(0).shape == (0, 8)
        if end // 640 == 320:
            shown.choose("auto")
        shown.hear(sound[end - 640 : end])
        rows = shown.follow(ready_frames(end) - done)
        done = ready_frames(end)
        if 302 <= end // 640 < 320 and len(rows):
            assert rows[-1, EMOTIONS.index("sad")] == 1.0
    assert rows[-1, HAPPY] > 0.4
    assert len(shown._moods) < 10


def test_frames_whose_sound_was_not_heard_are_refused(weights: Path) -> None:
    shown = ShownEmotion(weights)
    shown.choose("auto")
    with pytest.raises(ShapeError, match="not heard"):
        shown.follow(50)


def test_wrong_choices_and_missing_weights_are_refused(tmp_path: Path) -> None:
    shown = ShownEmotion(tmp_path / "none.safetensors")
    with pytest.raises(BadInputError, match="expected one of neutral, .*auto"):
        shown.choose("bored")
    with pytest.raises(BadInputError, match="intensity"):
        shown.choose("auto", 2.0)
    with pytest.raises(WeightsError, match="not there"):
        shown.choose("auto")
    assert shown.follow(3)[:, 0].tolist() == [1.0, 1.0, 1.0]
