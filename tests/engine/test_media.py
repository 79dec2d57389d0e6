"""The planes of a frame, their RGB, and what a blend may and may not touch."""

from fractions import Fraction
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.media import AudioChunk, Matrix, Subsampling, VideoFrame, blend_rgb, sample_type

pytestmark = pytest.mark.unit

STEPS = {"420": (2, 2), "422": (1, 2), "444": (1, 1)}


def random_frame(
    height: int, width: int, subsampling: Subsampling, bits: int, matrix: Matrix = "bt709", full_range: bool = False
) -> VideoFrame:
    rng = np.random.default_rng(height * 1000 + width + bits)
    sy, sx = STEPS[subsampling]
    shapes = [(height, width)] + [(-(-height // sy), -(-width // sx))] * 2
    y, u, v = (rng.integers(0, 1 << bits, shape).astype(sample_type(bits)) for shape in shapes)
    return VideoFrame((y, u, v), subsampling, bits, matrix, full_range, 7, Fraction(1, 25))


def smooth_picture(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    channels = [120 + 60 * np.sin(x / 9), 110 + 50 * np.cos(y / 7), 130 + 40 * np.sin((x + y) / 11)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("matrix", get_args(Matrix))
@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("bits", [8, 10])
def test_rgb_of_a_444_picture_survives_the_round_trip(matrix: Matrix, full_range: bool, bits: int) -> None:
    picture = smooth_picture(37, 41)
    frame = VideoFrame.from_rgb(picture, 0, Fraction(1, 25), "444", bits, matrix, full_range)
    error = np.abs(frame.rgb().astype(int) - picture.astype(int))
    assert error.max() <= (2 if bits == 8 else 1)


def test_known_colours_have_their_standard_values() -> None:
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    planes = VideoFrame.from_rgb(red, 0, Fraction(1, 25), "420", 8, "bt709").planes
    assert [int(p[0, 0]) for p in planes] == [63, 102, 240]
    planes = VideoFrame.from_rgb(red, 0, Fraction(1, 25), "420", 8, "bt601", True).planes
    assert [int(p[0, 0]) for p in planes] == [76, 85, 255]
    white = np.full((2, 2, 3), 255, np.uint8)
    planes = VideoFrame.from_rgb(white, 0, Fraction(1, 25), "420", 10, "bt2020").planes
    assert [int(p[0, 0]) for p in planes] == [940, 512, 512]


@pytest.mark.parametrize("subsampling", get_args(Subsampling))
@pytest.mark.parametrize("bits", [8, 10])
def test_writing_a_pictures_own_rgb_back_changes_samples_by_rounding_only(subsampling: Subsampling, bits: int) -> None:
    frame = VideoFrame.from_rgb(smooth_picture(33, 47), 0, Fraction(1, 25), subsampling, bits)
    again = blend_rgb(frame, frame.rgb(), np.ones((33, 47), np.float32), 0, 0)
    unit = 1 << (bits - 8)
    for old, new in zip(frame.planes, again.planes, strict=True):
        assert np.abs(old.astype(int) - new.astype(int)).max() <= unit


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(5, 24), width=st.integers(5, 24), top=st.integers(-6, 22), left=st.integers(-6, 22),
    h=st.integers(1, 14), w=st.integers(1, 14), subsampling=st.sampled_from(get_args(Subsampling)),
    bits=st.sampled_from([8, 10]),
)  # fmt: skip
def test_blend_touches_nothing_outside_the_mask(
    height: int, width: int, top: int, left: int, h: int, w: int, subsampling: Subsampling, bits: int
) -> None:
    frame = random_frame(height, width, subsampling, bits)
    kept = [plane.copy() for plane in frame.planes]
    rng = np.random.default_rng(h * 31 + w)
    mask = (rng.random((h, w)) * (rng.random((h, w)) > 0.5)).astype(np.float32)
    out = blend_rgb(frame, rng.integers(0, 256, (h, w, 3)).astype(np.uint8), mask, top, left)
    full = np.zeros((height + 40, width + 40), bool)
    full[top + 10 : top + 10 + h, left + 10 : left + 10 + w] = mask > 0
    touched = full[10 : 10 + height, 10 : 10 + width]
    assert np.array_equal(out.planes[0][~touched], kept[0][~touched])
    sy, sx = STEPS[subsampling]
    rows, columns = kept[1].shape
    padded = np.zeros((rows * sy, columns * sx), bool)
    padded[:height, :width] = touched
    chroma_touched = padded.reshape(rows, sy, columns, sx).any(axis=(1, 3))
    for old, new, before in zip(frame.planes[1:], out.planes[1:], kept[1:], strict=True):
        assert np.array_equal(new[~chroma_touched], before[~chroma_touched])
        assert np.array_equal(old, before)
    assert np.array_equal(frame.planes[0], kept[0])


def test_full_mask_gives_the_patch_and_half_mask_the_middle() -> None:
    frame = VideoFrame.from_rgb(np.full((8, 8, 3), 40, np.uint8), 0, Fraction(1, 25), "420")
    patch = np.full((4, 4, 3), 200, np.uint8)
    whole = blend_rgb(frame, patch, np.ones((4, 4), np.float32), 2, 2).rgb()
    half = blend_rgb(frame, patch, np.full((4, 4), 0.5, np.float32), 2, 2).rgb()
    assert np.abs(whole[2:6, 2:6].astype(int) - 200).max() <= 1
    assert np.abs(half[2:6, 2:6].astype(int) - 120).max() <= 1


def test_colour_patch_over_a_colour_ground_keeps_its_colour_at_an_odd_position() -> None:
    frame = VideoFrame.from_rgb(np.full((9, 9, 3), (30, 60, 200), np.uint8), 0, Fraction(1, 25), "420")
    patch = np.full((5, 5, 3), (210, 80, 40), np.uint8)
    out = blend_rgb(frame, patch, np.ones((5, 5), np.float32), 3, 3).rgb()
    assert np.abs(out[4:8, 4:8].astype(int) - (210, 80, 40)).max() <= 2
    assert np.array_equal(out[:2], frame.rgb()[:2])


def test_a_patch_wholly_outside_changes_nothing() -> None:
    frame = random_frame(8, 8, "420", 8)
    out = blend_rgb(frame, np.zeros((4, 4, 3), np.uint8), np.ones((4, 4), np.float32), 20, -30)
    assert all(np.array_equal(a, b) for a, b in zip(frame.planes, out.planes, strict=True))


def test_time_is_ticks_times_time_base() -> None:
    frame = random_frame(4, 4, "444", 8)
    assert frame.seconds == pytest.approx(7 / 25)
    chunk = AudioChunk(np.zeros(800, np.float32), 16000, 1600, Fraction(1, 16000))
    assert chunk.seconds == pytest.approx(0.1)
    assert chunk.duration == pytest.approx(0.05)


def test_wrong_shapes_and_types_say_what_was_expected() -> None:
    y, c = np.zeros((5, 5), np.uint8), np.zeros((2, 2), np.uint8)
    with pytest.raises(ShapeError, match=r"plane U.*\[2, 2\].*expected uint8 \[3, 3\]"):
        VideoFrame((y, c, c), "420", 8, "bt709", False, 0, Fraction(1, 25))
    with pytest.raises(ShapeError, match="plane Y.*uint8.*expected uint16"):
        VideoFrame((y, y, y), "444", 10, "bt709", False, 0, Fraction(1, 25))
    with pytest.raises(ShapeError, match="mix down|Mix down"):
        AudioChunk(np.zeros((2, 5), np.float32), 16000, 0, Fraction(1, 16000))
    with pytest.raises(ShapeError, match=r"\[4, 4, 3\], mask \[4, 5\]"):
        blend_rgb(random_frame(8, 8, "420", 8), np.zeros((4, 4, 3), np.uint8), np.ones((4, 5), np.float32), 0, 0)


@pytest.mark.parametrize(
    ("subsampling", "bits", "matrix"), [("411", 8, "bt709"), ("420", 7, "bt709"), ("420", 17, "bt709"), ("444", 8, "x")]
)
def test_descriptions_that_no_frame_can_have_are_refused(subsampling: str, bits: int, matrix: str) -> None:
    y = np.zeros((4, 4), np.uint8)
    with pytest.raises(ShapeError, match="expected one of .*8 to 16"):
        VideoFrame((y, y, y), subsampling, bits, matrix, False, 0, Fraction(1, 25))  # type: ignore[arg-type]


def test_frames_without_rows_or_planes_and_pictures_without_colours_are_refused() -> None:
    y, none = np.zeros((4, 4), np.uint8), np.zeros((0, 4), np.uint8)
    for planes in ((none, none, none), (y, y), (np.zeros((2, 2, 2), np.uint8), y, y)):
        with pytest.raises(ShapeError, match="three planes"):
            VideoFrame(planes, "444", 8, "bt709", False, 0, Fraction(1, 25))  # type: ignore[arg-type]
    for shape in ((4, 4), (4, 4, 4), (0, 4, 3)):
        with pytest.raises(ShapeError, match=r"expected \[H, W, 3\]"):
            VideoFrame.from_rgb(np.zeros(shape, np.uint8), 0, Fraction(1, 25))
    for rate in (0, -16000):
        with pytest.raises(ShapeError, match="positive rate"):
            AudioChunk(np.zeros(5, np.float32), rate, 0, Fraction(1, 16000))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 9), width=st.integers(1, 9), subsampling=st.sampled_from(get_args(Subsampling)),
    bits=st.sampled_from([8, 9, 10, 12, 14, 16]), matrix=st.sampled_from(get_args(Matrix)), full=st.booleans(),
    grey=st.integers(0, 255),
)  # fmt: skip
def test_grey_is_grey_in_every_format_and_depth(
    height: int, width: int, subsampling: Subsampling, bits: int, matrix: Matrix, full: bool, grey: int
) -> None:
    picture = np.full((height, width, 3), grey, np.uint8)
    frame = VideoFrame.from_rgb(picture, 3, Fraction(1, 50), subsampling, bits, matrix, full)
    assert np.abs(frame.rgb().astype(int) - grey).max() <= 1
    assert {int(value) for plane in frame.planes[1:] for value in np.unique(plane)} == {1 << (bits - 1)}
    assert (frame.height, frame.width, frame.planes[0].dtype) == (height, width, sample_type(bits))


@settings(max_examples=40, deadline=None)
@given(
    share=st.floats(-0.5, 1.5), before=st.integers(0, 255), after=st.integers(0, 255), top=st.integers(-3, 6),
    left=st.integers(-3, 6),
)  # fmt: skip
def test_shares_beyond_nothing_and_all_are_held_and_the_result_lies_between(
    share: float, before: int, after: int, top: int, left: int
) -> None:
    frame = VideoFrame.from_rgb(np.full((7, 7, 3), before, np.uint8), 0, Fraction(1, 25), "444", 10)
    patch = np.full((3, 3, 3), after, np.uint8)
    out = blend_rgb(frame, patch, np.full((3, 3), share, np.float32), top, left).rgb().astype(int)
    held = min(1.0, max(0.0, share))
    inside = np.zeros((7, 7), bool)
    inside[max(0, top) : max(0, top + 3), max(0, left) : max(0, left + 3)] = True
    assert np.abs(out[inside] - (before + held * (after - before))).max(initial=0) <= 2
    assert np.abs(out[~inside] - before).max(initial=0) <= 1


@pytest.mark.parametrize("subsampling", get_args(Subsampling))
@pytest.mark.parametrize("top, left", [(0, 0), (3, 5), (-2, 7)])
def test_a_chroma_sample_takes_the_mean_share_of_its_footprint(subsampling: Subsampling, top: int, left: int) -> None:
    """Against every pixel looked at by itself: a grey frame of odd sizes, a patch of one colour, shares by chance."""
    sy, sx = STEPS[subsampling]
    height, width = 13, 21
    frame = VideoFrame.from_rgb(np.full((height, width, 3), 128, np.uint8), 0, Fraction(1, 25), subsampling)
    share = np.random.default_rng(0).uniform(0, 1, (8, 9)).astype(np.float32)
    blue = np.zeros((8, 9, 3), np.float32)
    blue[..., 2] = 255
    found = blend_rgb(frame, blue, share, top, left).planes[1]
    whole = blend_rgb(frame, blue, np.ones_like(share), 0, 0).planes[1][0, 0]
    grey = int(frame.planes[1][0, 0])
    for row, column in np.ndindex(found.shape):
        pixels = [(y, x) for y in range(row * sy, row * sy + sy) for x in range(column * sx, column * sx + sx)]
        pixels = [(y, x) for y, x in pixels if y < height and x < width]
        shares = [float(share[y - top, x - left]) if 0 <= y - top < 8 and 0 <= x - left < 9 else 0.0 for y, x in pixels]
        wanted = grey + (int(whole) - grey) * sum(shares) / len(pixels)
        assert abs(int(found[row, column]) - wanted) <= 1.0, (row, column)


@pytest.mark.parametrize("subsampling", get_args(Subsampling))
@pytest.mark.parametrize("bits", [8, 10])
def test_rgb_of_a_tall_picture_is_that_of_its_parts(subsampling: Subsampling, bits: int) -> None:
    """Rows are converted in bands; whichever band a row falls into, it is the same."""
    frame = random_frame(2 * 64 * 2 + 31, 9, subsampling, bits)
    sy, whole = STEPS[subsampling][0], frame.rgb()
    assert whole.shape == (287, 9, 3)
    for top in (0, 100 * sy, 128 + 12):
        first = top // sy
        planes = (frame.planes[0][first * sy :], frame.planes[1][first:], frame.planes[2][first:])
        part = VideoFrame(planes, subsampling, bits, "bt709", False, 7, Fraction(1, 25)).rgb()
        np.testing.assert_array_equal(part, whole[first * sy :])
