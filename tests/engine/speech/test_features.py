"""Feature extraction: the same frames however the stream is cut, level-free, robust to broken sound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.features import (
    BAND_LOUDNESS,
    CHANNELS,
    LOUDNESS,
    LOWEST_LEVEL_DB,
    FeatureState,
    clean_samples,
    extract,
)

pytestmark = pytest.mark.unit


def _speechlike(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * 16_000)) / 16_000
    envelope = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * times)
    voice = sum(np.sin(2 * np.pi * 140 * k * times) / k for k in range(1, 20))
    return (0.1 * envelope * (voice + 0.1 * rng.standard_normal(len(times)))).astype(np.float32)


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 16_000), max_size=12))
def test_any_cut_gives_the_same_frames(cuts: list[int]) -> None:
    sound = _speechlike(1.0)
    whole = extract(sound, FeatureState())
    state = FeatureState()
    edges = [0, *sorted(cuts), len(sound)]
    pieces = [extract(sound[a:b], state) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    joined = np.concatenate(pieces)
    assert joined.shape == whole.shape == (99, CHANNELS)
    np.testing.assert_allclose(joined, whole, atol=1e-6)


@pytest.mark.parametrize("gain_db", [-20.0, -10.0, 6.0])
def test_level_changes_nothing_once_it_is_learnt(gain_db: float) -> None:
    sound = _speechlike(20.0)
    plain = extract(sound, FeatureState())[-300:]
    changed = extract(sound * np.float32(10 ** (gain_db / 20)), FeatureState())[-300:]
    np.testing.assert_allclose(plain[:, LOUDNESS], changed[:, LOUDNESS], atol=0.12)
    np.testing.assert_allclose(plain[:, BAND_LOUDNESS], changed[:, BAND_LOUDNESS], atol=0.12)


def test_dc_is_not_sound() -> None:
    sound = _speechlike(8.0)
    plain = extract(sound, FeatureState())[-100:]
    shifted = extract(sound + np.float32(0.3), FeatureState())[-100:]
    np.testing.assert_allclose(shifted, plain, atol=0.02)


def test_the_level_holds_through_a_pause_and_never_sinks_into_noise() -> None:
    state = FeatureState()
    extract(_speechlike(5.0), state)
    spoken = state.level_db
    extract(np.zeros(16_000 * 20, np.float32), state)
    assert state.level_db == pytest.approx(spoken, abs=0.1)
    noise = np.random.default_rng(0).standard_normal(16_000 * 60).astype(np.float32) * np.float32(1e-4)
    fresh = FeatureState()
    extract(noise, fresh)
    assert fresh.level_db >= LOWEST_LEVEL_DB


def test_state_stays_small() -> None:
    state = FeatureState()
    for _ in range(50):
        extract(_speechlike(1.0), state)
    assert len(state.tail) < 400


def test_broken_samples_become_silence_or_full_scale() -> None:
    broken = np.array([0.5, np.nan, np.inf, -np.inf, 3.0, -3.0], np.float32)
    np.testing.assert_array_equal(clean_samples(broken), np.array([0.5, 0, 0, 0, 1, -1], np.float32))


@pytest.mark.parametrize("samples", [np.zeros((2, 100), np.float32), np.zeros(100, np.int16)])
def test_wrong_sound_says_what_is_expected(samples: NDArray[np.float32]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        clean_samples(samples)
