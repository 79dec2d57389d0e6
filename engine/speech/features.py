"""Speech features, frame by frame: Whisper's log-mel spectrum and loudness, relative to the speaker's level.

Letters: N samples, F mel frames. Mel frame f is centred on sample 160 f (10 ms apart, 25 ms long), so it needs 12.5 ms
of sound after its time. Nothing depends on the absolute level: bands and loudness are in decibels over a running level
that follows the speech and holds through pauses.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.whisper import MEL_BANDS, mel_filters

SAMPLE_RATE: Final = 16_000
"""Hz; the only rate inside the engine."""
HOP: Final = 160
"""Samples from mel frame to mel frame (10 ms)."""
WINDOW: Final = 400
"""Samples under one mel frame (25 ms)."""
CHANNELS: Final = MEL_BANDS + 3
"""Channels of a feature frame: Whisper's scaled log-mel bands, loudness, loudness of the bands, confidence."""
LOUDNESS: Final = MEL_BANDS
"""Channel of the loudness over the running level, in units of 10 dB."""
BAND_LOUDNESS: Final = MEL_BANDS + 1
"""Channel of the mean band level over the running level, in units of 10 dB: all bands count alike, as to an ear."""
CONFIDENCE: Final = MEL_BANDS + 2
"""Channel that rises from 0 to 1 while the running level is being learnt."""

EFFORT_HZ: Final = (800.0, 6500.0)
"""Where the envelope of speech follows the mouth best: the second and third formants (Grant and Seitz 2000)."""

START_LEVEL_DB: Final = -30.0
"""Running level before anything was heard, dB over full scale."""
LOWEST_LEVEL_DB: Final = -55.0
"""The running level never falls below this: noise of an empty room is not taken for speech."""

_RISE = 1.0 - np.exp(-1.0 / 30.0)
_FALL = 1.0 - np.exp(-1.0 / 400.0)
_SPEECH_RANGE_DB = 25.0
_SETTLE = 1.0 / 100.0


_MEL: Final = mel_filters().numpy()
_CENTRES: Final = (_MEL * np.arange(_MEL.shape[1])).sum(axis=1) / _MEL.sum(axis=1) * SAMPLE_RATE / WINDOW
EFFORT_BANDS: Final = np.flatnonzero((_CENTRES >= EFFORT_HZ[0]) & (_CENTRES < EFFORT_HZ[1]))
"""Mel bands of `EFFORT_HZ`."""
_HANN: Final = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_FULL_SCALE: Final = float(np.square(_HANN).sum()) * WINDOW
_TYPICAL_LEVEL_DB = -20.0
_MEL_TOP = 1.5
_MEL_RANGE = 8.0


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


def spectra(samples: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Loudness [F] in dB over full scale and log10 mel power [F, MEL_BANDS] of all whole windows, without padding.

    samples: [N] float32, 16 kHz, N at least WINDOW. The mean of each window is taken out: DC is not sound.
    """
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    centred = windows - windows.mean(axis=1, keepdims=True)
    power = np.square(np.abs(np.fft.rfft(centred * _HANN, axis=1)))
    loudness = (10.0 * np.log10(power.sum(axis=1) * 2.0 / _FULL_SCALE + 1e-10)).astype(np.float32)
    return loudness, np.log10(power @ _MEL.T + 1e-10).astype(np.float32)


def extract(samples: NDArray[np.float32], state: FeatureState) -> NDArray[np.float32]:
    """Features of all frames that `samples` complete: [F, CHANNELS] float32. Advances `state`.

    samples: [N] float32, 16 kHz, cleaned. The same stream gives the same frames however it is cut.
    """
    joined = np.concatenate([state.tail, samples])
    frames = max(0, (len(joined) - WINDOW) // HOP + 1)
    state.tail = joined[frames * HOP :]
    if frames == 0:
        return np.zeros((0, CHANNELS), np.float32)
    loudness, mel = spectra(joined)
    level = _running_level(state, loudness)
    mel = mel + (_TYPICAL_LEVEL_DB - level[:, :1]) / 10.0
    mel = np.clip(mel, _MEL_TOP - _MEL_RANGE, _MEL_TOP + 1.0)
    features = np.empty((frames, CHANNELS), np.float32)
    features[:, :MEL_BANDS] = (mel + 4.0) / 4.0
    features[:, LOUDNESS] = np.clip((loudness - level[:, 0]) / 10.0, -4.0, 2.0)
    features[:, BAND_LOUDNESS] = mel.mean(axis=1)
    features[:, CONFIDENCE] = level[:, 1]
    return features


def effort(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """[..., CHANNELS] features -> [...] mean level of the bands in `EFFORT_HZ`, 10 dB over the running level."""
    if frames.shape[-1] != CHANNELS:
        raise ShapeError(f"features are {frames.shape}, expected [..., {CHANNELS}]")
    return np.asarray(frames[..., EFFORT_BANDS].mean(axis=-1) * 4.0 - 4.0, np.float32)
