"""Landmarks to mouth controls: what a known mouth did is found again, what is not known stays so."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import BadInputError, ShapeError
from engine.speech.controls import CONTROLS, FaceBasis, activations
from engine.training.lips import (
    LARGEST_SCALE,
    STEADY,
    closures,
    controls_of,
    displacement,
    fit_activations,
    known_frames,
    rest_face,
    style_scale,
    usual_opening,
)

pytestmark = pytest.mark.unit

JAW, CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")


def mouth(seed: int = 0) -> FaceBasis:
    """A face whose jaw opens the lips by 0.4, whose closing takes that back, and whose other units do other things.

    Nose and eyes stand still; at rest the lips are 0.02 apart.
    """
    rng = np.random.default_rng(seed)
    rest = rng.standard_normal((68, 3)).astype(np.float32)
    rest[66] = rest[62] + np.array([0.0, 0.02, 0.0], np.float32)
    move = 0.1 * rng.standard_normal((len(CONTROLS), 68, 3))
    move[:, STEADY] = 0.0
    move[2:, 62], move[2:, 66] = move[2:, 62] * 0.1, move[2:, 62] * 0.1
    move[JAW, 62], move[JAW, 66] = 0.0, (0.0, 0.4, 0.0)
    move[CLOSE, 62], move[CLOSE, 66] = (0.0, 0.2, 0.0), (0.0, -0.2, 0.0)
    return FaceBasis(rest, move.astype(np.float32))


def talk(frames: int = 60, seed: int = 1) -> NDArray[np.float32]:
    """Smooth controls [T, CONTROLS] within their ranges, closing among them."""
    rng = np.random.default_rng(seed)
    at = np.arange(frames)[:, None] / 50
    return (0.4 + 0.2 * np.sin(2 * np.pi * rng.uniform(0.5, 2, len(CONTROLS)) * at + rng.uniform(0, 6, 9))).astype("f4")


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 1000))
def test_what_a_face_was_moved_by_is_found_again(seed: int) -> None:
    """Any activations within the ranges, closing within the jaw."""
    basis = mouth()
    active = activations(np.random.default_rng(seed).random((7, len(CONTROLS))).astype(np.float32))
    np.testing.assert_allclose(fit_activations(basis.move(active), basis), active, atol=0.06)


def test_noise_costs_little_and_nothing_leaves_its_range() -> None:
    basis, active = mouth(), activations(talk())
    moved = basis.move(active)
    noisy = moved + np.random.default_rng(2).normal(0.0, 0.01, moved.shape).astype(np.float32)
    assert np.abs(fit_activations(noisy, basis) - active).mean() < 0.03
    for factor in (-3.0, 5.0):
        found = fit_activations(np.float32(factor) * moved, basis)
        assert found.min() >= 0.0 and found.max() <= 1.0
        assert (found[:, CLOSE] <= found[:, JAW] + 1e-6).all()


def test_points_that_speech_does_not_move_do_not_count() -> None:
    """Brows may do what they like."""
    basis = mouth()
    moved = basis.move(activations(talk()))
    raised = moved.copy()
    raised[:, 17:27] += 0.3
    np.testing.assert_array_equal(fit_activations(raised, basis), fit_activations(moved, basis))


def test_unknown_frames_give_zeros_and_touch_no_others() -> None:
    basis = mouth()
    moved = basis.move(activations(talk()))
    gone = moved.copy()
    gone[10:14, 40, 1] = np.nan
    known = known_frames(gone)
    assert np.flatnonzero(~known).tolist() == [10, 11, 12, 13]
    found = fit_activations(gone, basis)
    assert not found[10:14].any()
    np.testing.assert_array_equal(found[known], fit_activations(moved, basis)[known])
    assert not fit_activations(np.full((3, 68, 3), np.nan, np.float32), basis).any()


def test_controls_of_a_film_are_those_that_moved_the_face() -> None:
    """Every second frame is filmed; the others lie between. Closing comes out as a share again."""
    basis, wanted = mouth(), talk(81)
    controls, known = controls_of(basis.move(activations(wanted))[::2], basis, 25.0)
    assert controls.shape == (81, len(CONTROLS)) and known.all()
    np.testing.assert_allclose(controls, wanted, atol=0.12)
    assert np.abs(controls - wanted).mean() < 0.03


def test_between_a_known_and_an_unknown_frame_nothing_is_known() -> None:
    basis = mouth()
    film = basis.move(activations(talk(41)))[::2].copy()
    film[5] = np.nan
    controls, known = controls_of(film, basis, 25.0)
    assert np.flatnonzero(~known).tolist() == [9, 10, 11]
    assert not controls[9:12].any() and controls[12:].any(axis=1).all()


def test_lips_close_for_sounds_and_rest_in_pauses() -> None:
    """Shut for 0.1 s between vowels: a sound. For 0.6 s, at an end, or beside what is not known: none."""
    opened = np.full(120, 0.2, np.float32)
    opened[20:25] = 0.0
    opened[50:80] = 0.01
    opened[100:104] = 0.0
    opened[117:] = 0.0
    known = np.ones(120, bool)
    known[106] = False
    assert np.flatnonzero(closures(opened, known)).tolist() == [20, 21, 22, 23, 24]
    known[106] = True
    assert closures(opened, known)[100:104].all()
    assert not closures(np.minimum(opened, 0.04), known).any(), "a mouth that hardly opens does not close"


def test_a_closure_is_sure_in_the_controls() -> None:
    basis, wanted = mouth(), np.zeros((61, len(CONTROLS)), np.float32)
    wanted[:, JAW] = 0.5
    wanted[28:33, CLOSE] = 1.0
    controls, _ = controls_of(basis.move(activations(wanted))[::2], basis, 25.0)
    assert (controls[28:33, CLOSE] == 1.0).all()
    assert controls[:26, CLOSE].max() < 0.1 and controls[36:, CLOSE].max() < 0.1
    still = np.zeros((31, 68, 3), np.float32)
    assert not controls_of(still, basis, 25.0)[0][:, CLOSE].any(), "a mouth at rest closes for no sound"


def test_rest_is_the_face_with_the_narrowest_lips() -> None:
    basis = mouth()
    active = activations(talk(100))
    active[::9] = 0.0
    head = basis.rest + basis.move(active)
    head[3] = np.nan
    np.testing.assert_allclose(rest_face(head), basis.rest, atol=1e-6)
    with pytest.raises(BadInputError, match="no frame with a face"):
        rest_face(np.full((4, 68, 3), np.nan, np.float32))


def test_what_moves_eyes_and_nose_as_well_is_not_the_mouths() -> None:
    basis = mouth()
    moved = basis.move(activations(talk()))
    drift = np.random.default_rng(3).normal(0.0, 0.05, (len(moved), 1, 3)).astype(np.float32)
    np.testing.assert_allclose(displacement(basis.rest + moved + drift, basis.rest), moved, atol=1e-5)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.7])
def test_all_speakers_open_as_far_as_is_usual(factor: float) -> None:
    basis, controls = mouth(), talk(300)
    usual = usual_opening(controls, basis)
    moved = np.float32(factor) * basis.move(activations(controls))
    moved[7] = np.nan
    assert style_scale([moved[:150], moved[150:]], usual) == pytest.approx(1 / factor, rel=0.03)


def test_a_style_is_never_scaled_out_of_all_proportion() -> None:
    moved = mouth().move(activations(talk()))
    assert style_scale([np.float32(1e-3) * moved], 0.1) == LARGEST_SCALE
    assert style_scale([np.float32(100.0) * moved], 0.1) == 1 / LARGEST_SCALE
    with pytest.raises(BadInputError, match="0 known frames"):
        style_scale([np.full((4, 68, 3), np.nan, np.float32)], 0.1)
    with pytest.raises(BadInputError, match="usual opening of 0"):
        style_scale([moved], 0.0)


@pytest.mark.parametrize("shape", [(5, 68, 2), (68, 3), (5, 67, 3)])
def test_other_shapes_than_landmarks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected \[T, 68, 3\]"):
        known_frames(np.zeros(shape, np.float32))
