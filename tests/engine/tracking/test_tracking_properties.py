"""What the tracker's parts promise of any face: where it lies and how large it is does not count, times do."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.tracking import ffhq_quad, quad_transform
from engine.tracking.alignment import transform_points
from engine.tracking.cuts import CutDetector
from engine.tracking.detector import Detection, _anchors, _letterbox, merge, overlap
from engine.tracking.landmarks import MESH_PAIRS, mesh_to_68
from engine.tracking.pose import from_head, head_pose, rigid_template, to_head
from engine.tracking.smoothing import OneEuro, QuadSmoother

pytestmark = pytest.mark.unit

Points = NDArray[np.float64]
SEEDS = st.integers(0, 2**31)


def mesh(seed: int = 0) -> Points:
    """A head that looks at the camera, in px."""
    numbers, places = rigid_template()
    points = np.random.default_rng(seed).normal(0.0, 0.3, (468, 3)) + [0.0, 0.4, 0.0]
    points[numbers] = places
    return np.asarray(points * 90.0 + [128.0, 120.0, 0.0])


def turned(points: Points, degrees: float, scale: float, shift: tuple[float, float]) -> Points:
    """Turned in the picture, enlarged and moved."""
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]])
    return np.asarray(scale * points @ matrix.T + [*shift, 0.0])


@settings(deadline=None, max_examples=30)
@given(
    seed=SEEDS,
    degrees=st.floats(-170, 170),
    scale=st.floats(0.2, 8),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_the_head_frame_is_free_of_place_size_and_lean(
    seed: int, degrees: float, scale: float, shift: tuple[float, float]
) -> None:
    """Only the roll follows the lean; yaw and pitch stay, and so does the face in its own frame."""
    plain, other = mesh(seed), turned(mesh(seed), degrees, scale, shift)
    one, two = head_pose(plain), head_pose(other)
    assert two.iod_px == pytest.approx(scale * one.iod_px)
    assert (two.yaw_deg, two.pitch_deg) == pytest.approx((one.yaw_deg, one.pitch_deg), abs=1e-6)
    assert math.remainder(two.roll_deg - one.roll_deg - degrees, 360) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(to_head(other, two), to_head(plain, one), atol=1e-8)
    np.testing.assert_allclose(from_head(to_head(other, two), two), other, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(
    seed=SEEDS,
    degrees=st.floats(-170, 170),
    scale=st.floats(0.2, 8),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_the_crop_goes_with_the_face(seed: int, degrees: float, scale: float, shift: tuple[float, float]) -> None:
    """A face looks the same in its crop wherever it is, and the crop is a square."""
    plain = mesh_to_68(mesh(seed))
    other = turned(plain, degrees, scale, shift)
    quads = [ffhq_quad(points) for points in (plain, other)]
    for points, quad in zip((plain, other), quads, strict=True):
        edges = np.roll(quad, -1, axis=0) - quad
        lengths = np.linalg.norm(edges, axis=1)
        np.testing.assert_allclose(lengths, lengths[0], rtol=1e-9)
        assert abs(float(edges[0] @ edges[1])) < 1e-6 * lengths[0] ** 2
        np.testing.assert_allclose(ffhq_quad(points[:, :2]), quad)
    seen = [transform_points(p, quad_transform(q, 256)[1]) for p, q in zip((plain, other), quads, strict=True)]
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, size=st.integers(1, 2000))
def test_the_way_into_a_crop_and_back_is_the_way(seed: int, size: int) -> None:
    quad = ffhq_quad(mesh_to_68(mesh(seed)))
    forward, backward = quad_transform(quad, size)
    np.testing.assert_allclose(forward @ backward, np.eye(3), atol=1e-8)
    corners = np.array([[0, 0], [0, size], [size, size], [size, 0]], float)
    np.testing.assert_allclose(transform_points(corners, forward), quad, atol=1e-6)


def test_the_68_points_are_the_middles_of_their_pairs() -> None:
    points = mesh(4)
    slow = np.stack([(points[one] + points[other]) / 2 for one, other in MESH_PAIRS])
    np.testing.assert_allclose(mesh_to_68(points), slow)
    assert len(MESH_PAIRS) == 68 and max(map(max, MESH_PAIRS)) < 468


BOXES = st.tuples(st.floats(-50, 50), st.floats(-50, 50), st.floats(0.5, 40), st.floats(0.5, 40))


def box(place: tuple[float, float, float, float]) -> Points:
    left, top, width, height = place
    return np.array([left, top, left + width, top + height])


@settings(deadline=None, max_examples=50)
@given(one=BOXES, other=BOXES, scale=st.floats(0.1, 10), shift=st.floats(-100, 100))
def test_an_overlap_is_a_share_that_goes_both_ways_and_ignores_units(
    one: tuple[float, float, float, float], other: tuple[float, float, float, float], scale: float, shift: float
) -> None:
    a, b = box(one), box(other)
    shared = overlap(a, b)
    assert 0.0 <= shared <= 1.0 + 1e-9 and overlap(b, a) == pytest.approx(shared)
    assert overlap(scale * a + shift, scale * b + shift) == pytest.approx(shared, abs=1e-6)
    assert overlap(a, a) == pytest.approx(1.0)


def test_boxes_without_an_area_share_nothing() -> None:
    line, whole = np.array([5.0, 5.0, 5.0, 9.0]), np.array([0.0, 0.0, 10.0, 10.0])
    assert overlap(line, line) == 0.0 == overlap(line, whole)


def detection(place: tuple[float, float, float, float], score: float) -> Detection:
    return Detection(box(place), np.zeros((6, 2)), score)


@settings(deadline=None, max_examples=60)
@given(found=st.lists(st.tuples(BOXES, st.floats(0, 1)), max_size=12), seed=SEEDS)
def test_of_faces_that_overlap_the_best_stays_whatever_their_order(
    found: list[tuple[tuple[float, float, float, float], float]], seed: int
) -> None:
    faces = [detection(place, score) for place, score in found]
    kept = merge(faces)
    assert [face.score for face in kept] == sorted((face.score for face in kept), reverse=True)
    for index, face in enumerate(kept):
        assert all(overlap(face.box, other.box) <= 0.3 for other in kept[:index])
    left_out = [face for face in faces if not any(face is other for other in kept)]
    for face in left_out:
        assert any(overlap(face.box, other.box) > 0.3 and other.score >= face.score for other in kept)
    if len({score for _, score in found}) == len(found):
        mixed = [faces[at] for at in np.random.default_rng(seed).permutation(len(faces))]
        assert [face.score for face in merge(mixed)] == [face.score for face in kept]


@pytest.mark.parametrize(("size", "anchors"), [(128, 896), (192, 2304), (256, 896)])
def test_anchors_sit_evenly_over_the_whole_input(size: int, anchors: int) -> None:
    places = _anchors(size)
    assert places.shape == (anchors, 2) and places.min() > 0 and places.max() < size
    np.testing.assert_allclose(places.mean(axis=0), size / 2)
    np.testing.assert_allclose(np.sort(places[:, 0]), np.sort(size - places[:, 0]))


@given(height=st.integers(1, 3000), width=st.integers(1, 3000))
def test_a_letterbox_is_the_smallest_square_around_the_picture(height: int, width: int) -> None:
    left, top, side = _letterbox(np.broadcast_to(np.uint8(0), (height, width, 3)))
    assert side == max(height, width)
    assert left + side / 2 == width / 2 and top + side / 2 == height / 2
    assert left <= 0 and top <= 0


@settings(deadline=None, max_examples=30)
@given(seed=SEEDS, gain=st.floats(0.1, 100))
def test_a_filter_does_not_hang_on_units_when_its_speed_is_told_in_them(seed: int, gain: float) -> None:
    path = np.cumsum(np.random.default_rng(seed).normal(size=(30, 2)), axis=0)
    plain, other = OneEuro(1.0, 40.0), OneEuro(1.0, 40.0)
    for value in path:
        one = plain(value, 0.04)
        two = other(gain * value, 0.04, unit=gain)
    np.testing.assert_allclose(two, gain * one, rtol=1e-6)


def test_a_filter_keeps_what_stands_still_and_never_overshoots() -> None:
    filtered = OneEuro(1.0, 40.0)
    for _ in range(20):
        assert filtered(np.array([3.0, -1.0]), 0.04).tolist() == [3.0, -1.0]
    steps = [float(filtered(np.array([5.0, -1.0]), 0.04)[0]) for _ in range(40)]
    assert all(a <= b for a, b in pairwise(steps)) and 3.0 < steps[0] < steps[-1] <= 5.0
    assert steps[-1] == pytest.approx(5.0, abs=0.01)


def test_what_a_filter_was_given_is_not_changed_by_it() -> None:
    """Neither the first value, which it begins with, nor later ones."""
    filtered, first = OneEuro(1.0, 0.0), np.array([1.0])
    held = filtered(first, 0.04)
    filtered(np.array([9.0]), 0.04)
    assert first.tolist() == [1.0] and held.tolist() == [1.0]


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_a_larger_film_has_the_same_steady_crop(scale: float) -> None:
    """Twice the size, twice the crop, to the last digit: no constant is in pixels."""
    plain, other = QuadSmoother(), QuadSmoother()
    noise = np.random.default_rng(5)
    for index in range(25):
        points = turned(mesh(1) + noise.normal(0, 0.5, (468, 3)), 3.0 * index, 1.0, (2.0 * index, 0.0))
        quads = [
            smoother(mesh_to_68(each), head_pose(each), index / 25)
            for smoother, each in ((plain, points), (other, scale * points))
        ]
        np.testing.assert_allclose(quads[1], scale * quads[0], rtol=1e-9)


@pytest.mark.parametrize("again", [0.08, 0.04, 0.0])
def test_a_frame_that_is_not_later_is_refused_with_both_times(again: float) -> None:
    smoother = QuadSmoother()
    points, pose = mesh_to_68(mesh()), head_pose(mesh())
    smoother(points, pose, 0.0)
    smoother(points, pose, 0.08)
    with pytest.raises(ShapeError, match=f"frame at {again} s follows one at 0.08 s; expected rising times"):
        smoother(points, pose, again)
    assert smoother(points, pose, 0.12).shape == (4, 2)


def picture(seed: int) -> NDArray[np.uint8]:
    """A scene of large patches."""
    patches = np.random.default_rng(seed).integers(20, 200, (6, 8, 3))
    return patches.repeat(20, axis=0).repeat(20, axis=1).astype(np.uint8)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 50), gain=st.floats(0.6, 1.25), level=st.integers(-15, 50))
def test_light_that_changes_is_no_cut(seed: int, gain: float, level: int) -> None:
    detector = CutDetector()
    assert detector(picture(seed))
    assert not detector(np.clip(gain * picture(seed) + level, 0, 255).astype(np.uint8))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 50))
def test_every_scene_begins_once(seed: int) -> None:
    detector = CutDetector()
    shown = [picture(seed), picture(seed), picture(seed + 100), picture(seed + 100), picture(seed)]
    assert [detector(each) for each in shown] == [True, False, True, False, True]
    detector.reset()
    assert detector(picture(seed))


def test_a_face_has_a_size_and_a_middle_and_no_negative_one() -> None:
    found = detection((10.0, 20.0, 16.0, 4.0), 0.9)
    assert found.size == 8.0 and found.centre.tolist() == [18.0, 22.0]
    assert replace(found, box=np.array([10.0, 10.0, 5.0, 30.0])).size == 0.0
