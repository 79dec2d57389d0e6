"""Enrolment: which frames are kept and fitted, and a whole one on a generator small enough to watch."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.editing import enrolment
from engine.editing.enrolment import (
    EnrolConfig,
    EnrolParts,
    choose,
    collect,
    enroll_speaker,
    pixel_weight,
)
from engine.editing.inversion import InversionConfig
from engine.editing.mouth import OPENING, mouth_shape
from engine.editing.perceptual import PerceptualLoss
from engine.editing.placement import FIELD, place_region
from engine.editing.profile import SpeakerProfile
from engine.editing.rendering import SpeakerRenderer
from engine.editing.tuning import TuningConfig
from engine.errors import NoFaceError
from engine.generators.identity import generator_hash
from engine.media import VideoFrame
from engine.tracking.tracker import TrackedFace
from tests.engine.editing.made_up import neutral_head, seen
from tests.engine.editing.scripted import (
    CELLS,
    REGION,
    ScriptedMesh,
    ScriptedTracker,
    film,
    painted_generator,
    plain_statistics,
    tracked,
    video_frame,
    with_mouth,
)

pytestmark = pytest.mark.unit

AXES = 24
LENGTH = 11


def ignore(stage: str, done: int, total: int) -> None:
    assert stage and done >= 0 and total >= 0


def parts(perceptual: PerceptualLoss, faces: list[TrackedFace | None]) -> EnrolParts:
    return EnrolParts(
        generator=painted_generator(),
        statistics=plain_statistics(AXES),
        directions=directions(),
        perceptual=perceptual,
        mesh=ScriptedMesh(),
        tracker=ScriptedTracker(faces),
    )


def directions() -> tuple[torch.Tensor, torch.Tensor]:
    """The painted generator's own: half of what each mouth number needs; angles that show nowhere."""
    rows = painted_generator().rows
    angles, mouth = torch.zeros(2, rows, AXES), torch.zeros(8, rows, AXES)
    angles[:, 1] = 0.1
    mouth[range(8), 0, range(8)] = 0.5
    return angles, mouth


@lru_cache
def plain_frame() -> NDArray[np.uint8]:
    return film(np.zeros(8))


def frames(count: int) -> Iterator[VideoFrame]:
    return (video_frame(plain_frame(), index) for index in range(count))


def spoken(count: int) -> list[NDArray[np.float64]]:
    """Mouth numbers of a clip in which opening, width and lips go their own ways."""
    turn = np.arange(count)[:, None] * np.array([1.0, 1.7, 2.3, 1.3, 0.9, 2.9, 3.1, 2.1])
    return list(1.2 * np.sin(turn) * np.array([1, 0.6, 0.5, 0.8, 0.7, 0.5, 0.4, 0.6]))


def test_presets_differ_in_work_and_size_and_others_are_refused() -> None:
    draft, full, compact = (EnrolConfig.preset(name) for name in ("draft", "full", "compact"))
    assert [config.quality for config in (draft, full, compact)] == ["draft", "full", "compact"]
    assert full.frames > draft.frames and full.tuning.steps > draft.tuning.steps
    assert full.inversion.shared_steps > draft.inversion.shared_steps
    assert compact.tuning.compact and not draft.tuning.compact and not full.tuning.compact
    with pytest.raises(ValueError, match="expected draft, full or compact"):
        EnrolConfig.preset("best")


def test_frames_without_a_face_are_counted_and_not_kept(perceptual: PerceptualLoss) -> None:
    faces: list[TrackedFace | None] = [tracked(neutral_head()) for _ in range(8)]
    faces[2] = faces[5] = None
    told: list[tuple[str, int, int]] = []
    kept, reasons = collect(frames(8), parts(perceptual, faces), lambda *step: told.append(step))
    assert len(kept) == 6
    assert reasons == {"ok": 6, "no_face": 2}
    assert [step[1:] for step in told] == [(index + 1, 0) for index in range(8)]


