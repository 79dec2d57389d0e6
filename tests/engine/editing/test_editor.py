"""The edit of a frame: what is wanted, what the finished frame shows, and what is carried to the next one."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.editor import Edit, EditState, FrameEditor, Predicted, Shot, held_share
from engine.editing.mouth import MOVED_POINTS, OPENING, mouth_shape
from engine.editing.observation import mesh_crop, observe
from engine.editing.perceptual import PerceptualLoss
from engine.editing.profile import SpeakerProfile
from engine.editing.refine import RefineConfig
from engine.editing.rendering import SpeakerRenderer
from engine.editing.settling import FRAME_S
from engine.speech.alignment import GeometricAlignment
from engine.tracking.alignment import crop_from_rgb, transform_points
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.mesh import MESH_SIZE
from engine.tracking.pose import HeadPose, to_head
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import (
    Place,
    ScriptedMesh,
    film,
    mouth_moves,
    painted_generator,
    painted_profile,
    plain_statistics,
    tracked,
    video_frame,
)

pytestmark = pytest.mark.unit

NEUTRAL = mouth_shape(neutral_head())
WISH = np.array([1.5, -0.6, 0.3, 0.8, 0.6, -0.2, 0.3, 0.4])
"""Mouth numbers that speech asks for, beside rest."""


def displaced(change: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(np.tensordot(change, mouth_moves(), 1), np.float32)


@lru_cache
def weak_profile() -> SpeakerProfile:
    """Says that its picture answers in full; in truth it answers by 0.6 and mixes opening with width."""
    gain = 0.6 * np.eye(8)
    gain[0, 1] = 0.2
    return painted_profile(gain)


@lru_cache
def true_profile() -> SpeakerProfile:
    return painted_profile()


class Bench:
    """An editor of the painted speaker and what its frames show in the end."""

    def __init__(
        self,
        perceptual: PerceptualLoss,
        profile: SpeakerProfile | None = None,
        mesh: ScriptedMesh | None = None,
        config: RefineConfig | None = None,
    ) -> None:
        self.mesh = mesh or ScriptedMesh()
        self.renderer = SpeakerRenderer(profile or true_profile(), painted_generator())
        self.editor = FrameEditor(self.renderer, plain_statistics(), perceptual, self.mesh, config or RefineConfig())
        self.state = EditState()
        self.seconds = 0.0

    def edit(
        self,
        wish: NDArray[np.float64],
        effort: int = 0,
        strength: float = 1.0,
        place: Place | None = None,
        filmed: NDArray[np.float64] | None = None,
        elapsed_s: float = FRAME_S,
    ) -> Edit:
        rgb, face = film(np.zeros(8) if filmed is None else filmed, place), tracked(neutral_head(), place)
        self.seconds += elapsed_s
        predicted = self.editor.predict(rgb, face, displaced(wish), strength, effort, self.state, self.seconds)
        return self.editor.composite(self.editor.correct(predicted))

    def shown(self, edit: Edit, place: Place | None = None) -> NDArray[np.float64]:
        """Mouth numbers, beside neutral, that the mesh reads on the finished frame."""
        face = tracked(neutral_head(), place)
        rgb = edit.patch.into(video_frame(film(np.zeros(8), place))).rgb()
        crop = mesh_crop(face)
        with torch.no_grad():
            mesh = ScriptedMesh()(crop_from_rgb(rgb, crop, MESH_SIZE))[0][0].numpy()
        points = mesh_to_68(transform_points(mesh, crop))
        return np.asarray(mouth_shape(to_head(points, face.pose)) - NEUTRAL)

    def error(self, wish: NDArray[np.float64], effort: int) -> float:
        return float(np.abs(self.shown(self.edit(wish, effort)) - aimed(self, wish)).max())


def wished(bench: Bench, wish: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mouth numbers of the target beside neutral: speech's wish, bent towards the widest opening."""
    seen = observe(film(np.zeros(8)), tracked(neutral_head()))
    return np.asarray(mouth_shape(bench.editor.target_head(seen, displaced(wish))) - NEUTRAL)


