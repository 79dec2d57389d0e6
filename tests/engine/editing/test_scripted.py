"""The scripted speaker is what its tests take it to be: painted, filmed and read by one rule."""

import numpy as np
import pytest
import torch

from engine.editing.compositing import lower_face_mask
from engine.editing.mouth import mouth_shape
from engine.editing.observation import observe
from tests.engine.editing.made_up import neutral_head, seen
from tests.engine.editing.scripted import CELLS, REGION, film, mouth_moves, squares, tracked, with_mouth

pytestmark = pytest.mark.unit


def test_each_move_raises_one_number_by_one() -> None:
    assert np.allclose(np.stack([mouth_shape(move) for move in mouth_moves()]), np.eye(8))
    change = np.arange(8) / 10
    assert np.allclose(mouth_shape(with_mouth(change)) - mouth_shape(neutral_head()), change)


def test_squares_do_not_touch_and_lie_where_the_mask_is_whole() -> None:
    watched = seen(neutral_head())
    mask = lower_face_mask(watched, watched.points, REGION)[0, 0]
    drawn = squares(REGION)
    assert float(drawn.sum(0).max()) == 1.0
    assert [int(one.argmax()) for one in drawn] == sorted(int(one.argmax()) for one in drawn)
    for (x, y), one in zip(CELLS, drawn, strict=True):
        assert float(one[y - REGION.top, x - REGION.left]) == 1.0
        assert float(mask[torch.as_tensor(one, dtype=torch.bool)].min()) > 0.9


def test_tracked_face_is_seen_where_the_made_up_one_is() -> None:
    watched, expected = observe(film(np.zeros(8)), tracked(neutral_head())), seen(neutral_head())
    assert np.allclose(watched.points, expected.points, atol=1e-2)
    assert np.allclose(watched.head, expected.head, atol=1e-4)