def test_too_few_faces_say_what_was_seen_instead(perceptual: PerceptualLoss) -> None:
    faces: list[TrackedFace | None] = [tracked(neutral_head())] * 4 + [None] * 3
    with pytest.raises(NoFaceError, match=r"only 4 frames .*no_face: 3, ok: 4.*at least 5"):
        collect(frames(7), parts(perceptual, faces), ignore)
    with pytest.raises(NoFaceError, match="no pictures at all"):
        collect(frames(0), parts(perceptual, []), ignore)


def test_what_is_kept_of_a_frame_is_its_lower_face_and_its_whole_face(perceptual: PerceptualLoss) -> None:
    rgb = film(np.array([3.0, 0, 0, 0, 0, 0, 0, -3.0]))
    faces: list[TrackedFace | None] = [tracked(neutral_head())] * 5
    shown = (video_frame(rgb, index) for index in range(5))
    item = collect(shown, parts(perceptual, faces), ignore)[0][0]
    assert item.field.shape == (3, FIELD.height, FIELD.width) and item.field.dtype == torch.uint8
    side = painted_generator().coarse_resolution
    assert item.coarse.shape == (1, 3, side, side)
    assert -1 <= float(item.coarse.min()) < -0.2 and float(item.coarse.max()) <= 1
    first, last = (item.field[0, y - FIELD.top, x - FIELD.left] for x, y in (CELLS[0], CELLS[-1]))
    assert int(first) == pytest.approx(127.5 * 1.3, abs=4) and int(last) == pytest.approx(127.5 * 0.7, abs=4)


