"""Inversion, joint tuning and the per-frame refinement, on a small generator with known answers."""

import pytest
import torch
from torch import Tensor

from engine.editing.inversion import InversionConfig, face_mask, invert
from engine.editing.perceptual import PerceptualLoss
from engine.editing.refine import RefineConfig, RefineProblem, refine
from engine.editing.tuning import MovingMean, TuningConfig, TuningFrame, tune, tuned_parameters
from engine.errors import ShapeError
from engine.generators.mobile import MobileStyleGAN
from engine.generators.stats import WStatistics
from tests.engine.editing.made_up import SMALL_REGION

pytestmark = pytest.mark.unit


def _ignore(done: int, total: int) -> None:
    assert 0 < done <= total


def test_inversion_nears_a_picture_of_the_generator(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """The coarse picture of the found code is nearer than that of the mean face."""
    code = 1.2 * torch.randn(24, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        picture = small.coarse(statistics.decode(code).repeat(small.rows, 1)[None])
        mean = small.coarse(statistics.mean.repeat(small.rows, 1)[None])
    config = InversionConfig(shared_steps=60, row_steps=10, perceptual=0.2, prior=0.0)
    found = invert(small, statistics, perceptual, picture, config, _ignore)
    with torch.no_grad():
        seen = small.coarse(statistics.decode(found)[None])
    mask = face_mask(small.coarse_resolution)
    assert float(((seen - picture).abs() * mask).mean()) < 0.5 * float(((mean - picture).abs() * mask).mean())


def test_inversion_refuses_another_size(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """The message names the size that is expected."""
    with pytest.raises(ShapeError, match="expected"):
        invert(small, statistics, perceptual, torch.zeros(1, 3, 20, 20), InversionConfig(), _ignore)


def _clip(small: MobileStyleGAN, statistics: WStatistics, base: Tensor) -> tuple[list[TuningFrame], Tensor]:
    """Frames of a known linear map of three features, the last of which moves the picture most."""
    noise = torch.Generator().manual_seed(6)
    slopes = 0.4 * torch.randn(3, *base.shape, generator=noise)
    frames = []
    for _ in range(6):
        features = torch.randn(3, generator=noise)
        with torch.no_grad():
            w = statistics.decode(base + torch.tensordot(features, slopes, 1))
            picture = small.region(w[None], SMALL_REGION)[0]
        pixels = ((picture.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        frames.append(TuningFrame(pixels, features, torch.ones(1, 64, 64)))
    return frames, slopes


def test_tuning_learns_the_map(small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss) -> None:
    """The loss falls to less than half; with a weight rate of zero no weight changes."""
    base = torch.zeros(small.rows, 24)
    frames, _ = _clip(small, statistics, base)
    before = {name: value.clone() for name, value in tuned_parameters(small).items()}
    config = TuningConfig(steps=60, weight_rate=0.0, slope_rate=0.05, slope_prior=0.0)
    start = torch.zeros(3, *base.shape)
    result = tune(small, statistics, perceptual, SMALL_REGION, base, start, frames, config, _ignore)
    assert sum(result.losses[-6:]) < 0.5 * sum(result.losses[:6])
    assert all(torch.equal(before[name], value) for name, value in tuned_parameters(small).items())


def test_tuning_changes_weights_and_leaves_no_gradients(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """Weights move, the mapping does not, and nothing asks for gradients afterwards."""
    import copy

    model = copy.deepcopy(small)
    base = torch.zeros(small.rows, 24)
    frames, _ = _clip(small, statistics, base)
    tune(
        model, statistics, perceptual, SMALL_REGION, base, torch.zeros(3, *base.shape), frames,
        TuningConfig(steps=3), _ignore,
    )  # fmt: skip
    assert not torch.equal(model.out_weight, small.out_weight)
    for a, b in zip(model.mapping_network.weights, small.mapping_network.weights, strict=True):
        assert torch.equal(a, b)
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())


def test_small_and_large_weights_move_by_the_same_share(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """A step is a share of each tensor's own size: filters of 0.03 are not thrown about by a rate made for styles."""
    import copy

    model = copy.deepcopy(small)
    base = torch.zeros(small.rows, 24)
    frames, _ = _clip(small, statistics, base)
    config = TuningConfig(steps=4, weight_rate=1e-3, averaging=0.0)
    tune(model, statistics, perceptual, SMALL_REGION, base, torch.zeros(3, *base.shape), frames, config, _ignore)
    before = tuned_parameters(small)
    shares = {
        name: float((value - before[name]).abs().max() / before[name].square().mean().sqrt())
        for name, value in tuned_parameters(model).items()
    }
    assert max(shares.values()) < 4 * 1.5 * config.weight_rate
    assert shares["blocks.3.second.weight"] == pytest.approx(shares["blocks.3.second.bias"], rel=0.5)


def test_prior_holds_silent_directions(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """A feature that never varies in the clip keeps the direction that it began with."""
    base = torch.zeros(small.rows, 24)
    frames, slopes = _clip(small, statistics, base)
    silent = [TuningFrame(f.picture, f.features * torch.tensor([1.0, 1.0, 0.0]), f.weight) for f in frames]
    config = TuningConfig(steps=10, weight_rate=0.0)
    result = tune(small, statistics, perceptual, SMALL_REGION, base, slopes, silent, config, _ignore)
    assert torch.equal(result.slopes[2], slopes[2])
    assert not torch.equal(result.slopes[0], slopes[0])


def test_moving_mean_follows_and_smooths() -> None:
    """Nothing is kept before it begins; then each value moves the mean by its share."""
    value = torch.tensor([4.0])
    mean = MovingMean([value], 0.5)
    mean.update(False)
    mean.apply()
    assert value.item() == 4.0
    for step in (0.0, 1.0, 2.0):
        value.fill_(step)
        mean.update(True)
    mean.apply()
    assert value.item() == pytest.approx(0.5 * (0.5 * (0.0 + 1.0)) + 0.5 * 2.0)


def test_tuning_refuses_frames_of_another_size(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """Frames must be the region."""
    frame = TuningFrame(torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(3), torch.ones(1, 8, 8))
    base = torch.zeros(small.rows, 24)
    with pytest.raises(ShapeError, match=r"\[3,64,64\]"):
        tune(
            small, statistics, perceptual, SMALL_REGION, base, torch.zeros(3, *base.shape), [frame], TuningConfig(),
            _ignore,
        )  # fmt: skip


def _problem(small: MobileStyleGAN, statistics: WStatistics, scale: float = 1.0) -> tuple[RefineProblem, Tensor]:
    """Landmarks that are means of the picture's corners, to be brought where another code has them."""

    def points(picture: Tensor) -> Tensor:
        cells = torch.nn.functional.adaptive_avg_pool2d(picture[:, :2], (17, 4)).flatten(2) * 20 * scale
        return torch.cat([cells, torch.zeros_like(cells[:, :1])], 1).permute(0, 2, 1)

    w = statistics.mean.repeat(small.rows, 1)
    with torch.no_grad():
        wanted = small.region((w + 0.3 * statistics.basis[0])[None], SMALL_REGION)
        predicted = small.region(w[None], SMALL_REGION)
    problem = RefineProblem(
        w, lambda code: small.region(code[None], SMALL_REGION), points, points(wanted)[0, :, :2], torch.ones(68), 60.0,
        predicted, torch.zeros(1, 1, 64, 64),
    )  # fmt: skip
    return problem, predicted


def test_refinement_brings_landmarks_nearer(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """A few steps lower the landmark error; none gives no offset."""
    problem, predicted = _problem(small, statistics)
    last = torch.zeros(small.rows, 24)
    config = RefineConfig(rate=0.01, perceptual=0.1, prior=0.0, smoothness=0.0)
    found = refine(problem, predicted, last, 20, statistics, perceptual, config)
    with torch.no_grad():
        after = problem.points(problem.render(problem.w + found.offset @ statistics.basis))[0, :, :2]
        before = problem.points(predicted)[0, :, :2]
    assert float((after - problem.target).square().mean()) < 0.6 * float((before - problem.target).square().mean())
    assert not found.recovered
    assert not refine(problem, predicted, last, 0, statistics, perceptual, RefineConfig()).offset.any()


def test_refinement_recovers_from_no_number(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """When the landmarks turn into NaN the offset falls back to a finite one and says so."""
    problem, predicted = _problem(small, statistics, scale=float("nan"))
    found = refine(problem, predicted, torch.zeros(small.rows, 24), 4, statistics, perceptual, RefineConfig())
    assert found.recovered
    assert bool(torch.isfinite(found.offset).all())


def test_refinement_recovers_from_a_rising_loss(
    small: MobileStyleGAN, statistics: WStatistics, perceptual: PerceptualLoss
) -> None:
    """With a rate far too high the best offset seen is kept."""
    problem, predicted = _problem(small, statistics)
    config = RefineConfig(rate=50.0, perceptual=0.1)
    found = refine(problem, predicted, torch.zeros(small.rows, 24), 6, statistics, perceptual, config)
    assert found.recovered
    assert float(found.offset.abs().max()) < 50.0
