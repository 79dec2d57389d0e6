"""The FFHQ quad, its matrices, and warping: right places, right averages, differentiable."""

import math

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.tracking.alignment import crop_from_rgb, ffhq_quad, quad_transform, seen_part, transform_points, warp

pytestmark = pytest.mark.unit


def _landmarks(eyes: float = 60.0, mouth: float = 70.0) -> NDArray[np.float64]:
    """Eyes at (±eyes/2, 0), mouth corners at (±25, mouth), around (200, 150)."""
    points = np.zeros((68, 2))
    points[36:42] = [-eyes / 2, 0]
    points[42:48] = [eyes / 2, 0]
    points[48], points[54] = [-25, mouth], [25, mouth]
    return points + [200, 150]


def test_quad_of_an_upright_face() -> None:
    half = max(2.0 * 60, 1.8 * 70)
    centre = np.array([200, 150 + 0.1 * 70])
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * half
    np.testing.assert_allclose(ffhq_quad(_landmarks()), centre + corners, atol=1e-9)


def test_quad_follows_the_mouth_of_a_long_face() -> None:
    quad = ffhq_quad(_landmarks(eyes=40, mouth=90))
    assert np.linalg.norm(quad[3] - quad[0]) == pytest.approx(2 * 1.8 * 90)


def test_quad_turns_and_grows_with_the_face() -> None:
    angle, scale = math.radians(20), 1.7
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    np.testing.assert_allclose(ffhq_quad(_landmarks() @ turn.T), ffhq_quad(_landmarks()) @ turn.T, atol=1e-9)


def test_matrices_lay_the_corners_of_the_crop_on_the_quad() -> None:
    quad = ffhq_quad(_landmarks() @ np.array([[0.9, -0.3], [0.3, 0.9]]).T)
    forward, back = quad_transform(quad, 256)
    corners = np.array([[0, 0], [0, 256], [256, 256], [256, 0]], dtype=float)
    np.testing.assert_allclose(transform_points(corners, forward), quad, atol=1e-9)
    np.testing.assert_allclose(transform_points(quad, back), corners, atol=1e-9)


def test_depth_is_scaled_as_lengths() -> None:
    moved = transform_points(np.array([[1.0, 2.0, 3.0]]), np.diag([2.0, 2.0, 1.0]))
    np.testing.assert_allclose(moved, [[2, 4, 6]])


def test_identity_warp_changes_nothing() -> None:
    image = torch.rand(2, 3, 20, 20)
    torch.testing.assert_close(warp(image, np.eye(3), 20), image, atol=1e-5, rtol=0)


def test_whole_reduction_is_the_mean_of_blocks() -> None:
    image = torch.rand(1, 3, 24, 24)
    expected = image.reshape(1, 3, 6, 4, 6, 4).mean((3, 5))
    torch.testing.assert_close(warp(image, np.diag([4.0, 4.0, 1.0]), 6), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.4, 2.3, 4.9])
@pytest.mark.parametrize("angle", [0.0, 0.3])
def test_smooth_picture_is_sampled_in_the_right_place(scale: float, angle: float) -> None:
    rows, columns = np.mgrid[0:200, 0:240] + 0.5
    wave = 0.5 + 0.4 * np.sin(columns / 25) * np.cos(rows / 30)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    matrix = np.array([[cos, -sin, 90.0], [sin, cos, 60.0], [0, 0, 1]])
    size = int(70 / scale)
    got = warp(torch.from_numpy(wave)[None, None].float(), matrix, size)[0, 0].numpy()
    y, x = np.mgrid[0:size, 0:size] + 0.5
    places = transform_points(np.stack([x.ravel(), y.ravel()], 1), matrix)
    expected = 0.5 + 0.4 * np.sin(places[:, 0] / 25) * np.cos(places[:, 1] / 30)
    assert np.abs(got.ravel() - expected).max() < 0.02
    assert abs(float((got.ravel() - expected).mean())) < 0.004