@pytest.mark.parametrize("count", [9, 17, 40, 64])
def test_a_long_clip_is_thinned_evenly_over_its_whole_length(
    perceptual: PerceptualLoss, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Never more than can be stored; the frames that stay are a regular choice from first to last."""
    monkeypatch.setattr(enrolment, "_STORED", 8)
    faces: list[TrackedFace | None] = [tracked(with_mouth(0.01 * index * np.eye(8)[OPENING])) for index in range(count)]
    kept, _ = collect(frames(count), parts(perceptual, faces), ignore)
    start = mouth_shape(neutral_head())[OPENING]
    indices = [round((item.observation.mouth[OPENING] - start) * 100) for item in kept]
    steps = set(np.diff(indices).tolist())
    assert len(steps) == 1 and indices[0] == 0
    assert 4 <= len(kept) <= 8
    assert indices[-1] + steps.pop() >= count


def held_of(perceptual: PerceptualLoss, count: int) -> list[int]:
    """Numbers of the frames of a clip whose whole picture is held."""
    faces: list[TrackedFace | None] = [tracked(neutral_head())] * count
    kept, _ = collect(frames(count), parts(perceptual, faces), ignore)
    assert len(kept) == count
    return [index for index, item in enumerate(kept) if item.sample is not None]


@pytest.mark.parametrize("count", [5, 13, 45])
def test_few_whole_frames_are_held(perceptual: PerceptualLoss, count: int) -> None:
    """Whole pictures are large: at most twice as many as calibration takes, and enough for it."""
    held = held_of(perceptual, count)
    assert min(count, enrolment._CALIBRATION_FRAMES) <= len(held) <= 2 * enrolment._CALIBRATION_FRAMES
    assert held[0] == 0


def test_whole_frames_are_spread_over_the_clip(perceptual: PerceptualLoss) -> None:
    held = held_of(perceptual, 45)
    assert max(np.diff(held)) <= 45 // 4


@given(count=st.integers(1, 30), first=st.integers(0, 19), seed=st.integers(0, 50))
def test_chosen_rows_are_different_ones_begin_with_the_first_and_lie_apart(count: int, first: int, seed: int) -> None:
    """As many as asked for, if there are; none is chosen twice; each next one is nearer to those before."""
    rows = np.random.default_rng(seed).normal(size=(20, 3))
    chosen = choose(rows, count, first)
    assert chosen[0] == first and len(chosen) == len(set(chosen)) == min(count, 20)
    reach = [
        min(float(np.linalg.norm(rows[index] - rows[other])) for other in chosen[:at])
        for at, index in enumerate(chosen)
        if at
    ]
    assert reach == sorted(reach, reverse=True)


def test_the_ends_of_a_line_are_chosen_first() -> None:
    rows = np.linspace(0, 1, 11)[:, None]
    assert choose(rows, 4, 5)[1:3] in ([0, 10], [10, 0])


def test_the_mouth_counts_most_and_its_weight_moves_with_it() -> None:
    watched = seen(neutral_head())
    weight = pixel_weight(watched, REGION)
    assert weight.shape == (1, REGION.height, REGION.width)
    x, y = watched.points[48:68].mean(0)
    top = int(weight[0].argmax())
    assert abs(top // REGION.width + REGION.top - y) <= 1 and abs(top % REGION.width + REGION.left - x) <= 1
    assert 3.9 < float(weight.max()) <= 4.0 and 1.0 <= float(weight.min()) < 1.1
    moved = pixel_weight(replace(watched, points=watched.points + np.array([20.0, 12.0])), REGION)
    assert torch.allclose(moved[0, 12:, 20:], weight[0, :-12, :-20], atol=1e-5)


def test_a_closed_line_of_a_mouth_still_weighs_an_area() -> None:
    """Lips seen as one line do not shrink the weight to nothing."""
    watched = seen(neutral_head())
    line = watched.points.copy()
    line[48:68, 1] = 706.0
    weight = pixel_weight(replace(watched, points=line), REGION)[0]
    assert float(weight[706 - REGION.top + 30, 512 - REGION.left]) > 2.0


class Whole:
    """One small enrolment that several tests look at."""

    def __init__(self, perceptual: PerceptualLoss) -> None:
        self.changes = spoken(LENGTH)
        faces: list[TrackedFace | None] = [tracked(with_mouth(change)) for change in self.changes]
        shown = (video_frame(film(change, light=0.2), index) for index, change in enumerate(self.changes))
        tuning = TuningConfig(steps=16, base_rate=0.02, slope_rate=0.05, slope_prior=0.01, stages=1, perceptual=0.1)
        config = EnrolConfig("tiny", 8, InversionConfig(shared_steps=2, row_steps=1), tuning)
        self.told: list[tuple[str, int, int]] = []
        self.generator = copy.deepcopy(painted_generator())
        given_parts = replace(parts(perceptual, faces), generator=self.generator)
        self.profile = enroll_speaker(shown, given_parts, config, lambda *step: self.told.append(step))


@pytest.fixture(scope="module")
def whole(perceptual: PerceptualLoss) -> Whole:
    """The enrolment, done once."""
    return Whole(perceptual)


def test_enrolment_leaves_the_generator_alone_and_names_it(whole: Whole) -> None:
    assert generator_hash(whole.generator) == generator_hash(painted_generator()) == whole.profile.generator
    assert not any(p.requires_grad or p.grad is not None for p in whole.generator.parameters())
    assert whole.profile.quality == "tiny" and whole.profile.region == place_region(
        [seen(with_mouth(change)) for change in whole.changes]
    )


def test_tuned_weights_are_small_changes_that_fit_the_clip_better(whole: Whole) -> None:
    """The clip is lighter than the generator paints: the weight that lights the picture has risen."""
    weights = whole.profile.weights
    assert all(value.dtype == torch.float16 for value in weights.values())
    assert not any(name.startswith(("mapping", "coarse")) for name in weights)
    notes = whole.profile.notes
    assert notes["loss_last"] < notes["loss_first"]


def test_statistics_of_the_clip_are_in_the_profile(whole: Whole) -> None:
    mouths = np.stack([mouth_shape(with_mouth(change)) for change in whole.changes])
    profile = whole.profile
    assert np.allclose(profile.mouth_mean, mouths.mean(0), atol=1e-3)
    own = np.cov(mouths.T)
    assert (np.linalg.eigvalsh(profile.mouth_covariance) > 0).all()
    assert np.allclose((profile.mouth_covariance - own)[~np.eye(8, dtype=bool)], 0, atol=1e-3)
    assert (np.diag(profile.mouth_covariance) > np.diag(own)).all()
    assert (profile.mouth_low <= mouth_shape(profile.rest_head) + 1e-9).all()
    assert (profile.mouth_high >= np.quantile(mouths, 0.9, axis=0)).all()
    assert profile.rest_opening < 0.1


def test_the_answer_is_measured_on_the_tuned_generator(whole: Whole) -> None:
    """What is asked for is what the mesh reads, through the measured response, on the profile's own renderer."""
    profile = whole.profile
    assert not np.allclose(profile.response, np.eye(8), atol=1e-3)
    assert profile.notes["opening_response"] == pytest.approx(profile.response[OPENING, OPENING], abs=1e-3)
    assert (profile.sharpening, profile.grain) >= (0.0, 0.0)
    renderer = SpeakerRenderer(profile, painted_generator())
    features = torch.zeros(profile.features.count)
    step = 0.2 * np.eye(8)[OPENING]
    w, moved = (renderer.anchor(features, profile.mouth_mean + change) for change in (0 * step, step))
    painted = (moved - w)[0, :8].numpy() / 0.2
    assert np.allclose(painted, profile.response[:, OPENING], atol=0.15)


def test_slopes_are_of_every_feature_and_the_mouth_in_w(whole: Whole) -> None:
    profile, generator = whole.profile, painted_generator()
    assert profile.slopes.shape == (profile.features.count + 8, generator.rows, 512)
    assert profile.base.shape == (generator.rows, 512)
    assert not profile.slopes[:, :, AXES:].any()


def test_progress_goes_from_stage_to_stage_and_counts_up(whole: Whole) -> None:
    stages = list(dict.fromkeys(step[0] for step in whole.told))
    assert stages == ["looking at the speaker", "finding the face", "learning the face", "measuring the mouth"]
    for stage in stages:
        done = [step[1] for step in whole.told if step[0] == stage]
        assert done == list(range(1, len(done) + 1))
        total = {step[2] for step in whole.told if step[0] == stage}
        assert total in ({0}, {len(done)})


def test_notes_say_what_was_seen_and_warn_of_a_short_clip(whole: Whole) -> None:
    notes = whole.profile.notes
    assert notes["frames"] == {"ok": LENGTH} and notes["fitted_frames"] == 8
    assert any("few frames" in verdict for verdict in notes["verdicts"])
    assert not any("hardly opens" in verdict for verdict in notes["verdicts"])
    assert 0 < notes["opening_range_iod"] < 0.3 and notes["seconds"] >= 0


def test_an_enrolled_profile_is_saved_and_makes_the_same_renderer(whole: Whole, tmp_path: Path) -> None:
    path = tmp_path / "speaker.safetensors"
    whole.profile.save(path)
    again = SpeakerProfile.load(path)
    assert np.array_equal(again.preview, whole.profile.preview) and again.preview.shape[2] == 3
    features, mouth = torch.zeros(again.features.count), again.mouth_mean + 0.5
    one, other = (SpeakerRenderer(p, painted_generator()) for p in (whole.profile, again))
    with torch.no_grad():
        pictures = [r.region(r.anchor(features, mouth)) for r in (one, other)]
    assert torch.allclose(pictures[0], pictures[1], atol=5e-3)


def test_first_slopes_are_the_generators_own_directions_and_nothing_else() -> None:
    """Yaw and pitch are the first features, the mouth the last eight."""
    angles, mouth = directions()
    first = enrolment._first_slopes(9, directions())
    assert first.shape == (17, painted_generator().rows, AXES)
    assert torch.equal(first[:2], angles) and torch.equal(first[9:], mouth)
    assert not first[2:9].any()


def test_unknown_directions_are_said_in_the_notes(whole: Whole, perceptual: PerceptualLoss) -> None:
    faces: list[TrackedFace | None] = [tracked(with_mouth(change)) for change in spoken(5)]
    known = parts(perceptual, faces)
    unknown = replace(known, directions=(torch.zeros_like(known.directions[0]), torch.zeros_like(known.directions[1])))
    config = EnrolConfig("tiny", 3, InversionConfig(shared_steps=1, row_steps=0), TuningConfig(steps=1, stages=1))
    noted = enroll_speaker(frames(5), unknown, config, ignore).notes["verdicts"]
    assert any("directions are not known" in verdict for verdict in noted)
    assert not any("directions are not known" in verdict for verdict in whole.profile.notes["verdicts"])
