"""How alike two pictures are: known values, order, and refusal of what cannot be compared."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import ShapeError, WeightsFormatError
from engine.evaluation.likeness import EQUAL_DB, LearntDistance, psnr, ssim

pytestmark = pytest.mark.unit
Picture = NDArray[np.uint8]


def photograph(size: int = 96, seed: int = 0) -> Picture:
    """Soft texture: neighbours are alike, as in photographs."""
    noise = np.random.default_rng(seed).integers(0, 256, (size, size + 8, 3), dtype=np.uint8)
    soft = cv2.GaussianBlur(noise, (0, 0), 3.0).astype(np.float32)
    return np.asarray(np.clip((soft - 127) * 6 + 127, 0, 255), dtype=np.uint8)


def noisy(picture: Picture, spread: float) -> Picture:
    noise = np.random.default_rng(1).normal(0, spread, picture.shape)
    return np.asarray(np.clip(picture + noise, 0, 255), dtype=np.uint8)


def blurred(picture: Picture, sigma: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), dtype=np.uint8)


def test_psnr_of_known_errors() -> None:
    grey = np.full((20, 30, 3), 100, np.uint8)
    assert psnr(grey, grey) == EQUAL_DB
    assert psnr(grey, grey + np.uint8(1)) == pytest.approx(48.1308, abs=1e-3)
    assert psnr(grey, grey + np.uint8(10)) == pytest.approx(28.1308, abs=1e-3)
    assert psnr(np.zeros_like(grey), np.full_like(grey, 255)) == pytest.approx(0.0)


def test_psnr_falls_with_noise() -> None:
    picture = photograph()
    values = [psnr(picture, noisy(picture, spread)) for spread in (2, 8, 20)]
    assert values[0] > values[1] > values[2]
    assert values[1] == pytest.approx(20 * np.log10(255 / 8), abs=0.5)


def test_ssim_is_that_of_its_definition_on_flat_pictures() -> None:
    dark, light = np.full((16, 16, 3), 50, np.uint8), np.full((16, 16, 3), 150, np.uint8)
    first = (0.01 * 255) ** 2
    expected = (2 * 50 * 150 + first) / (50**2 + 150**2 + first)
    assert ssim(dark, light) == pytest.approx(expected, abs=1e-6)
    assert ssim(dark, dark) == pytest.approx(1.0)


def test_ssim_sees_structure_not_level() -> None:
    picture = photograph()
    brighter = np.clip(picture.astype(int) + 12, 0, 255).astype(np.uint8)
    assert psnr(picture, brighter) < psnr(picture, noisy(picture, 9))
    assert ssim(picture, brighter) > ssim(picture, noisy(picture, 9))
    inverted = np.asarray(255 - picture, dtype=np.uint8)
    assert ssim(picture, inverted) < 0


def test_ssim_of_one_window_by_hand() -> None:
    random = np.random.default_rng(3)
    a, b = (random.integers(0, 256, (11, 11, 3), dtype=np.uint8) for _ in range(2))
    at = np.arange(-5, 6)
    weight = np.exp(-(at[:, None] ** 2 + at**2) / 4.5)
    weight /= weight.sum()
    x, y = (picture @ np.array([0.299, 0.587, 0.114]) for picture in (a, b))
    mx, my = (weight * x).sum(), (weight * y).sum()
    vx, vy, c = (weight * (x - mx) ** 2).sum(), (weight * (y - my) ** 2).sum(), (weight * (x - mx) * (y - my)).sum()
    k1, k2 = 2.55**2, 7.65**2
    expected = (2 * mx * my + k1) * (2 * c + k2) / ((mx**2 + my**2 + k1) * (vx + vy + k2))
    assert ssim(a, b) == pytest.approx(expected, abs=1e-9)


@pytest.fixture(scope="module")
def learnt(weights: Callable[[str], Path]) -> LearntDistance:
    """The real network."""
    return LearntDistance(weights("stlpips-alex"))


def test_learnt_distance_is_that_of_the_published_implementation(learnt: LearntDistance) -> None:
    random = np.random.default_rng(0)
    for size, expected in ((64, 0.00074144595), (97, 0.00066604611), (160, 0.00064048107)):
        a = random.integers(0, 256, (size, size + 11, 3)).astype(np.uint8)
        b = np.clip(a.astype(int) + random.integers(-20, 20, a.shape), 0, 255).astype(np.uint8)
        assert learnt(a, b) == pytest.approx(expected, rel=1e-4)


def test_learnt_distance_orders_as_people_do(learnt: LearntDistance) -> None:
    picture = photograph(128)
    shifted = np.roll(picture, 1, axis=1)
    assert learnt(picture, picture) == 0
    assert learnt(picture, blurred(picture, 1)) < learnt(picture, blurred(picture, 3))
    assert psnr(picture, shifted) < psnr(picture, blurred(picture, 2))
    assert learnt(picture, shifted) < 0.5 * learnt(picture, blurred(picture, 2))
    assert learnt(picture, photograph(128, 7)) > learnt(picture, noisy(picture, 10))
    a, b = photograph(80), photograph(80, 5)
    assert learnt(a, b) == pytest.approx(learnt(b, a), rel=1e-5)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save({"scaling_layer.shift": torch.zeros(1), "scaling_layer.scale": torch.ones(1)}, tmp_path / "x.pth")
    with pytest.raises(WeightsFormatError, match="x.pth lacks 'net.slice1.0.weight'"):
        LearntDistance(tmp_path / "x.pth")


def test_pictures_that_cannot_be_compared_are_refused(learnt: LearntDistance) -> None:
    small, large = np.zeros((10, 40, 3), np.uint8), np.zeros((40, 40, 3), np.uint8)
    for measure in (psnr, ssim, learnt):
        with pytest.raises(ShapeError):
            measure(small, large)
    with pytest.raises(ShapeError, match="more than 10 px"):
        ssim(small, small)
    with pytest.raises(ShapeError, match="at least 64 px"):
        learnt(large, large)
