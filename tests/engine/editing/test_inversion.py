"""Inversion beyond its success: what it starts from, what holds it, what it reports."""

import pytest
import torch

from engine.editing.inversion import InversionConfig, face_mask, invert
from engine.editing.perceptual import PerceptualLoss
from engine.errors import ShapeError
from engine.generators.mobile import MobileStyleGAN
from engine.generators.stats import WStatistics

pytestmark = pytest.mark.unit


def picture_of(small: MobileStyleGAN, statistics: WStatistics, seed: int = 4) -> torch.Tensor:
    code = torch.randn(24, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return small.coarse(statistics.decode(code).repeat(small.rows, 1)[None])


def ignore(done: int, total: int) -> None:
    assert 0 < done <= total


@pytest.mark.parametrize("size", [16, 64, 255])
def test_face_mask_is_whole_in_the_face_faint_in_the_corners_and_even_to_both_sides(size: int) -> None:
    mask = face_mask(size)
    assert mask.shape == (1, 1, size, size)
    assert torch.allclose(mask, mask.flip(3), atol=1e-5)
    assert float(mask[0, 0, int(0.6 * size), size // 2]) == 1.0
    assert float(mask[0, 0, 0, 0]) == pytest.approx(0.05)
    assert float(mask.min()) >= 0.05 - 1e-6 and float(mask.max()) <= 1.0
    assert float(mask[0, 0, int(0.95 * size)].mean()) > float(mask[0, 0, int(0.05 * size)].mean())


def test_without_steps_the_face_is_the_mean_one(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    config = InversionConfig(shared_steps=0, row_steps=0)
    found = invert(small, statistics, perceptual, picture_of(small, statistics), config, ignore)
    assert found.shape == (small.rows, 24) and not found.any()


def test_progress_is_told_once_a_step(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    told: list[tuple[int, int]] = []
    config = InversionConfig(shared_steps=3, row_steps=2)
    picture = picture_of(small, statistics)
    invert(small, statistics, perceptual, picture, config, lambda *step: told.append(step))
    assert told == [(step, 5) for step in range(1, 6)]


def test_first_part_has_one_code_for_all_rows_and_the_second_parts_them(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    picture = picture_of(small, statistics)
    shared = invert(small, statistics, perceptual, picture, InversionConfig(shared_steps=4, row_steps=0), ignore)
    assert torch.equal(shared, shared[:1].expand_as(shared)) and bool(shared.any())
    parted = invert(small, statistics, perceptual, picture, InversionConfig(shared_steps=4, row_steps=4), ignore)
    assert float((parted - parted.mean(0)).abs().max()) > 0.01


def test_prior_and_spread_hold_the_code(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    picture = picture_of(small, statistics)

    def found(prior: float, spread: float) -> torch.Tensor:
        config = InversionConfig(shared_steps=12, row_steps=12, prior=prior, spread=spread)
        return invert(small, statistics, perceptual, picture, config, ignore)

    free, likely, close = found(0.0, 0.0), found(500.0, 0.0), found(0.0, 5000.0)
    assert float(likely.mean(0).norm()) < 0.5 * float(free.mean(0).norm())
    assert float((close - close.mean(0)).norm()) < 0.5 * float((free - free.mean(0)).norm())


def test_what_lies_outside_the_face_hardly_counts(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """Another background changes the code less than another face."""
    picture, other = picture_of(small, statistics), picture_of(small, statistics, 9)
    behind = face_mask(small.coarse_resolution) < 0.1
    config = InversionConfig(shared_steps=15, row_steps=0, perceptual=0.0)

    def found(target: torch.Tensor) -> torch.Tensor:
        return invert(small, statistics, perceptual, target, config, ignore)[0]

    base = found(picture)
    behind_changed, face_changed = (found(torch.where(where, other, picture)) for where in (behind, ~behind))
    assert float((behind_changed - base).norm()) < 0.5 * float((face_changed - base).norm())


def test_generator_and_statistics_are_left_as_they_were(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    before = {name: value.clone() for name, value in small.state_dict().items()}
    basis = statistics.basis.clone()
    config = InversionConfig(shared_steps=2, row_steps=2)
    found = invert(small, statistics, perceptual, picture_of(small, statistics), config, ignore)
    assert not found.requires_grad
    assert all(torch.equal(before[name], value) for name, value in small.state_dict().items())
    assert torch.equal(basis, statistics.basis)
    assert not any(p.requires_grad or p.grad is not None for p in small.parameters())


def test_a_start_near_the_face_is_kept_and_refined(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """The search for one code for all rows is left out; a start near the truth ends nearer than one from the mean."""
    random = torch.Generator().manual_seed(8)
    truth = torch.randn(small.rows, 24, generator=random)
    near = truth + 0.2 * torch.randn(small.rows, 24, generator=random)
    with torch.no_grad():
        picture = small.coarse(statistics.decode(truth)[None])
    told: list[int] = []
    config = InversionConfig(shared_steps=8, row_steps=8)
    begun = invert(small, statistics, perceptual, picture, config, lambda done, total: told.append(total), near)
    assert told == [8] * 8
    plain = invert(small, statistics, perceptual, picture, config, ignore)

    def apart(code: torch.Tensor) -> float:
        with torch.no_grad():
            return float((small.coarse(statistics.decode(code)[None]) - picture).abs().mean())

    assert apart(begun) < apart(near) and apart(begun) < 0.7 * apart(plain)
    still = InversionConfig(shared_steps=8, row_steps=0)
    assert torch.equal(invert(small, statistics, perceptual, picture, still, ignore, near), near)


@pytest.mark.parametrize("shape", [(24,), (3, 24), (14, 23)])
def test_a_start_of_another_shape_is_refused(
    shape: tuple[int, ...], small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    with pytest.raises(ShapeError, match=r"start is .* expected \[14,24\]"):
        picture = picture_of(small, statistics)
        invert(small, statistics, perceptual, picture, InversionConfig(), ignore, torch.zeros(shape))
