"""What is drawn by hand on the presenter: lids that cover the eye, a painted mouth that parts, a view that sways."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import BadInputError, ShapeError
from engine.training.presenter import PresenterConfig, make_part, view
from engine.training.presenter_lids import close_lids
from engine.training.presenter_paint import bend, paint_mouth

pytestmark = pytest.mark.unit

SIZE = 128


def face() -> NDArray[np.float64]:
    """68 points: two eyes, a closed mouth, the rest spread along the outline; px of a 128-px picture."""
    points = np.zeros((68, 2))
    points[:17] = [(64 - 50 * np.cos(a), 70 + 50 * np.sin(a)) for a in np.linspace(0, np.pi, 17)]
    points[17:36] = [(20 + 5 * i, 30 + (i % 3)) for i in range(19)]
    for first, x in ((36, 34.0), (42, 74.0)):
        points[first : first + 6] = [(x, 50), (x + 7, 46), (x + 13, 46), (x + 20, 50), (x + 13, 54), (x + 7, 54)]
    points[48:60] = [(44 + 40 * t, 90 - 5 * np.sin(np.pi * t)) for t in np.linspace(0, 1, 7)] + [
        (84 - 40 * t, 90 + 6 * np.sin(np.pi * t)) for t in np.linspace(0, 1, 7)[1:-1]
    ]
    points[60:65] = [(48 + 8 * i, 90) for i in range(5)]
    points[65:68] = [(72 - 8 * i, 90) for i in range(3)]
    return points


def eyes() -> torch.Tensor:
    """Grey skin with white eyes."""
    picture = torch.zeros(1, 3, SIZE, SIZE)
    picture[:, :, 47:54, 36:52] = picture[:, :, 47:54, 76:92] = 1.0
    return picture


def test_open_lids_change_nothing() -> None:
    assert torch.equal(close_lids(eyes(), face(), 0.0), eyes())


def test_closed_lids_cover_the_eyes_and_leave_the_rest() -> None:
    closed = close_lids(eyes(), face(), 1.0)
    before, after = eyes()[0, 0, 47:54, 40:48].mean(), closed[0, 0, 47:54, 40:48].mean()
    assert after < 0.35 * before
    rest = torch.ones(SIZE, SIZE, dtype=torch.bool)
    rest[35:56, 33:95] = False
    torch.testing.assert_close(closed[0, 0][rest], eyes()[0, 0][rest], atol=1e-5, rtol=0)


def test_half_closed_lids_cover_half() -> None:
    covered = [float(close_lids(eyes(), face(), amount)[0, 0, :, 44].sum()) for amount in (0.0, 0.5, 1.0)]
    assert covered[0] > covered[1] > covered[2]


def test_lids_check_their_input() -> None:
    with pytest.raises(ShapeError, match=r"\[68,2\]"):
        close_lids(eyes(), face()[:60], 1.0)


def test_bend_moves_points_back_to_where_they_came_from() -> None:
    points, moved = face()[48:60], face()[48:60] + [0.0, 6.0]
    field = bend(points, moved, SIZE)
    for point, place in zip(points, moved, strict=True):
        there = field[int(place[1]), int(place[0])]
        np.testing.assert_allclose(there, point - place, atol=0.8)


def test_painted_mouth_is_dark_between_the_lips_and_red_below() -> None:
    picture = torch.full((1, 3, SIZE, SIZE), 0.2)
    picture[:, 0, 84:97, 44:84] = 0.8
    moved = face()
    moved[[*range(55, 60), *range(65, 68)], 1] += 14.0
    painted = paint_mouth(picture, face(), moved)
    assert painted[0, 0, 101, 64] < -0.5
    assert painted[0, 0, 106, 64] > 0.6
    assert painted[0, 0, 92, 64] > 0.3 and painted[0, 0, 92, 64] < 0.6
    torch.testing.assert_close(painted[0, :, :40], picture[0, :, :40], atol=0.05, rtol=0)


def test_a_mouth_that_stays_closed_is_left_as_it_is() -> None:
    picture = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(paint_mouth(picture, face(), face()), picture, atol=1e-4, rtol=0)


def test_view_never_leaves_the_render() -> None:
    config = PresenterConfig()
    corners = np.array([[x, y, 1.0] for x in (0, config.size_px) for y in (0, config.size_px)])
    for frame in range(config.frames):
        shown = corners @ view(config, frame, 1024).T
        assert (shown[:, :2] >= 0).all() and (shown[:, :2] <= 1024).all()


def test_parts_are_read_and_checked() -> None:
    assert make_part("1/2") == (1, 2)
    for wrong in ("2/2", "1", "a/b", "-1/2"):
        with pytest.raises(BadInputError, match="K/N"):
            make_part(wrong)
