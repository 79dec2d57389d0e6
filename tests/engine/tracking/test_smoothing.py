"""Smoothing: still heads get still crops, moving heads are followed at once, at any frame rate."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.tracking.alignment import ffhq_quad
from engine.tracking.pose import HeadPose, from_head
from engine.tracking.smoothing import OneEuro, QuadSmoother

pytestmark = pytest.mark.unit

NOISE = np.random.default_rng(0)


def _head() -> NDArray[np.float64]:
    """A rough face in the head frame: eyes, mouth corners, the rest anywhere."""
    head = np.zeros((68, 3))
    head[36:42] = [-0.35, 0, 0]
    head[42:48] = [0.35, 0, 0]
    head[48], head[54] = [-0.3, 0.75, 0], [0.3, 0.75, 0]
    return head


def _pose(x: float, y: float, iod: float = 100.0, roll: float = 0.0) -> HeadPose:
    cos, sin = math.cos(roll), math.sin(roll)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1.0]])
    return HeadPose(turn, 0.0, 0.0, math.degrees(roll), np.array([x, y, 0.0]), iod)


def _follow(smoother: QuadSmoother, pose: HeadPose, seconds: float) -> NDArray[np.float64]:
    return smoother(from_head(_head(), pose), pose, seconds)


def test_first_frame_is_the_plain_quad() -> None:
    pose = _pose(300, 200, roll=0.2)
    np.testing.assert_allclose(_follow(QuadSmoother(), pose, 7.0), ffhq_quad(from_head(_head(), pose)), atol=1e-9)


def test_noise_on_a_still_head_is_damped() -> None:
    smoother = QuadSmoother()
    raw, smooth = [], []
    for index in range(200):
        pose = _pose(300 + NOISE.normal(0, 0.3), 300 + NOISE.normal(0, 0.3), iod=100 + NOISE.normal(0, 0.2))
        raw.append(ffhq_quad(from_head(_head(), pose)))
        smooth.append(_follow(smoother, pose, index / 25))
    steps = [float(np.diff(np.array(quads)[20:], axis=0).std()) for quads in (raw, smooth)]
    assert steps[1] < 0.5 * steps[0]


@pytest.mark.parametrize("rate", [12.5, 25.0, 50.0])
def test_moving_head_is_followed_without_much_lag(rate: float) -> None:
    smoother = QuadSmoother()
    speed = 150.0
    for index in range(int(2 * rate)):
        quad = _follow(smoother, _pose(300 + speed * index / rate, 200), index / rate)
        true = ffhq_quad(from_head(_head(), _pose(300 + speed * index / rate, 200)))
    behind = float((true - quad)[:, 0].mean())
    side = float(np.linalg.norm(true[3] - true[0]))
    assert 0 <= behind / side < 0.004
    assert behind / speed < 0.012


def test_speech_moves_the_lips_not_the_crop() -> None:
    smoother = QuadSmoother()
    pose = _pose(300, 200)
    sides, plain = [], []
    for index in range(100):
        head = _head()
        head[[48, 54], 1] += 0.06 * math.sin(2 * math.pi * 4 * index / 25)
        points = from_head(head, pose)
        plain.append(ffhq_quad(points))
        sides.append(smoother(points, pose, index / 25))
    moved = [float(np.ptp(np.array(quads)[50:, :, 1], axis=0).max()) for quads in (plain, sides)]
    assert moved[1] < 0.12 * moved[0]


def test_frame_rate_does_not_change_the_path() -> None:
    def end(rate: int) -> NDArray[np.float64]:
        smoother = QuadSmoother()
        for index in range(rate + 1):
            seconds = index / rate
            quad = _follow(smoother, _pose(300 + 20 * math.sin(3 * seconds), 200), seconds)
        return quad

    assert np.abs(end(50) - end(100)).max() < 0.3


def test_turn_through_half_a_circle_does_not_flip() -> None:
    smoother = QuadSmoother()
    for index in range(100):
        roll = math.pi - 0.5 + index * 0.01
        quad = _follow(smoother, _pose(300, 200, roll=roll), index / 25)
        true = ffhq_quad(from_head(_head(), _pose(300, 200, roll=roll)))
        assert np.abs(quad - true).max() < 12


def test_quad_stays_a_square() -> None:
    smoother = QuadSmoother()
    for index in range(30):
        pose = _pose(300 + NOISE.normal(0, 5), 300 + NOISE.normal(0, 5), roll=NOISE.normal(0, 0.1))
        quad = _follow(smoother, pose, index / 25)
    across, down = quad[3] - quad[0], quad[1] - quad[0]
    assert float(across @ down) == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(across) == pytest.approx(np.linalg.norm(down))
    np.testing.assert_allclose(quad[0] + across + down, quad[2], atol=1e-9)


def test_time_must_rise() -> None:
    smoother = QuadSmoother()
    _follow(smoother, _pose(1, 1), 1.0)
    with pytest.raises(ShapeError, match="rising"):
        _follow(smoother, _pose(1, 1), 1.0)


def test_one_euro_opens_with_speed() -> None:
    slow, fast = OneEuro(1.0, 0.0), OneEuro(1.0, 50.0)
    for index in range(20):
        value = np.array([float(index)])
        lags = [float(index) - float(each(value, 0.04)[0]) for each in (slow, fast)]
    assert lags[1] < 0.2 * lags[0]
