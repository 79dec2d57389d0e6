"""Cepstral coefficients against figures of another implementation."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.evaluation.mfcc import COEFFICIENTS, RATE, STEP, mfcc

pytestmark = pytest.mark.unit

KNOWN = {
    0: (19.024, 21.687, -7.24, 29.39, 22.032, -29.086, -7.612, 17.119, -27.877, -38.984, -0.176, -11.774, -38.228),
    7: (21.208, 8.717, -16.955, 30.187, 16.103, -41.597, -19.292, 7.84, -38.709, -48.259, -1.805, -9.118, -34.444),
    14: (-36.044, *[0.0] * 12),
    23: (21.427, 7.982, -12.615, 38.154, 19.575, -45.043, -28.825, -0.601, -36.275, -33.016, 21.7, 19.384, -6.452),
}
"""What python_speech_features 0.6 gives for windows of `sound()`, rounded; the last window is partly silence."""


def sound() -> NDArray[np.float32]:
    """A quarter of a second: a sweep, a tone that swells, and a pause."""
    t = np.arange(4000) / RATE
    sweep = 0.4 * np.sin(2 * np.pi * (200 + 300 * t) * t)
    values = (sweep + 0.2 * np.sin(2 * np.pi * 2300 * t) * np.sin(9 * t)).astype(np.float32)
    values[2000:2700] = 0
    return values


def test_coefficients_are_those_of_the_published_front_end() -> None:
    found = mfcc(sound())
    assert found.shape == (24, COEFFICIENTS) and found.dtype == np.float32
    for window, values in KNOWN.items():
        assert found[window] == pytest.approx(values, abs=6e-4)


@pytest.mark.parametrize(("samples", "windows"), [(1, 1), (400, 1), (401, 2), (560, 2), (561, 3), (16000, 99)])
def test_windows_hold_all_samples(samples: int, windows: int) -> None:
    assert mfcc(np.full(samples, 0.1, np.float32)).shape == (windows, COEFFICIENTS)


def test_louder_sound_differs_in_energy_and_not_in_shape() -> None:
    """Doubling adds the logarithm of four to the energy; the other coefficients are free of level."""
    quiet, loud = mfcc(0.25 * sound()), mfcc(0.5 * sound())
    speech = [n for n in range(24) if n not in (11, 12, 13, 14, 15, 16)]
    assert (loud - quiet)[speech, 0] == pytest.approx(np.log(4), abs=1e-3)
    assert np.abs((loud - quiet)[speech, 1:]).max() < 0.15


def test_windows_follow_the_sound_by_ten_milliseconds_each() -> None:
    found, later = mfcc(sound()), mfcc(np.concatenate([np.zeros(3 * STEP, np.float32), sound()]))
    assert later[4:] == pytest.approx(found[1:], abs=1e-3)


def test_values_out_of_range_are_limited_and_other_shapes_refused() -> None:
    assert np.isfinite(mfcc(np.full(800, 7.0))).all()
    with pytest.raises(ShapeError, match="samples"):
        mfcc(np.zeros((2, 400)))
