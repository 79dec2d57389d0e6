"""The edit of one tracked frame: target, predicted w, corrections, region render, composite."""

import math
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.calm import Calm
from engine.editing.compositing import Patch, lower_face_mask, sharpen, to_frame
from engine.editing.detail import Detail, compare_detail, luma
from engine.editing.grain import Grain
from engine.editing.light import Light
from engine.editing.meter import MouthMeter
from engine.editing.mouth import MOUTH_UNITS, MOVED_POINTS, OPENING, mouth_shape, opened_by
from engine.editing.observation import Observation, observe, region_picture
from engine.editing.perceptual import PerceptualLoss
from engine.editing.profile import SpeakerProfile
from engine.editing.refine import RefineConfig, RefineProblem, refine
from engine.editing.rendering import SpeakerRenderer
from engine.editing.settling import FRAME_S
from engine.editing.stepping import FastForms, refine_by
from engine.editing.texture import Texture, carried, skin
from engine.errors import BadInputError
from engine.generators.stats import WStatistics
from engine.speech.alignment import Alignment, GeometricAlignment
from engine.timing import stopwatch
from engine.tracking.alignment import transform_points
from engine.tracking.mesh import MeshNet
from engine.tracking.pose import from_head
from engine.tracking.tracker import TrackedFace

_MOUTH_WEIGHT: Final = 5.0
_JAW_WEIGHT: Final = 2.0
_NEWTON_SHARE: Final = 0.5
"""Share of the Gauss-Newton step that a corrected frame takes: a full one would carry the mesh's own noise into the
picture.

With 0.8 lips were further from their targets on four clips (eye distances .012 .019 .014 .018 for .011 .018
.013 .017) and faces from their person (identity .16 .21 .18 .18 for .15 .20 .17 .18)."""


@dataclass
class Shot:
    """What corrections and composites carry from frame to frame of one uncut shot."""

    texture: Texture | None = None
    """The skin's own texture; None before the first frame."""
    light: Light | None = None
    """How light and colour are changed; None before the first frame."""
    calm: Calm | None = None
    """Rendered skin as it was shown; None before the first frame."""
    grain: Grain = field(default_factory=Grain)
    """Noise, new and lying on the face."""
    offset: Tensor | None = None
    """[R,K] W+ offset of the last frame; None before the first frame with W+ steps."""


@dataclass
class EditState:
    """What is carried from frame to frame; predictions, corrections and composites each keep theirs apart."""

    detail: Detail | None = None
    """How the region is sharpened now; None before the first frame."""
    shot: Shot = field(default_factory=Shot)
    """What corrections and composites of this shot carry."""
    recoveries: int = 0
    """How often a W+ search fell back to its best offset."""
    seconds: float | None = None
    """Media time of the last frame; None before the first of a shot."""

    def elapsed_at(self, seconds: float) -> float:
        """Time in s since the last frame of the shot (`FRAME_S` before its first), which this frame is from now on.

        Raises:
            BadInputError: it is not later than the last one.
        """
        elapsed = FRAME_S if self.seconds is None else seconds - self.seconds
        if not elapsed > 0:
            raise BadInputError(f"frame at {seconds} s follows one at {self.seconds} s; expected rising times")
        self.seconds = seconds
        return elapsed

    def reset(self) -> None:
        """Forget the shot: after a cut or a lost face."""
        self.shot = Shot()
        self.seconds = None


@dataclass(frozen=True, slots=True)
class Edit:
    """One frame's edit."""

    patch: Patch
    """What to lay over the frame."""
    target: NDArray[np.float32]
    """[68,2] px of the frame: where the landmarks should be."""
    stages_ms: dict[str, float]
    """Time of each stage."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What one frame's mouth is to be, for corrections."""

    effort: int
    """As `FrameEditor.predict` takes it."""
    face: TrackedFace
    """What the tracker says of the frame."""
    head: NDArray[np.float64]
    """[68,3] wanted landmarks, head frame."""
    mouth: NDArray[np.float64]
    """[8] mouth numbers to aim at."""
    asked: NDArray[np.float64]
    """[8] those asked for, so that these are shown."""
    features: Tensor
    """[F-8] of the frame, without the mouth."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """One frame's edit before it is laid over the frame."""

    rgb: NDArray[np.uint8]
    """[H,W,3] the frame."""
    seen: Observation
    """What it shows."""
    target: NDArray[np.float64]
    """[68,2] px of the frame: where the landmarks should be."""
    aim: NDArray[np.float64]
    """[68,2] the same in crop px."""
    mask: Tensor
    """[1,1,h,w] what the edit may replace."""
    source: Tensor
    """[1,3,h,w] the frame's own region, -1...1."""
    picture: Tensor
    """[1,3,h,w] the rendered one."""
    strength: float
    """0...1, cross-fade of the edit with the frame."""
    wish: Wish
    """What the mouth is to be."""
    state: EditState
    """Carried from frame to frame."""
    shot: Shot
    """Of the frame's shot."""
    elapsed_s: float
    """Media time since the shot's frame before."""
    stages_ms: dict[str, float]
    """Time of each stage so far."""


