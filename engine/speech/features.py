"""Speech features, frame by frame: a log-mel spectrum and loudness relative to the speaker's running level.

Letters: N samples, F mel frames. Mel frame f is centred on sample 160 f (10 ms apart, 25 ms long), so it needs 12.5 ms
of sound after its time. Nothing depends on the absolute level: bands and loudness are in decibels over a running level
that follows the speech and holds through pauses.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError

SAMPLE_RATE: Final = 16_000
"""Hz; the only rate inside the engine."""
HOP: Final = 160
"""Samples from mel frame to mel frame (10 ms)."""
WINDOW: Final = 400
"""Samples under one mel frame (25 ms)."""
BANDS: Final = 64
"""Mel bands, 60 ... 7600 Hz."""
CHANNELS: Final = BANDS + 2
"""Channels of a feature frame: bands, loudness over the running level, the running level's own confidence."""

START_LEVEL_DB: Final = -30.0
"""Running level before anything was heard, dB over full scale."""
LOWEST_LEVEL_DB: Final = -55.0
"""The running level never falls below this: noise of an empty room is not taken for speech."""

_RISE = 1.0 - np.exp(-1.0 / 30.0)
_FALL = 1.0 - np.exp(-1.0 / 400.0)
_SPEECH_RANGE_DB = 25.0
_SETTLE = 1.0 / 100.0


def _mel_matrix() -> NDArray[np.float32]:
    """Triangular filters on the mel scale 2595 log10(1 + f / 700): [BANDS, WINDOW // 2 + 1 + zero padding]."""
    bins = np.linspace(0.0, SAMPLE_RATE / 2, 257)
    low, high = 2595.0 * np.log10(1.0 + np.array([60.0, 7600.0]) / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(low, high, BANDS + 2) / 2595.0) - 1.0)
    rising = (bins[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return np.asarray(triangles / np.maximum(triangles.sum(axis=1, keepdims=True), 1e-6), np.float32)


_MEL: Final = _mel_matrix()
_HANN: Final = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_FULL_SCALE: Final = float(np.square(_HANN).sum()) * 256.0


def clean_samples(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples as the engine takes them: NaN and infinities become silence, the rest is clipped to [-1, 1].

    samples: [N] any real type; returns [N] float32.
    """
    if samples.ndim != 1:
        raise ShapeError(f"samples are {samples.shape}, expected [N] mono; mix the channels down first")
    if not np.issubdtype(samples.dtype, np.floating):
        raise ShapeError(f"samples are {samples.dtype}, expected floating point in [-1, 1]; divide by full scale")
    return np.asarray(np.clip(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0), np.float32)


@dataclass
class FeatureState:
    """What feature extraction carries from call to call; a few kilobytes however long the stream is."""

    tail: NDArray[np.float32] = field(default_factory=lambda: np.zeros(WINDOW // 2, np.float32))
    """Samples that the next frame begins with; half a window of silence before the stream."""
    level_db: float = START_LEVEL_DB
    """The speaker's running level."""
    heard: float = 0.0
    """0 ... 1: how long the level has been following speech (1 after about a second)."""


def _running_level(state: FeatureState, loudness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Follows the speech level: up in 0.3 s, down in 4 s, held in pauses. Returns [F, 2] (level, heard)."""
    rows = np.empty((len(loudness), 2), np.float32)
    level, heard = state.level_db, state.heard
    for index, value in enumerate(loudness.tolist()):
        if value > level:
            level += _RISE * (value - level)
        elif value > level - _SPEECH_RANGE_DB:
            level += _FALL * (value - level)
        if level < LOWEST_LEVEL_DB:
            level = LOWEST_LEVEL_DB
        if value > level - _SPEECH_RANGE_DB and heard < 1.0:
            heard = min(1.0, heard + _SETTLE)
        rows[index, 0] = level
        rows[index, 1] = heard
    state.level_db, state.heard = level, heard
    return rows


def extract(samples: NDArray[np.float32], state: FeatureState) -> NDArray[np.float32]:
    """Features of all frames that `samples` complete: [F, CHANNELS] float32. Advances `state`.

    samples: [N] float32, 16 kHz, cleaned. The same stream gives the same frames however it is cut.
    """
    joined = np.concatenate([state.tail, samples])
    frames = max(0, (len(joined) - WINDOW) // HOP + 1)
    state.tail = joined[frames * HOP :]
    if frames == 0:
        return np.zeros((0, CHANNELS), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(joined, WINDOW)[::HOP][:frames]
    centred = windows - windows.mean(axis=1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(centred * _HANN, 512, axis=1))) / _FULL_SCALE
    loudness = (10.0 * np.log10(power.sum(axis=1) * 2.0 + 1e-10)).astype(np.float32)
    bands = 10.0 * np.log10(power @ _MEL.T * 257.0 + 1e-10)
    level = _running_level(state, loudness)
    features = np.empty((frames, CHANNELS), np.float32)
    features[:, :BANDS] = np.clip((bands - level[:, :1]) / 20.0, -3.0, 1.5)
    features[:, BANDS] = np.clip((loudness - level[:, 0]) / 10.0, -4.0, 2.0)
    features[:, BANDS + 1] = level[:, 1]
    return features
