"""Making one voice sound like many recordings: filter, room, noise, codec, level. Timing is never changed here."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.training.audio import SAMPLE_RATE
from engine.training.dsp import convolve, resample

Samples = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class AugmentConfig:
    """How often and how strongly the sound is changed."""

    speed: float = 0.17
    """Largest relative change of rate (pitch, formants and tempo together)."""
    filter_db: float = 9.0
    """Largest gain of the random equaliser, dB."""
    room: float = 0.4
    """Share of segments with reverberation."""
    noise: float = 0.65
    """Share of segments with added noise."""
    lowest_snr_db: float = 6.0
    """Worst ratio of speech to added noise."""
    narrow: float = 0.2
    """Share of segments reduced to telephone or low-rate codec bandwidth."""
    compress: float = 0.35
    """Share of segments whose dynamics are compressed, as broadcasters do."""
    lowest_gain_db: float = -32.0
    """Lowest peak level after the level change, dB over full scale."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ("room", "noise", "narrow", "compress"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise BadInputError(f"augment.{name} is {getattr(self, name)}, expected a share of 0 ... 1")
        if not 0.0 <= self.speed < 0.5:
            raise BadInputError(f"augment.speed is {self.speed}, expected 0 ... 0.5")


def _rms(samples: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def change_speed(samples: Samples, factor: float) -> Samples:
    """Plays `factor` times as fast: shorter, higher, and with a shorter vocal tract."""
    return resample(samples, max(16, round(len(samples) / factor)))


def _gains(samples: Samples, knots_hz: NDArray[np.float64], knots_db: NDArray[np.float64]) -> Samples:
    """Applies a gain curve given at some frequencies."""
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1.0 / SAMPLE_RATE)
    spectrum *= 10.0 ** (np.interp(frequency, knots_hz, knots_db) / 20.0)
    return np.fft.irfft(spectrum, len(samples)).astype(np.float32)


def equalise(samples: Samples, rng: Rng, largest_db: float) -> Samples:
    """A random smooth filter: microphone, room tone and voice colour."""
    knots = np.array([0.0, 150.0, 300.0, 600.0, 1200.0, 2400.0, 4800.0, 8000.0])
    curve = np.clip(np.cumsum(rng.normal(0.0, largest_db / 3.0, len(knots))), -2 * largest_db, 2 * largest_db)
    curve -= curve.mean()
    return _gains(samples, knots, np.clip(curve, -largest_db, largest_db))


def reverberate(samples: Samples, rng: Rng) -> Samples:
    """A room: direct sound and a decaying noise tail of 0.1-0.6 s."""
    decay = rng.uniform(0.1, 0.6)
    length = int(decay * SAMPLE_RATE)
    envelope = 10.0 ** (-3.0 * np.arange(length) / length)
    tail = rng.standard_normal(length) * envelope
    tail *= 10.0 ** (rng.uniform(-18.0, -3.0) / 20.0) / np.sqrt(np.square(tail).sum())
    tail[0] += 1.0
    return convolve(samples, tail.astype(np.float32))


def coloured_noise(length: int, rng: Rng) -> Samples:
    """Noise with a random spectral slope (white to brown), at RMS 1."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.fft.rfftfreq(length, 1.0 / SAMPLE_RATE)
    spectrum *= (np.maximum(frequency, 40.0) / 1000.0) ** (-rng.uniform(0.0, 1.2))
    noise = np.fft.irfft(spectrum, length).astype(np.float32)
    return noise / np.float32(_rms(noise))


def hum(length: int, rng: Rng) -> Samples:
    """A chord of slowly trembling tones, at RMS 1: mains hum, engines, sustained music."""
    times = np.arange(length, dtype=np.float32) / np.float32(SAMPLE_RATE)
    base = rng.uniform(45.0, 400.0)
    total = np.zeros(length, np.float32)
    for multiple in rng.choice(np.arange(1, 13), 4, replace=False):
        total += np.sin(np.float32(2 * np.pi * base * multiple) * times + np.float32(rng.uniform(0, 6.3))) / multiple
    total *= 1.0 + 0.5 * np.sin(np.float32(2 * np.pi * rng.uniform(0.1, 4.0)) * times)
    return (total / _rms(total)).astype(np.float32)


def narrow_band(samples: Samples, rng: Rng) -> Samples:
    """Telephone band or a low-rate codec's cut, with the telephone's logarithmic quantisation."""
    if rng.random() < 0.5:
        low, high = rng.uniform(150.0, 300.0), rng.uniform(3300.0, 3900.0)
        knots, curve = [0.0, low * 0.7, low, high, high * 1.1, 8000.0], [-60.0, -30.0, 0.0, 0.0, -70.0, -90.0]
        cut = _gains(samples, np.array(knots), np.array(curve))
        peak = np.float32(np.abs(cut).max() + 1e-9)
        law = np.sign(cut) * np.log1p(255.0 * np.abs(cut) / peak) / np.log(256.0)
        coarse = np.round(law * 127.0) / 127.0
        return np.asarray(np.sign(coarse) * (256.0 ** np.abs(coarse) - 1.0) / 255.0 * peak, np.float32)
    high = rng.uniform(4500.0, 7500.0)
    return _gains(samples, np.array([0.0, high, high * 1.05, 8000.0]), np.array([0.0, 0.0, -60.0, -90.0]))


def compress_dynamics(samples: Samples, rng: Rng) -> Samples:
    """A compressor: what is 10 dB under the peak comes up by 1-5 dB; 10 ms attack and release."""
    ratio = rng.uniform(0.1, 0.5)
    envelope = np.sqrt(convolve(np.square(samples), np.full(320, 1 / 320, np.float32)).clip(1e-9))
    peak = float(np.percentile(envelope, 99)) + 1e-6
    gain = np.maximum(envelope / peak, 0.03) ** (-ratio)
    return np.asarray(samples * gain, np.float32)


def augment(samples: Samples, babble: Samples, rng: Rng, config: AugmentConfig) -> Samples:
    """samples: [N] clean speech; babble: [N] other speech for the background -> [N] in [-1, 1]."""

    def noisy(x: Samples) -> Samples:
        """The sound with one kind of noise under it."""
        kind = rng.choice(3, p=[0.6, 0.2, 0.2])
        noise = (coloured_noise(len(x), rng), hum(len(x), rng), babble)[int(kind)]
        ratio = rng.uniform(config.lowest_snr_db + (6.0 if kind == 2 else 0.0), 38.0)
        return x + noise * np.float32(_rms(x) / _rms(noise) * 10.0 ** (-ratio / 20.0))

    steps: tuple[tuple[float, Callable[[Samples], Samples]], ...] = (
        (config.compress, lambda x: compress_dynamics(x, rng)),
        (0.8, lambda x: equalise(x, rng, config.filter_db)),
        (config.room, lambda x: reverberate(x, rng)),
        (config.noise, noisy),
        (config.narrow, lambda x: narrow_band(x, rng)),
    )
    for share, change in steps:
        if rng.random() < share:
            samples = change(samples)
    gain_db = rng.uniform(config.lowest_gain_db, 4.0)
    peak = float(np.abs(samples).max()) + 1e-6
    return np.asarray(np.clip(samples / peak * 10.0 ** (gain_db / 20.0), -1.0, 1.0), np.float32)
