"""Emotional prosody: neutral speech spoken again in eight emotions and three levels by the WORLD vocoder.

Pitch, its range and contour, spectral tilt, breath, tremor and formants are changed; no sound moves in time, so that
every rendering of a sentence is frame-aligned with every other. The numbers are ours, after what reviews of vocal
expression agree on (Murray and Arnott 1993; Scherer 2003). Training-time only: the wheel `pyworld` (MIT).
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError
from engine.speech.emotions import EMOTIONS
from engine.training.audio import SAMPLE_RATE
from engine.training.recordings import optional_module

LEVELS: Final = (1, 2, 3)
"""Levels of intensity, as in MEAD; neutral has level 1 only."""

PERIOD_MS: Final = 5.0
"""Time from frame to frame."""


def level_intensity(level: int) -> float:
    """Intensity 0 ... 1 of a level."""
    if level not in LEVELS:
        raise BadInputError(f"level is {level}, expected one of {LEVELS}")
    return level / LEVELS[-1]


@dataclass(frozen=True)
class Prosody:
    """What an emotion at full intensity does to neutral speech."""

    pitch_st: float = 0.0
    """Shift of the pitch, semitones."""
    range_factor: float = 1.0
    """Factor on the pitch's distance from its mean."""
    slope_st: float = 0.0
    """Rise of the pitch over an utterance, semitones."""
    tilt_db: float = 0.0
    """Gain at 4 kHz against 500 Hz."""
    breath: float = 0.0
    """Share by which voiced sound turns to noise."""
    tremor_st: float = 0.0
    """Depth of a 6-Hz tremor of the pitch, semitones."""
    formants: float = 1.0
    """Factor on the formants: spread lips shorten the tract, a lowered larynx lengthens it."""


PROSODY: Final[Mapping[str, Prosody]] = MappingProxyType(
    {
        "neutral": Prosody(),
        "angry": Prosody(2.0, 1.5, -2.0, 9.0, 0.0, 0.0, 1.0),
        "contempt": Prosody(-2.0, 0.6, -3.0, 2.0, 0.0, 0.0, 0.95),
        "disgusted": Prosody(-3.0, 0.9, 0.0, -3.0, 0.2, 0.0, 0.92),
        "fear": Prosody(6.0, 0.9, 2.0, 0.0, 0.45, 0.6, 1.03),
        "happy": Prosody(3.5, 1.7, 0.0, 4.0, 0.0, 0.0, 1.06),
        "sad": Prosody(-2.0, 0.4, -1.0, -9.0, 0.35, 0.0, 0.98),
        "surprised": Prosody(5.0, 1.8, 5.0, 1.0, 0.1, 0.0, 1.02),
    }
)
"""Emotion -> prosody at full intensity."""


@dataclass(frozen=True)
class Analysis:
    """A sentence taken apart by WORLD; T frames of 5 ms."""

    pitch: NDArray[np.float64]
    """[T] Hz, 0 where unvoiced."""
    envelope: NDArray[np.float64]
    """[T, F] power."""
    aperiodicity: NDArray[np.float64]
    """[T, F] 0 ... 1."""
    samples: int
    """Length of the sentence."""


def world() -> Any:
    """The vocoder. Raises `BackendError` where it is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyworld asks pkg_resources for its version, which is deprecated
        return optional_module("pyworld", "pyworld and setuptools<81")


def analyse(samples: NDArray[np.float32]) -> Analysis:
    """Takes a sentence apart. samples: [N] mono, 16 kHz, at least 0.2 s."""
    if samples.ndim != 1 or len(samples) < SAMPLE_RATE // 5:
        raise BadInputError(f"samples are {samples.shape}, expected [N] with at least {SAMPLE_RATE // 5}")
    vocoder = world()
    x = samples.astype(np.float64)
    rough, times = vocoder.dio(x, SAMPLE_RATE, frame_period=PERIOD_MS)
    pitch = vocoder.stonemask(x, rough, times, SAMPLE_RATE)
    envelope = vocoder.cheaptrick(x, pitch, times, SAMPLE_RATE)
    return Analysis(pitch, envelope, vocoder.d4c(x, pitch, times, SAMPLE_RATE), len(samples))


def _scaled(prosody: Prosody, intensity: float) -> Prosody:
    """The prosody at a share of its strength."""
    share = intensity
    return Prosody(
        prosody.pitch_st * share,
        1.0 + (prosody.range_factor - 1.0) * share,
        prosody.slope_st * share,
        prosody.tilt_db * share,
        prosody.breath * share,
        prosody.tremor_st * share,
        1.0 + (prosody.formants - 1.0) * share,
    )


def _pitch(analysis: Analysis, prosody: Prosody) -> NDArray[np.float64]:
    voiced = analysis.pitch > 0
    if not voiced.any():
        return analysis.pitch
    semitones = 12.0 * np.log2(np.where(voiced, analysis.pitch, 1.0))
    middle = float(semitones[voiced].mean())
    place = np.linspace(-0.5, 0.5, len(semitones))
    tremor = np.sin(2 * np.pi * 6.0 * np.arange(len(semitones)) * PERIOD_MS / 1000.0)
    moved = middle + prosody.pitch_st + prosody.range_factor * (semitones - middle)
    moved += prosody.slope_st * place + prosody.tremor_st * tremor
    return np.asarray(np.where(voiced, np.clip(2.0 ** (moved / 12.0), 60.0, 700.0), 0.0))


def warped(envelope: NDArray[np.float64], formants: float, tilt_db: float) -> NDArray[np.float64]:
    """Power [T, F] with its formants at `formants` times their frequency, and a gain at 4 kHz against 500 Hz."""
    bins = envelope.shape[1]
    frequency = np.linspace(0.0, SAMPLE_RATE / 2, bins)
    source = np.clip(np.arange(bins) / formants, 0, bins - 1)
    low = source.astype(int)
    share = source - low
    high = np.minimum(low + 1, bins - 1)
    moved = envelope[:, low] * (1.0 - share) + envelope[:, high] * share
    octaves = np.clip(np.log2(np.maximum(frequency, 60.0) / 500.0), -1.0, 3.5)
    return np.asarray(moved * 10.0 ** (tilt_db / 3.0 * octaves / 10.0))


def render(analysis: Analysis, emotion: str, intensity: float) -> NDArray[np.float32]:
    """Speaks the sentence again: [N] float32 in [-1, 1], as long as before, at the level of before."""
    if emotion not in EMOTIONS:
        raise BadInputError(f"emotion is {emotion!r}, expected one of {', '.join(EMOTIONS)}")
    prosody = _scaled(PROSODY[emotion], intensity)
    noise = analysis.aperiodicity + (1.0 - analysis.aperiodicity) * prosody.breath
    parts = (_pitch(analysis, prosody), warped(analysis.envelope, prosody.formants, prosody.tilt_db), noise)
    out = world().synthesize(*map(np.ascontiguousarray, parts), SAMPLE_RATE, frame_period=PERIOD_MS)
    fitted = np.pad(out, (0, max(0, analysis.samples - len(out))))[: analysis.samples]
    if not np.isfinite(fitted).all():
        raise BackendError(f"WORLD gave samples that are not finite for {emotion}; leave the sentence out")
    peak = float(np.abs(fitted).max()) + 1e-9
    return np.asarray(fitted * min(1.0, 0.9 / peak), np.float32)
