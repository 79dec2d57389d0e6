"""The alignment benchmark's own arithmetic, on faces that are made up."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.alignment import Face, figures, laid_over, transplant_pairs
from engine.editing.mouth import MOVED_POINTS
from engine.speech.alignment import Alignment, GeometricAlignment
from engine.tracking.pose import HeadPose, from_head

pytestmark = pytest.mark.unit

_RNG = np.random.default_rng(0)
_REST = _RNG.uniform(-0.6, 1.0, (68, 3))
_REST[62], _REST[66] = (0.0, 0.80, 0.0), (0.0, 0.81, 0.0)


def _face(opening: float, roll_deg: float = 0.0, yaw_deg: float = 0.0, shift: float = 0.0) -> Face:
    """A face without noise, seen from straight ahead."""
    head = _REST.copy()
    head[[56, 57, 58, 65, 66, 67], 1] += opening
    roll = math.radians(roll_deg)
    rotation = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1.0]])
    pose = HeadPose(rotation, yaw_deg, 0.0, roll_deg, np.array([200.0 + shift, 150.0, 0.0]), 80.0)
    return Face(from_head(head, pose), head, pose)


def _clip() -> list[Face]:
    """A mouth that opens and closes on a head that leans and wanders."""
    return [_face(0.12 * (1 + math.sin(at)) / 2, 10 * math.sin(at / 7), 0.0, 5 * math.sin(at / 5)) for at in range(80)]


class _Copying:
    """Leaves the mouth where it is filmed."""

    def place(
        self, own: NDArray[np.float64], rest: NDArray[np.float64], pose: HeadPose, displacement: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return own


class _Off:
    """Geometry that lies a tenth of a face too low."""

    def place(
        self, own: NDArray[np.float64], rest: NDArray[np.float64], pose: HeadPose, displacement: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        head = GeometricAlignment().place(own, rest, pose, displacement)
        head[MOVED_POINTS, 1] += 0.1
        return head


def test_a_similarity_comes_back() -> None:
    points = _RNG.uniform(0, 100, (12, 2))
    turn = math.radians(20)
    matrix = 1.3 * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    found, shift = laid_over(points, points @ matrix.T + [4.0, -7.0])
    np.testing.assert_allclose(found, matrix, atol=1e-9)
    np.testing.assert_allclose(shift, [4.0, -7.0], atol=1e-8)


def test_pairs_have_one_pose_and_two_mouths() -> None:
    faces = [_face(0.0), _face(0.1), _face(0.1, yaw_deg=5.0), _face(0.02)]
    pairs = transplant_pairs(faces)
    openings = {tuple(sorted(round(face.opening, 2) for face in pair)) for pair in pairs}
    assert openings == {(0.01, 0.11), (0.03, 0.11)}
    assert len(pairs) == 4


def test_geometry_is_exact_on_faces_without_noise() -> None:
    values = figures(GeometricAlignment(), _clip())
    assert values["transplant"] == pytest.approx(0.0, abs=1e-6)
    assert values["leak"] == pytest.approx(0.0, abs=1e-3)
    assert values["still"] is not None
    assert values["still"] < 0.5


@pytest.mark.parametrize(("way", "figure", "least"), [(_Copying(), "leak", 0.95), (_Off(), "transplant", 9.0)])
def test_faults_are_seen(way: Alignment, figure: str, least: float) -> None:
    """One follows the filmed mouth, the other misses by ten percent."""
    value = figures(way, _clip())[figure]
    assert value is not None
    assert value >= least


def test_a_mouth_that_never_moves_has_no_pairs() -> None:
    values = figures(GeometricAlignment(), [_face(0.0) for _ in range(60)])
    assert values["transplant"] is None
    assert values["leak"] == 0.0
