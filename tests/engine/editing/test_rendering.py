"""From mouth numbers to w: linear, held to what is usual, and bound to the profile's generator."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.editing.mouth import MOUTH_UNITS, OPENING
from engine.editing.profile import SpeakerProfile
from engine.editing.rendering import SpeakerRenderer
from engine.errors import ProfileError, ShapeError
from engine.generators.mobile import MobileStyleGAN
from tests.engine.editing.made_up import SMALL_REGION

pytestmark = pytest.mark.unit


def test_asking_for_what_is_shown_at_rest_asks_for_the_mean(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    assert np.allclose(SpeakerRenderer(profile, small).asked(profile.response_at_zero), profile.mouth_mean)


def at_opening(profile: SpeakerProfile, iod: float) -> NDArray[np.float64]:
    """The clip's mean mouth with this inner-lip opening."""
    mouth = profile.mouth_mean.copy()
    mouth[OPENING] = iod / MOUTH_UNITS[OPENING]
    return mouth


def test_openings_are_reached_for_wider_and_tighter_around_the_mean(
    profile: SpeakerProfile, small: MobileStyleGAN
) -> None:
    """Away from rest only the opening's distance from the clip's mean grows, by a quarter; nothing else changes."""
    renderer, rest = SpeakerRenderer(profile, small), profile.rest_opening
    for iod in (rest + 0.03, rest + 0.1, rest + 0.3):
        wanted = at_opening(profile, iod)
        away = (renderer.reached_for(wanted) - profile.mouth_mean)[OPENING]
        assert away == pytest.approx(1.25 * (wanted - profile.mouth_mean)[OPENING])
        assert np.array_equal(np.delete(renderer.reached_for(wanted), OPENING), np.delete(wanted, OPENING))


def test_closed_lips_are_pressed_and_wider_wishes_are_reached_wider(
    profile: SpeakerProfile, small: MobileStyleGAN
) -> None:
    renderer, rest = SpeakerRenderer(profile, small), profile.rest_opening
    openings = np.linspace(rest - 0.02, rest + 0.1, 40)
    reached = np.array([renderer.reached_for(at_opening(profile, iod))[OPENING] for iod in openings])
    assert (np.diff(reached) > 0).all()
    plain = profile.mouth_mean[OPENING] + 1.25 * (openings / MOUTH_UNITS[OPENING] - profile.mouth_mean[OPENING])
    pressed = (plain - reached) * MOUTH_UNITS[OPENING]
    assert np.allclose(pressed[openings <= rest], 0.015)
    assert np.allclose(pressed[openings >= rest + 0.03], 0.0)


