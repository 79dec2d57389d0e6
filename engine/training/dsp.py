"""The few signal operations that the corpus needs, on NumPy alone."""

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError


def smooth(rows: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    """Gaussian smoothing along the first axis, edges repeated. rows: [T] or [T, C]; sigma in rows."""
    radius = max(1, round(4.0 * sigma))
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * np.square(offsets / max(sigma, 1e-6)))
    kernel /= kernel.sum()
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    padded = np.pad(flat, ((radius, radius), (0, 0)), mode="edge")
    out = np.zeros_like(flat)
    for weight, shift in zip(kernel, range(2 * radius + 1), strict=True):
        out += weight * padded[shift : shift + len(flat)]
    return out.reshape(rows.shape).astype(np.float32)


def fast_length(length: int) -> int:
    """The smallest even number at or above `length` with no prime factor above 5."""
    candidate = max(2, length + length % 2)
    while True:
        rest = candidate
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return candidate
        candidate += 2


def convolve(samples: NDArray[np.float32], kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Causal convolution of [N] with [K], cut to [N]."""
    size = fast_length(len(samples) + len(kernel))
    spectrum = np.fft.rfft(samples, size) * np.fft.rfft(kernel, size)
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def resample(samples: NDArray[np.float32], wanted: int) -> NDArray[np.float32]:
    """Band-limited resampling of [N] to [wanted] by its spectrum; the ends are taken as silence.

    The spectrum's own length is not rounded up: what happens at a share of [N] happens at the same share of [wanted],
    to half a sample.
    """
    if samples.ndim != 1 or wanted < 1 or not len(samples):
        raise ShapeError(f"resample takes [N] with N >= 1 and wanted >= 1, got {samples.shape} and {wanted}")
    source = fast_length(len(samples))
    target = max(1, round(source * wanted / len(samples)))
    spectrum = np.fft.rfft(samples, source)
    kept = np.zeros(target // 2 + 1, spectrum.dtype)
    shared = min(len(kept), len(spectrum))
    kept[:shared] = spectrum[:shared]
    stretched = np.fft.irfft(kept, target) * (target / source)
    return np.pad(stretched, (0, max(0, wanted - target)))[:wanted].astype(np.float32)
