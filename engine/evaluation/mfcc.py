"""Mel-frequency cepstral coefficients (Davis and Mermelstein 1980) as SyncNet's published weights were trained on them.

25 ms windows without taper every 10 ms, 26 triangular filters over 512-point power spectra, orthonormal DCT, lifter of
22, log energy in place of the first coefficient: the defaults of the python_speech_features package, on samples as
16-bit numbers. Written from their definitions.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.figures import require_shape

RATE: Final = 16000
"""Samples a second."""
STEP: Final = 160
"""Samples from one window to the next: a hundred windows a second."""
COEFFICIENTS: Final = 13
"""Numbers of a window."""
_WINDOW: Final = 400
_POINTS: Final = 512
_FILTERS: Final = 26
_EMPHASIS: Final = 0.97
_LIFTER: Final = 22
_TINY: Final = float(np.finfo(np.float64).eps)
_FULL_SCALE: Final = 32768.0


def mfcc(samples: NDArray[np.floating]) -> NDArray[np.float32]:
    """Coefficients of a sound.

    Args:
        samples: [N] mono at `RATE`, -1...1.

    Returns:
        [T,13], T = windows needed to hold all samples, the last one filled with silence.
    """
    require_shape("samples", samples, None)
    sound = np.clip(np.round(samples.astype(np.float64) * _FULL_SCALE), -_FULL_SCALE, _FULL_SCALE - 1)
    sound = np.concatenate([sound[:1], sound[1:] - _EMPHASIS * sound[:-1]])
    count = 1 + max(0, -(-(len(sound) - _WINDOW) // STEP))
    sound = np.pad(sound, (0, max(0, (count - 1) * STEP + _WINDOW - len(sound))))
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::STEP][:count]
    power = np.abs(np.fft.rfft(windows, _POINTS)) ** 2 / _POINTS
    energy = np.maximum(power.sum(1), _TINY)
    bands = np.log(np.maximum(power @ _filters().T, _TINY))
    cepstra = bands @ _cosines().T * (1 + _LIFTER / 2 * np.sin(np.pi * np.arange(COEFFICIENTS) / _LIFTER))
    cepstra[:, 0] = np.log(energy)
    return cepstra.astype(np.float32)


def _filters() -> NDArray[np.float64]:
    """[26,257] triangles whose corners are evenly spaced in mel (2595 log10(1 + f / 700)), on whole bins."""
    mel = np.linspace(0, 2595 * np.log10(1 + RATE / 2 / 700), _FILTERS + 2)
    corners = np.floor((_POINTS + 1) * 700 * (10 ** (mel / 2595) - 1) / RATE)
    bins = np.arange(_POINTS // 2 + 1)
    low, middle, high = (corners[n : n + _FILTERS, None] for n in range(3))
    rising, falling = (bins - low) / (middle - low), (high - bins) / (high - middle)
    return np.asarray(np.where(bins < middle, rising, falling) * ((bins >= low) & (bins < high)))


def _cosines() -> NDArray[np.float64]:
    """[13,26] orthonormal DCT of type II."""
    angle = np.pi * np.arange(COEFFICIENTS)[:, None] * (np.arange(_FILTERS) + 0.5) / _FILTERS
    scale = np.full((COEFFICIENTS, 1), np.sqrt(2 / _FILTERS))
    scale[0] = np.sqrt(1 / _FILTERS)
    return np.asarray(scale * np.cos(angle))
