"""The 68 points: linear, of the input's kind, mirrored as faces are, and where a judge sees them."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.tracking.landmarks import MESH_PAIRS, mesh_to_68
from engine.tracking.pose import OUTER_EYE_CORNERS

pytestmark = pytest.mark.unit

MIRROR_68 = [
    *range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31,
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65,
]  # fmt: skip


def test_numpy_and_torch_agree() -> None:
    points = np.random.default_rng(0).standard_normal((2, 468, 3))
    found = mesh_to_68(points)
    assert found.shape == (2, 68, 3)
    np.testing.assert_allclose(mesh_to_68(torch.from_numpy(points)).numpy(), found)


def test_map_is_linear_and_differentiable() -> None:
    one, other = torch.randn(468, 3, dtype=torch.float64), torch.randn(468, 3, dtype=torch.float64)
    torch.testing.assert_close(mesh_to_68(2 * one - other), 2 * mesh_to_68(one) - mesh_to_68(other))
    points = one.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(mesh_to_68(points).sum(), points)
    assert float(gradient.sum()) == pytest.approx(68 * 3)


def test_eye_corners_are_single_mesh_points() -> None:
    assert MESH_PAIRS[36] == (33, 33)
    assert MESH_PAIRS[45] == (263, 263)
    assert (MESH_PAIRS[36][0], MESH_PAIRS[45][0]) == OUTER_EYE_CORNERS


def test_every_point_is_a_mesh_point() -> None:
    assert len(MESH_PAIRS) == 68
    assert all(0 <= number < 468 for pair in MESH_PAIRS for number in pair)


@pytest.mark.parametrize("shape", [(68, 3), (468,), (468, 4)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        mesh_to_68(np.zeros(shape))


def test_mirrored_picture_gives_mirrored_points(mirrored_meshes: tuple[NDArray[np.float64], ...]) -> None:
    straight, mirrored = (mesh_to_68(mesh)[:, :2] for mesh in mirrored_meshes)
    turned = mirrored[MIRROR_68] * [-1, 1] + [700, 0]
    iod = np.linalg.norm(straight[36] - straight[45])
    error = np.linalg.norm(turned - straight, axis=1) / iod
    assert error.mean() < 0.02
    assert error.max() < 0.06
