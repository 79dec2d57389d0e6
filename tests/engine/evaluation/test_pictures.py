"""Picture figures: known answers, and that each sees what it is for."""

from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np
import pytest

from engine.errors import ShapeError
from engine.evaluation import pictures as p
from engine.media import VideoFrame

pytestmark = pytest.mark.unit


def with_sample(frame: VideoFrame, plane: int, row: int, column: int) -> VideoFrame:
    """The same frame with one sample raised by one step."""
    planes = [layer.copy() for layer in frame.planes]
    planes[plane][row, column] += 1
    return replace(frame, planes=(planes[0], planes[1], planes[2]))


def test_nothing_changed_is_nothing_outside(stage: Any) -> None:
    frame = stage.picture(stage.texture(0), 0)
    outside = 96 * 96 - 32 * 48
    assert p.outside_changed(frame, frame, stage.soft_mask(), stage.origin) == (0, outside)
    copy = stage.picture(stage.texture(0), 0)
    assert p.outside_changed(copy, frame, stage.soft_mask(), stage.origin) == (0, outside)
    assert p.outside_changed(copy, frame, None, (0, 0)) == (0, 96 * 96)


def test_one_altered_pixel_outside_the_mask_is_caught(stage: Any) -> None:
    frame = stage.picture(stage.texture(0), 0)
    place = (stage.soft_mask(), stage.origin)
    assert p.outside_changed(with_sample(frame, 0, 49, 30), frame, *place)[0] == 1
    assert p.outside_changed(with_sample(frame, 0, 50, 30), frame, *place)[0] == 0
    assert p.outside_changed(with_sample(frame, 1, 0, 0), frame, *place)[0] == 4
    assert p.outside_changed(with_sample(frame, 2, 30, 20), frame, *place)[0] == 0


def test_a_chroma_sample_shared_with_the_inside_is_not_outside(stage: Any) -> None:
    frame = stage.picture(stage.texture(0), 0)
    mask = np.zeros((4, 4), dtype=np.float32)
    mask[1, 1] = 1
    assert p.outside_changed(with_sample(frame, 1, 10, 10), frame, mask, (20, 20))[0] == 0
    assert p.outside_changed(with_sample(frame, 1, 11, 11), frame, mask, (20, 20))[0] == 4


@pytest.mark.parametrize(("subsampling", "first", "last"), [("420", 4, 1), ("422", 2, 1), ("444", 1, 1)])
def test_odd_sizes_and_other_layouts(subsampling: Literal["420", "422", "444"], first: int, last: int) -> None:
    rgb = np.full((31, 33, 3), 90, dtype=np.uint8)
    frame = VideoFrame.from_rgb(rgb, 0, Fraction(1, 25), subsampling=subsampling, bit_depth=10)
    bottom, right = (length - 1 for length in frame.planes[1].shape)
    assert p.outside_changed(with_sample(frame, 1, 0, 0), frame, None, (0, 0)) == (first, 31 * 33)
    assert p.outside_changed(with_sample(frame, 2, bottom, right), frame, None, (0, 0)) == (last, 31 * 33)


def test_frames_of_different_size_are_an_error(stage: Any) -> None:
    small = stage.picture(stage.texture(0)[:64], 0)
    with pytest.raises(ShapeError, match="expected the source's"):
        p.outside_changed(small, stage.picture(stage.texture(0), 0), None, (0, 0))


def test_a_mask_may_stick_out_of_the_picture_but_not_lie_beside_it(stage: Any) -> None:
    mask = np.ones((10, 10), dtype=np.float32)
    assert p.untouched(mask, (-4, 90), (96, 96)).sum() == 96 * 96 - 6 * 6
    with pytest.raises(ShapeError, match="outside the picture"):
        p.untouched(mask, (200, 0), (96, 96))


