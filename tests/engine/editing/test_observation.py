"""What a frame says in the speaker's own coordinates, and the maps there and back."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.editing.mouth import mouth_shape
from engine.editing.observation import CROP, Observation, landmarks_of, mesh_crop, observe, region_picture
from engine.tracking.alignment import transform_points
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.mesh import MESH_SIZE
from engine.tracking.pose import from_head
from tests.engine.editing.made_up import neutral_head, opened
from tests.engine.editing.scripted import Place, film, tracked

pytestmark = pytest.mark.unit

PLACES = [Place(), Place(0.25, left=51, top=33), Place(0.25, roll_deg=12, left=70, top=4), Place(0.2, -7, 6, 60, 50)]


def inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(matrix), np.float64)


def watched(place: Place, opening: float = 0.0) -> Observation:
    return observe(film(np.zeros(8), place), tracked(opened(neutral_head(), opening), place))


@pytest.mark.parametrize("place", PLACES)
def test_maps_between_crop_and_frame_undo_each_other(place: Place) -> None:
    seen = watched(place)
    assert np.allclose(seen.crop_to_frame @ seen.frame_to_crop, np.eye(3))
    corners = np.array([[0.0, 0.0], [CROP, 0.0], [300.0, 900.0]])
    assert np.allclose(transform_points(corners, seen.crop_to_frame), place.crop_to_frame(corners))


@pytest.mark.parametrize("place", PLACES)
def test_landmarks_of_head_frame_and_crop_are_the_same_points(place: Place) -> None:
    seen = watched(place)
    there = transform_points(from_head(seen.head, seen.pose)[:, :2], seen.frame_to_crop)
    assert np.allclose(there, seen.points, atol=1e-6)


@pytest.mark.parametrize("place", PLACES[1:3])
def test_where_the_face_is_in_the_frame_changes_nothing(place: Place) -> None:
    """Moved or leaning, the same face is the same in the speaker's coordinates: landmarks, mouth, and picture."""
    one, other = watched(Place(), 0.05), watched(place, 0.05)
    assert np.allclose(one.points, other.points, atol=1e-2)
    assert np.allclose(one.mouth, other.mouth, atol=1e-3)
    assert np.allclose(one.still, other.still, atol=1e-5)
    assert float(np.abs(one.small - other.small).mean()) < 0.02


def test_the_mouth_is_read_in_the_head_frame_whatever_the_pose() -> None:
    face = opened(neutral_head(), 0.08)
    for yaw in (-20.0, 0.0, 25.0):
        seen = observe(film(np.zeros(8)), tracked(face, Place(yaw_deg=yaw)))
        assert np.allclose(seen.mouth, mouth_shape(face), atol=1e-3)


def test_still_landmarks_do_not_follow_the_mouth_but_the_head() -> None:
    rest, open_wide = watched(Place()), watched(Place(), 0.2)
    assert np.array_equal(rest.still, open_wide.still)
    assert not np.allclose(rest.mouth, open_wide.mouth)
    assert not np.allclose(rest.still, watched(Place(yaw_deg=8.0)).still, atol=1e-3)


def test_small_picture_is_blind_to_the_mouth_and_sees_the_light() -> None:
    """A painted mouth leaves it as it is; a brighter frame raises all that is not blanked, within -1...1."""
    face = tracked(neutral_head())
    plain, painted = (observe(film(change), face).small for change in (np.zeros(8), np.full(8, 5.0)))
    assert np.array_equal(plain, painted)
    lit = observe(film(np.zeros(8), light=0.3), face).small
    seen = plain.reshape(3, 32, 32)[0] != 0
    raised = (lit - plain).reshape(3, 32, 32)[0]
    assert not raised[~seen].any() and (~seen).sum() >= 100
    assert raised[24:].mean() > 0.1 and np.abs(lit).max() <= 1


@pytest.mark.parametrize("place", PLACES)
def test_mesh_crop_is_an_upright_square_around_the_whole_mesh(place: Place) -> None:
    face = tracked(neutral_head(), place)
    crop = mesh_crop(face)
    inside = transform_points(face.mesh[:, :2], inverse(crop))
    assert (inside > 0).all() and (inside < MESH_SIZE).all()
    assert np.allclose((inside.min(0) + inside.max(0)) / 2, MESH_SIZE / 2, atol=1e-3)
    assert max(np.ptp(inside, axis=0)) > MESH_SIZE / 2
    across, down = crop[:2, 0], crop[:2, 1]
    assert np.hypot(*across) == pytest.approx(np.hypot(*down)) and across @ down == pytest.approx(0, abs=1e-9)
    assert math.degrees(math.atan2(across[1], across[0])) == pytest.approx(place.roll_deg, abs=1e-6)
    assert np.linalg.det(crop[:2, :2]) > 0


@pytest.mark.parametrize("place", PLACES)
def test_landmarks_come_back_from_the_mesh_crop(place: Place) -> None:
    """Points of the frame, taken into the crop and read there, are the points of the frame, depth included."""
    face = tracked(neutral_head(), place)
    crop = mesh_crop(face)
    in_crop = torch.from_numpy(transform_points(face.mesh, inverse(crop)))[None]
    back = landmarks_of(in_crop, crop)
    assert back.shape == (1, 68, 3)
    assert np.allclose(back[0].numpy(), mesh_to_68(face.mesh.astype(np.float64)), atol=1e-4)


def test_landmarks_pass_their_gradient_on() -> None:
    points = torch.zeros(2, 468, 3, requires_grad=True)
    landmarks_of(points, np.diag([2.0, 2.0, 1.0]))[:, 8].sum().backward()  # type: ignore[no-untyped-call]
    assert points.grad is not None
    assert float(points.grad.sum()) == pytest.approx(2 * 3 * 2.0)


def upright(rgb: NDArray[np.uint8]) -> Observation:
    """A face whose crop is the frame itself."""
    return observe(rgb, tracked(neutral_head(), Place(1.0, left=0, top=0)))


def test_region_of_a_crop_that_is_the_frame_is_cut_out_of_it() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (CROP, CROP, 3), dtype=np.uint8)
    part = region_picture(rgb, upright(rgb), 608, 304, (40, 64))
    expected = rgb[608:648, 304:368].astype(np.float32) / 127.5 - 1
    assert part.shape == (1, 3, 40, 64)
    assert np.allclose(part[0].permute(1, 2, 0).numpy(), expected, atol=2e-4)


def test_a_part_of_a_region_is_the_region_of_that_part() -> None:
    place = Place(0.25, roll_deg=5)
    rgb, seen = film(np.arange(8.0), place), watched(place)
    whole = region_picture(rgb, seen, 600, 300, (200, 240))
    part = region_picture(rgb, seen, 640, 360, (80, 100))
    assert torch.allclose(whole[:, :, 40:120, 60:160], part, atol=1e-4)


def test_cutting_out_leaves_the_frame_alone_and_stays_in_range() -> None:
    rgb = film(np.full(8, 9.0))
    before = rgb.copy()
    rgb.setflags(write=False)
    part = region_picture(rgb, watched(Place()), 608, 304, (416, 416))
    assert np.array_equal(rgb, before)
    assert float(part.min()) >= -1 and float(part.max()) <= 1 and float(part.max()) > 0.8
