"""Calibration measures the answer and the sharpness that a speaker was given."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.calibration import Sample, measure_response, measure_sharpness
from engine.editing.compositing import lower_face_mask, sharpen, to_frame
from engine.editing.detail import GRAIN_LIMIT, LAPLACIAN_GAIN, laplacian_variance
from engine.editing.mouth import mouth_shape
from engine.editing.observation import observe
from engine.editing.rendering import SpeakerRenderer
from tests.engine.editing.made_up import neutral_head, opened
from tests.engine.editing.scripted import (
    REGION,
    Place,
    ScriptedMesh,
    film,
    painted_generator,
    painted_profile,
    tracked,
    video_frame,
)

pytestmark = pytest.mark.unit
LARGE = Place(0.5, left=0, top=0)
"""A face so large that the frame resolves the picture's own grain."""


def sample(rgb: NDArray[np.uint8], place: Place | None = None, opening: float = 0.0) -> Sample:
    face = tracked(opened(neutral_head(), opening), place)
    return Sample(rgb, face, observe(rgb, face))


def mixing() -> NDArray[np.float64]:
    """A picture that answers too weakly, and mixes what is asked for."""
    noise = np.random.default_rng(4).normal(size=(8, 8))
    return np.asarray(0.8 * np.eye(8) + 0.1 * noise)


def test_response_is_the_matrix_by_which_the_picture_answers() -> None:
    places = (Place(), Place(0.25, left=45, top=28), Place(0.25, roll_deg=9, left=60, top=5))
    samples = [sample(film(np.zeros(8), place), place, 0.02 * i) for i, place in enumerate(places)]
    bias = np.linspace(-0.5, 0.5, 8)
    steps: list[tuple[int, int]] = []
    renderer = SpeakerRenderer(painted_profile(mixing()), painted_generator())
    response, at_zero = measure_response(renderer, ScriptedMesh(bias), samples, lambda *step: steps.append(step))
    assert np.allclose(response, mixing(), atol=0.05)
    assert np.allclose(at_zero, mouth_shape(neutral_head()) + bias, atol=0.15)
    assert steps == [(1, 3), (2, 3), (3, 3)]


class TiringMesh(ScriptedMesh):
    """Reads less and less: each sample, of nine readings, by half of the one before."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        points, score = super().forward(x)
        return self.start + (points - self.start) * 0.5 ** ((self.calls - 1) // 9), score


def test_response_is_the_mean_of_all_samples() -> None:
    samples = [sample(film(np.zeros(8)), None, 0.03 * i) for i in range(2)]
    renderer = SpeakerRenderer(painted_profile(mixing()), painted_generator())
    response, _ = measure_response(renderer, TiringMesh(), samples, lambda done, total: None)
    assert np.allclose(response, 0.75 * mixing(), atol=0.05)


def test_a_measured_response_makes_what_is_shown_what_is_wanted() -> None:
    """Without it a weak, mixing picture misses its mouth; with it the first render is near."""
    shot, wanted = sample(film(np.zeros(8))), mouth_shape(neutral_head()) + np.array([2.0, -1, 0.5, 1, 1, 0, 0.5, -1])
    profile = painted_profile(mixing())
    errors = []
    for _ in range(2):
        renderer = SpeakerRenderer(profile, painted_generator())
        asked = renderer.asked(wanted)
        gain = mixing() @ (asked - profile.mouth_mean)
        errors.append(float(np.linalg.norm(profile.mouth_mean + gain - wanted)))
        response, at_zero = measure_response(renderer, ScriptedMesh(), [shot], lambda done, total: None)
        profile = replace(profile, response=response, response_at_zero=at_zero)
    assert errors[1] < 0.3 * errors[0]


def noisy(sigma: float) -> NDArray[np.uint8]:
    """A grey frame with luma noise."""
    size = (540, 540)
    grey = 127.5 + sigma * np.random.default_rng(2).normal(size=size)
    return np.repeat(np.clip(np.round(grey), 0, 255).astype(np.uint8)[:, :, None], 3, axis=2)


def flat_renderer() -> SpeakerRenderer:
    """Paints grey, whatever is asked."""
    return SpeakerRenderer(painted_profile(np.zeros((8, 8))), painted_generator())


def test_grain_is_the_noise_that_a_smooth_picture_lacks() -> None:
    """As strong as filmed, the rounding of 8-bit video included, up to a limit."""
    measured = [measure_sharpness(flat_renderer(), [sample(noisy(sigma), LARGE)])[1] for sigma in (1.5, 3.0, 60.0)]
    for found, sigma in zip(measured, (1.5, 3.0), strict=False):
        everywhere = np.ones((540, 540), np.bool_)
        filmed = (laplacian_variance(noisy(sigma), everywhere) / LAPLACIAN_GAIN) ** 0.5
        assert found == pytest.approx(filmed, rel=0.05)
        assert 0.95 * sigma < found < 1.25 * sigma
    assert measured[2] == GRAIN_LIMIT


def test_one_odd_frame_does_not_set_the_grain() -> None:
    """Of three frames two are clean: neither share nor noise is taken from the third."""
    shots = [sample(noisy(sigma), LARGE) for sigma in (1.0, 1.0, 20.0)]
    assert measure_sharpness(flat_renderer(), shots)[1] < 2.0


def textured_renderer() -> SpeakerRenderer:
    bias = torch.zeros(12, dtype=torch.float16)
    bias[1] = 2.0
    profile = replace(painted_profile(np.zeros((8, 8))), weights={"out_bias": bias})
    return SpeakerRenderer(profile, painted_generator())


def filmed_by(renderer: SpeakerRenderer, share: float) -> Sample:
    """A frame that holds the renderer's own picture, sharpened."""
    shot = sample(film(np.zeros(8), LARGE, (540, 540)), LARGE)
    seen = shot.observation
    w = renderer.anchor(renderer.profile.features(seen), seen.mouth)
    with torch.no_grad():
        picture = sharpen(renderer.region(w), share)
    mask = lower_face_mask(seen, seen.points, REGION)
    patch = to_frame(picture, torch.where(mask > 0, 1.0, 0.0), seen, REGION, (540, 540))
    return sample(patch.into(video_frame(shot.rgb)).rgb(), LARGE)


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_sharpening_is_found_again(share: float) -> None:
    """A clip that is the generator's picture sharpened by a share needs that share, and no noise."""
    renderer = textured_renderer()
    found, grain = measure_sharpness(renderer, [filmed_by(renderer, share)])
    assert found == pytest.approx(share, abs=0.12)
    assert grain == 0


def test_a_picture_as_sharp_as_the_clip_or_sharper_is_left_alone() -> None:
    """A blurred clip asks for nothing: the edit is never blurred, nor given noise."""
    renderer = textured_renderer()
    assert measure_sharpness(renderer, [filmed_by(renderer, -0.5)]) == (0.0, 0.0)


def test_a_clip_without_any_detail_divides_by_nothing() -> None:
    rgb = np.full((540, 540, 3), 128, np.uint8)
    share, grain = measure_sharpness(flat_renderer(), [sample(rgb, LARGE)])
    assert np.isfinite([share, grain]).all() and grain < 0.01
