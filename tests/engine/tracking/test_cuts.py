"""Cuts: another picture is one; motion, noise, flashes and fades are not."""

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.tracking.cuts import CutDetector

pytestmark = pytest.mark.unit


def _scene(seed: int, height: int = 180, width: int = 320) -> NDArray[np.uint8]:
    """Large coloured fields."""
    fields = np.random.default_rng(seed).integers(20, 220, (6, 8, 3))
    return np.kron(fields, np.ones((height // 6, width // 8, 1))).astype(np.uint8)


def test_first_frame_and_first_after_reset_begin_a_shot() -> None:
    cuts = CutDetector()
    assert cuts(_scene(0))
    assert not cuts(_scene(0))
    cuts.reset()
    assert cuts(_scene(0))


def test_another_scene_is_a_cut() -> None:
    cuts = CutDetector()
    assert [cuts(_scene(seed)) for seed in (0, 0, 1, 1, 0)] == [True, False, True, False, True]


def test_another_size_is_a_cut() -> None:
    cuts = CutDetector()
    assert [cuts(_scene(0)), cuts(_scene(0, 360, 640))] == [True, True]


def test_motion_and_noise_are_no_cut() -> None:
    cuts = CutDetector()
    cuts(_scene(0))
    for shift in range(0, 60, 5):
        noise = np.random.default_rng(shift).integers(-9, 10, (180, 320, 3))
        moved = np.clip(np.roll(_scene(0), shift, axis=1) + noise, 0, 255).astype(np.uint8)
        assert not cuts(moved)


def test_flash_is_no_cut() -> None:
    cuts = CutDetector()
    cuts(_scene(0))
    assert not cuts((_scene(0) * 0.5 + 120).astype(np.uint8))
    assert not cuts(_scene(0))


def test_flat_pictures_are_told_apart() -> None:
    cuts = CutDetector()
    cuts(np.full((90, 160, 3), 10, dtype=np.uint8))
    assert cuts(np.full((90, 160, 3), 200, dtype=np.uint8))


def test_tiny_picture_is_taken() -> None:
    assert CutDetector()(np.zeros((2, 3, 3), dtype=np.uint8))
