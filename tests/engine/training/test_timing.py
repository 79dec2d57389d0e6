"""Phone times against the sound: vowels that are said too late or too early are found, and so by how much."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.training.timing import LARGEST_LAG_S, lateness
from engine.training.voices import SILENCE, Phone

pytestmark = pytest.mark.unit

EDGES = np.array([0.3, 0.45, 0.6, 0.68, 0.9, 1.0, 1.17, 1.4, 1.5, 1.63, 1.7])


def spoken(sounds: str = "tatisauloo", late: float = 0.0) -> tuple[NDArray[np.float32], list[Phone]]:
    """Noise that is 20 dB louder where a vowel is, and phones that lie `late` seconds late in it."""
    rng = np.random.default_rng(1)
    samples = 0.01 * rng.standard_normal(32_000)
    phones = [Phone(SILENCE, 0.0, 0.3)]
    for sound, begin, end in zip(sounds, EDGES[:-1], EDGES[1:], strict=True):
        samples[int(begin * 16_000) : int(end * 16_000)] *= 10.0 if sound in "aiou" else 1.0
        phones.append(Phone(sound, float(begin) + late, float(end) + late))
    return samples.astype(np.float32), phones


@pytest.mark.parametrize("late", [-0.06, 0.0, 0.03, 0.075, 0.12])
def test_how_late_phones_lie_is_found(late: float) -> None:
    assert lateness([spoken(late=late)]) == pytest.approx(late, abs=0.0101)


def test_recordings_of_a_voice_are_judged_together() -> None:
    """A short recording that fits by chance elsewhere does not count more than its length."""
    many = [spoken(late=0.05), spoken("sasitoupaa", late=0.05), spoken("utitiloitu", late=0.05)]
    assert lateness(many) == pytest.approx(0.05, abs=0.0101)
    assert lateness(iter(many)) == lateness(many)


def test_the_largest_lag_bounds_what_is_found() -> None:
    assert abs(lateness([spoken(late=0.6)])) <= LARGEST_LAG_S


@pytest.mark.parametrize("level", [0.01, 1.0])
def test_the_level_of_the_recording_does_not_count(level: float) -> None:
    samples, phones = spoken(late=0.04)
    assert lateness([(samples * np.float32(level), phones)]) == pytest.approx(0.04, abs=0.0101)


def test_without_vowels_or_sound_there_is_nothing_to_tell() -> None:
    samples, phones = spoken()
    assert lateness([]) == 0.0
    assert lateness([(samples, [Phone("s", 0.0, 2.0)])]) == 0.0
    assert lateness([(samples[:100], phones)]) == 0.0
    assert lateness([(samples, [Phone("", 0.0, 1.0), Phone("?", 1.0, 2.0)])]) == 0.0
