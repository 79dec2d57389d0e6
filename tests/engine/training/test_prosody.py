"""Emotional prosody on analyses that are made up: each number does its one thing, in proportion to the intensity."""

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError
from engine.speech.emotions import EMOTIONS
from engine.training import prosody as p
from engine.training.prosody import LEVELS, PROSODY, Analysis, Prosody, level_intensity, render

pytestmark = pytest.mark.unit

FRAMES, BINS = 200, 257


def analysis(pitch: float = 120.0, wobble: float = 2.0) -> Analysis:
    """A second of voice whose pitch rises and falls by `wobble` semitones, unvoiced at its ends."""
    semitones = wobble * np.sin(np.linspace(0, 6 * np.pi, FRAMES))
    hertz = pitch * 2.0 ** (semitones / 12)
    hertz[:20] = hertz[-20:] = 0.0
    frequency = np.linspace(0, 8000, BINS)
    formant = np.exp(-0.5 * ((frequency - 1500) / 120) ** 2) + 1e-3
    return Analysis(hertz, np.tile(formant, (FRAMES, 1)), np.full((FRAMES, BINS), 0.1), 16_000)


def in_semitones(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(12 * np.log2(hertz[hertz > 0]))


def test_levels_rise_to_full_intensity() -> None:
    found = [level_intensity(level) for level in LEVELS]
    assert found == sorted(found) and found[-1] == 1.0 and found[0] > 0.0


@pytest.mark.parametrize("level", [0, 4, -1])
def test_another_level_is_refused(level: int) -> None:
    with pytest.raises(BadInputError, match=rf"level is {level}, expected one of \(1, 2, 3\)"):
        level_intensity(level)


@pytest.mark.parametrize("emotion", EMOTIONS)
def test_no_intensity_is_neutral_and_full_intensity_the_whole_prosody(emotion: str) -> None:
    assert p._scaled(PROSODY[emotion], 0.0) == Prosody()
    whole = p._scaled(PROSODY[emotion], 1.0)
    for item in fields(Prosody):
        assert getattr(whole, item.name) == pytest.approx(getattr(PROSODY[emotion], item.name))


@given(share=st.floats(0, 1), emotion=st.sampled_from(EMOTIONS))
def test_every_number_grows_in_proportion(share: float, emotion: str) -> None:
    plain, part = Prosody(), p._scaled(PROSODY[emotion], share)
    for item in fields(Prosody):
        neutral, full = getattr(plain, item.name), getattr(PROSODY[emotion], item.name)
        assert getattr(part, item.name) == pytest.approx(neutral + share * (full - neutral))


def test_every_emotion_sounds_unlike_every_other() -> None:
    assert set(PROSODY) == set(EMOTIONS)
    assert len({tuple(vars(each).values()) for each in PROSODY.values()}) == len(EMOTIONS)


@pytest.mark.parametrize("shift", [-3.0, 0.0, 5.0])
def test_pitch_is_shifted_where_there_is_voice(shift: float) -> None:
    """By semitones, whatever the voice; silence and breath stay without a pitch."""
    for pitch in (100.0, 220.0):
        source = analysis(pitch)
        moved = p._pitch(source, Prosody(pitch_st=shift))
        assert np.array_equal(moved > 0, source.pitch > 0)
        np.testing.assert_allclose(in_semitones(moved) - in_semitones(source.pitch), shift, atol=1e-9)


@pytest.mark.parametrize("factor", [0.4, 1.0, 1.8])
def test_range_grows_about_the_mean(factor: float) -> None:
    before, after = (in_semitones(each) for each in (analysis().pitch, p._pitch(analysis(), Prosody(0.0, factor))))
    assert after.mean() == pytest.approx(before.mean()) and after.std() == pytest.approx(factor * before.std())


def test_a_slope_rises_over_the_utterance_and_leaves_its_middle() -> None:
    flat = analysis(wobble=0.0)
    rise = in_semitones(p._pitch(flat, Prosody(slope_st=4.0))) - in_semitones(flat.pitch)
    assert (np.diff(rise) > 0).all() and rise.mean() == pytest.approx(0.0, abs=1e-9)
    assert rise[-1] - rise[0] == pytest.approx(4.0 * 159 / 199, rel=1e-6)


def test_a_tremor_is_six_times_a_second() -> None:
    flat = analysis(wobble=0.0)
    trembling = in_semitones(p._pitch(flat, Prosody(tremor_st=0.6))) - in_semitones(flat.pitch)
    assert np.abs(trembling).max() == pytest.approx(0.6, rel=0.02)
    spectrum = np.abs(np.fft.rfft(trembling, 2000))
    assert np.fft.rfftfreq(2000, 0.005)[spectrum.argmax()] == pytest.approx(6.0, abs=0.4)


def test_pitch_stays_one_that_people_have() -> None:
    """However far it is moved."""
    for shift in (-40.0, 40.0):
        moved = p._pitch(analysis(), Prosody(pitch_st=shift))
        assert moved[moved > 0].min() >= 60.0 and moved.max() <= 700.0


def test_speech_without_any_voice_has_no_pitch_to_move() -> None:
    whisper = replace(analysis(), pitch=np.zeros(FRAMES))
    assert not p._pitch(whisper, PROSODY["happy"]).any()


@pytest.mark.parametrize("tilt", [-9.0, 0.0, 6.0])
def test_a_tilt_is_the_gain_of_4_khz_over_500_hz(tilt: float) -> None:
    flat = replace(analysis(), envelope=np.ones((FRAMES, BINS)))
    found = p.warped(flat.envelope, 1.0, tilt)[0]
    frequency = np.linspace(0, 8000, BINS)
    low, high = (10 * np.log10(np.interp(hertz, frequency, found)) for hertz in (500.0, 4000.0))
    assert high - low == pytest.approx(tilt, abs=0.05)
    assert low == pytest.approx(0.0, abs=0.05)


@pytest.mark.parametrize("factor", [0.92, 1.0, 1.06])
def test_formants_move_by_their_factor(factor: float) -> None:
    found = p.warped(analysis().envelope, factor, 0.0)[0]
    assert np.linspace(0, 8000, BINS)[found.argmax()] == pytest.approx(1500 * factor, abs=40)


class Vocoder:
    """Notes what it is to synthesise, and answers with a tone that is as long and loud as asked for."""

    def __init__(self, length: int = 16_000, level: float = 0.5) -> None:
        self.asked: list[tuple[NDArray[np.float64], ...]] = []
        self.answer = np.full(length, level)

    def synthesize(self, *parts: Any, frame_period: float) -> NDArray[np.float64]:
        assert frame_period == 5.0 and parts[-1] == 16_000
        assert all(part.flags["C_CONTIGUOUS"] for part in parts[:3])
        self.asked.append(parts[:3])
        return self.answer


def spoken(vocoder: Vocoder, monkeypatch: pytest.MonkeyPatch, emotion: str, intensity: float) -> NDArray[np.float32]:
    monkeypatch.setattr(p, "world", lambda: vocoder)
    return render(analysis(), emotion, intensity)


@pytest.mark.parametrize("length", [15_000, 16_000, 17_000])
def test_a_rendering_is_as_long_as_the_sentence(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    out = spoken(Vocoder(length), monkeypatch, "sad", 1.0)
    assert out.shape == (16_000,) and out.dtype == np.float32
    assert np.count_nonzero(out) == min(length, 16_000)


@pytest.mark.parametrize(("level", "peak"), [(0.5, 0.5), (0.9, 0.9), (3.0, 0.9), (0.0, 0.0)])
def test_only_what_is_too_loud_is_made_quieter(level: float, peak: float, monkeypatch: pytest.MonkeyPatch) -> None:
    out = spoken(Vocoder(level=level), monkeypatch, "angry", 1.0)
    assert np.abs(out).max() == pytest.approx(peak, abs=1e-6)


def test_breath_turns_voice_to_noise_and_never_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = Vocoder()
    for emotion in ("neutral", "fear"):
        spoken(vocoder, monkeypatch, emotion, 1.0)
    (_, _, plain), (_, _, breathy) = vocoder.asked
    np.testing.assert_allclose(plain, 0.1)
    np.testing.assert_allclose(breathy, 0.1 + 0.9 * PROSODY["fear"].breath)


def test_neutral_speech_is_handed_over_as_it_was_taken_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    vocoder = Vocoder()
    spoken(vocoder, monkeypatch, "neutral", 1.0)
    source = analysis()
    for given_, expected in zip(vocoder.asked[0], (source.pitch, source.envelope, source.aperiodicity), strict=True):
        np.testing.assert_allclose(given_, expected, rtol=1e-9, atol=1e-12)


def test_what_the_vocoder_cannot_say_is_an_error_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match="not finite for happy; leave the sentence out"):
        spoken(Vocoder(level=float("nan")), monkeypatch, "happy", 0.5)
    with pytest.raises(BadInputError, match="emotion is 'bored', expected one of neutral, angry"):
        render(analysis(), "bored", 1.0)


def test_sentences_too_short_or_of_two_channels_are_refused_before_the_vocoder_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(p, "world", lambda: SimpleNamespace())
    for shape in ((3199,), (2, 16_000), (0,)):
        with pytest.raises(BadInputError, match="expected .N. with at least 3200"):
            p.analyse(np.zeros(shape, np.float32))
