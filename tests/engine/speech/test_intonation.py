"""Pitch, voicing and colour: right on made voices, the same however the sound is cut, finite on anything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.features import clean_samples
from engine.speech.intonation import BANDS_HZ, COLUMNS, FRAME, HOP, PITCH_UNIT_HZ, SPAN, IntonationState, listen

pytestmark = pytest.mark.unit


def made_voice(
    seconds: float, pitch_hz: float = 150.0, tilt: float = 1.0, level: float = 0.1, swing: float = 0.0
) -> NDArray[np.float32]:
    """Harmonics of a pitch that swings by `swing` octaves three times in two seconds; a larger tilt is darker."""
    times = np.arange(int(seconds * 16_000)) / 16_000
    track = pitch_hz * 2.0 ** (swing * np.sin(2 * np.pi * 1.5 * times))
    phase = 2 * np.pi * np.cumsum(track) / 16_000
    count = max(2, int(7_000 / pitch_hz / 2.0 ** abs(swing)))
    sound = sum(np.sin(k * phase) / k**tilt for k in range(1, count))
    return np.asarray(level * sound, np.float32)


def frames_of(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """All frames of a sound."""
    return listen(samples, IntonationState())


@pytest.mark.parametrize("pitch_hz", [70.0, 110.0, 150.0, 220.0, 330.0, 450.0])
def test_the_pitch_of_a_voice_is_found_within_a_quarter_of_a_semitone(pitch_hz: float) -> None:
    rows = frames_of(made_voice(0.5, pitch_hz))
    found = PITCH_UNIT_HZ * 2.0 ** rows[:, FRAME.pitch]
    assert np.abs(12.0 * np.log2(found / pitch_hz)).max() < 0.25
    assert rows[:, FRAME.voicing].min() > 0.9


def test_a_pitch_that_moves_is_followed() -> None:
    times = np.arange(16_000 * 2) / 16_000
    rows = frames_of(made_voice(2.0, 180.0, swing=0.3))
    middle = (np.arange(len(rows)) * HOP + SPAN / 2) / 16_000
    wanted = np.log2(180.0 / PITCH_UNIT_HZ) + np.interp(middle, times, 0.3 * np.sin(2 * np.pi * 1.5 * times))
    assert np.percentile(np.abs(rows[:, FRAME.pitch] - wanted), 90) < 0.04


def test_noise_has_little_voicing_and_breath_lowers_that_of_the_upper_part() -> None:
    rng = np.random.default_rng(0)
    noise = (0.1 * rng.standard_normal(16_000)).astype(np.float32)
    assert np.median(frames_of(noise)[:, FRAME.voicing]) < 0.3
    clear = made_voice(1.0)
    breathy = clear + np.float32(0.2) * np.diff(noise, append=np.float32(0.0))
    before, after = frames_of(clear), frames_of(breathy)
    assert after[:, FRAME.edge].mean() < before[:, FRAME.edge].mean() - 0.1
    assert after[:, FRAME.voicing].mean() > 0.8


def test_a_darker_voice_has_less_in_the_upper_bands_and_the_same_pitch() -> None:
    bright, dark = frames_of(made_voice(0.5, tilt=0.7)), frames_of(made_voice(0.5, tilt=1.7))

    def tilt(rows: NDArray[np.float32]) -> float:
        """Decibels between the lowest and the highest band."""
        return float((rows[:, FRAME.bands] - rows[:, FRAME.bands + len(BANDS_HZ) - 2]).mean())

    assert tilt(dark) > tilt(bright) + 10.0
    np.testing.assert_allclose(dark[:, FRAME.pitch], bright[:, FRAME.pitch], atol=0.02)


def test_loudness_moves_the_level_alone() -> None:
    loud, quiet = frames_of(made_voice(0.5, level=0.1)), frames_of(made_voice(0.5, level=0.01))
    np.testing.assert_allclose(loud[:, FRAME.level] - quiet[:, FRAME.level], 20.0, atol=0.01)
    np.testing.assert_allclose(loud[:, FRAME.pitch], quiet[:, FRAME.pitch], atol=1e-4)
    np.testing.assert_allclose(loud[:, FRAME.voicing], quiet[:, FRAME.voicing], atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(0, 16_000), max_size=12))
def test_the_same_frames_come_however_the_sound_is_cut(cuts: list[int]) -> None:
    sound = made_voice(1.0, swing=0.2)
    whole = frames_of(sound)
    state = IntonationState()
    edges = [0, *sorted(cuts), len(sound)]
    parts = [listen(sound[begin:end], state) for begin, end in zip(edges[:-1], edges[1:], strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert len(whole) == (len(sound) - SPAN) // HOP + 1
    assert len(state.tail) < SPAN


@pytest.mark.parametrize("kind", ["silence", "dc", "clipped", "nan", "gap", "impulse"])
def test_broken_sound_gives_finite_frames(kind: str) -> None:
    sound = made_voice(0.5)
    if kind == "silence":
        sound = np.zeros_like(sound)
    elif kind == "dc":
        sound = np.full_like(sound, 0.5)
    elif kind == "clipped":
        sound = 50.0 * sound
    elif kind == "nan":
        sound[2_000:3_000] = np.nan
    elif kind == "gap":
        sound[2_000:6_000] = 0.0
    else:
        sound = np.zeros_like(sound)
        sound[4_000] = 1.0
    rows = frames_of(clean_samples(sound))
    assert rows.shape == ((len(sound) - SPAN) // HOP + 1, COLUMNS)
    assert np.isfinite(rows).all()
    assert (np.abs(rows[:, FRAME.voicing]) <= 1.001).all()


def test_silence_and_dc_have_no_voicing() -> None:
    for sound in (np.zeros(8_000, np.float32), np.full(8_000, 0.7, np.float32)):
        assert np.abs(frames_of(sound)[:, FRAME.voicing]).max() < 0.2


def test_less_than_a_frame_waits_for_more() -> None:
    state = IntonationState()
    assert listen(np.zeros(SPAN - 1, np.float32), state).shape == (0, COLUMNS)
    assert listen(np.zeros(1, np.float32), state).shape == (1, COLUMNS)


def test_two_channels_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected"):
        listen(np.zeros((2, 100), np.float32), IntonationState())


def test_pulses_that_stand_apart_have_a_higher_crest_than_a_tone() -> None:
    times = np.arange(8_000) / 16_000
    tone = (0.1 * np.sin(2 * np.pi * 150.0 * times)).astype(np.float32)
    pulses = np.zeros(8_000, np.float32)
    pulses[::280] = 0.5
    smooth, creaky = frames_of(tone)[:, FRAME.crest], frames_of(pulses)[:, FRAME.crest]
    np.testing.assert_allclose(smooth, 3.0, atol=0.5)
    assert creaky.min() > 15.0
