"""Noise of the region: new where the film's is new, lying on the face where it is not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.editing.compositing import Patch
from engine.editing.detail import LAPLACIAN_GAIN, edges
from engine.editing.grain import Grain, temporal_noise
from engine.editing.observation import Observation
from engine.editing.settling import FRAME_S
from engine.errors import ShapeError
from tests.engine.editing.made_up import neutral_head, seen
from tests.engine.editing.scripted import REGION

pytestmark = pytest.mark.unit

SIDE = 160


def plate(seed: int, deviation: float) -> NDArray[np.float32]:
    """A picture of grey and edges with new noise in it."""
    noise = np.random.default_rng(seed).standard_normal((SIDE, SIDE)).astype(np.float32)
    rows = np.arange(SIDE, dtype=np.float32)[:, None]
    found: NDArray[np.float32] = 120 + 40 * np.sign(np.sin(rows / 9)) + np.float32(deviation) * noise
    return found


def patch(top: int = 30, left: int = 40, level: float = 120.0) -> Patch:
    return Patch(np.full((SIDE, SIDE, 3), level, np.float32), np.ones((SIDE, SIDE), np.float32), top, left)


def moved(scale: float, x: float, y: float) -> Observation:
    """A face whose crop lies in the frame at (x, y), `scale` px of the frame to one of the crop."""
    place = np.array([[scale, 0, x], [0, scale, y], [0, 0, 1.0]])
    return replace(seen(neutral_head()), crop_to_frame=place, frame_to_crop=np.linalg.inv(place))


def lying(scale: float, x: float = 0.0, y: float = 0.0, deviation: float = 3.0) -> NDArray[np.float32]:
    """What a shot without new noise adds to a patch in the middle of the region."""
    watched = moved(scale, x, y)
    corner = watched.crop_to_frame @ [REGION.left + 60, REGION.top + 60, 1]
    bare = patch(int(corner[1]), int(corner[0]))
    return Grain(fresh=0.0).onto(bare, deviation, watched, REGION).rgb[:, :, 0] - 120


@pytest.mark.parametrize("deviation", [0.5, 2.0, 6.0])
def test_new_noise_is_measured_and_edges_are_not_taken_for_it(deviation: float) -> None:
    found = temporal_noise(plate(1, deviation), plate(2, deviation))
    assert found == pytest.approx(deviation, rel=0.12)


def test_a_still_picture_has_no_new_noise_and_motion_elsewhere_adds_none() -> None:
    still = plate(1, 5.0)
    assert temporal_noise(still, still) == 0.0
    half = still.copy()
    half[:, : SIDE // 2] = np.roll(half[:, : SIDE // 2], 7, axis=0)
    assert temporal_noise(still, half) == 0.0


@pytest.mark.parametrize(
    ("before", "now"), [((40, 40), (40, 41)), ((7, 40), (7, 40)), ((40, 40, 3), (40, 40, 3))], ids=str
)
def test_pictures_that_cannot_be_compared_are_refused(before: tuple[int, ...], now: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"expected twice \[h,w\], of at least 8 px"):
        temporal_noise(np.zeros(before, np.float32), np.zeros(now, np.float32))


def test_a_patch_that_moves_is_compared_where_both_lie() -> None:
    """The frame stands still under a patch that wanders: its noise is found all the same."""
    grain, size = Grain(), 120
    frames = [plate(seed, 2.0) for seed in range(6)]
    for index, frame in enumerate(frames):
        top, left = 3 * index, 5 * index
        grain.follow(frame[top : top + size, left : left + size], top, left, FRAME_S)
    assert grain.fresh == pytest.approx(2.0, rel=0.15)


def test_patches_that_do_not_meet_tell_nothing_and_the_next_ones_do() -> None:
    grain = Grain()
    grain.follow(plate(1, 2.0), 0, 0, FRAME_S)
    grain.follow(plate(2, 2.0), 0, 4 * SIDE, FRAME_S)
    assert grain.fresh is None
    grain.follow(plate(3, 2.0), 0, 4 * SIDE, FRAME_S)
    assert grain.fresh == pytest.approx(2.0, rel=0.15)


def test_a_frame_of_motion_hardly_raises_what_stillness_has_shown() -> None:
    grain = Grain()
    for seed in range(3):
        grain.follow(plate(seed, 1.0), 0, 0, FRAME_S)
    calm = grain.fresh
    grain.follow(np.roll(plate(9, 1.0), 5, axis=0), 0, 0, FRAME_S)
    assert calm is not None and grain.fresh is not None
    assert calm <= grain.fresh < 1.02 * calm + 0.01


def test_noise_is_as_sharp_as_white_noise_of_that_deviation_however_large_the_face() -> None:
    for scale in (0.2, 0.37, 0.6, 1.0):
        sharp = float(edges(lying(scale)).var()) / LAPLACIAN_GAIN
        assert sharp**0.5 == pytest.approx(3.0, rel=0.1), scale


def test_a_face_larger_than_the_crop_gets_no_coarse_blotches() -> None:
    """The field is blurred on its way up; it is not made stronger without end to be as sharp."""
    assert float(lying(4.0).std()) <= 2.0 * 3.0 * 1.01


def test_lasting_noise_goes_where_the_face_goes() -> None:
    here, there = lying(0.4), lying(0.4, x=24.0, y=16.0)
    assert np.allclose(here, there, atol=1e-3)
    assert not np.allclose(here, lying(0.4, x=24.5, y=16.0), atol=1.0)


def test_new_noise_is_the_frames_whatever_rounding_did_to_the_edit() -> None:
    bare, watched = patch(), moved(0.4, 0.0, 0.0)
    rounded = replace(bare, rgb=bare.rgb + np.float32(1e-4))
    film = np.random.default_rng(5).uniform(0, 255, bare.mask.shape).astype(np.float32)
    noises = []
    for item, frame in ((bare, film), (rounded, film), (bare, film + 1)):
        grain = Grain(fresh=9.0)
        grain.follow(frame, item.top, item.left, FRAME_S)
        noises.append(grain.onto(item, 3.0, watched, REGION).rgb - item.rgb)
    assert np.allclose(noises[0], noises[1], atol=1e-3)
    assert not np.allclose(noises[0], noises[2], atol=1.0)


def test_new_noise_differs_between_frames_and_is_the_same_for_the_same_frame() -> None:
    watched = moved(0.4, 0.0, 0.0)
    bare = patch()
    one, again = (Grain(fresh=9.0).onto(bare, 3.0, watched, REGION) for _ in range(2))
    assert np.array_equal(one.rgb, again.rgb)
    assert float(one.rgb.std()) == pytest.approx(3.0, rel=0.05)
    assert np.array_equal(one.rgb[:, :, 0], one.rgb[:, :, 2])
    next_one = Grain(fresh=9.0).onto(patch(level=121.0), 3.0, watched, REGION)
    assert abs(float(np.corrcoef(one.rgb[:, :, 0].ravel(), next_one.rgb[:, :, 0].ravel())[0, 1])) < 0.02


def test_of_what_is_missing_the_film_s_noise_is_new_and_the_rest_lies_on_the_face() -> None:
    """Two frames of one place: what they share is the lasting part, what they do not is the new one."""
    watched, grain = moved(0.4, 0.0, 0.0), Grain(fresh=1.0)
    corner = watched.crop_to_frame @ [REGION.left + 60, REGION.top + 60, 1]
    bare = [patch(int(corner[1]), int(corner[0]), level) for level in (120.0, 121.0)]
    first, second = (grain.onto(item, 3.0, watched, REGION).rgb[:, :, 0] - item.rgb[:, :, 0] for item in bare)
    differ = float(edges(first - second).var()) / LAPLACIAN_GAIN / 2
    assert differ**0.5 == pytest.approx(1.0, rel=0.05)
    assert (float(edges(first).var()) / LAPLACIAN_GAIN) ** 0.5 == pytest.approx(3.0, rel=0.1)


@pytest.mark.parametrize("deviation", [0.0, -1.0])
def test_nothing_missing_changes_nothing(deviation: float) -> None:
    bare = patch()
    assert Grain(fresh=1.0).onto(bare, deviation, moved(0.4, 0.0, 0.0), REGION) is bare


def test_an_empty_mask_and_bright_pixels_are_no_trouble() -> None:
    watched = moved(0.4, 0.0, 0.0)
    empty = replace(patch(), mask=np.zeros((SIDE, SIDE), np.float32))
    assert torch.isfinite(torch.from_numpy(Grain().onto(empty, 3.0, watched, REGION).rgb)).all()
    white = Grain(fresh=9.0).onto(patch(level=254.0), 6.0, watched, REGION).rgb
    assert float(white.max()) <= 255.0 and float(white.min()) >= 0.0
