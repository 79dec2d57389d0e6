"""Targets of the presenter's moves: what a turn and a mouth ask of the landmarks, what counts in the picture."""

import numpy as np
import pytest
import torch

from engine.speech.controls import CONTROLS, FaceBasis
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.pose import head_pose, rigid_template
from engine.training.presenter_keys import Move, face_moves, mixed, stress, target_points

pytestmark = pytest.mark.unit


def mesh() -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """A head that looks at the camera: the template's points in their places, the others spread about them."""
    numbers, places = rigid_template()
    points = np.random.default_rng(0).normal(0.0, 0.3, (468, 3)) + [0.0, 0.4, 0.0]
    points[numbers] = places
    return points * 90.0 + [128.0, 120.0, 0.0]


def basis() -> FaceBasis:
    """Each control moves one point of its own by 0.1 downwards."""
    displacement = np.zeros((len(CONTROLS), 68, 3), np.float32)
    for index in range(len(CONTROLS)):
        displacement[index, 50 + index, 1] = 0.1
    return FaceBasis(np.zeros((68, 3), np.float32), displacement)


def named(name: str) -> Move:
    return next(move for move in face_moves(basis()) if move.name == name)


def test_mouth_moves_displace_points_in_units_of_the_iod() -> None:
    face = mesh()
    moved = target_points(named("open"), face) - mesh_to_68(face)
    np.testing.assert_allclose(moved[50], [0.0, 0.05 * head_pose(face).iod_px, 0.0], atol=0.5)
    np.testing.assert_allclose(moved[:48], 0.0, atol=1e-9)


@pytest.mark.parametrize(("name", "axis"), [("right", 0), ("down", 1)])
def test_turns_move_near_points_ahead_of_far_ones(name: str, axis: int) -> None:
    face = mesh()
    points = mesh_to_68(face)
    moved = target_points(named(name), face) - points
    slope = np.polyfit(points[:, 2], moved[:, axis], 1)[0]
    assert slope < -0.05
    np.testing.assert_allclose(moved[36:68].mean(0), 0.0, atol=1e-9)


def test_turns_keep_the_shape_of_the_head() -> None:
    face = mesh()
    points, moved = mesh_to_68(face), target_points(named("right"), face)
    before, after = (np.linalg.norm(p[:, None] - p[None], axis=-1) for p in (points, moved))
    np.testing.assert_allclose(after, before, atol=1e-6)


def test_moves_leave_fine_rows_alone_and_begin_with_known_ones() -> None:
    moves = face_moves(basis())
    names = [move.name for move in moves]
    assert len(set(names)) == len(names)
    for index, move in enumerate(moves):
        assert 0 <= move.rows[0] < move.rows[1] <= 12
        assert not move.after or move.after in names[:index]


def test_the_mouth_counts_more_where_it_moves() -> None:
    mask = stress(named("open"), 64)[0, 0]
    assert mask[48, 32] > 5.0 and mask[5, 5] == 1.0 and mask[26, 32] == 1.0
    assert torch.equal(stress(named("right"), 64), torch.ones(1, 1, 64, 64))


def test_mixing_adds_every_move_at_its_amount() -> None:
    neutral, one, two = torch.zeros(3, 4), torch.ones(3, 4), torch.eye(3, 4)
    assert torch.equal(mixed(neutral, [one, two], [0.5, 2.0]), 0.5 * one + 2 * two)
    assert not neutral.any()
