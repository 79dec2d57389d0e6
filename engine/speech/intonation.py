"""How something is said: pitch, voicing and colour of the voice, 50 times a second, for telling emotions.

Letters: N samples, T frames. Frame t spans the `SPAN` samples from 320 t on: it is there 57 ms after its time begins.
Pitch is the shortest lag whose normalised autocorrelation is nearly the best. Every frame is computed alone, so that a
stream gives the same frames however it is cut.
"""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.controls import FRAME_RATE
from engine.speech.features import SAMPLE_RATE

HOP: Final = SAMPLE_RATE // FRAME_RATE
"""Samples from frame to frame (20 ms)."""
SPAN: Final = 912
"""Samples under one frame: a window of 40 ms and the longest lag."""
BANDS_HZ: Final = (
    100.0, 250.0, 400.0, 550.0, 750.0, 950.0, 1200.0, 1500.0, 1850.0, 2250.0, 2700.0, 3250.0, 3900.0, 4700.0, 5600.0,
    6500.0, 7500.0,
)  # fmt: skip
"""Edges of the bands that tell the colour of a voice."""
COLUMNS: Final = 5 + len(BANDS_HZ) - 1
"""Columns of a frame, in the order of `Frame`."""
PITCH_UNIT_HZ: Final = 150.0
"""Pitch is given in octaves over this."""

_WINDOW: Final = 640
_SHORTEST, _LONGEST = 16, 133  # lags at 8 kHz: 500 ... 60 Hz
_NEARLY: Final = 0.88
_FFT: Final = 1024
_HANN: Final = np.hanning(SPAN + 1)[:-1]
_EDGES: Final = np.round(np.array(BANDS_HZ) * _FFT / SAMPLE_RATE).astype(int)
_SIZES: Final = np.diff(_EDGES)
_FAINTEST: Final = 1e-5  # of a frame's power: what lies under it in a band is taken for nothing


class Frame(NamedTuple):
    """Where the columns of a frame are."""

    voicing: int = 0
    """Normalised autocorrelation at the pitch, -1 ... 1."""
    pitch: int = 1
    """Octaves over `PITCH_UNIT_HZ`; without meaning where there is little voicing."""
    level: int = 2
    """Level in dB over full scale."""
    edge: int = 3
    """Voicing of the upper part of the spectrum: low for a breathy voice."""
    crest: int = 4
    """Peak over level in dB: high for a voice that creaks, whose pulses stand apart."""
    bands: int = 5
    """First of the band levels in dB."""


FRAME: Final = Frame()


@dataclass
class IntonationState:
    """What is carried from call to call."""

    tail: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    """Samples that the next frame begins with."""


def listen(samples: NDArray[np.float32], state: IntonationState) -> NDArray[np.float32]:
    """Frames that `samples` complete: [T, COLUMNS]. Advances `state`.

    samples: [N] float32, 16 kHz, cleaned.
    """
    if samples.ndim != 1:
        raise ShapeError(f"samples are {samples.shape}, expected [N] mono")
    joined = np.concatenate([state.tail, samples])
    frames = max(0, (len(joined) - SPAN) // HOP + 1)
    state.tail = joined[frames * HOP :]
    rows = np.empty((frames, COLUMNS), np.float32)
    for index in range(frames):
        rows[index] = _frame(joined[index * HOP : index * HOP + SPAN].astype(np.float64))
    return rows


def _frame(sound: NDArray[np.float64]) -> NDArray[np.float64]:
    """One frame of [SPAN] samples -> [COLUMNS]."""
    sound = sound - sound.mean()
    row = np.empty(COLUMNS)
    power = np.square(np.abs(np.fft.rfft(sound * _HANN, _FFT)))
    bands = np.add.reduceat(power[: _EDGES[-1]], _EDGES[:-1]) / _SIZES
    row[FRAME.bands :] = 10.0 * np.log10(bands + _FAINTEST * power.mean() + 1e-10)
    row[FRAME.level] = 10.0 * np.log10(np.dot(sound, sound) / SPAN + 1e-10)
    row[FRAME.crest] = 20.0 * np.log10(np.abs(sound).max() + 1e-5) - row[FRAME.level]
    half = 0.25 * sound[:-2:2] + 0.5 * sound[1:-1:2] + 0.25 * sound[2::2]
    lag = _pitch_lag(half)
    row[FRAME.pitch] = np.log2(SAMPLE_RATE / 2 / lag / PITCH_UNIT_HZ)
    near = max(1, round(2 * lag))
    row[FRAME.voicing] = _similarity(sound, near)
    row[FRAME.edge] = _similarity(np.diff(sound), near)
    return row


def _pitch_lag(half: NDArray[np.float64]) -> float:
    """The lag of the pitch at 8 kHz, in samples and their fractions."""
    size = _WINDOW // 2
    like = np.correlate(half[: size + _LONGEST + 1], half[:size], "valid")
    energy = np.concatenate([[0.0], np.cumsum(np.square(half[: size + _LONGEST + 1]))])
    like = like / np.sqrt(energy[size] * (energy[size:] - energy[: len(like)]) + 1e-12)
    inner = like[_SHORTEST : _LONGEST + 1]
    peaks = (
        (inner >= like[_SHORTEST - 1 : _LONGEST]) & (inner > like[_SHORTEST + 1 :]) & (inner > _NEARLY * inner.max())
    )
    best = _SHORTEST + int(peaks.argmax() if peaks.any() else inner.argmax())
    before, at, after = like[best - 1], like[best], like[best + 1]
    bend = before - 2.0 * at + after
    return best + (float(np.clip(0.5 * (before - after) / bend, -0.5, 0.5)) if bend < -1e-9 else 0.0)


def _similarity(sound: NDArray[np.float64], lag: int) -> float:
    """The best normalised correlation of a window with itself one sample around `lag` later."""
    start = sound[:_WINDOW]
    own = np.dot(start, start)
    best = -1.0
    for late in range(lag - 1, lag + 2):
        other = sound[late : late + len(start)]
        here = start[: len(other)]
        best = max(best, float(np.dot(here, other) / np.sqrt(own * np.dot(other, other) + 1e-12)))
    return best
