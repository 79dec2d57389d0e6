"""Controls: closing that is decided, activations, and the landmarks that all of them move."""

import numpy as np
import pytest

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, EXPRESSIONS, FaceBasis, activations, decide

pytestmark = pytest.mark.unit
JAW, CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")


def test_doubt_does_not_close_lips() -> None:
    """Below 0.4 nothing, from 0.75 on all, and no other control changes."""
    rows = np.full((5, len(CONTROLS)), 0.3, np.float32)
    rows[:, CLOSE] = (0.0, 0.4, 0.575, 0.75, 1.0)
    decided = decide(rows)
    assert decided[:, CLOSE] == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0], abs=1e-6)
    others = [index for index in range(len(CONTROLS)) if index != CLOSE]
    assert np.array_equal(decided[:, others], rows[:, others])
    assert rows[4, CLOSE] == 1.0


def test_lips_take_back_no_more_than_the_jaw_opens() -> None:
    """Closing is a share of the jaw."""
    rows = np.full((1, len(CONTROLS)), 0.5, np.float32)
    assert activations(rows)[0, CLOSE] == pytest.approx(0.25)
    with pytest.raises(ShapeError, match="jaw"):
        activations(np.zeros((2, 3), np.float32))


def test_expressions_add_to_what_the_mouth_does() -> None:
    """And are left out where there are none."""
    rng = np.random.default_rng(0)
    shapes = ((68, 3), (len(CONTROLS), 68, 3), (len(EXPRESSIONS), 68, 3))
    basis = FaceBasis(*(rng.standard_normal(shape).astype(np.float32) for shape in shapes))
    active = rng.random((4, len(CONTROLS))).astype(np.float32)
    expression = rng.random((4, len(EXPRESSIONS))).astype(np.float32)
    both, mouth = basis.move(active, expression), basis.move(active)
    assert both.shape == (4, 68, 3)
    np.testing.assert_allclose(both - mouth, np.tensordot(expression, basis.expression, 1), atol=1e-5)
    plain = FaceBasis(basis.rest, basis.displacement)
    np.testing.assert_array_equal(plain.move(active, expression), mouth)


def test_wrong_shapes_are_refused() -> None:
    """Of the basis."""
    with pytest.raises(ShapeError, match="face basis"):
        FaceBasis(np.zeros((68, 2), np.float32), np.zeros((len(CONTROLS), 68, 3), np.float32))
