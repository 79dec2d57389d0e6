"""Acted speech: each cue does its one thing, people differ, and nothing is more than it should be."""

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError
from engine.speech.emotions import EMOTIONS
from engine.training import acting
from engine.training.acting import ACTED, CHANCE, Manner, draw_manner, draw_person, perform
from tests.engine.training.test_prosody import BINS, FRAMES, analysis, in_semitones

pytestmark = pytest.mark.unit


class Vocoder:
    """Notes what it is to synthesise."""

    def __init__(self, value: float = 0.1) -> None:
        self.asked: tuple[NDArray[np.float64], ...] = ()
        self.value = value

    def synthesize(self, *parts: Any, frame_period: float) -> NDArray[np.float64]:
        """As long as asked for."""
        assert frame_period == 5.0 and parts[-1] == 16_000
        self.asked = parts[:3]
        return np.full(len(parts[0]) * 80, self.value)


def asked(monkeypatch: pytest.MonkeyPatch, manner: Manner, seed: int = 0) -> tuple[NDArray[np.float64], ...]:
    """Pitch, envelope and noise that the vocoder is given."""
    vocoder = Vocoder()
    monkeypatch.setattr(acting, "world", lambda: vocoder)
    out = perform(analysis(), manner, np.random.default_rng(seed))
    assert out.dtype == np.float32 and len(out) == 80 * len(vocoder.asked[0])
    return vocoder.asked


def test_the_plain_manner_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = analysis()
    pitch, envelope, noise = asked(monkeypatch, Manner())
    np.testing.assert_allclose(pitch, source.pitch, rtol=1e-9)
    np.testing.assert_allclose(envelope, source.envelope, rtol=1e-9)
    np.testing.assert_allclose(noise, source.aperiodicity)


@pytest.mark.parametrize(("tempo", "longer"), [(-0.2, True), (0.2, False)])
def test_tempo_changes_the_length_vowels_more_than_the_rest(
    monkeypatch: pytest.MonkeyPatch, tempo: float, longer: bool
) -> None:
    pitch, _, _ = asked(monkeypatch, Manner(tempo_log=tempo))
    source = analysis().pitch
    assert (len(pitch) > FRAMES) == longer
    voiced = np.count_nonzero(pitch) / np.count_nonzero(source)
    unvoiced = np.count_nonzero(pitch == 0) / np.count_nonzero(source == 0)
    assert voiced == pytest.approx(np.exp(-1.15 * tempo), abs=0.03)
    assert abs(np.log(unvoiced)) < abs(np.log(voiced))


def test_level_and_dynamics_are_gains(monkeypatch: pytest.MonkeyPatch) -> None:
    source = analysis()
    _, louder, _ = asked(monkeypatch, Manner(level_db=6.0))
    np.testing.assert_allclose(10 * np.log10(louder / source.envelope), 6.0)
    swing = 10.0 ** (0.6 * np.sin(np.linspace(0, 4 * np.pi, FRAMES)))[:, None]
    uneven = replace(source, envelope=source.envelope * swing)
    more = np.log10(acting._loudness(uneven, Manner(dynamics_log=0.3)))[:, 0]
    assert np.corrcoef(more, np.log10(swing[:, 0]))[0, 1] > 0.95


def test_the_end_rises_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    pitch, _, _ = asked(monkeypatch, Manner(final_st=5.0))
    moved = in_semitones(pitch) - in_semitones(analysis().pitch)
    assert moved[-1] == pytest.approx(5.0, abs=0.1)
    np.testing.assert_allclose(moved[:-82], 0.0, atol=1e-9)


def test_a_tremor_lies_between_four_and_nine_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for seed in range(8):
        pitch, _, _ = asked(monkeypatch, Manner(tremor_st=0.6), seed)
        moved = in_semitones(pitch) - in_semitones(analysis().pitch)
        spectrum = np.abs(np.fft.rfft(moved - moved.mean(), 4000))
        found.append(np.fft.rfftfreq(4000, 0.005)[spectrum.argmax()])
    assert 3.5 < min(found) < max(found) < 9.0
    assert np.std(found) > 0.3


