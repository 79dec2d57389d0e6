"""Mouth tracks and controls: shapes are checked, closing takes back the jaw."""

import numpy as np
import pytest

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, FaceBasis, activations
from engine.speech.track import MouthTrack, rest_frame

pytestmark = pytest.mark.unit


def test_a_track_of_one_frame_holds_it() -> None:
    track = MouthTrack(np.zeros(1), np.ones((1, 68, 3), np.float32), np.ones(1, np.float32))
    assert track.at(0.0).speaking == 1.0
    assert track.at(0.1).speaking == 0.0


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"\[T, 68, 3\]"):
        MouthTrack(np.zeros(2), np.zeros((1, 68, 3), np.float32), np.zeros(2, np.float32))
    with pytest.raises(ShapeError, match="face basis"):
        FaceBasis(np.zeros((68, 2), np.float32), np.zeros((9, 68, 3), np.float32))
    with pytest.raises(ShapeError, match="jaw"):
        activations(np.zeros((3, 4), np.float32))


def test_closing_takes_back_the_jaw_and_leaves_its_input_alone() -> None:
    controls = np.zeros((1, len(CONTROLS)), np.float32)
    controls[0, :2] = (0.4, 0.5)
    active = activations(controls)
    assert active[0, 1] == pytest.approx(0.2)
    assert controls[0, 1] == 0.5


def test_rest_is_zero() -> None:
    assert not rest_frame().displacement.any()
    assert rest_frame().speaking == 0.0
