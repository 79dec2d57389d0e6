"""Do phone times fit the sound? Vowels are louder than what is beside them, so their times can be heard."""

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.speech.features import HOP, WINDOW, spectra
from engine.training.audio import SAMPLE_RATE
from engine.training.visemes import VOWELS, letters
from engine.training.voices import Phone

LARGEST_LAG_S: Final = 0.15
"""Phone times are tried as much as this too early and too late."""
_RANGE_DB = 60.0
_BANDS = slice(12, 60)
_FRAMES_PER_S = SAMPLE_RATE // HOP


def _rows(samples: NDArray[np.float32], phones: Iterable[Phone], pad: int) -> tuple[NDArray[np.float64], ...]:
    """Two rows over 10-ms frames, each without its mean and padded: where vowels are said to be, and the level."""
    frames = len(samples) // HOP
    mel = 10.0 * spectra(np.pad(samples, (WINDOW // 2, WINDOW)))[1][:frames]
    level = np.maximum(mel, mel.max() - _RANGE_DB)[:, _BANDS].mean(axis=1)
    times = np.arange(frames) / _FRAMES_PER_S
    vowel = np.zeros(frames)
    for phone in phones:
        if letters(phone.ipa)[:1] in VOWELS and letters(phone.ipa):
            vowel[(times >= phone.start) & (times < phone.end)] = 1.0
    return tuple(np.pad(row - row.mean(), pad).astype(np.float64) for row in (vowel, level))


def lateness(recordings: Iterable[tuple[NDArray[np.float32], Iterable[Phone]]]) -> float:
    """Seconds by which phones lie late in their recordings (samples [N] at 16 kHz, phones); 0 where none is a vowel.

    The lag at which the vowels correlate best with the level, to 10 ms. Voices with exact times give -10 to +10 ms.
    """
    most = round(LARGEST_LAG_S * _FRAMES_PER_S)
    rows = [_rows(samples, phones, most) for samples, phones in recordings if len(samples) >= HOP]
    if not rows or not any(vowel.any() for vowel, _ in rows):
        return 0.0
    vowels, level = (np.concatenate(part) for part in zip(*rows, strict=True))
    lags = range(-most, most + 1)
    products = [float(np.dot(np.roll(vowels, -lag), level)) for lag in lags]
    return lags[int(np.argmax(products))] / _FRAMES_PER_S