def test_jitter_roughens_the_pitch_by_as_much_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    pitch, _, _ = asked(monkeypatch, Manner(jitter_st=0.3))
    moved = in_semitones(pitch) - in_semitones(analysis().pitch)
    assert moved.std() == pytest.approx(0.3, rel=0.3)


def test_creak_lowers_the_ends_of_phrases_by_chance_and_makes_them_noisy(monkeypatch: pytest.MonkeyPatch) -> None:
    pitch, _, noise = asked(monkeypatch, Manner(creak=1.0))
    moved = in_semitones(pitch) - in_semitones(analysis().pitch)
    assert moved[-10:].mean() < -5.0
    np.testing.assert_allclose(moved[:80], 0.0, atol=1e-9)
    assert noise[170:180].mean() > noise[30:60].mean() + 0.1
    none, _, _ = asked(monkeypatch, Manner(creak=0.0))
    np.testing.assert_allclose(none, analysis().pitch, rtol=1e-9)


def test_every_emotion_does_to_its_cues_what_reviews_agree_on() -> None:
    """Signs of Juslin and Laukka (2003): loud and fast anger and joy, soft and slow sadness, trembling fear."""
    assert set(ACTED) == set(EMOTIONS)
    assert ACTED["neutral"] == Manner()
    for emotion in ("angry", "happy"):
        assert min(ACTED[emotion].level_db, ACTED[emotion].tempo_log, ACTED[emotion].pitch_st) > 0
    assert max(ACTED["sad"].level_db, ACTED["sad"].tempo_log, ACTED["sad"].range_log, ACTED["sad"].tilt_db) < 0
    assert ACTED["fear"].tremor_st > max(ACTED[each].tremor_st for each in EMOTIONS if each != "fear")
    assert ACTED["surprised"].final_st > ACTED["happy"].final_st > 0
    assert ACTED["happy"].formants_log > 0


def test_people_and_sentences_differ_and_neutral_speech_does_too() -> None:
    rng = np.random.default_rng(0)
    one, other = draw_person(rng, False), draw_person(rng, False)
    assert one.own == Manner()
    assert one.shares["angry"] != other.shares["angry"]
    calm = np.array([list(vars(draw_manner(one, "neutral", 0.0, rng)).values()) for _ in range(400)])
    usual = np.array(list(vars(CHANCE).values()))
    spread = calm[:, 0].std()
    assert spread == pytest.approx(usual[0], rel=0.15)
    names = [item.name for item in fields(Manner)]
    for name in ("breath", "tremor_st", "jitter_st", "creak"):
        assert calm[:, names.index(name)].min() == 0.0
    strong = np.array([list(vars(draw_manner(one, "fear", 1.0, rng)).values()) for _ in range(400)])
    assert strong[:, 0].mean() == pytest.approx(ACTED["fear"].pitch_st * one.shares["fear"].pitch_st, abs=0.3)
    assert strong[:, 0].std() > spread


def test_another_person_has_another_tract_and_pitch() -> None:
    people = [draw_person(np.random.default_rng(seed), True) for seed in range(60)]
    tracts, pitches = np.array([[each.tract_log, each.pitch_st] for each in people]).T
    assert 0.1 < np.ptp(tracts) <= 0.26
    assert np.corrcoef(tracts, pitches)[0, 1] > 0.5
    assert all(each.own.formants_log == each.tract_log for each in people)


def test_what_cannot_be_spoken_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(BadInputError, match="emotion is 'bored'"):
        draw_manner(draw_person(rng, False), "bored", 1.0, rng)
    vocoder = Vocoder(float("nan"))
    monkeypatch.setattr(acting, "world", lambda: SimpleNamespace(synthesize=vocoder.synthesize))
    with pytest.raises(BackendError, match="not finite"):
        perform(analysis(), Manner(), rng)


def test_a_whisper_has_no_contour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acting, "world", lambda: Vocoder())
    pitch, creaks = acting._contour(replace(analysis(), pitch=np.zeros(FRAMES)), Manner(3.0), np.random.default_rng(0))
    assert not pitch.any() and not creaks.any()
    assert analysis().envelope.shape == (FRAMES, BINS)
