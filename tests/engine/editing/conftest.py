"""A small made-up speaker: a generator of 128 px, a perceptual network of a few channels, tracked faces."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.editing.features import FeatureModel
from engine.editing.perceptual import PerceptualLoss
from engine.editing.profile import SpeakerProfile
from engine.generators.identity import generator_hash
from engine.generators.mobile import MobileStyleGAN
from engine.generators.stats import WStatistics
from tests.engine.editing.made_perceptual import tiny_perceptual
from tests.engine.editing.made_up import SMALL_REGION, neutral_head, opened, seen
from tests.engine.generators.made_mobile import random_mobile


@pytest.fixture(scope="session")
def small() -> MobileStyleGAN:
    """A generator of 128 px with random weights; its pictures move with w."""
    return random_mobile((16, 16, 12, 8), 5)


@pytest.fixture(scope="session")
def statistics(small: MobileStyleGAN) -> WStatistics:
    """Whitened W of the small generator."""
    return WStatistics.sample(small, axes=24, samples=200)


@pytest.fixture(scope="session")
def perceptual(tmp_path_factory: pytest.TempPathFactory) -> PerceptualLoss:
    """The perceptual network with a few random channels, read from a file as the real one is."""
    return tiny_perceptual(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="session")
def profile(small: MobileStyleGAN, statistics: WStatistics) -> SpeakerProfile:
    """A profile of the small generator, not tuned."""
    heads = [opened(neutral_head(), 0.02 * i) for i in range(8)]
    watched = [seen(head, yaw_deg=2.0 * i, light=0.05 * i) for i, head in enumerate(heads)]
    model = FeatureModel.fit(watched, components=2)
    mouths = np.stack([item.mouth for item in watched])
    slopes = 0.3 * torch.randn(model.count + 8, small.rows, 512, generator=torch.Generator().manual_seed(2))
    response = 0.7 * np.eye(8)
    response[0, 3] = 0.2
    return SpeakerProfile(
        generator=generator_hash(small),
        quality="untuned",
        region=SMALL_REGION,
        base=statistics.mean.repeat(small.rows, 1),
        slopes=slopes.to(torch.float16).to(torch.float32),
        features=model,
        rest_head=neutral_head(),
        mouth_low=mouths.min(0),
        mouth_high=mouths.max(0),
        response=response,
        response_at_zero=mouths.mean(0) + 0.1,
        mouth_mean=mouths.mean(0),
        mouth_covariance=np.cov(mouths.T) + 0.04 * np.eye(8),
        grain=1.5,
        sharpening=0.25,
        weights={},
        preview=np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3),
        notes={"seconds": 1.5, "verdicts": ["made up"]},
    )


@pytest.fixture
def saved(profile: SpeakerProfile, tmp_path: Path) -> Path:
    """The profile as a file."""
    path = tmp_path / "speaker.safetensors"
    profile.save(path)
    return path
