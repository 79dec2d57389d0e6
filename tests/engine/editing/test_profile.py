"""Profiles: saved, read, refused when damaged; the renderer that they make."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from engine.editing import rendering
from engine.editing.features import FeatureModel
from engine.editing.profile import SpeakerProfile, profile_fields
from engine.editing.rendering import SpeakerRenderer
from engine.editing.tuning import tuned_parameters
from engine.errors import ProfileError
from engine.generators.mobile import MobileStyleGAN
from tests.engine.editing.made_up import neutral_head, seen

pytestmark = pytest.mark.unit


def test_saved_profile_reads_the_same(profile: SpeakerProfile, saved: Path) -> None:
    """Every field comes back equal."""
    again = SpeakerProfile.load(saved)
    for name in profile_fields():
        one, other = getattr(profile, name), getattr(again, name)
        if isinstance(one, torch.Tensor):
            assert torch.equal(one, other), name
        elif isinstance(one, np.ndarray):
            assert np.array_equal(one, other), name
        elif name != "features":
            assert one == other, name
    frame = seen(neutral_head(), 4.0, 0.1)
    assert torch.equal(profile.features(frame), again.features(frame))


def test_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    """The message names the command."""
    with pytest.raises(ProfileError, match="livedub enroll"):
        SpeakerProfile.load(tmp_path / "none.safetensors")


def test_a_place_may_be_told_as_text(profile: SpeakerProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As README does; what shares memory with something else is written all the same."""
    monkeypatch.chdir(tmp_path)
    replace(profile, response_at_zero=profile.mouth_mean).save("ann.safetensors")
    assert np.array_equal(SpeakerProfile.load("ann.safetensors").response_at_zero, profile.mouth_mean)
    with pytest.raises(ProfileError, match="none.safetensors: no such file. Make a profile with `livedub enroll VIDEO"):
        SpeakerProfile.load("none.safetensors")


Tensors = dict[str, torch.Tensor]


def rewritten(saved: Path, tensors: Callable[[Tensors], Tensors], **header: str) -> Path:
    """The file with other tensors or words in its header."""
    with safe_open(saved, "pt") as file:
        notes, parts = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    save_file(tensors(parts), saved, {**notes, **header})
    return saved


PARTS = (
    "base", "slopes", "rest_head", "mouth_low", "mouth_high", "mouth_mean", "mouth_covariance", "response",
    "response_at_zero", "preview", *(f"features.{name}" for name in FeatureModel._names()),
)  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_is_missing_or_of_another_size_is_refused(saved: Path, name: str) -> None:
    """By name, when the profile is read; not by a crash in the middle of a dub."""
    short = name.removeprefix("features.")
    whole = saved.read_bytes()
    with pytest.raises(ProfileError, match=rf"the profile is damaged \('{short}'\)\. Enrol the speaker again"):
        SpeakerProfile.load(rewritten(saved, lambda parts: {key: parts[key] for key in parts if key != name}))
    for change in (lambda x: x[..., :-1], lambda x: x[None], lambda x: x.flatten()[:1]):
        saved.write_bytes(whole)
        with pytest.raises(ProfileError, match=r"the profile is damaged \(.* is \(.*\), expected \(.*\)\)\. Enrol"):
            SpeakerProfile.load(rewritten(saved, lambda parts, c=change: {**parts, name: c(parts[name]).contiguous()}))  # type: ignore[misc]


@pytest.mark.parametrize("name", [name for name in PARTS if name != "preview"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_value_that_is_no_number_is_refused(saved: Path, name: str, value: float) -> None:
    def spoilt(parts: Tensors) -> Tensors:
        parts[name].view(-1)[-1] = value
        return parts

    with pytest.raises(ProfileError, match=f"{name.removeprefix('features.')} holds values that are no numbers"):
        SpeakerProfile.load(rewritten(saved, spoilt))


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("region", ["", "x", "[1,2]", "{}", "[-4,0,64,64]", "[0,-4,64,64]", "[0,0,0,64]", "[0,0,64,-1]"]),
        ("sharpening", ["", "much", "nan", "inf"]),
        ("grain", ["", "[1]", "nan", "-inf"]),
        ("notes", ["", "x", "[1,2]", "3"]),
        ("kind", ["", "weights"]),
        ("version", ["", "0", "1", "2.0"]),
    ],
)
def test_words_in_the_header_that_cannot_be_are_refused(saved: Path, word: str, values: list[str]) -> None:
    whole = saved.read_bytes()
    for value in values:
        saved.write_bytes(whole)
        with pytest.raises(ProfileError, match="Enrol the speaker again"):
            SpeakerProfile.load(rewritten(saved, lambda parts: parts, **{word: value}))


