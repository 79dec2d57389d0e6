"""The eight mouth numbers and the rest face."""

import numpy as np
import pytest

from engine.editing.mouth import MOUTH_NAMES, MOUTH_UNITS, OPENING, mouth_shape, opened_by, rest_face
from engine.errors import ShapeError
from tests.engine.editing.made_up import neutral_head, opened

pytestmark = pytest.mark.unit


def test_numbers_are_linear_in_the_landmarks() -> None:
    """The shape of a sum is the sum of the shapes: displacements add."""
    face, move = neutral_head(), opened(neutral_head(), 0.2) - neutral_head()
    assert np.allclose(mouth_shape(face + move), mouth_shape(face) + mouth_shape(move))


def test_opening_is_read_in_its_unit() -> None:
    """Lowering the lower lip by one unit raises the opening by one."""
    moved = opened(neutral_head(), MOUTH_UNITS[OPENING])
    change = mouth_shape(moved) - mouth_shape(neutral_head())
    assert change[OPENING] == pytest.approx(1.0)
    assert change[MOUTH_NAMES.index("width")] == pytest.approx(0.0)
    assert change[MOUTH_NAMES.index("upper lip")] == pytest.approx(0.0)


def test_moving_the_head_changes_nothing() -> None:
    """Every number but the sideways shift ignores where the face lies."""
    change = mouth_shape(neutral_head() + np.array([0.0, 0.3, 0.2])) - mouth_shape(neutral_head())
    assert np.allclose(change, 0)


def test_rest_face_is_the_closed_one_of_the_clip() -> None:
    """Of many openings the rest face has the smallest, with the clip's own eyes and nose."""
    heads = np.stack([opened(neutral_head(), 0.01 * i) for i in range(20)])
    rest = rest_face(heads)
    assert rest[66, 1] - rest[62, 1] == pytest.approx(0.012, abs=0.02)
    assert np.allclose(rest[36:48], neutral_head()[36:48])


def test_a_mouth_that_never_closed_is_closed() -> None:
    """The lower lip and the jaw are raised by what is left of the opening."""
    heads = np.stack([opened(neutral_head(), 0.15 + 0.01 * i) for i in range(5)])
    rest = rest_face(heads)
    assert rest[66, 1] - rest[62, 1] == pytest.approx(0.012, abs=1e-6)
    assert rest[8, 1] < heads[0][8, 1]


def test_wrong_shapes_are_refused() -> None:
    """Points in the plane, or no frames at all, are errors that say what was expected."""
    with pytest.raises(ShapeError, match=r"expected \[68, 3\]"):
        mouth_shape(np.zeros((68, 2)))
    with pytest.raises(ShapeError, match="N at least 1"):
        rest_face(np.zeros((0, 68, 3)))


def test_a_mouth_is_opened_by_its_lower_lip_and_jaw_alone() -> None:
    face = neutral_head()
    before = face.copy()
    moved = opened_by(face, 0.09)
    assert np.array_equal(face, before)
    assert mouth_shape(moved - face)[OPENING] == pytest.approx(0.09 / MOUTH_UNITS[OPENING])
    still = np.setdiff1d(np.arange(68), [*range(6, 11), *range(55, 60), 65, 66, 67])
    assert np.array_equal(moved[still], face[still])
    assert np.allclose((moved - face)[8], [0, 0.7 * 0.09, 0])
    assert np.allclose(opened_by(moved, -0.09), face)
