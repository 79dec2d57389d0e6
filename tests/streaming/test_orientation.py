"""Turning pictures and turning them back."""

from fractions import Fraction
from typing import cast

import av
import numpy as np
import pytest

from engine.media import VideoFrame
from streaming.orientation import DisplayMatrix, Orientation

pytestmark = pytest.mark.unit

ONE = 1 << 16
ALL_EIGHT: list[tuple[int, int, int, int]] = [
    (ONE, 0, 0, ONE), (-ONE, 0, 0, ONE), (ONE, 0, 0, -ONE), (-ONE, 0, 0, -ONE),
    (0, ONE, ONE, 0), (0, -ONE, ONE, 0), (0, ONE, -ONE, 0), (0, -ONE, -ONE, 0),
]  # fmt: skip


def matrix(a: int, b: int, c: int, d: int) -> DisplayMatrix:
    return (a, b, 0, c, d, 0, 0, 0, 1 << 30)


@pytest.mark.parametrize("entries", ALL_EIGHT)
def test_every_pixel_goes_where_the_matrix_sends_it(entries: tuple[int, int, int, int]) -> None:
    a, b, c, d = (value // ONE for value in entries)
    plane = np.arange(12, dtype=np.uint8).reshape(3, 4)
    upright = Orientation.from_matrix(matrix(*entries)).upright(plane)
    places = {(a * x + c * y, b * x + d * y): plane[y, x] for y in range(3) for x in range(4)}
    left, top = min(x for x, _ in places), min(y for _, y in places)
    assert upright.size == plane.size
    assert all(upright[y - top, x - left] == value for (x, y), value in places.items())


@pytest.mark.parametrize("entries", ALL_EIGHT)
def test_turning_back_undoes_turning(entries: tuple[int, int, int, int]) -> None:
    orientation = Orientation.from_matrix(matrix(*entries))
    plane = np.random.default_rng(1).integers(0, 1024, (5, 7)).astype(np.uint16)
    assert np.array_equal(orientation.coded(orientation.upright(plane)), plane)


@pytest.mark.parametrize(("degrees", "turns"), [(0, 0), (90, 1), (180, 2), (270, 3), (-90, 3), (360, 0)])
def test_degrees_turn_counter_clockwise(degrees: int, turns: int) -> None:
    plane = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(Orientation.from_degrees(degrees).upright(plane), np.rot90(plane, turns))


class _Unreadable:
    """A frame with a kind of side data that PyAV has no name for: reading any of it fails."""

    rotation = 90

    @property
    def side_data(self) -> object:
        raise ValueError("31 is not a valid Type")


def test_unknown_side_data_does_not_hide_the_rotation() -> None:
    orientation = Orientation.of(cast("av.VideoFrame", _Unreadable()))
    assert orientation == Orientation.from_degrees(90)


def test_angles_between_the_quarters_are_left_to_players() -> None:
    tilted = matrix(46341, 46341, -46341, 46341)
    orientation = Orientation.from_matrix(tilted)
    plane = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert np.array_equal(orientation.upright(plane), plane)
    assert orientation.matrix == tilted


def test_a_422_frame_on_its_side_keeps_every_chroma_value() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 256, (4, 6)).astype(np.uint8)
    u, v = (rng.integers(0, 256, (4, 3)).astype(np.uint8) for _ in range(2))
    frame = VideoFrame((y, u, v), "422", 8, "bt709", False, 0, Fraction(1, 25))
    orientation = Orientation.from_degrees(90)
    turned = orientation.upright_frame(frame)
    assert turned.subsampling == "444"
    back = orientation.coded(turned.planes[1])
    assert np.array_equal(back[:, ::2], u)
    assert np.array_equal(back[:, 1::2], u)