def test_magnification_equals_opencv() -> None:
    image = np.random.default_rng(0).random((40, 50, 3)).astype(np.float32)
    matrix = np.array([[0.4, 0.1, 12.0], [-0.1, 0.4, 15.0], [0, 0, 1]])
    pixels = matrix[:2].copy()
    pixels[:, 2] += matrix[:2, :2] @ [0.5, 0.5] - 0.5
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    expected = cv2.warpAffine(image, pixels, (30, 30), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    got = warp(torch.from_numpy(image).permute(2, 0, 1)[None], matrix, 30)[0].permute(1, 2, 0).numpy()
    assert np.abs(got - expected).max() < 0.03


def test_fine_stripes_are_averaged_not_aliased() -> None:
    stripes = torch.arange(400).remainder(2).float().expand(1, 1, 400, 400)
    crop = warp(stripes, np.diag([3.7, 3.7, 1.0]), 100)
    assert float((crop - 0.5).abs().max()) < 0.25


@pytest.mark.parametrize("shrink", [1.3, 2.2, 2.8, 3.7])
def test_a_sharp_reduction_keeps_more_fine_detail_and_is_not_aliased(shrink: float) -> None:
    """Noise keeps more of its strength than by default; stripes finer than the crop vanish all the same."""
    noise = torch.randn(1, 1, 240, 240, generator=torch.Generator().manual_seed(0))
    matrix, size = np.diag([shrink, shrink, 1.0]), (60, 60)
    kept, plain = (float(warp(noise, matrix, size, sharp=sharp).std()) for sharp in (True, False))
    assert kept >= plain and (kept > 1.05 * plain or shrink < 2)
    stripes = (torch.arange(240) % 2).to(torch.float32).expand(1, 1, 240, 240) * 2 - 1
    assert float(warp(stripes, matrix, size, sharp=True).abs().mean()) < 0.4


def test_a_sharp_magnification_keeps_edges_steeper() -> None:
    edge = (torch.arange(32) >= 16).to(torch.float32).expand(1, 1, 32, 32).contiguous()
    matrix = np.diag([0.25, 0.25, 1.0])
    steep, plain = (warp(edge, matrix, 128, sharp=sharp)[0, 0, 64].diff().max() for sharp in (True, False))
    assert float(steep) > 1.1 * float(plain)
    flat = torch.full((1, 1, 32, 32), 0.3)
    assert torch.allclose(warp(flat, matrix, 128, sharp=True), torch.full((1, 1, 128, 128), 0.3), atol=1e-5)


def test_border_is_repeated_outside() -> None:
    image = torch.full((1, 3, 10, 10), 0.3)
    matrix = np.array([[1.0, 0, -50], [0, 1, -50], [0, 0, 1]])
    torch.testing.assert_close(warp(image, matrix, 20), torch.full((1, 3, 20, 20), 0.3))


@pytest.mark.parametrize("scale", [0.6, 3.0])
def test_warp_is_differentiable(scale: float) -> None:
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    (gradient,) = torch.autograd.grad(warp(image, np.diag([scale, scale, 1.0]), 8).sum(), image)
    assert float(gradient.sum()) == pytest.approx(3 * 64, rel=1e-4)


@pytest.mark.parametrize("scale", [0.7, 1.6, 5.2])
def test_crop_from_rgb_agrees_with_warp(scale: float) -> None:
    rows, columns = np.mgrid[0:420, 0:500]
    smooth = np.stack([rows / 2, columns / 2, (rows + columns) / 5], -1).astype(np.uint8)
    matrix = np.array([[scale, 0.2, 40.0], [-0.2, scale, 45.0], [0, 0, 1]])
    expected = warp(torch.from_numpy(smooth).permute(2, 0, 1)[None].float() / 255, matrix, 64)
    got = crop_from_rgb(smooth, matrix, 64)
    assert got.shape == (1, 3, 64, 64)
    assert float((got - expected).abs().max()) < 0.01


def test_crop_far_outside_repeats_the_nearest_pixels() -> None:
    picture = np.zeros((30, 40, 3), dtype=np.uint8)
    picture[-1, -1] = 200
    matrix = np.array([[1.0, 0, 900], [0, 1, 700], [0, 0, 1]])
    assert float((crop_from_rgb(picture, matrix, 8) - 200 / 255).abs().max()) < 1e-6


@pytest.mark.parametrize("quad", [np.zeros((4, 3)), np.zeros((4, 2))], ids=["shape", "no area"])
def test_bad_quads_are_refused(quad: NDArray[np.float64]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        quad_transform(quad, 64)


def test_bad_inputs_are_refused() -> None:
    with pytest.raises(ShapeError, match="landmarks"):
        ffhq_quad(np.zeros((67, 2)))
    with pytest.raises(ShapeError, match="image"):
        warp(torch.zeros(3, 8, 8), np.eye(3), 8)
    with pytest.raises(ShapeError, match="matrix"):
        warp(torch.zeros(1, 3, 8, 8), np.eye(2), 8)
    with pytest.raises(ShapeError, match="uint8"):
        crop_from_rgb(np.zeros((8, 8, 3), dtype=np.float32), np.eye(3), 8)


@pytest.mark.parametrize("scale", [0.6, 1.7, 4.3])
@pytest.mark.parametrize("place", [(20.0, 14.0), (-15.0, 200.0)])
def test_the_seen_part_holds_all_that_a_crop_needs(scale: float, place: tuple[float, float]) -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (180, 240, 3), dtype=np.uint8)
    matrix = np.array([[scale, -0.2, place[0]], [0.2, scale, place[1]], [0, 0, 1.0]])
    part, to_part = seen_part(rgb, matrix, (24, 32))
    whole = torch.from_numpy(rgb).permute(2, 0, 1)[None].to(torch.float32)
    assert part.shape[2] * part.shape[3] < 180 * 240
    torch.testing.assert_close(warp(part, to_part @ matrix, (24, 32)), warp(whole, matrix, (24, 32)), atol=0.02, rtol=0)
