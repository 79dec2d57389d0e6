"""Jaw and lips follow smoothly, and the cut of the stream does not matter."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, FRAME_RATE
from engine.speech.inertia import JAW_S, LIPS_S, Inertia

pytestmark = pytest.mark.unit
JAW, CLOSE, PUCKER = (CONTROLS.index(name) for name in ("jaw", "close", "pucker"))


def step(frames: int = 40) -> NDArray[np.float32]:
    """Everything is asked for at once, from frame 5 on."""
    rows = np.zeros((frames, len(CONTROLS)), np.float32)
    rows[5:] = 1.0
    return rows


@pytest.mark.parametrize(("column", "constant"), [(JAW, JAW_S), (PUCKER, LIPS_S)])
def test_a_step_is_followed_without_overshoot(column: int, constant: float) -> None:
    """Critically damped: rises monotonically, never beyond, and is there after ten time constants."""
    path = Inertia().follow(step())[:, column]
    assert path[:5].max() == 0.0
    assert (np.diff(path) >= -1e-6).all()
    assert path.max() <= 1.0 + 1e-6
    assert path[5 + int(10 * constant * FRAME_RATE)] > 0.98


def test_the_jaw_is_slower_than_the_lips() -> None:
    """On the frame of the request."""
    row = Inertia().follow(step())[5]
    assert 0.0 < row[JAW] < row[PUCKER] < 1.0


def test_lips_close_at_once_and_open_with_mass() -> None:
    """A closure of one frame arrives; what follows is as smooth as any motion of the lips."""
    rows = np.zeros((20, len(CONTROLS)), np.float32)
    rows[5] = 1.0
    path = Inertia().follow(rows)
    assert path[5, CLOSE] == 1.0
    np.testing.assert_array_equal(path[6:, CLOSE], path[6:, PUCKER])
    assert 0.0 < path[7, CLOSE] < path[6, CLOSE] < 1.0


def test_a_held_mouth_stays_where_it_is_asked() -> None:
    """No gain at rest: what is held is reached."""
    rows = np.full((60, len(CONTROLS)), 0.37, np.float32)
    assert Inertia().follow(rows)[-1] == pytest.approx(0.37, abs=1e-4)


def test_any_cut_gives_the_same_motion() -> None:
    """The state carries everything from call to call."""
    rows = np.random.default_rng(1).random((50, len(CONTROLS))).astype(np.float32)
    whole = Inertia().follow(rows)
    inertia = Inertia()
    pieces = [inertia.follow(piece) for piece in np.split(rows, [1, 1, 7, 30])]
    assert np.array_equal(np.concatenate(pieces), whole)


def test_wrong_shapes_are_refused() -> None:
    """All controls, frame by frame."""
    with pytest.raises(ShapeError, match="expected"):
        Inertia().follow(np.zeros((3, 2), np.float32))