def test_reaching_leaves_what_was_wanted_as_it_is(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    wanted = at_opening(profile, profile.rest_opening)
    before = wanted.copy()
    SpeakerRenderer(profile, small).reached_for(wanted)
    assert np.array_equal(wanted, before)


def test_a_step_is_the_change_of_what_is_asked(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """Where nothing is held back, asking for more is asking, then a step by what is missing."""
    renderer = SpeakerRenderer(profile, small)
    spread, axes = np.linalg.eigh(profile.mouth_covariance)
    near = profile.response_at_zero + 0.1 * axes[:, -1] * np.sqrt(spread[-1])
    missing = 0.2 * axes[:, -2] * np.sqrt(spread[-2])
    assert np.allclose(renderer.asked(near + missing), renderer.asked(near) + renderer.step(missing))
    assert np.allclose(renderer.step(2 * missing), 2 * renderer.step(missing))
    assert not renderer.step(np.zeros(8)).any()


def test_a_step_shortens_what_is_missing(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """With the measured response as the truth no step, in any direction, makes the error larger."""
    renderer = SpeakerRenderer(profile, small)
    for missing in np.random.default_rng(0).normal(size=(50, 8)):
        left = missing - profile.response @ renderer.step(missing)
        assert np.linalg.norm(left) < np.linalg.norm(missing)
        again = left - profile.response @ renderer.step(left)
        assert np.linalg.norm(again) <= np.linalg.norm(left) + 1e-12


def test_usual_mouths_are_left_as_they_are_and_others_drawn_to_the_same_shell(
    profile: SpeakerProfile, small: MobileStyleGAN
) -> None:
    renderer = SpeakerRenderer(profile, small)
    precision = np.linalg.inv(profile.mouth_covariance)
    for away in np.random.default_rng(1).normal(size=(20, 8)):
        away = away / np.sqrt(away @ precision @ away)
        assert np.allclose(renderer.held(profile.mouth_mean + away), profile.mouth_mean + away)
        far, farther = (renderer.held(profile.mouth_mean + scale * away) for scale in (50.0, 5000.0))
        assert np.allclose(far, farther)
        assert np.allclose(renderer.held(far), far)
        assert (far - profile.mouth_mean) @ away > 0
    assert np.array_equal(renderer.held(profile.mouth_mean), profile.mouth_mean)


def test_anchor_is_linear_in_features_and_mouth(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """Mouth numbers act by their own slopes, the last eight, as differences from the clip's mean."""
    renderer, count = SpeakerRenderer(profile, small), profile.features.count
    features = torch.linspace(-1, 1, count)
    one = renderer.anchor(features, profile.mouth_mean)
    for index in range(8):
        moved = renderer.anchor(features, profile.mouth_mean + 2.0 * np.eye(8)[index])
        assert torch.allclose(moved - one, 2.0 * profile.slopes[count + index], atol=1e-4)
    alone = renderer.anchor(2 * features, profile.mouth_mean) - profile.base
    assert torch.allclose(alone, 2 * (one - profile.base), atol=1e-4)


def test_region_is_the_profiles_part_of_the_picture(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    renderer = SpeakerRenderer(profile, small)
    w = renderer.anchor(torch.zeros(profile.features.count), profile.mouth_mean)
    with torch.no_grad():
        found, whole = renderer.region(w), small.synthesis(w[None])
    assert found.shape == (1, 3, SMALL_REGION.height, SMALL_REGION.width)
    assert torch.allclose(found, whole[:, :, SMALL_REGION.slices[0], SMALL_REGION.slices[1]], atol=1e-4)


def test_an_untuned_profile_shares_the_generator_and_a_tuned_one_has_its_own(
    profile: SpeakerProfile, small: MobileStyleGAN
) -> None:
    assert SpeakerRenderer(profile, small).generator is small
    tuned = replace(profile, weights={"out_bias": torch.zeros(12, dtype=torch.float16)})
    assert SpeakerRenderer(tuned, small).generator is not small


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"out_bias": torch.zeros(3, dtype=torch.float16)}, r"out_bias is \(3,\), expected \(12,\)"),
        ({"no_such_layer": torch.zeros(12, dtype=torch.float16)}, "weights that its generator has not"),
        ({"mapping_network.biases.0": torch.zeros(512, dtype=torch.float16)}, "weights that its generator has not"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    profile: SpeakerProfile, small: MobileStyleGAN, weights: dict[str, torch.Tensor], message: str
) -> None:
    """Another shape, another layer, or one that tuning never changes; the shared generator stays as it was."""
    before = small.out_bias.clone()
    with pytest.raises(ProfileError, match=message):
        SpeakerRenderer(replace(profile, weights=weights), small)
    assert torch.equal(small.out_bias, before)


def test_a_singular_response_still_gives_finite_mouths(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """A picture that answers to nothing: the prior alone decides, and it asks for the mean."""
    deaf = SpeakerRenderer(replace(profile, response=np.zeros((8, 8))), small)
    assert np.allclose(deaf.asked(profile.response_at_zero + 5.0), profile.mouth_mean)


@pytest.mark.parametrize("shape", [(7,), (8, 1), ()], ids=str)
def test_mouths_of_another_count_are_refused(
    profile: SpeakerProfile, small: MobileStyleGAN, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ShapeError, match=r"expected \[8\]"):
        SpeakerRenderer(profile, small).reached_for(np.zeros(shape))
