"""Head pose: known rotations come back, in the signs the documentation gives."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.pose import OUTER_EYE_CORNERS, from_head, head_pose, rigid_template, to_head

pytestmark = pytest.mark.unit


def _rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Degrees, signs as documented: nose to the right, nose down, clockwise."""
    a, b, c = (math.radians(angle) for angle in (yaw, pitch, roll))
    turn = np.array([[math.cos(a), 0, -math.sin(a)], [0, 1, 0], [math.sin(a), 0, math.cos(a)]])
    nod = np.array([[1, 0, 0], [0, math.cos(b), -math.sin(b)], [0, math.sin(b), math.cos(b)]])
    lean = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    return np.asarray(lean @ turn @ nod)


def _mesh(rotation: NDArray[np.float64], iod: float = 100.0) -> NDArray[np.float64]:
    """The average head in a pose, 400 px right of and 300 px below the corner."""
    numbers, places = rigid_template()
    mesh = np.zeros((468, 3))
    mesh[numbers] = places
    return mesh @ rotation.T * iod + [400.0, 300.0, 5.0]


@pytest.mark.parametrize(
    ("yaw", "pitch", "roll"), [(0, 0, 0), (30, 0, 0), (-20, 0, 0), (0, 25, 0), (0, -15, 0), (0, 0, 40), (25, 0, -30)]
)
def test_known_pose_comes_back(yaw: float, pitch: float, roll: float) -> None:
    pose = head_pose(_mesh(_rotation(yaw, pitch, roll)))
    assert (pose.yaw_deg, pose.pitch_deg, pose.roll_deg) == pytest.approx((yaw, pitch, roll), abs=1e-6)
    assert pose.iod_px == pytest.approx(100.0, rel=1e-6)
    np.testing.assert_allclose(pose.origin, [400, 300, 5], atol=1e-9)


def test_speech_does_not_move_the_pose() -> None:
    mesh = _mesh(_rotation(10, 5, 0))
    spoken = mesh.copy()
    spoken[[0, 13, 14, 17, 152, 61, 291]] += [3.0, 25.0, 4.0]
    np.testing.assert_array_equal(head_pose(spoken).rotation, head_pose(mesh).rotation)


def test_pose_is_a_proper_rotation_even_of_noise() -> None:
    noisy = _mesh(_rotation(20, -10, 5)) + np.random.default_rng(0).standard_normal((468, 3)) * 3
    pose = head_pose(noisy)
    np.testing.assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(pose.rotation) == pytest.approx(1)
    assert pose.yaw_deg == pytest.approx(20, abs=2)


def test_head_frame_and_back() -> None:
    pose = head_pose(_mesh(_rotation(25, 10, -15)))
    points = np.random.default_rng(1).standard_normal((68, 3)) * 100
    np.testing.assert_allclose(from_head(to_head(points, pose), pose), points, atol=1e-9)
    corners = _mesh(_rotation(25, 10, -15))[list(OUTER_EYE_CORNERS)]
    np.testing.assert_allclose(to_head(corners, pose), [[-0.5, 0, 0], [0.5, 0, 0]], atol=1e-6)


def test_template_is_symmetric() -> None:
    _, places = rigid_template()
    mirrored = places * [-1, 1, 1]
    nearest = np.linalg.norm(places[:, None] - mirrored[None], axis=-1).min(1)
    assert nearest.max() == 0


def test_mirrored_picture_gives_mirrored_pose(mirrored_meshes: tuple[NDArray[np.float64], ...]) -> None:
    straight, mirrored = (head_pose(mesh) for mesh in mirrored_meshes)
    assert mirrored.yaw_deg == pytest.approx(-straight.yaw_deg, abs=3)
    assert mirrored.roll_deg == pytest.approx(-straight.roll_deg, abs=1.5)
    assert mirrored.pitch_deg == pytest.approx(straight.pitch_deg, abs=3)


def test_frontal_portrait_is_frontal(mirrored_meshes: tuple[NDArray[np.float64], ...]) -> None:
    pose = head_pose(mirrored_meshes[0])
    assert abs(pose.yaw_deg) < 6
    assert abs(pose.roll_deg) < 6
    assert abs(pose.pitch_deg) < 15


def test_real_points_in_the_head_frame_are_in_front_and_upright(
    mirrored_meshes: tuple[NDArray[np.float64], ...],
) -> None:
    head = to_head(mesh_to_68(mirrored_meshes[0]), head_pose(mirrored_meshes[0]))
    nose, chin, left_jaw = head[30], head[8], head[0]
    assert nose[2] < -0.3
    assert chin[1] > 1.0
    assert left_jaw[0] < -0.6
    assert left_jaw[2] > 0.3


@pytest.mark.parametrize("mesh", [np.zeros((468, 3)), np.zeros((468, 2)), np.zeros((68, 3))])
def test_what_is_no_face_is_refused(mesh: NDArray[np.float64]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        head_pose(mesh)


def test_points_must_be_in_space() -> None:
    pose = head_pose(_mesh(np.eye(3)))
    with pytest.raises(ShapeError, match="expected"):
        to_head(np.zeros((68, 2)), pose)