def test_luma_is_in_eight_bit_steps() -> None:
    rgb = np.full((4, 4, 3), 128, dtype=np.uint8)
    eight, ten = (VideoFrame.from_rgb(rgb, 0, Fraction(1, 25), bit_depth=bits) for bits in (8, 10))
    np.testing.assert_allclose(p.luma(ten), p.luma(eight), atol=1)


def test_gradient_across_a_hard_step_by_hand() -> None:
    plane = np.zeros((20, 20), dtype=np.float32)
    plane[5:15, 5:15] = 10
    mask = np.ones((10, 10), dtype=np.float32)
    on_edge = p.gradient_across(plane, mask, (5, 5))
    assert on_edge == pytest.approx(5, rel=0.05)
    assert p.gradient_across(np.zeros_like(plane), mask, (5, 5)) == 0
    plane_along = np.tile(np.arange(20, dtype=np.float32), (20, 1))
    assert p.gradient_across(plane_along, np.ones((10, 30), dtype=np.float32), (5, -5)) == pytest.approx(0)


def test_a_mask_that_fills_the_picture_has_no_edge() -> None:
    assert np.isnan(p.gradient_across(np.ones((8, 8), np.float32), np.ones((20, 20), np.float32), (-6, -6)))


def test_a_visible_box_raises_the_gradient_and_a_blended_one_does_not(stage: Any) -> None:
    plane = p.luma(stage.picture(stage.texture(0), 0))
    soft = stage.soft_mask()
    rows, columns = slice(50, 82), slice(24, 72)
    boxed, blended = plane.copy(), plane.copy()
    boxed[rows, columns] += 25
    blended[rows, columns] += 1.5 * soft
    hard = np.ones_like(soft)
    assert p.gradient_across(boxed, hard, stage.origin) > 1.5 * p.gradient_across(plane, hard, stage.origin)
    assert p.gradient_across(blended, soft, stage.origin) < 1.1 * p.gradient_across(plane, soft, stage.origin)


def test_laplacian_variance_by_hand() -> None:
    plane = np.zeros((9, 9), dtype=np.float32)
    plane[4, 4] = 1
    mask = np.ones((3, 3), dtype=np.float32)
    values = np.array([0, 1, 0, 1, -4, 1, 0, 1, 0])
    assert p.laplacian_variance(plane, mask, (3, 3)) == pytest.approx(values.var())
    assert np.isnan(p.laplacian_variance(plane, 0.4 * mask, (3, 3)))


def test_blur_lowers_and_noise_raises_sharpness(stage: Any) -> None:
    plane = p.luma(stage.picture(stage.texture(0), 0))
    shifts = ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1))
    blurred = np.asarray(np.mean([np.roll(plane, shift, (0, 1)) for shift in shifts], axis=0), dtype=np.float32)
    noisy = np.asarray(plane + np.random.default_rng(0).normal(0, 3, plane.shape), dtype=np.float32)
    sharp, soft, rough = (p.laplacian_variance(x, stage.soft_mask(), stage.origin) for x in (plane, blurred, noisy))
    assert soft < 0.9 * sharp < sharp < rough / 1.2


def test_motion_is_taken_out_and_brightness_is_not(stage: Any) -> None:
    still, moved = (p.luma(stage.picture(stage.texture(phase), 0)) for phase in (0, 2))
    motion, place = p.MotionCompensation(), (stage.soft_mask(), stage.origin)
    plain = np.abs(moved - still)[50:82, 24:72].mean()
    assert motion.residual(still, still, *place) < 0.2
    assert motion.residual(still, moved, *place) < 0.35 * plain
    assert motion.residual(still, moved + 8, *place) > 3 * motion.residual(still, moved, *place)


def test_large_regions_are_shrunk_and_empty_ones_are_not_measured() -> None:
    plane = np.random.default_rng(0).uniform(0, 255, (100, 800)).astype(np.float32)
    motion = p.MotionCompensation()
    assert motion.residual(plane, plane, np.ones((80, 700), np.float32), (10, 50)) < 3
    assert np.isnan(motion.residual(plane, plane, np.zeros((80, 700), np.float32), (10, 50)))
