"""Figures on pictures against slow formulas, and what does not count: where a mask lies, brightness, mirroring."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.evaluation import pictures as p
from engine.media import VideoFrame

pytestmark = pytest.mark.unit

SEEDS = st.integers(0, 2**31)
Plane = NDArray[np.float32]


def plane(seed: int, height: int = 40, width: int = 50) -> Plane:
    """A smooth random picture."""
    rough = np.random.default_rng(seed).random((height // 5 + 2, width // 5 + 2))
    rows, columns = np.arange(height) / 5, np.arange(width) / 5
    along = np.stack([np.interp(rows, np.arange(len(rough)), column) for column in rough.T], 1)
    return np.stack([np.interp(columns, np.arange(along.shape[1]), row) for row in along]).astype(np.float32) * 200


def soft_mask(height: int = 16, width: int = 20) -> Plane:
    """A bump that is 1 in its middle and 0 at its rim."""
    y, x = (np.sin(np.pi * (np.arange(n) + 0.5) / n) for n in (height, width))
    return np.clip(1.5 * np.outer(y, x) - 0.2, 0, 1).astype(np.float32)


def frame(planes: list[NDArray[np.uint8]], subsampling: str) -> VideoFrame:
    return VideoFrame(tuple(planes), subsampling, 8, "bt709", False, 0, Fraction(1, 25))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(
    seed=SEEDS,
    size=st.tuples(st.integers(3, 17), st.integers(3, 17)),
    origin=st.tuples(st.integers(-6, 12), st.integers(-6, 12)),
    margin=st.integers(0, 5),
)
def test_a_region_is_the_mask_laid_into_a_padded_picture(
    seed: int, size: tuple[int, int], origin: tuple[int, int], margin: int
) -> None:
    """By laying it into a picture with room on all sides, and cutting."""
    rng = np.random.default_rng(seed)
    mask = rng.random((int(rng.integers(1, 9)), int(rng.integers(1, 9)))).astype(np.float32)
    (top, left), (height, width) = origin, size
    room = 40
    whole = np.zeros((height + 2 * room, width + 2 * room), np.float32)
    whole[room + top : room + top + mask.shape[0], room + left : room + left + mask.shape[1]] = mask
    rows = (max(0, top - margin), min(height, top + mask.shape[0] + margin))
    columns = (max(0, left - margin), min(width, left + mask.shape[1] + margin))
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        with pytest.raises(ShapeError, match="outside the picture"):
            p.Region.around(mask, origin, size, margin)
        return
    region = p.Region.around(mask, origin, size, margin)
    assert (region.rows.start, region.rows.stop) == rows and (region.columns.start, region.columns.stop) == columns
    expected = whole[room + rows[0] : room + rows[1], room + columns[0] : room + columns[1]]
    np.testing.assert_array_equal(region.mask, expected)
    picture = rng.random(size).astype(np.float32)
    np.testing.assert_array_equal(region.of(picture), picture[rows[0] : rows[1], columns[0] : columns[1]])


@settings(deadline=None, max_examples=80)
@given(
    seed=SEEDS,
    size=st.tuples(st.integers(2, 13), st.integers(2, 13)),
    subsampling=st.sampled_from(["420", "422", "444"]),
)
def test_changed_pixels_are_those_of_a_search_pixel_by_pixel(
    seed: int, size: tuple[int, int], subsampling: str
) -> None:
    """Luma of the pixel itself; chroma where all pixels that share the sample lie outside. Odd sizes too."""
    rng = np.random.default_rng(seed)
    height, width = size
    step_y, step_x = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}[subsampling]
    shapes = [size, *[(-(-height // step_y), -(-width // step_x))] * 2]
    source = [rng.integers(0, 3, shape).astype(np.uint8) for shape in shapes]
    edited = [np.where(rng.random(s.shape) < 0.15, s + 1, s).astype(np.uint8) for s in source]
    mask = (rng.random((3, 4)) < 0.7).astype(np.float32)
    origin = (int(rng.integers(-1, height)), int(rng.integers(-1, width)))
    outside = np.ones(size, bool)
    for y in range(3):
        for x in range(4):
            row, column = origin[0] + y, origin[1] + x
            if 0 <= row < height and 0 <= column < width and mask[y, x] > 0:
                outside[row, column] = False
    changed = 0
    for row in range(height):
        for column in range(width):
            if not outside[row, column]:
                continue
            y, x = row // step_y, column // step_x
            shared = outside[y * step_y : (y + 1) * step_y, x * step_x : (x + 1) * step_x]
            chroma = shared.all() and any(edited[c][y, x] != source[c][y, x] for c in (1, 2))
            changed += bool(edited[0][row, column] != source[0][row, column] or chroma)
    found = p.outside_changed(frame(edited, subsampling), frame(source, subsampling), mask, origin)
    assert found == (changed, int(outside.sum()))


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, shift=st.tuples(st.integers(0, 15), st.integers(0, 20)))
def test_seam_and_sharpness_go_with_picture_and_mask(seed: int, shift: tuple[int, int]) -> None:
    small, (down, right) = plane(seed), shift
    large = np.pad(small, ((down, 15 - down), (right, 20 - right)), mode="edge")
    for figure in (p.gradient_across, p.laplacian_variance):
        plain = figure(small, soft_mask(), (10, 12))
        assert figure(large, soft_mask(), (10 + down, 12 + right)) == pytest.approx(plain, rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, gain=st.floats(0.1, 4), level=st.floats(-30, 30))
def test_brightness_does_not_count_and_contrast_does_as_it_should(seed: int, gain: float, level: float) -> None:
    """A seam is a gradient, so in proportion; sharpness is a variance, so by the square."""
    source = plane(seed)
    other = (gain * source + level).astype(np.float32)
    seam, sharp = (figure(source, soft_mask(), (8, 9)) for figure in (p.gradient_across, p.laplacian_variance))
    assert p.gradient_across(other, soft_mask(), (8, 9)) == pytest.approx(gain * seam, rel=1e-3, abs=1e-3)
    assert p.laplacian_variance(other, soft_mask(), (8, 9)) == pytest.approx(gain**2 * sharp, rel=1e-2, abs=1e-3)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, axis=st.sampled_from([0, 1]))
def test_a_mirrored_picture_has_the_same_seam_and_sharpness(seed: int, axis: int) -> None:
    source, mask = plane(seed), soft_mask()
    origin = [7, 9]
    mirrored = origin.copy()
    mirrored[axis] = source.shape[axis] - origin[axis] - mask.shape[axis]
    for figure in (p.gradient_across, p.laplacian_variance):
        plain = figure(source, mask, (origin[0], origin[1]))
        other = figure(np.flip(source, axis).copy(), np.flip(mask, axis).copy(), (mirrored[0], mirrored[1]))
        assert other == pytest.approx(plain, rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS)
def test_sharpness_is_the_variance_of_a_slow_laplacian(seed: int) -> None:
    source, mask, (top, left) = plane(seed), soft_mask(), (6, 11)
    values = []
    for y, x in np.argwhere(mask > p.INSIDE).tolist():
        row, column = top + y, left + x
        around = source[row - 1, column] + source[row + 1, column] + source[row, column - 1] + source[row, column + 1]
        values.append(float(around - 4 * source[row, column]))
    assert p.laplacian_variance(source, mask, (top, left)) == pytest.approx(np.var(values), rel=1e-3, abs=1e-4)


def test_a_plain_picture_has_neither_seam_nor_sharpness() -> None:
    grey = np.full((30, 30), 90, np.float32)
    assert p.gradient_across(grey, soft_mask(), (5, 5)) == 0 == p.laplacian_variance(grey, soft_mask(), (5, 5))


@pytest.mark.parametrize("bits", [8, 10])
def test_luma_of_any_depth_is_in_the_same_steps(bits: int) -> None:
    values = np.arange(0, 256, 5, dtype=np.uint16).reshape(4, 13) * np.uint16(2 ** (bits - 8))
    grey = np.full((2, 7), 2 ** (bits - 1), np.uint16)
    planes = [values, grey, grey] if bits > 8 else [part.astype(np.uint8) for part in (values, grey, grey)]
    made = VideoFrame(tuple(planes), "420", bits, "bt709", False, 0, Fraction(1, 25))  # type: ignore[arg-type]
    np.testing.assert_array_equal(p.luma(made), np.arange(0, 256, 5).reshape(4, 13))


@pytest.mark.parametrize("step", [(0, 0), (1, 2), (-3, 1)])
def test_what_moves_as_a_whole_does_not_flicker(step: tuple[int, int]) -> None:
    motion = p.MotionCompensation()
    large = plane(3, 120, 160)
    before = large[20:100, 20:140]
    now = large[20 + step[0] : 100 + step[0], 20 + step[1] : 140 + step[1]]
    still = motion.residual(before, now, soft_mask(30, 40), (25, 40))
    brighter = motion.residual(before, now + 6, soft_mask(30, 40), (25, 40))
    assert still < 0.5 and brighter > still + 2
