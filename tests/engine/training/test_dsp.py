"""The corpus's signal operations against slow formulas, and what they promise of time: nothing moves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.training.dsp import convolve, fast_length, resample, smooth

pytestmark = pytest.mark.unit

RNG = np.random.default_rng(0)


def noise(*shape: int) -> NDArray[np.float32]:
    return RNG.standard_normal(shape).astype(np.float32)


def pulse(length: int, at: int, width: int = 80) -> NDArray[np.float32]:
    """A smooth bump around sample `at`."""
    samples = np.zeros(length, np.float32)
    samples[at - width : at + width + 1] = np.hanning(2 * width + 1)
    return samples


def centre(samples: NDArray[np.float32]) -> float:
    """Where a bump lies."""
    weight = np.clip(samples, 0.05, None) - 0.05
    return float((np.arange(len(samples)) * weight).sum() / weight.sum())


@settings(deadline=None, max_examples=40)
@given(
    length=st.integers(30_000, 330_000),
    factor=st.floats(0.85, 1.18),
    share=st.floats(0.1, 0.95),
)
def test_what_happens_at_a_share_of_the_sound_happens_there_after_resampling(
    length: int, factor: float, share: float
) -> None:
    """For lengths of every kind, not only those that the transform likes: labels are moved by the same factor."""
    at, wanted = int(length * share), round(length / factor)
    found = centre(resample(pulse(length, at), wanted))
    assert found == pytest.approx(at * wanted / length, abs=1.0)


@pytest.mark.parametrize(("length", "wanted"), [(48_000, 49_485), (320_000, 283_186), (320_037, 316_869), (7919, 6007)])
@pytest.mark.parametrize("hertz", [100.0, 1500.0])
def test_a_tone_keeps_its_cycles(length: int, wanted: int, hertz: float) -> None:
    """As many cycles as before over the whole, to half a sample: pitch and time change by one and the same factor."""
    cycles = round(hertz * length / 16_000)
    tone = np.sin(2 * np.pi * cycles * np.arange(length) / length).astype(np.float32)
    expected = np.sin(2 * np.pi * cycles * np.arange(wanted) / wanted)
    inner = slice(wanted // 10, -wanted // 10)
    half_a_sample = np.pi * hertz * length / wanted / 16_000
    np.testing.assert_allclose(resample(tone, wanted)[inner], expected[inner], atol=half_a_sample + 0.01)


def test_resampling_to_the_same_length_changes_nothing() -> None:
    samples = noise(5000)
    np.testing.assert_allclose(resample(samples, 5000), samples, atol=1e-5)


def test_resampling_is_linear() -> None:
    a, b = noise(3000), noise(3000)
    np.testing.assert_allclose(resample(2 * a - b, 2345), 2 * resample(a, 2345) - resample(b, 2345), atol=1e-4)


def test_resampling_there_and_back_keeps_what_both_rates_can_hold() -> None:
    times = np.arange(16_000) / 16_000
    samples = (np.hanning(16_000) * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    np.testing.assert_allclose(resample(resample(samples, 12_345), 16_000), samples, atol=0.05)


def test_what_the_lower_rate_cannot_hold_is_gone_not_mirrored() -> None:
    times = np.arange(16_000) / 16_000
    high = np.sin(2 * np.pi * 7000 * times).astype(np.float32)
    assert np.abs(resample(high, 8000)[400:-400]).max() < 0.02


@pytest.mark.parametrize("wanted", [1, 2, 3, 10_000])
@pytest.mark.parametrize("length", [1, 2, 5, 16])
def test_the_shortest_sounds_have_the_length_asked_for(length: int, wanted: int) -> None:
    out = resample(np.ones(length, np.float32), wanted)
    assert out.shape == (wanted,) and out.dtype == np.float32 and np.isfinite(out).all()


@pytest.mark.parametrize(
    ("samples", "wanted"), [(np.zeros((2, 2)), 4), (np.zeros(0), 4), (np.zeros(4), 0), (np.zeros(4), -3)]
)
def test_resampling_names_what_it_cannot_take(samples: NDArray[np.float64], wanted: int) -> None:
    with pytest.raises(ShapeError, match=r"takes \[N\] with N >= 1 and wanted >= 1, got .* and " + str(wanted)):
        resample(samples.astype(np.float32), wanted)


@settings(deadline=None)
@given(st.integers(0, 200_000))
def test_a_fast_length_is_the_next_even_one_of_small_primes(length: int) -> None:
    found = fast_length(length)
    assert found >= max(2, length) and found % 2 == 0
    rest = found
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    assert rest == 1 and fast_length(found) == found


def test_no_fast_length_is_passed_over() -> None:
    fast = [n for n in range(2, 2001, 2) if all(n % p for p in (7, 11, 13)) and _smooth(n)]
    assert sorted({fast_length(n) for n in range(1, 2001)}) == fast


def _smooth(number: int) -> bool:
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1


@pytest.mark.parametrize(("length", "taps"), [(500, 1), (500, 33), (40, 100), (1, 1)])
def test_convolution_is_the_causal_sum(length: int, taps: int) -> None:
    samples, kernel = noise(length), noise(taps)
    np.testing.assert_allclose(convolve(samples, kernel), np.convolve(samples, kernel)[:length], atol=1e-4)


def test_a_sound_does_not_wrap_around_into_its_own_beginning() -> None:
    samples = np.zeros(1000, np.float32)
    samples[-1] = 1.0
    out = convolve(samples, np.ones(300, np.float32))
    assert np.abs(out[:-1]).max() < 1e-5 and out[-1] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("shape", [(60,), (60, 3)])
@pytest.mark.parametrize("sigma", [0.3, 1.4, 5.0])
def test_smoothing_is_the_gaussian_mean_with_edges_repeated(shape: tuple[int, ...], sigma: float) -> None:
    rows = noise(*shape)
    out = smooth(rows, sigma)
    assert out.shape == shape and out.dtype == np.float32
    flat, radius = rows.reshape(60, -1), max(1, round(4 * sigma))
    for row in (0, 7, 30, 59):
        places = np.arange(row - radius, row + radius + 1)
        weight = np.exp(-0.5 * ((places - row) / sigma) ** 2)
        expected = weight @ flat[places.clip(0, 59)] / weight.sum()
        np.testing.assert_allclose(out.reshape(60, -1)[row], expected, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.0, 0.7, 20.0])
def test_smoothing_keeps_a_constant_and_the_mean_of_what_lies_inside(sigma: float) -> None:
    np.testing.assert_allclose(smooth(np.full(30, 2.5, np.float32), sigma), 2.5, atol=1e-6)
    bump = np.zeros(400, np.float32)
    bump[200] = 1.0
    assert smooth(bump, sigma).sum() == pytest.approx(1.0, abs=1e-3)
    assert int(smooth(bump, sigma).argmax()) == 200


def test_no_width_is_no_smoothing() -> None:
    rows = noise(40, 2)
    np.testing.assert_allclose(smooth(rows, 0.0), rows, atol=1e-6)