def held_share(wanted: float, room: float) -> float:
    """Share of a displacement that is asked for, so that its opening stays below `room`, both in the same unit.

    The opening follows room x tanh(wanted / room): almost all of a small one, never more than there is room for, and
    of two openings the wider one stays wider.
    """
    if wanted <= 0:
        return 1.0
    return room * math.tanh(wanted / room) / wanted if room > 0 else 0.0


def landmark_weight() -> Tensor:
    """[68] weight of each landmark in the W+ steps."""
    weight = torch.zeros(68)
    weight[torch.from_numpy(MOVED_POINTS)] = _JAW_WEIGHT
    weight[48:68] = _MOUTH_WEIGHT
    return weight


class FrameEditor:
    """Edits tracked frames of one enrolled speaker.

    Args:
        renderer: the speaker's generator.
        statistics: whitened W of the untuned generator.
        perceptual: distance for the W+ steps.
        mesh: face mesh for the control loop.
        config: weights of the W+ steps.
        alignment: how the displacement is placed on the speaker.
        fast: forms of the work that a backend runs; what it holds may change between frames.
    """

    def __init__(
        self,
        renderer: SpeakerRenderer,
        statistics: WStatistics,
        perceptual: PerceptualLoss,
        mesh: MeshNet,
        config: RefineConfig,
        alignment: Alignment | None = None,
        fast: FastForms | None = None,
    ) -> None:
        """Takes the networks; it computes nothing yet."""
        self._fast: Final = fast or FastForms()
        self._alignment: Final = alignment or GeometricAlignment()
        self._renderer: Final = renderer
        self._statistics: Final = statistics
        self._perceptual: Final = perceptual
        self._mesh: Final = mesh
        self._config: Final = config
        self._weight: Final = landmark_weight()

    @property
    def profile(self) -> SpeakerProfile:
        """The speaker."""
        return self._renderer.profile

    def target_head(self, observation: Observation, displacement: NDArray[np.float32]) -> NDArray[np.float64]:
        """Wanted landmarks in the head frame, [68,3]: the rest face of the speaker moved as speech asks.

        The opening bends towards the widest that the profile can show; the whole displacement is scaled with it.
        """
        profile = self.profile
        rest = mouth_shape(profile.rest_head)[OPENING]
        wanted = mouth_shape(displacement)[OPENING]
        share = held_share(wanted, profile.mouth_high[OPENING] - rest)
        return self._alignment.place(observation.head, profile.rest_head, observation.pose, share * displacement)

    def predict(
        self,
        rgb: NDArray[np.uint8],
        face: TrackedFace,
        displacement: NDArray[np.float32],
        strength: float,
        effort: int,
        state: EditState,
        seconds: float,
    ) -> Predicted:
        """The wanted picture of the region as the profile predicts it, for `correct`.

        In order, each once.

        Args:
            rgb: [H,W,3] uint8, the frame.
            face: what the tracker says of it.
            displacement: [68,3] what speech asks, head frame, IOD.
            strength: 0...1, cross-fade of the edit with the frame.
            effort: 0: predicted; 1: corrected by the mouth's measured error; n: n - 1 W+ steps after that.
            state: carried from frame to frame.
            seconds: the frame's media time, later than that of the frame before.

        Raises:
            BadInputError: it is not later.
        """
        times: dict[str, float] = {}
        elapsed = state.elapsed_at(seconds)
        region = self.profile.region
        with stopwatch(times, "observe"):
            seen = observe(rgb, face)
            features = self.profile.features(seen)
            head = self.target_head(seen, displacement)
            target = from_head(head, seen.pose)[:, :2]
            aim = transform_points(target, seen.frame_to_crop)
            mask = lower_face_mask(seen, aim, region)
            source = region_picture(rgb, seen, region.top, region.left, (region.height, region.width))
        with stopwatch(times, "render"), torch.no_grad():
            wanted = self._renderer.reached_for(mouth_shape(head))
            asked = self._renderer.asked(wanted)
            picture = self._renderer.region(self._renderer.anchor(features, asked))
        wish = Wish(effort, face, head, wanted, asked, features)
        return Predicted(
            rgb, seen, target, aim, mask, source, picture, strength, wish, state, state.shot, elapsed, times
        )  # fmt: skip

    def correct(self, begun: Predicted) -> Predicted:
        """The picture as its effort asks, for `composite`; at effort 0 it is what was predicted.

        In order, each once; may run in another thread than `predict` and `composite`.
        """
        wish, seen, times = begun.wish, begun.seen, dict(begun.stages_ms)
        if wish.effort == 0:
            return begun
        with stopwatch(times, "correct"), torch.no_grad():
            meter = MouthMeter(
                self._mesh, begun.rgb, wish.face, seen, self.profile.region, begun.mask, self._fast.measure
            )
            missing = wish.mouth - meter.mouth(begun.picture)
            asked = self._renderer.held(wish.asked + _NEWTON_SHARE * self._renderer.step(missing))
            w = self._renderer.anchor(wish.features, asked)
            picture = self._renderer.region(w)
        if wish.effort > 1:
            with stopwatch(times, "refine"):
                more = float((wish.mouth - mouth_shape(wish.head))[OPENING] * MOUTH_UNITS[OPENING])
                reached = from_head(opened_by(wish.head, more), seen.pose)[:, :2]
                problem = RefineProblem(
                    w, self._renderer.region, meter.points, torch.from_numpy(reached.astype(np.float32)), self._weight,
                    seen.pose.iod_px, begun.source, 4 * begun.mask * (1 - begun.mask), begun.elapsed_s,
                )  # fmt: skip
                picture = self._refined(problem, meter, picture, wish.effort - 1, begun)
        return replace(begun, picture=picture, stages_ms=times)

    def composite(self, done: Predicted) -> Edit:
        """The edit of one frame: what is laid over it.

        In order, each once; may run in another thread than `predict` and `correct`, which go ahead to later frames.
        """
        region, source, times = self.profile.region, done.source, dict(done.stages_ms)
        state, shot, elapsed = done.state, done.shot, done.elapsed_s
        with stopwatch(times, "composite"), torch.no_grad():
            detail = state.detail or Detail(self.profile.sharpening, self.profile.grain)
            own = skin(done.aim, region)
            filmed = carried(source, done.seen.points, done.aim, region)
            shot.light = Light.following(shot.light, done.picture, filmed, done.mask, own, elapsed)
            picture = shot.light.onto(done.picture, own)
            shot.calm = Calm.following(shot.calm, picture, done.aim, region, elapsed)
            picture = sharpen(shot.calm.onto(picture), detail.share)
            shot.texture = Texture.following(shot.texture, filmed, done.aim, region, elapsed)
            picture = shot.texture.onto(picture, source, own, done.mask)
            height, width = done.rgb.shape[:2]
            patch = to_frame(picture, done.mask * done.strength, done.seen, region, (height, width))
            detail.follow(*compare_detail(patch, done.rgb), elapsed)
            shot.grain.follow(luma(patch.under(done.rgb)), patch.top, patch.left, elapsed)
            patch, state.detail = shot.grain.onto(patch, detail.grain, done.seen, region), detail
        return Edit(patch, done.target.astype(np.float32), times)

    def _refined(
        self, problem: RefineProblem, meter: MouthMeter, predicted: Tensor, steps: int, begun: Predicted
    ) -> Tensor:
        shot = begun.shot
        if shot.offset is None:
            shot.offset = torch.zeros(problem.w.shape[0], self._statistics.basis.shape[0])
        if self._fast.step is None:
            found = refine(problem, predicted, shot.offset, steps, self._statistics, self._perceptual, self._config)
        else:
            found = refine_by(
                self._fast.step, problem, meter.view, predicted, shot.offset, steps, self._perceptual, self._config
            )
        shot.offset = found.offset
        begun.state.recoveries += found.recovered
        with torch.no_grad():
            return problem.render(problem.w + found.offset @ self._statistics.basis)
