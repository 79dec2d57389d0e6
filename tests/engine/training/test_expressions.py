"""Faces of the emotions: linear in the shares, nothing when neutral."""

import numpy as np
import pytest

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, EXPRESSIONS
from engine.speech.emotions import EMOTIONS, emotion_shares
from engine.training.expressions import EXPRESSION, JAW, emotional_controls, expression_of

pytestmark = pytest.mark.unit


def test_every_emotion_but_neutral_has_a_face_of_its_own() -> None:
    """No two look alike, and all stay within the range of the units."""
    assert set(EXPRESSION) == set(JAW) == set(EMOTIONS)
    faces = expression_of(np.stack([emotion_shares(name) for name in EMOTIONS]))
    assert faces[0].max() == 0.0
    assert faces.min() >= 0.0
    assert faces.max() <= 1.0
    apart = [np.abs(a - b).max() for i, a in enumerate(faces) for b in faces[:i]]
    assert min(apart) > 0.2


def test_expressions_follow_the_intensity() -> None:
    """Half as sad is half the frown."""
    full, half = (expression_of(emotion_shares("sad", share)) for share in (1.0, 0.5))
    np.testing.assert_allclose(half, full / 2, atol=1e-6)
    assert full[EXPRESSIONS.index("frown")] == pytest.approx(EXPRESSION["sad"]["frown"])


def test_emotions_open_the_jaw_more_or_less_and_leave_closures() -> None:
    """The factor is that of the table; lips close as before."""
    controls = np.full((4, len(CONTROLS)), 0.4, np.float32)
    for name in EMOTIONS:
        moved = emotional_controls(controls, emotion_shares(name))
        assert moved[:, CONTROLS.index("jaw")] == pytest.approx(0.4 * JAW[name], rel=1e-5)
        assert moved[:, CONTROLS.index("close")] == pytest.approx(0.4)
    assert emotional_controls(controls + 0.59, emotion_shares("surprised")).max() <= 1.0
    assert controls.max() == np.float32(0.4)


def test_wrong_shapes_are_refused() -> None:
    """Eight shares."""
    with pytest.raises(ShapeError, match="expected"):
        expression_of(np.zeros(3, np.float32))
    with pytest.raises(ShapeError, match="expected"):
        emotional_controls(np.zeros((2, len(CONTROLS)), np.float32), np.zeros(3, np.float32))
