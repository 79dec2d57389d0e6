"""Coarticulation and effort: control curves at 50 Hz from phones and their sound.

Neighbouring sounds blend by dominance functions after Cohen and Massaro (1993): every sound pulls each control towards
its target with a strength that is full over the middle of the sound and falls exponentially away from it; the curve is
the weighted mean. The jaw is slower than the lips, and a closure is the fastest. Vocal effort, the level of the second
and third formants, then scales the jaw: it moves as a power of their amplitude, within limits (`EFFORT_DB`,
`EFFORT_LIMITS_DB`).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, FRAME_RATE
from engine.speech.features import EFFORT_BANDS, WINDOW, spectra
from engine.training.audio import SAMPLE_RATE
from engine.training.dsp import smooth
from engine.training.visemes import REST, Viseme, visemes_of
from engine.training.voices import SILENCE, Phone

JAW_FALL_S: Final = 0.070
"""Time constant with which a sound's hold on the jaw falls off."""
LIP_FALL_S: Final = 0.055
"""The same for rounding and spreading."""
CLOSE_FALL_S: Final = 0.020
"""The same for closures and for the lip against the teeth."""
EFFORT_DB: Final = 18.0
"""Decibels above the speaker's level at which the jaw opens ten times as far (4 dB: 1.7 times)."""
EFFORT_LIMITS_DB: Final = (-16.0, 4.0)
"""Range in which effort acts."""

_FALLS = np.array([JAW_FALL_S, CLOSE_FALL_S] + [LIP_FALL_S] * 5 + [CLOSE_FALL_S] * 2)
_JAW, _CLOSE, _LOWER = CONTROLS.index("jaw"), CONTROLS.index("close"), CONTROLS.index("lower_down")


def _gestures(phones: Sequence[Phone]) -> list[tuple[Viseme, float, float]]:
    """(viseme, start, end): diphthongs and affricates are split evenly."""
    gestures: list[tuple[Viseme, float, float]] = []
    for phone in phones:
        parts = (REST,) if phone.ipa == SILENCE else visemes_of(phone.ipa)
        edges = np.linspace(phone.start, phone.end, len(parts) + 1)
        gestures.extend((part, float(edges[i]), float(edges[i + 1])) for i, part in enumerate(parts))
    return gestures


def blend(phones: Sequence[Phone], frames: int) -> NDArray[np.float32]:
    """Controls [frames, len(CONTROLS)] of a phone sequence, without effort."""
    gestures = _gestures(phones)
    if not gestures:
        return np.zeros((frames, len(CONTROLS)), np.float32)
    start = np.array([gesture[1] for gesture in gestures])
    end = np.array([gesture[2] for gesture in gestures])
    targets = np.array([gesture[0].targets() for gesture in gestures])
    strengths = np.array([gesture[0].strengths() for gesture in gestures])
    times = np.arange(frames)[:, None] / FRAME_RATE
    half_core = (end - start) / 4
    away = np.maximum(0.0, np.abs(times - (start + end) / 2) - half_core)
    out = np.zeros((frames, len(CONTROLS)))
    for fall in np.unique(_FALLS):
        columns = np.flatnonzero(_FALLS == fall)
        hold = np.exp(-np.minimum(away / fall, 60.0))
        weight = hold @ strengths[:, columns] + 1e-9
        out[:, columns] = (hold @ (strengths[:, columns] * targets[:, columns])) / weight
    out[:, _CLOSE] = np.clip((out[:, _CLOSE] - 0.1) / 0.6, 0.0, 1.0)
    return out.astype(np.float32)


def effort_db(samples: NDArray[np.float32], frames: int, smooth_s: float = 0.025) -> NDArray[np.float32]:
    """Effort of each 20-ms frame in dB: the mean level of `EFFORT_BANDS`, smoothed. samples: [N] -> [frames].

    50 dB under the peak is the floor.
    """
    if samples.ndim != 1:
        raise ShapeError(f"samples are {samples.shape}, expected [N] mono")
    padded = np.pad(samples, (WINDOW // 2, WINDOW + frames * SAMPLE_RATE // FRAME_RATE))
    mel = 10.0 * spectra(padded)[1][: 2 * frames + 1]
    level = np.maximum(mel, mel.max() - 50.0)[:, EFFORT_BANDS].mean(axis=1)
    even = smooth(level, smooth_s * FRAME_RATE * 2)
    return even[: 2 * frames : 2]


def speech_level_db(level: NDArray[np.float32], phones: Sequence[Phone]) -> float:
    """The speaker's level: the mean over sounding frames of their dB (pauses left out)."""
    times = np.arange(len(level)) / FRAME_RATE
    sounding = np.zeros(len(level), bool)
    for phone in phones:
        if phone.ipa != SILENCE:
            sounding |= (times >= phone.start) & (times < phone.end)
    chosen = level[sounding] if sounding.any() else level
    return float(np.mean(chosen[chosen >= np.percentile(chosen, 40)]))


def articulate(samples: NDArray[np.float32], phones: Sequence[Phone]) -> NDArray[np.float32]:
    """Controls [T, len(CONTROLS)] at 50 Hz of an utterance; T covers all samples.

    samples: [N] float32, 16 kHz, clean.
    """
    frames = int(np.ceil(len(samples) / SAMPLE_RATE * FRAME_RATE))
    controls = blend(phones, frames)
    level = effort_db(samples, frames)
    relative = np.clip(level - speech_level_db(level, phones), *EFFORT_LIMITS_DB)
    gain = 10.0 ** (relative / EFFORT_DB)
    controls[:, _JAW] *= gain
    controls[:, _LOWER] *= gain
    return np.clip(smooth(controls, 0.014 * FRAME_RATE), 0.0, 1.0)
