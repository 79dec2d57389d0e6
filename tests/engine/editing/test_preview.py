"""The preview: four rows of pictures that show what they say."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.editing import preview
from engine.editing.calibration import Sample
from engine.editing.observation import CROP, observe, region_picture
from engine.editing.preview import draw_preview
from engine.editing.rendering import SpeakerRenderer
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import (
    Place,
    film,
    painted_generator,
    painted_profile,
    plain_statistics,
    tracked,
)

pytestmark = pytest.mark.unit

TILE = preview._TILE
Picture = NDArray[np.uint8]


def drawn(gain: NDArray[np.float64] | None = None, place: Place | None = None) -> tuple[Picture, Sample]:
    generator, rgb, face = painted_generator(), film(np.zeros(8), place), tracked(neutral_head(), place)
    profile = painted_profile(gain)
    sample = Sample(rgb, face, observe(rgb, face))
    code = torch.zeros(generator.rows, 24)
    return draw_preview(
        profile, SpeakerRenderer(profile, generator), generator, code, sample, plain_statistics()
    ), sample  # fmt: skip


def tile(picture: Picture, row: int, column: int) -> NDArray[np.int16]:
    part = picture[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
    return np.asarray(part, np.int16)


def test_there_are_four_rows_of_four_and_the_first_is_the_frames_own_face() -> None:
    picture, sample = drawn()
    assert picture.shape == (4 * TILE, 4 * TILE, 3) and picture.dtype == np.uint8
    crop = region_picture(sample.rgb, sample.observation, 0, 0, (CROP, CROP))
    small = functional.interpolate(crop, size=(TILE, TILE), mode="bilinear", antialias=True)[0]
    expected = ((small + 1) * 127.5).round().permute(1, 2, 0).numpy()
    assert np.abs(tile(picture, 0, 0) - expected).max() <= 1


def test_a_generator_that_paints_what_was_filmed_shows_the_frame_unchanged() -> None:
    """Tuned and rest look like the source when the painted mouth is the filmed one, and no shape shows."""
    picture, _ = drawn(np.zeros((8, 8)))
    for column in (2, 3):
        assert np.abs(tile(picture, 0, column) - tile(picture, 0, 0)).max() <= 2
    first = tile(picture, 1, 0)
    assert all(np.array_equal(tile(picture, row, column), first) for row in (1, 2, 3) for column in range(4))


def test_mouth_shapes_differ_and_the_face_around_them_does_not() -> None:
    picture, _ = drawn()
    shapes = [tile(picture, row, column) for row in (1, 2, 3) for column in range(4)]
    for one in range(12):
        for other in range(one):
            assert np.abs(shapes[one] - shapes[other]).max() > 4
            assert np.array_equal(shapes[one][-8:], shapes[other][-8:])
    assert np.abs(shapes[0] - tile(drawn(np.zeros((8, 8)))[0], 1, 0)).max() <= 3


def test_openings_grow_from_left_to_right() -> None:
    """The square that shows the opening is brighter from shape to shape in the second row."""
    picture, _ = drawn()
    x, y = (round((value - start) * TILE / 416) for value, start in ((437, 304), (708, 608)))
    light = [int(tile(picture, 1, column)[y, x, 0]) for column in range(4)]
    assert light == sorted(light) and light[3] - light[0] > 20


def test_where_the_face_lies_in_the_frame_does_not_matter() -> None:
    one, other = drawn()[0], drawn(place=Place(0.25, left=51, top=33))[0]
    assert np.abs(one.astype(np.int16) - other).mean() < 2