def aimed(bench: Bench, wish: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the mesh shall read, beside neutral, so that viewers see what was wished."""
    return bench.renderer.reached_for(wished(bench, wish) + NEUTRAL) - NEUTRAL


@given(wanted=st.floats(1e-3, 50), more=st.floats(1.001, 4), room=st.floats(1e-2, 20))
def test_held_opening_stays_below_the_room_and_wider_wishes_stay_wider(wanted: float, more: float, room: float) -> None:
    one, other = held_share(wanted, room), held_share(wanted * more, room)
    assert 0 < other <= one <= 1
    assert wanted * one <= room * (1 + 1e-12)
    assert wanted * more * other >= wanted * one * (1 - 1e-12)


def test_held_share_leaves_small_openings_and_all_closings() -> None:
    assert held_share(0.01, 5.0) == pytest.approx(1.0, abs=1e-4)
    assert held_share(0.0, 5.0) == held_share(-3.0, 5.0) == held_share(-3.0, -1.0) == 1.0
    assert held_share(1.0, 0.0) == held_share(1.0, -2.0) == 0.0


def test_target_is_the_resting_speaker_when_nothing_is_said(perceptual: PerceptualLoss) -> None:
    """Whatever mouth was filmed: jaw and mouth go to rest, all other landmarks stay where the frame has them."""
    wide = neutral_head() + np.tensordot(np.eye(8)[OPENING] * 3, mouth_moves(), 1) + 0.01
    seen = observe(film(np.zeros(8)), tracked(wide))
    head = Bench(perceptual).editor.target_head(seen, np.zeros((68, 3), np.float32))
    others = np.setdiff1d(np.arange(68), MOVED_POINTS)
    assert np.array_equal(head[MOVED_POINTS], neutral_head()[MOVED_POINTS])
    assert np.array_equal(head[others], seen.head[others])
    assert np.allclose(seen.head, wide, atol=1e-4)


def test_another_alignment_places_the_mouth_from_what_the_editor_knows(perceptual: PerceptualLoss) -> None:
    """It is given the frame's landmarks and pose, the profile's rest face, and the displacement there is room for."""
    asked: list[tuple[NDArray[np.float64], NDArray[np.float64], HeadPose, NDArray[np.float64]]] = []

    class Lower(GeometricAlignment):
        def place(
            self, own: NDArray[np.float64], rest: NDArray[np.float64], pose: HeadPose, displacement: NDArray[Any]
        ) -> NDArray[np.float64]:
            asked.append((own, rest, pose, displacement))
            return super().place(own, rest, pose, displacement) + [0.0, 0.05, 0.0]

    plain = Bench(perceptual)
    renderer = SpeakerRenderer(true_profile(), painted_generator())
    editor = FrameEditor(renderer, plain_statistics(), perceptual, plain.mesh, RefineConfig(), Lower())
    seen = observe(film(np.zeros(8)), tracked(neutral_head()))
    lower, usual = (each.target_head(seen, displaced(WISH)) for each in (editor, plain.editor))
    assert np.allclose(lower - usual, [0.0, 0.05, 0.0])
    own, rest, pose, displacement = asked[0]
    assert own is seen.head and pose is seen.pose and np.array_equal(rest, renderer.profile.rest_head)
    assert np.allclose(usual[MOVED_POINTS], (rest + displacement)[MOVED_POINTS])


def test_too_wide_a_target_is_scaled_as_a_whole_and_never_beyond_the_profile(perceptual: PerceptualLoss) -> None:
    bench = Bench(perceptual)
    seen = observe(film(np.zeros(8)), tracked(neutral_head()))
    widest = bench.editor.profile.mouth_high[OPENING]
    last = -np.inf
    for scale in (0.5, 2.0, 5.0, 20.0):
        moved = bench.editor.target_head(seen, displaced(scale * WISH)) - neutral_head()
        reached = mouth_shape(moved)
        assert last < reached[OPENING] and reached[OPENING] + NEUTRAL[OPENING] <= widest + 1e-6
        assert np.allclose(reached / reached[OPENING], WISH / WISH[OPENING], atol=1e-3)
        last = float(reached[OPENING])


def test_a_closing_wish_is_not_scaled(perceptual: PerceptualLoss) -> None:
    change = np.array([-0.5, -4.0, 0, 0, -2.0, 0, 0, 0])
    assert np.allclose(wished(Bench(perceptual), change), change, atol=1e-3)


@pytest.mark.parametrize("effort", [0, 1])
def test_the_finished_frame_shows_the_wanted_mouth(perceptual: PerceptualLoss, effort: int) -> None:
    assert Bench(perceptual).error(WISH, effort) < 0.2


ON_LIPS = np.array([1.0, 1, 1, 1, 0, 0, 0, 0])
"""The mouth numbers whose paint lies on the lips; that of the others lies on the skin below."""


def test_the_mouth_that_was_filmed_does_not_matter(perceptual: PerceptualLoss) -> None:
    """Two films of the same face with other mouths painted give the same mouth."""
    one, other = (Bench(perceptual).edit(WISH, 1, filmed=filmed) for filmed in (np.zeros(8), 2.0 * ON_LIPS))
    bench = Bench(perceptual)
    assert np.allclose(bench.shown(one), bench.shown(other), atol=0.25)


def test_of_what_was_filmed_on_skin_light_and_fine_part_come_along(perceptual: PerceptualLoss) -> None:
    """Squares of 44 px on skin: less than half of them stays, in their own place; lips are lit by a sixth."""
    on_skin = 2.0 * (1 - ON_LIPS)
    one, other = (Bench(perceptual).edit(WISH, 1, filmed=filmed) for filmed in (np.zeros(8), on_skin))
    bench = Bench(perceptual)
    left = bench.shown(other) - bench.shown(one)
    assert 0.1 < float(left @ on_skin / (on_skin @ on_skin)) < 0.5
    assert np.abs(left[ON_LIPS > 0]).max() < 0.4


@pytest.mark.parametrize("place", [Place(0.25, left=47, top=31), Place(0.25, 8, 0, 70, 8), Place(0.2, left=60, top=60)])
def test_wherever_the_face_is_the_same_mouth_is_shown(perceptual: PerceptualLoss, place: Place) -> None:
    bench = Bench(perceptual)
    there = bench.shown(bench.edit(WISH, 0, place=place), place)
    assert np.allclose(there, aimed(bench, WISH), atol=0.3)


def test_a_moved_face_moves_the_patch_by_the_same(perceptual: PerceptualLoss) -> None:
    """Seven px right and eleven down: the same pixels, there."""
    bench = Bench(perceptual)
    one = bench.edit(WISH, 0, place=Place(left=30, top=20))
    other = bench.edit(WISH, 0, place=Place(left=37, top=31))
    assert (other.patch.left - one.patch.left, other.patch.top - one.patch.top) == (7, 11)
    assert np.allclose(other.target - one.target, (7, 11), atol=1e-3)
    rows = min(len(one.patch.mask), len(other.patch.mask))
    assert np.allclose(one.patch.mask[:rows], other.patch.mask[:rows], atol=1e-3)
    assert np.abs(one.patch.rgb[:rows] - other.patch.rgb[:rows]).max() < 1.0


def test_the_same_frame_gives_the_same_edit(perceptual: PerceptualLoss) -> None:
    """With grain too, and at every effort, from a fresh state."""
    profile = replace(weak_profile(), grain=2.0, sharpening=0.3)
    for effort in (0, 2):
        one, other = (Bench(perceptual, profile).edit(WISH, effort).patch for _ in range(2))
        assert np.array_equal(one.rgb, other.rgb) and np.array_equal(one.mask, other.mask)


def test_correction_makes_up_for_a_picture_that_answers_too_weakly(perceptual: PerceptualLoss) -> None:
    """By half a step, which takes the answer for twice as strong as it is: a quarter of the error."""
    predicted, corrected = (Bench(perceptual, weak_profile()).error(WISH, effort) for effort in (0, 1))
    assert predicted > 0.4
    assert 0.6 * predicted < corrected < 0.8 * predicted


def test_prediction_alone_asks_no_network_and_carries_nothing(perceptual: PerceptualLoss) -> None:
    bench = Bench(perceptual, weak_profile())
    edit = bench.edit(WISH, 0)
    assert bench.mesh.calls == 0
    assert bench.state.shot.offset is None
    assert set(edit.stages_ms) == {"observe", "render", "composite"}
    assert all(time >= 0 for time in edit.stages_ms.values())


def test_each_effort_adds_its_stage(perceptual: PerceptualLoss) -> None:
    bench = Bench(perceptual)
    assert set(bench.edit(WISH, 1).stages_ms) == {"observe", "render", "correct", "composite"}
    readings = bench.mesh.calls
    assert set(bench.edit(WISH, 3).stages_ms) == {"observe", "render", "correct", "refine", "composite"}
    assert bench.mesh.calls == 2 * readings + 2
    offset = bench.state.shot.offset
    assert offset is not None and offset.shape == (painted_generator().rows, 24)


def test_a_correction_leaves_nothing_behind(perceptual: PerceptualLoss) -> None:
    """What the mesh misreads in one frame is not carried into the next: predictions stay what they were."""
    profile = weak_profile()
    bench, fresh = Bench(perceptual, profile, ScriptedMesh(bias=np.full(8, -2.0))), Bench(perceptual, profile)
    for _ in range(4):
        bench.edit(WISH, 1)
    bench.state.reset()
    fresh.state.detail = bench.state.detail
    assert np.array_equal(bench.edit(WISH, 0).patch.rgb, fresh.edit(WISH, 0).patch.rgb)


def test_the_time_between_frames_reaches_what_follows_slowly(perceptual: PerceptualLoss) -> None:
    """A mouth that opens a little: after a second lips are lit as that frame asks, after 10 ms as the one before."""
    asked = []
    for elapsed in (0.01, 1.0):
        bench = Bench(perceptual, weak_profile())
        bench.edit(np.zeros(8))
        before = bench.state.shot.light
        bench.edit(WISH, elapsed_s=elapsed)
        after = bench.state.shot.light
        assert before is not None and after is not None
        asked.append(float((after.lips - before.lips).abs().mean()))
    assert asked[0] < 0.1 * asked[1]


def test_a_new_shot_forgets_all_but_the_count_of_recoveries() -> None:
    state = EditState(shot=Shot(offset=torch.ones(2, 3)), recoveries=4, seconds=1.0)
    state.reset()
    assert state.shot.offset is None and state.seconds is None and state.recoveries == 4
    assert EditState().shot is not EditState().shot


@pytest.mark.parametrize("strength", [0.25, 0.6])
def test_fading_scales_the_mask_and_nothing_else(perceptual: PerceptualLoss, strength: float) -> None:
    whole, faded = (Bench(perceptual).edit(WISH, 1, share).patch for share in (1.0, strength))
    assert np.abs(faded.mask - strength * whole.mask).max() < 1.5 / 255
    assert np.array_equal(faded.rgb, whole.rgb)
    assert (faded.top, faded.left) == (whole.top, whole.left)


def test_a_faded_out_edit_gives_the_frame_back(perceptual: PerceptualLoss) -> None:
    frame = video_frame(film(np.zeros(8)))
    done = Bench(perceptual).edit(WISH, 1, 0.0).patch.into(frame)
    assert all(np.array_equal(a, b) for a, b in zip(done.planes, frame.planes, strict=True))


def test_target_is_in_px_of_the_frame(perceptual: PerceptualLoss) -> None:
    """Landmarks that speech does not move lie on the tracked ones; the chin follows the wish."""
    target = Bench(perceptual).edit(WISH).target
    face = tracked(neutral_head())
    assert target.shape == (68, 2) and target.dtype == np.float32
    assert np.allclose(target[36:48], face.points[36:48, :2], atol=1e-2)
    assert target[8, 1] > face.points[8, 1] + 1


def test_pixels_outside_the_mask_are_the_frames_own(perceptual: PerceptualLoss) -> None:
    frame = video_frame(film(np.zeros(8)))
    patch = Bench(perceptual).edit(WISH, 1).patch
    share = np.zeros((frame.height, frame.width), np.float32)
    rows, columns = patch.mask.shape
    share[patch.top : patch.top + rows, patch.left : patch.left + columns] = patch.mask
    done = patch.into(frame)
    assert not (done.planes[0] != frame.planes[0])[share == 0].any()
    assert (share > 0).mean() > 0.01


def test_refinement_goes_on_where_the_correction_ends(perceptual: PerceptualLoss) -> None:
    """Steps towards the landmarks, with nothing to hold them back, leave less error than the correction did."""
    config = RefineConfig(rate=0.1, perceptual=0.0, pixel=0.0, prior=0.0, smoothness=0.0)
    corrected = Bench(perceptual, weak_profile(), config=config).error(2 * WISH, 1)
    refined = Bench(perceptual, weak_profile(), config=config).error(2 * WISH, 9)
    assert refined < 0.8 * corrected


class BlindMesh(ScriptedMesh):
    """Reads no number once refinement begins."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        points, score = super().forward(x)
        return (points * float("nan") if torch.is_grad_enabled() else points), score


def test_a_search_that_fails_is_counted_and_the_frame_is_still_edited(perceptual: PerceptualLoss) -> None:
    bench = Bench(perceptual, mesh=BlindMesh())
    for count in (1, 2):
        edit = bench.edit(WISH, 3)
        assert bench.state.recoveries == count
        assert np.isfinite(edit.patch.rgb).all()
    assert np.allclose(bench.shown(edit), aimed(bench, WISH), atol=0.3)


@pytest.mark.parametrize("effort", [0, 3])
def test_predictions_may_go_ahead_of_corrections_and_these_of_composites(
    perceptual: PerceptualLoss, effort: int
) -> None:
    """Across a cut, too: what follows late belongs to its own shot."""
    wishes = [np.zeros(8), 0.3 * np.eye(8)[OPENING], np.zeros(8), 0.2 * np.eye(8)[OPENING]]

    def begun(bench: Bench, index: int) -> Predicted:
        """A frame's prediction; the third one is after a cut."""
        if index == 2:
            bench.state.reset()
        rgb = film(np.zeros(8))
        seconds = index * FRAME_S
        return bench.editor.predict(
            rgb, tracked(neutral_head()), displaced(wishes[index]), 1.0, effort, bench.state, seconds
        )

    one, other = Bench(perceptual), Bench(perceptual)
    wanted = [one.editor.composite(one.editor.correct(begun(one, index))) for index in range(4)]
    ahead = [begun(other, index) for index in range(4)]
    found = [other.editor.composite(each) for each in [other.editor.correct(each) for each in ahead]]
    for edit, same in zip(found, wanted, strict=True):
        assert np.array_equal(edit.patch.rgb, same.patch.rgb) and np.array_equal(edit.patch.mask, same.patch.mask)
    assert ahead[0].shot is ahead[1].shot is not ahead[2].shot
    assert other.state.shot.texture is not None
