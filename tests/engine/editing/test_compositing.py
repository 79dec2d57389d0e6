"""Mask, colour match, sharpening and the way back into the frame."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from engine.editing.compositing import (
    colour_change,
    convex_hull,
    lower_face_mask,
    match_colour,
    recoloured,
    sharpen,
    smooth_step,
    to_frame,
)
from engine.errors import ShapeError
from engine.media import VideoFrame
from tests.engine.editing.made_up import neutral_head, opened, seen
from tests.engine.editing.scripted import REGION

pytestmark = pytest.mark.unit


def test_hull_of_a_square_with_points_inside() -> None:
    """Inner points and points on edges fall away."""
    points = np.array([[0.0, 0], [4, 0], [4, 4], [0, 4], [2, 2], [1, 3], [2, 0]])
    assert sorted(map(tuple, convex_hull(points).tolist())) == [(0, 0), (0, 4), (4, 0), (4, 4)]


def test_mask_covers_mouth_and_chin_and_not_the_eyes() -> None:
    """1 on the lips, more than half on both chins, 0 at the region's border."""
    watched = seen(neutral_head())
    target = seen(opened(neutral_head(), 0.2)).points
    mask = lower_face_mask(watched, target, REGION)[0, 0]

    def at(point: np.ndarray) -> float:
        return float(mask[int(point[1]) - REGION.top, int(point[0]) - REGION.left])

    assert at(watched.points[48:68].mean(0)) == 1.0
    assert at(watched.points[8]) > 0.5
    assert at(target[8] - np.array([0, 8])) > 0.5
    edge = torch.cat([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert float(edge.max()) == 0.0


def test_mask_reaches_below_a_filmed_chin_that_is_lower_than_the_wanted_one() -> None:
    """A closed mouth over a dropped jaw: what is left of the filmed chin has to go."""
    watched, wanted = seen(opened(neutral_head(), 0.2)), seen(neutral_head())
    mask = lower_face_mask(watched, wanted.points, REGION)[0, 0]
    chin = watched.points[8]
    column = mask[:, int(chin[0]) - REGION.left]
    assert float(column[int(chin[1]) - REGION.top]) > 0.9
    assert float(column[int(chin[1]) + 24 - REGION.top]) > 0.3


def test_mask_has_no_hard_edge() -> None:
    """Neighbouring pixels differ by little: no visible box."""
    mask = lower_face_mask(seen(neutral_head()), seen(neutral_head()).points, REGION)[0, 0]
    assert float((mask[1:] - mask[:-1]).abs().max()) < 0.12
    assert float((mask[:, 1:] - mask[:, :-1]).abs().max()) < 0.12


def test_colour_match_takes_the_rings_difference_and_not_the_mouths() -> None:
    """A constant cast is removed everywhere; a difference in the middle alone stays."""
    watched = seen(neutral_head())
    mask = lower_face_mask(watched, watched.points, REGION)
    source = torch.zeros(1, 3, REGION.height, REGION.width)
    cast = source + torch.tensor([0.05, -0.04, 0.02])[None, :, None, None]
    assert float(((match_colour(cast, source, mask) - source).abs() * mask).max()) < 1e-3
    inside = torch.where(mask > 0.999, 0.5, 0.0).expand(-1, 3, -1, -1)
    assert float(match_colour(inside, source, mask)[0, 0][mask[0, 0] > 0.999].mean()) > 0.4


def cast(level: float) -> torch.Tensor:
    """A change of colour as coarse as `colour_change` gives it."""
    return torch.full((1, 3, REGION.height // 8, REGION.width // 8), level)


def test_change_of_colour_is_held_and_added_as_it_is() -> None:
    watched = seen(neutral_head())
    mask = lower_face_mask(watched, watched.points, REGION)
    found = torch.zeros(1, 3, REGION.height, REGION.width)
    change = colour_change(found, found + 1.0, mask)
    assert change.shape == cast(0.0).shape
    limit = float(change.max())
    assert 0.05 < limit < 0.3
    assert torch.allclose(recoloured(found, cast(0.07)), found + 0.07, atol=1e-6)
    assert torch.allclose(match_colour(found, found + 1.0, mask), recoloured(found, change))


def test_sharpening_raises_contrast_of_fine_detail_alone() -> None:
    """A flat picture stays, a fine pattern grows by about the share."""
    flat = torch.full((1, 3, 32, 32), 0.3)
    assert torch.allclose(sharpen(flat, 1.0), flat, atol=1e-6)
    fine = torch.zeros(1, 3, 32, 32)
    fine[..., ::2] = 0.2
    assert float(sharpen(fine, 1.0)[..., 8:-8].std()) == pytest.approx(2 * float(fine[..., 8:-8].std()), rel=0.05)
    assert sharpen(fine, 0.0) is fine


def test_patch_leaves_pixels_outside_its_mask_alone() -> None:
    """Blending changes the planes only where the mask is not zero."""
    noise = np.random.default_rng(0).integers(16, 235, (1024, 1024, 3), dtype=np.uint8)
    frame = VideoFrame.from_rgb(noise, pts=0, time_base=Fraction(1, 25))
    watched = seen(neutral_head())
    mask = lower_face_mask(watched, watched.points, REGION)
    patch = to_frame(torch.ones(1, 3, REGION.height, REGION.width), mask, watched, REGION, (1024, 1024))
    done = patch.into(frame)
    share = np.zeros((1024, 1024), np.float32)
    height, width = patch.mask.shape
    share[patch.top : patch.top + height, patch.left : patch.left + width] = patch.mask
    changed = done.planes[0] != frame.planes[0]
    assert changed[share > 0.5].mean() > 0.9
    assert not changed[share == 0].any()


def test_zero_strength_changes_nothing() -> None:
    """A fully faded-out edit gives the frame back, bit for bit."""
    frame = VideoFrame.from_rgb(np.full((1024, 1024, 3), 90, np.uint8), pts=0, time_base=Fraction(1, 25))
    watched = seen(neutral_head())
    mask = lower_face_mask(watched, watched.points, REGION) * 0.0
    patch = to_frame(torch.ones(1, 3, REGION.height, REGION.width), mask, watched, REGION, (1024, 1024))
    assert all(np.array_equal(a, b) for a, b in zip(patch.into(frame).planes, frame.planes, strict=True))


def test_smooth_step_is_flat_at_both_ends() -> None:
    """0, 1/2 and 1 where they belong."""
    assert smooth_step(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0])).tolist() == [0, 0, 0.5, 1, 1]


@pytest.mark.parametrize("cut", ["rendered", "mask"])
def test_colours_of_other_sizes_are_refused(cut: str) -> None:
    picture, mask = torch.zeros(1, 3, 32, 40), torch.zeros(1, 1, 32, 40)
    found = picture[:, :, 1:] if cut == "rendered" else picture
    with pytest.raises(ShapeError, match=r"expected twice \[1,3,h,w\] and \[1,1,h,w\]"):
        colour_change(found, picture, mask[:, :, :-8] if cut == "mask" else mask)