def test_rest_opening_is_the_gap_between_the_inner_lips(profile: SpeakerProfile) -> None:
    """In the tracker's own convention, whatever the head's size."""
    head = profile.rest_head.copy()
    head[62, 1], head[66, 1] = 0.50, 0.53
    assert replace(profile, rest_head=head).rest_opening == pytest.approx(0.03)


def test_cut_file_is_refused(saved: Path) -> None:
    """A file cut short is not read in part."""
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(ProfileError, match="not a readable speaker profile"):
        SpeakerProfile.load(saved)


def test_other_safetensors_are_refused(tmp_path: Path) -> None:
    """A file of weights is no profile."""
    path = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ProfileError, match="expected livedub speaker profile"):
        SpeakerProfile.load(path)


def test_another_generator_is_refused(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """One changed weight is another generator."""
    import copy

    other = copy.deepcopy(small)
    with torch.no_grad():
        other.out_bias[0] += 1e-3
    with pytest.raises(ProfileError, match="enrol the speaker again"):
        SpeakerRenderer(profile, other)


def test_tuned_weights_reach_the_picture_and_leave_the_generator(
    profile: SpeakerProfile, small: MobileStyleGAN
) -> None:
    """A profile's weight changes act in its renderer alone."""
    before = {name: value.clone() for name, value in tuned_parameters(small).items()}
    tuned = replace(profile, weights={"out_bias": torch.full((12,), 0.5, dtype=torch.float16)})
    features, mouth = torch.zeros(profile.features.count), profile.mouth_mean
    plain, changed = SpeakerRenderer(profile, small), SpeakerRenderer(tuned, small)
    w = plain.anchor(features, mouth)
    with torch.no_grad():
        assert float((changed.region(w) - plain.region(w)).abs().mean()) > 0.1
    assert all(torch.equal(before[name], value) for name, value in tuned_parameters(small).items())


def test_asking_inverts_the_measured_response(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """For a mouth of this speaker's kind, what is shown is within a tenth of the way to the target."""
    main = np.linalg.eigh(profile.mouth_covariance)
    natural = main.eigenvectors[:, -1] * np.sqrt(main.eigenvalues[-1])
    target = profile.response_at_zero + profile.response @ (1.5 * natural)
    away = SpeakerRenderer(profile, small).asked(target) - profile.mouth_mean
    shown = profile.response_at_zero + profile.response @ away
    assert np.linalg.norm(shown - target) < 0.1 * np.linalg.norm(target - profile.response_at_zero)


def test_asked_numbers_stay_near_the_speakers_own(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """However far the target, the mouth is no more unusual than the limit, and lies in the target's direction."""
    renderer = SpeakerRenderer(profile, small)
    target = profile.mouth_mean.copy()
    target[0] += 100.0
    away = renderer.asked(target) - profile.mouth_mean
    assert np.sqrt(away @ np.linalg.inv(profile.mouth_covariance) @ away) == pytest.approx(rendering._UNUSUAL)
    assert away[0] > 0


def test_combinations_that_never_occurred_are_avoided(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """In the clip the lower lip goes down with the opening; asked to open alone, it goes down too."""
    renderer = SpeakerRenderer(profile, small)
    target = profile.response_at_zero.copy()
    target[0] += 1.0
    away = renderer.asked(target) - profile.mouth_mean
    assert away[3] > 0.1 * away[0] > 0


def test_anchor_moves_only_with_its_features(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """At zero features and the mean mouth, w is the base."""
    renderer = SpeakerRenderer(profile, small)
    w = renderer.anchor(torch.zeros(profile.features.count), profile.mouth_mean)
    assert torch.allclose(w, profile.base)
    moved = renderer.anchor(torch.eye(profile.features.count)[0], profile.mouth_mean)
    assert torch.allclose(moved - w, profile.slopes[0], atol=1e-5)
