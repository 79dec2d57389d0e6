"""Changes made to the sound: no one of them moves anything in time, each does what it says and is repeatable."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.training import augment as a
from engine.training.augment import AugmentConfig, augment, change_speed

pytestmark = pytest.mark.unit

Samples = NDArray[np.float32]
Change = Callable[[Samples, np.random.Generator], Samples]
CHANGES: dict[str, Change] = {
    "equalise": lambda x, rng: a.equalise(x, rng, 9.0),
    "reverberate": a.reverberate,
    "narrow_band": a.narrow_band,
    "compress_dynamics": a.compress_dynamics,
}


def bursts(places: tuple[int, ...] = (4000, 12_000), length: int = 20_000) -> Samples:
    """Short bursts of noise in silence."""
    rng = np.random.default_rng(0)
    samples = 1e-4 * rng.standard_normal(length)
    for place in places:
        samples[place - 200 : place + 200] += 0.3 * np.hanning(400) * rng.standard_normal(400)
    return samples.astype(np.float32)


def rms(samples: Samples) -> float:
    return float(np.sqrt(np.square(samples, dtype=np.float64).mean()))


def loudest(samples: Samples, around: int) -> int:
    """Place of the loudest 10 ms within 100 ms of a place."""
    part = np.convolve(np.square(samples[around - 1600 : around + 1600]), np.ones(160), mode="same")
    return around - 1600 + int(part.argmax())


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("seed", range(4))
def test_no_change_moves_a_sound_in_time(name: str, seed: int) -> None:
    """Labels lie in time: a burst stays where it is, to 10 ms."""
    out = CHANGES[name](bursts(), np.random.default_rng(seed))
    assert out.shape == (20_000,) and out.dtype == np.float32 and np.isfinite(out).all()
    for place in (4000, 12_000):
        assert abs(loudest(out, place) - place) < 160


@pytest.mark.parametrize("name", CHANGES)
def test_what_has_not_sounded_yet_is_not_heard(name: str) -> None:
    """Nothing rings ahead of a burst by more than 20 ms at a fifth of its level."""
    out = CHANGES[name](bursts((12_000,)), np.random.default_rng(1))
    peak = rms(out[11_900:12_100])
    assert rms(out[6000:11_400]) < 0.2 * peak


@pytest.mark.parametrize("name", CHANGES)
def test_the_same_seed_makes_the_same_sound(name: str) -> None:
    one, two, other = (CHANGES[name](bursts(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(one, two) and not np.array_equal(one, other)


@pytest.mark.parametrize("name", CHANGES)
def test_silence_stays_silence(name: str) -> None:
    out = CHANGES[name](np.zeros(8000, np.float32), np.random.default_rng(0))
    assert np.isfinite(out).all() and np.abs(out).max() < 1e-6


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), largest=st.floats(0.0, 20.0))
def test_the_equaliser_stays_within_its_gain(seed: int, largest: float) -> None:
    """At every frequency, by what becomes of a click; and with no gain allowed it changes nothing."""
    click = np.zeros(4000, np.float32)
    click[2000] = 1.0
    gain_db = 20 * np.log10(np.abs(np.fft.rfft(a.equalise(click, np.random.default_rng(seed), largest))))
    assert np.abs(gain_db).max() <= largest + 0.01


@pytest.mark.parametrize("make", [a.coloured_noise, a.hum])
@pytest.mark.parametrize("length", [400, 16_001])
def test_noise_has_unit_strength(make: Callable[[int, np.random.Generator], Samples], length: int) -> None:
    for seed in range(5):
        noise = make(length, np.random.default_rng(seed))
        assert noise.shape == (length,) and noise.dtype == np.float32
        assert rms(noise) == pytest.approx(1.0, rel=1e-3)


def test_coloured_noise_is_never_brighter_than_white() -> None:
    """Its level falls with frequency, or at least does not rise."""
    for seed in range(12):
        power = np.abs(np.fft.rfft(a.coloured_noise(32_000, np.random.default_rng(seed)))) ** 2
        low, high = power[200:1000].mean(), power[8000:14_000].mean()
        assert low > 0.8 * high


def test_narrow_bands_cut_what_lies_above() -> None:
    """Whatever is drawn, nothing is left over 7.9 kHz; speech under 3 kHz passes."""
    times = np.arange(16_000) / 16_000
    both = [np.sin(2 * np.pi * hertz * times).astype(np.float32) for hertz in (1000, 7950)]
    for seed in range(8):
        middle, high = (rms(a.narrow_band(tone, np.random.default_rng(seed))) / rms(tone) for tone in both)
        assert middle > 0.9
        assert high < 0.1


def test_a_compressor_brings_up_what_is_quiet() -> None:
    """The quiet half against the loud half; by 1 to 5 dB for 10 dB of distance."""
    noise = np.random.default_rng(0).standard_normal(32_000).astype(np.float32)
    noise[:16_000] *= 10 ** (-10 / 20)
    for seed in range(5):
        out = a.compress_dynamics(noise, np.random.default_rng(seed))
        distance = 20 * np.log10(rms(out[17_000:]) / rms(out[1000:15_000]))
        assert 4.5 < distance < 9.3


@pytest.mark.parametrize("factor", [0.85, 0.97, 1.0, 1.13])
def test_a_changed_speed_moves_every_burst_by_the_same_factor(factor: float) -> None:
    """Also at the end of twenty seconds: this once went wrong by a quarter of a second."""
    places = (16_000, 160_000, 310_000)
    out = change_speed(bursts(places, 320_000), factor)
    assert len(out) == round(320_000 / factor)
    for place in places:
        assert abs(loudest(out, round(place / factor)) - place / factor) < 160


def test_the_level_that_is_drawn_is_the_level_that_comes_out() -> None:
    """Peaks lie between the lowest gain and full scale, and the range is used."""
    config = AugmentConfig(lowest_gain_db=-20.0)
    peaks = []
    for seed in range(60):
        out = augment(bursts(), bursts()[::-1].copy(), np.random.default_rng(seed), config)
        assert out.dtype == np.float32 and np.isfinite(out).all()
        peaks.append(float(np.abs(out).max()))
    assert min(peaks) >= 10 ** (-20 / 20) * 0.99 and max(peaks) == 1.0
    assert min(peaks) < 0.15


def test_without_any_change_only_the_level_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a, "equalise", lambda x, rng, largest: x)
    plain = AugmentConfig(room=0.0, noise=0.0, narrow=0.0, compress=0.0, lowest_gain_db=-6.0)
    out = augment(bursts(), bursts(), np.random.default_rng(11), plain)
    inside = np.abs(out) < 0.999
    ratio = out[inside] / bursts()[inside]
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)


def test_the_noise_is_as_far_below_the_speech_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never louder than the lowest ratio allows; babble is kept 6 dB further down."""
    monkeypatch.setattr(a, "equalise", lambda x, rng, largest: x)
    config = AugmentConfig(room=0.0, noise=1.0, narrow=0.0, compress=0.0, lowest_snr_db=10.0, lowest_gain_db=-40.0)
    speech = np.random.default_rng(5).standard_normal(16_000).astype(np.float32) * np.float32(0.1)
    ratios = []
    for seed in range(40):
        out = augment(speech, speech[::-1].copy(), np.random.default_rng(seed), config)
        if np.abs(out).max() >= 1.0:
            continue
        gain = float(out @ speech / (speech @ speech))
        ratios.append(20 * np.log10(gain * rms(speech) / rms(out - gain * speech)))
    assert len(ratios) > 20 and min(ratios) > 9.0 and max(ratios) < 39.0


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("room", 1.2, "0 ... 1"),
        ("noise", -0.1, "0 ... 1"),
        ("narrow", float("nan"), "0 ... 1"),
        ("compress", 2.0, "0 ... 1"),
        ("speed", 0.5, "0 ... 0.5"),
        ("speed", -0.01, "0 ... 0.5"),
    ],
)
def test_settings_out_of_range_are_named_with_what_they_may_be(name: str, value: float, expected: str) -> None:
    with pytest.raises(BadInputError, match=rf"augment\.{name} is {value}, expected .*{expected}"):
        AugmentConfig(**{name: value})
