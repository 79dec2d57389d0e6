"""Voice activity: opens before the sound, closes within 200 ms, rests exactly, does not quiver."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadInputError
from engine.speech.activity import ActivityConfig, ActivityDetector, MouthGate
from engine.speech.detectors import FRAME

pytestmark = pytest.mark.unit

AHEAD = 4


def _gate(decisions: list[bool]) -> list[float]:
    gate = MouthGate(ActivityConfig(), AHEAD)
    factors = [gate.push(decision) for decision in [*decisions, *[False] * AHEAD]]
    return [factor for factor in factors if factor is not None]


def test_one_factor_for_every_frame() -> None:
    assert len(_gate([False] * 30)) == 30


def test_the_gate_is_open_before_the_first_sound() -> None:
    factors = _gate([False] * 20 + [True] * 30)
    assert factors[20] == 1.0
    assert factors[10] == 0.0


def test_it_rests_exactly_from_200_ms_after_the_last_sound() -> None:
    factors = _gate([True] * 30 + [False] * 40)
    assert factors[30] > 0.9
    assert all(factor == 0.0 for factor in factors[40:])


def test_it_closes_without_a_jump() -> None:
    steps = np.abs(np.diff(_gate([False] * 20 + [True] * 30 + [False] * 40)))
    assert steps.max() < 0.55
    assert np.abs(np.diff(_gate([True] * 30 + [False] * 40)[20:])).max() < 0.25


def test_a_click_does_not_open_it() -> None:
    assert max(_gate([False] * 20 + [True] + [False] * 20)) == 0.0


def test_the_closure_of_a_stop_does_not_shut_it() -> None:
    assert min(_gate([True] * 20 + [False] * 4 + [True] * 20)[8:-8]) == 1.0


@settings(deadline=None, max_examples=30)
@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_factors_stay_in_range(decisions: list[bool]) -> None:
    assert all(0.0 <= factor <= 1.0 for factor in _gate(decisions))


def test_noise_and_silence_are_not_speech() -> None:
    rng = np.random.default_rng(0)
    for sound in (np.zeros(32_000), 0.003 * rng.standard_normal(32_000), np.full(32_000, 0.4)):
        decisions = ActivityDetector(ActivityConfig()).push(sound.astype(np.float32))
        assert len(decisions) == 100
        assert sum(decisions[10:]) == 0


def test_decisions_do_not_depend_on_the_cut() -> None:
    times = np.arange(32_000) / 16_000
    voice = sum(np.sin(2 * np.pi * 150 * k * times) / k for k in range(1, 15)) * (np.sin(2 * np.pi * times) > 0)
    sound = (0.1 * voice).astype(np.float32)
    whole = ActivityDetector(ActivityConfig()).push(sound)
    detector = ActivityDetector(ActivityConfig())
    pieces = [decision for piece in np.array_split(sound, 37) for decision in detector.push(piece)]
    assert pieces == whole
    assert any(whole)
    assert len(whole) == len(sound) // FRAME


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(BadInputError, match="aggressiveness"):
        ActivityConfig(aggressiveness=4)
    with pytest.raises(BadInputError, match="release_ms"):
        ActivityConfig(release_ms=0)
