"""Enrolment with an imported generator of another size and shape, from frames to a profile that renders."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing import enrolment
from engine.editing.enrolment import EnrolConfig, EnrolParts, enroll_speaker
from engine.editing.inversion import InversionConfig
from engine.editing.perceptual import PerceptualLoss
from engine.editing.profile import SpeakerProfile
from engine.editing.rendering import SpeakerRenderer
from engine.editing.tuning import TuningConfig
from engine.errors import NoFaceError, ProfileError
from engine.generators.enlarged import Enlarged
from engine.generators.identity import generator_hash
from engine.generators.stats import WStatistics
from engine.generators.stylegan2 import StyleGAN2
from engine.media import VideoFrame
from engine.tracking.alignment import ffhq_quad
from engine.tracking.mesh import MESH_SIZE
from engine.tracking.pose import HeadPose, from_head
from engine.tracking.tracker import TrackedFace, TrackResult
from tests.engine.editing.made_up import neutral_head, opened
from tests.engine.generators.made_stylegan2 import SMALL, randomised

pytestmark = pytest.mark.unit
FRAMES, SIDE = 8, 200
QUICK = EnrolConfig("draft", 3, InversionConfig(1, 1), TuningConfig(steps=3))
Rgb = NDArray[np.uint8]


class Tracker:
    """Follows a made-up face that opens its mouth and turns."""

    def __init__(self) -> None:
        self.index = 0

    def track(self, rgb: Rgb, seconds: float) -> TrackResult:
        yaw_deg = 3.0 * self.index - 10
        head = opened(neutral_head(), 0.06 * (1 + math.sin(2.0 * self.index)))
        self.index += 1
        yaw = math.radians(yaw_deg)
        turn = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
        pose = HeadPose(turn, yaw_deg, 0.0, 0.0, np.array([100.0, 90.0, 0.0]), 55.0)
        points = from_head(head, pose).astype(np.float32)
        mesh = np.random.default_rng(0).uniform(60, 140, (468, 3)).astype(np.float32)
        return TrackResult(TrackedFace(points, pose, ffhq_quad(points), 55.0, 1.0, mesh), "ok", False)

    def reset(self) -> None:
        self.index = 0


class Mesh:
    """Sees points that move with the brightness of parts of the picture: enough to have a response."""

    def __init__(self) -> None:
        noise = torch.Generator().manual_seed(3)
        self.base = torch.rand(1, 468, 3, generator=noise) * MESH_SIZE
        self.move = torch.randn(468 * 3, 144, generator=noise)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        small = torch.nn.functional.adaptive_avg_pool2d(x.mean(1, keepdim=True), 12).flatten(1)
        return self.base + (small @ self.move.T).reshape(len(x), 468, 3), torch.ones(len(x))


def frames() -> list[VideoFrame]:
    """A clip of soft noise."""
    noise = np.random.default_rng(1).integers(70, 180, (FRAMES, SIDE // 8, SIDE // 8, 3), dtype=np.uint8)
    large = noise.repeat(8, axis=1).repeat(8, axis=2)
    return [VideoFrame.from_rgb(rgb, index, Fraction(1, 25)) for index, rgb in enumerate(large)]


@pytest.fixture(scope="module", autouse=True)
def few_samples() -> Iterator[None]:
    """Measures the response on one frame: what is measured does not matter here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enrolment, "_CALIBRATION_FRAMES", 1)
        yield


@pytest.fixture(scope="module")
def model() -> StyleGAN2:
    return randomised(SMALL)


@pytest.fixture(scope="module")
def parts(model: StyleGAN2, perceptual: PerceptualLoss) -> Callable[[], EnrolParts]:
    statistics = WStatistics.sample(model, 12, 200)
    noise = torch.Generator().manual_seed(4)
    directions = (0.3 * torch.randn(2, 8, 12, generator=noise), 0.3 * torch.randn(8, 8, 12, generator=noise))
    mesh: Any = Mesh()

    def make() -> EnrolParts:
        return EnrolParts(Enlarged(model, 1024), statistics, directions, perceptual, mesh, Tracker())

    return make


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="module")
def profile(parts: Callable[[], EnrolParts]) -> SpeakerProfile:
    return enroll_speaker(frames(), parts(), QUICK, silent)


def test_a_profile_has_the_shape_of_its_generator(profile: SpeakerProfile, model: StyleGAN2) -> None:
    assert profile.generator == generator_hash(model)
    assert profile.base.shape == (8, 16) and profile.slopes.shape[1:] == (8, 16)
    names = {name for name, _ in model.named_parameters()}
    assert set(profile.weights) < names and not any(name.startswith("mapping") for name in profile.weights)
    assert any(value.any() for value in profile.weights.values())
    assert profile.notes["fitted_frames"] == 3 and profile.notes["frames"] == {"ok": FRAMES}
    assert profile.preview.shape == (1024, 1024, 3)


def test_a_saved_profile_renders_with_its_generator_alone(
    profile: SpeakerProfile, model: StyleGAN2, tmp_path: Path
) -> None:
    profile.save(tmp_path / "a.safetensors")
    loaded = SpeakerProfile.load(tmp_path / "a.safetensors")
    renderer = SpeakerRenderer(loaded, Enlarged(model, 1024))
    features = torch.zeros(loaded.features.count)
    closed, wide = (renderer.region(renderer.anchor(features, m)) for m in (loaded.mouth_low, loaded.mouth_high))
    assert closed.shape[2:] == (loaded.region.height, loaded.region.width) and bool(torch.isfinite(closed).all())
    assert (closed - wide).abs().max() > 1e-3
    assert renderer.generator.module() is not model
    with pytest.raises(ProfileError, match="import that generator"):
        SpeakerRenderer(loaded, Enlarged(randomised(SMALL, seed=8), 1024))


def test_directions_of_the_generator_are_where_the_fit_begins(parts: Callable[[], EnrolParts]) -> None:
    still = replace(QUICK, tuning=TuningConfig(steps=0, weight_rate=0))
    given = parts()
    profile = enroll_speaker(frames(), given, still, silent)
    axes = given.statistics.basis
    mouth = torch.einsum("frk,kd->frd", given.directions[1], axes)
    torch.testing.assert_close(profile.slopes[-8:], mouth, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(profile.slopes[:2], torch.einsum("frk,kd->frd", given.directions[0], axes))
    assert profile.weights == {} and not any("directions" in verdict for verdict in profile.notes["verdicts"])


def test_a_generator_without_directions_is_told(parts: Callable[[], EnrolParts]) -> None:
    without = replace(parts(), directions=(torch.zeros(2, 8, 12), torch.zeros(8, 8, 12)))
    still = replace(QUICK, tuning=TuningConfig(steps=0, weight_rate=0))
    profile = enroll_speaker(frames(), without, still, silent)
    assert not profile.slopes[-8:].any()
    assert any("own directions are not known" in verdict for verdict in profile.notes["verdicts"])


def test_too_few_frames_are_refused(parts: Callable[[], EnrolParts]) -> None:
    with pytest.raises(NoFaceError, match="only 4 frames"):
        enroll_speaker(frames()[:4], parts(), QUICK, silent)
