"""Resampling by matrices equals warping, wherever the crop lies; turned crops are refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.editing.sampling import resampling
from engine.errors import ShapeError
from engine.tracking.alignment import warp

pytestmark = pytest.mark.unit


@settings(max_examples=25, deadline=None)
@given(st.floats(0.6, 6.5), st.floats(-400, 200), st.floats(-400, 200))
def test_matrices_do_what_warp_does(scale: float, x: float, y: float) -> None:
    matrix = np.array([[scale, 0, x], [0, scale, y], [0, 0, 1.0]])
    picture = torch.rand(1, 3, 104, 88, generator=torch.Generator().manual_seed(0))
    rows, columns = resampling(matrix, (104, 88), 48)
    assert rows.shape == (48, 104) and columns.shape == (48, 88)
    torch.testing.assert_close(rows @ picture @ columns.T, warp(picture, matrix, 48), rtol=0, atol=2e-3)


def test_brightness_is_kept() -> None:
    rows, columns = resampling(np.array([[3.7, 0, -20.0], [0, 3.7, 15.0], [0, 0, 1.0]]), (96, 64), 32)
    torch.testing.assert_close(rows.sum(1), torch.ones(32))
    torch.testing.assert_close(columns.sum(1), torch.ones(32))


def test_turned_and_mirrored_crops_are_refused() -> None:
    turned = np.array([[2.0, 0.1, 0.0], [-0.1, 2.0, 0.0], [0, 0, 1.0]])
    mirrored = np.array([[-2.0, 0.0, 50.0], [0.0, 2.0, 0.0], [0, 0, 1.0]])
    for matrix in (turned, mirrored):
        with pytest.raises(ShapeError, match="turned or mirrored"):
            resampling(matrix, (64, 64), 32)
    with pytest.raises(ShapeError, match="expected \\[3, 3\\]"):
        resampling(np.eye(2), (64, 64), 32)
