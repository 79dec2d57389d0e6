"""Where a speaker's region lies."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.editing.compositing import lower_face_hull, lower_face_mask
from engine.editing.observation import Observation
from engine.editing.placement import FIELD, HEIGHTS, STEP, WIDTH, place_region
from engine.generators.protocol import Region
from tests.engine.editing.made_up import neutral_head, seen

pytestmark = pytest.mark.unit


def shifted(right: float = 0.0, down: float = 0.0, jaw: float = 0.0) -> Observation:
    """A face moved in the crop, its chin lowered by `jaw`."""
    made = seen(neutral_head())
    points = made.points + np.array([right, down])
    points[5:12, 1] += jaw
    return replace(made, points=points)


def test_the_region_holds_the_whole_height_of_the_mask() -> None:
    made = seen(neutral_head())
    region = place_region([made])
    whole = lower_face_mask(made, made.points, Region(0, 0, 1024, 1024))[0, 0]
    rows = (whole > 0).any(1).nonzero()
    assert region.top <= int(rows.min()) and int(rows.max()) < region.top + region.height
    assert region.height < 1024 * 0.42


def test_it_follows_the_clip_s_mouth_and_its_lowest_chin() -> None:
    middle = place_region([shifted()])
    right, low = place_region([shifted(right=64)]), place_region([shifted(), shifted(jaw=24), shifted(jaw=32)])
    assert right.left == middle.left + 64 and (right.top, right.height) == (middle.top, middle.height)
    assert low.top + low.height >= middle.top + middle.height + 16
    assert low.top == middle.top


def test_one_frame_in_a_hundred_does_not_stretch_it() -> None:
    frames = [shifted() for _ in range(150)]
    assert place_region([*frames, shifted(jaw=60)]) == place_region(frames)


@given(right=st.floats(-400, 400), down=st.floats(-400, 400), jaw=st.floats(0, 300))
def test_it_is_aligned_and_inside_the_field_wherever_the_face_is(right: float, down: float, jaw: float) -> None:
    region = place_region([shifted(right, down, jaw)])
    assert all(v % STEP == 0 for v in (region.top, region.left, region.height, region.width))
    assert region.width == WIDTH and HEIGHTS[0] <= region.height <= HEIGHTS[1]
    assert FIELD.top <= region.top and region.top + region.height <= FIELD.top + FIELD.height
    assert FIELD.left <= region.left and region.left + region.width <= FIELD.left + FIELD.width


def test_the_hull_holds_filmed_and_wanted_jaw() -> None:
    made = seen(neutral_head())
    target = made.points.copy()
    target[5:12, 1] += 40
    low = lower_face_hull(made.points, target)[:, 1].max()
    assert low == pytest.approx(lower_face_hull(made.points, made.points)[:, 1].max() + 40, abs=4)
    assert lower_face_hull(target, made.points)[:, 1].max() >= target[8, 1]
