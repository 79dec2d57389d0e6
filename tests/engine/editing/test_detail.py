"""Sharpness and noise of the region follow those of the frame."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.editing.compositing import Patch
from engine.editing.detail import (
    GRAIN_LIMIT,
    LAPLACIAN_GAIN,
    Detail,
    Fineness,
    compare_detail,
    edges,
    fineness,
    laplacian_variance,
    luma,
)
from engine.editing.settling import FRAME_S
from engine.errors import ShapeError

pytestmark = pytest.mark.unit


def noisy(deviation: float, size: int = 160) -> NDArray[np.float32]:
    """A grey picture with white noise in luma."""
    noise = np.random.default_rng(0).standard_normal((size, size, 1)).astype(np.float32)
    return np.repeat(120 + np.float32(deviation) * noise, 3, axis=2)


def everywhere(size: int = 160) -> NDArray[np.bool_]:
    return np.ones((size, size), bool)


def run(detail: Detail, own: float, answer: float, frames: int = 120, quiet: float = 1.0) -> Detail:
    """Frames of one variance, and a region whose variance is `answer` times (1 + share) squared.

    Of the frame's variance the share `quiet` lies on smooth skin, too; the region's skin shows nothing.
    """
    for _ in range(frames):
        detail.follow(Fineness(answer * (1 + detail.share) ** 2, 0.0), Fineness(own, quiet * own), FRAME_S)
    return detail


def test_variance_of_white_noise_is_twenty_times_its_own() -> None:
    found = laplacian_variance(noisy(4.0), everywhere())
    assert found == pytest.approx(LAPLACIAN_GAIN * 16.0, rel=0.05)


def test_variance_counts_only_inside_and_is_zero_where_that_is_nowhere() -> None:
    picture = noisy(4.0)
    picture[:80] = 120
    upper = everywhere()
    upper[78:] = False
    assert laplacian_variance(picture, upper) == 0.0
    assert laplacian_variance(picture, ~everywhere()) == 0.0


def test_rounding_of_video_counts_as_noise() -> None:
    """A smooth ramp that 8-bit luma cannot hold is not smooth in the file."""
    ramp = np.repeat(np.linspace(100, 103, 160, dtype=np.float32)[None, :, None], 160, 0).repeat(3, 2)
    assert laplacian_variance(ramp, everywhere()) > 0.01


@pytest.mark.parametrize("mask", [np.ones((160, 159), bool), np.ones((10, 10), bool)])
def test_shapes_that_do_not_belong_together_are_refused(mask: NDArray[np.bool_]) -> None:
    with pytest.raises(ShapeError, match=r"expected \[h,w,3\] and \[h,w\]"):
        laplacian_variance(noisy(1.0), mask)


def test_comparison_looks_at_the_frame_under_the_patch() -> None:
    frame = np.full((200, 220, 3), 120, np.uint8)
    frame[20:180, 30:190] = np.clip(np.round(noisy(6.0)), 0, 255).astype(np.uint8)
    patch = Patch(noisy(3.0), np.ones((160, 160), np.float32), 20, 30)
    shown, own = compare_detail(patch, frame)
    assert shown.variance == pytest.approx(LAPLACIAN_GAIN * 9, rel=0.08)
    assert own.variance == pytest.approx(LAPLACIAN_GAIN * 36, rel=0.08)


def test_a_soft_region_is_sharpened_until_it_is_as_sharp() -> None:
    detail = run(Detail(0.0, 0.0), own=100.0, answer=40.0)
    assert 40.0 * (1 + detail.share) ** 2 == pytest.approx(100.0, rel=0.03)
    assert detail.grain == pytest.approx(0.0, abs=0.1)


def test_a_region_that_is_too_sharp_is_sharpened_less() -> None:
    detail = run(Detail(0.9, 1.0), own=100.0, answer=70.0)
    assert 70.0 * (1 + detail.share) ** 2 == pytest.approx(100.0, rel=0.03)
    detail = run(Detail(0.9, 1.0), own=100.0, answer=170.0)
    assert (detail.share, detail.grain) == (0.0, 0.0)


def test_what_sharpening_cannot_give_is_filled_with_noise_in_part() -> None:
    detail = run(Detail(0.0, 0.0), own=100.0, answer=2.0)
    total = detail.shown + LAPLACIAN_GAIN * detail.grain**2
    assert 0.7 * detail.own < total < detail.own
    assert run(Detail(0.0, 0.0), own=1e6, answer=1.0).grain == GRAIN_LIMIT


@pytest.mark.parametrize(("quiet", "most"), [(0.0, 1.0), (0.25, 2.5), (1.0, GRAIN_LIMIT)])
def test_noise_is_hardly_more_than_lies_on_the_frame_s_smooth_skin(quiet: float, most: float) -> None:
    """A film whose detail is edges gets noise that is not seen; a noisy one gets its noise back."""
    detail = run(Detail(0.0, 0.0), own=400.0, answer=2.0, quiet=quiet)
    assert 0.9 * min(most, 4.0) < detail.grain <= most


def test_a_region_that_is_noisier_than_the_frame_gets_the_unseen_noise_at_most() -> None:
    detail = Detail(0.0, 0.0)
    for _ in range(50):
        detail.follow(Fineness(10.0, 500.0), Fineness(400.0, 0.0), FRAME_S)
    assert detail.grain == pytest.approx(1.0)


def test_quiet_blocks_tell_noise_from_edges() -> None:
    """A grid of strong lines with noise between: the variance is the lines', the quiet is the noise's."""
    picture = noisy(2.0)
    picture[::40] += 60
    picture[:, ::40] += 60
    found = fineness(picture, everywhere())
    assert found.quiet == pytest.approx(LAPLACIAN_GAIN * 4.0, rel=0.25)
    assert found.variance > 4 * found.quiet


@pytest.mark.parametrize("side", [6, 9])
def test_a_face_without_a_whole_block_is_all_quiet(side: int) -> None:
    inside = everywhere(side)
    inside[0, 0] = False
    found = fineness(noisy(4.0, side), inside)
    assert found.quiet == found.variance > 0


def test_one_frame_changes_little_and_frames_without_a_region_nothing() -> None:
    detail = Detail(0.5, 1.0)
    detail.follow(Fineness(1e-3, 0.0), Fineness(1e3, 0.0), FRAME_S)
    assert abs(detail.share - 0.5) <= 0.1
    before = (detail.share, detail.grain, detail.own, detail.shown)
    detail.follow(Fineness(0.0, 0.0), Fineness(50.0, 1.0), FRAME_S)
    detail.follow(Fineness(50.0, 1.0), Fineness(0.0, 0.0), FRAME_S)
    assert (detail.share, detail.grain, detail.own, detail.shown) == before


def test_luma_is_bt_709_and_edges_are_those_of_a_plane() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
    assert luma(colours) == pytest.approx(np.array([[54.213, 182.376], [18.411, 255.0]]), abs=0.01)
    spike = np.zeros((5, 5), np.float32)
    spike[2, 2] = 1.0
    assert edges(spike)[2].tolist() == [0, 1, -4, 1, 0]
    assert not edges(np.full((4, 6), 7.0, np.float32)).any()


@pytest.mark.parametrize("shape", [(4,), (4, 4, 3), (0, 4)], ids=str)
def test_planes_and_pictures_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected \[h,w\]"):
        edges(np.zeros(shape, np.float32))
    with pytest.raises(ShapeError, match=r"expected \[h,w,3\]"):
        luma(np.zeros((*shape, 2), np.float32))
