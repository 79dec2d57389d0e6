"""One dubbing session: speech and pictures in, edited pictures out. Synchronous, no clock, no sockets."""

import copy
import functools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine import weights
from engine.editing.compiled import SessionBackends
from engine.editing.editor import EditState, FrameEditor, Predicted, landmark_weight
from engine.editing.enrolment import EnrolConfig, EnrolParts, enroll_speaker
from engine.editing.keeping import Kept
from engine.editing.perceptual import PerceptualLoss, has_bfloat16
from engine.editing.profile import SpeakerProfile
from engine.editing.refine import RefineConfig
from engine.editing.rendering import SpeakerRenderer
from engine.errors import BadInputError, ShapeError
from engine.generators.encoder_start import check_encoder
from engine.generators.encoders import FaceEncoder
from engine.generators.library import DEFAULT, ReadyGenerator, load_generator, name_of
from engine.media import AudioChunk, VideoFrame
from engine.speech import BLEND_S, LOOK_AHEADS_MS, SpeechModel, check_choice, load_speech_model
from engine.speech.alignment import ALIGNMENTS, Alignment, NetworkAlignment, create_alignment
from engine.timing import stopwatch
from engine.tracking.backends import Tracker, TrackerKind, create_tracker
from engine.tracking.mesh import MeshNet
from engine.tracking.networks import TrackerNetwork, tracker_networks
from engine.tracking.running import running
from engine.tracking.tracker import TrackedFace, TrackResult
from kernels.backends.choice import BACKENDS, BackendName
from kernels.native.pixels import using

SPEECH_RATE: Final = 16000
"""Sample rate of the engine's speech input in Hz."""
FREE: Final = frozenset({"effort", "emotion", "intensity", "fade_ms"})
"""Settings that sessions of one `ReadySpeaker` may differ in."""
_EDGE_YAW_DEG: Final = 38.0
_LAST_YAW_DEG: Final = 45.0


@dataclass(frozen=True, slots=True)
class DubConfig:
    """How a session edits."""

    effort: int = 0
    """Optimisation steps a frame: 0 predicted, 1 corrected by what the mesh reads, n: n - 1 W+ steps more."""
    tracker: TrackerKind = "mesh"
    """Which tracker follows the face."""
    fade_ms: float = 160.0
    """Cross-fade between the untouched and the edited picture when editing begins, in ms."""
    refine: RefineConfig = field(default_factory=RefineConfig)
    """Objective of the W+ steps."""
    emotion: str = "neutral"
    """Emotion that the session begins in, one of `engine.speech.CHOICES`; "auto" tells it from the speech."""
    intensity: float = 1.0
    """Its intensity, 0...1; with "auto" a factor on what is heard."""
    look_ahead_ms: int | None = None
    """Most speech beyond a picture that may be waited for, one of `LOOK_AHEADS_MS`; None: the weights' own."""
    alignment: str = "geometric"
    """How the mouth is placed on the speaker, one of `engine.speech.alignment.ALIGNMENTS`."""
    backend: BackendName = "eager"
    """What renders the region, one of `kernels.backends.choice.BACKENDS`; "auto" measures (`Dubber.backend`)."""

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            BadInputError: a value is out of range.
        """
        if not 0 <= self.effort <= 64:
            raise BadInputError(f"effort is {self.effort}; expected 0 to 64 steps a frame")
        if not 0 <= self.fade_ms <= 5000:
            raise BadInputError(f"fade_ms is {self.fade_ms}; expected 0 to 5000")
        check_choice(self.emotion, self.intensity)
        if self.look_ahead_ms is not None and self.look_ahead_ms not in LOOK_AHEADS_MS:
            least, most = LOOK_AHEADS_MS[0], LOOK_AHEADS_MS[-1]
            raise BadInputError(
                f"look_ahead_ms is {self.look_ahead_ms}; expected a whole number from {least} to {most}"
            )
        if self.backend not in BACKENDS:
            raise BadInputError(f"backend is {self.backend!r}; expected one of {', '.join(BACKENDS)}")
        if self.alignment not in ALIGNMENTS:
            raise BadInputError(f"alignment is {self.alignment!r}; expected one of {', '.join(ALIGNMENTS)}")


@dataclass(frozen=True, slots=True)
class EditedFrame:
    """One finished picture and how it was made."""

    frame: VideoFrame
    """The finished picture; without an edit the very object that came in."""
    source: VideoFrame
    """The picture as it came."""
    edited: bool
    """Whether it was edited."""
    reason: str
    """"edited", or why it passed through: no_face, turned_away, cut, too_small, covered."""
    effort: int
    """Optimisation steps spent."""
    target: NDArray[np.float32] | None
    """[68,2] px of the frame: where speech wants the landmarks; None when not edited."""
    tracked: NDArray[np.float32] | None
    """[68,2] px: the tracker's landmarks of the source; None without a face."""
    mask: NDArray[np.float32] | None
    """[h,w] 0...1: share of the edit in each pixel; None when not edited."""
    mask_origin: tuple[int, int]
    """(top, left) of the mask in the frame."""
    speaking: float
    """0...1: voice activity of the dubbing speech at this frame."""
    stages_ms: Mapping[str, float]
    """Time of each stage in ms."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A picture in which the face was looked for."""

    frame: VideoFrame
    """The picture as it came."""
    rgb: NDArray[np.uint8]
    """[H,W,3] the same as RGB."""
    result: TrackResult
    """What the tracker says of it."""
    stages_ms: Mapping[str, float]
    """Time of each stage in ms."""


class ReadySpeaker:
    """What the sessions of one speaker share: networks, the profile's weights, what they run on, the speech model.

    Making it takes seconds, a session of it milliseconds. It holds nothing of a session; all of its sessions are used
    by one thread at a time.

    Args:
        profile: the enrolled speaker.
        config: how its sessions edit; what `FREE` names is each session's own.
        speech: speech to landmarks; the shipped network by default, with the look-ahead of the configuration.

    Raises:
        ProfileError: the profile belongs to another generator.
        WeightsError: public weights cannot be had.
    """

    def __init__(
        self, profile: SpeakerProfile, config: DubConfig | None = None, speech: SpeechModel | None = None
    ) -> None:
        """Loads the networks."""
        self.config: Final = config or DubConfig()
        """How its sessions edit."""
        networks = _networks(name_of(profile.generator))
        renderer = SpeakerRenderer(profile, networks.ready.generator)
        alignment = create_alignment(self.config.alignment)
        self.backends: Final = _backends(renderer, networks, self.config.refine, self.config.backend, alignment)
        """What its sessions run on; `prepare` chooses it, in seconds, before the first session or with it."""
        self.editor: Final = FrameEditor(
            renderer, networks.ready.statistics, networks.perceptual, networks.mesh, self.config.refine,
            alignment, self.backends.fast,
        )  # fmt: skip
        """Edits a frame; what it carries from frame to frame is each session's."""
        self.speech: Final = speech or load_speech_model(limit_ms=self.config.look_ahead_ms)
        """Speech to landmarks."""
        self._tracker: Final[Tracker] = create_tracker(self.config.tracker)

    def tracker(self) -> Tracker:
        """A tracker that has seen nothing, with its networks in memory."""
        return copy.deepcopy(self._tracker)

    def check(self, config: DubConfig) -> None:
        """That a session's configuration is the one that this was made for.

        Raises:
            BadInputError: it is not.
        """
        for name in (each.name for each in fields(DubConfig) if each.name not in FREE):
            made, asked = getattr(self.config, name), getattr(config, name)
            if made != asked:
                raise BadInputError(f"the speaker was made ready with {name} {made}; got {asked}. Make it ready anew.")


@dataclass(frozen=True, slots=True)
class Started:
    """A picture whose edit is to be laid over it."""

    looked: Looked
    """The picture and its face."""
    predicted: Predicted
    """The edit so far."""
    effort: int
    """Optimisation steps spent."""
    speaking: float
    """0...1: voice activity of the dubbing speech."""
    stages_ms: Mapping[str, float]
    """Time of each stage before the edit in ms."""


class Dubber:
    """Edits one video so that its speaker follows one speech.

    Push speech and pictures in any interleaving, both in order; `ready` gives each picture once, in order, as soon as
    the speech that it needs (its own time plus the look-ahead) is there. Keep one per stream; not for several threads,
    except that `look` may go ahead and `correct` and `finish` follow, each in a thread of its own.

    Args:
        profile: the enrolled speaker; made ready, where sessions must begin at once.
        config: how to edit; of a speaker that is ready: as it was made ready, but for `FREE`.
        speech: speech to landmarks; the shipped network by default, with the look-ahead of the configuration.

    Raises:
        BadInputError: the speaker was made ready for another configuration.
        ProfileError: the profile belongs to another generator.
        WeightsError: public weights cannot be had.
        BackendError: the backend that the configuration asks for cannot be used on this machine.
    """

    def __init__(
        self,
        profile: SpeakerProfile | ReadySpeaker,
        config: DubConfig | None = None,
        speech: SpeechModel | None = None,
    ) -> None:
        """Loads the networks, where the speaker is not ready."""
        ready = profile if isinstance(profile, ReadySpeaker) else ReadySpeaker(profile, config, speech)
        self._config: Final = config or ready.config
        ready.check(self._config)
        self._effort = self._config.effort
        self._backends: Final = ready.backends
        self._backends.prepare(self._effort)
        self._editor: Final = ready.editor
        self._tracker: Final[Tracker] = ready.tracker()
        model = speech or ready.speech
        self.look_ahead_ms: Final = model.look_ahead_ms
        """Milliseconds of speech beyond a picture's time that it waits for."""
        self._speech: Final = model.stream()
        self._emotion = self._config.emotion
        self._speech.set_emotion(self._emotion, self._config.intensity, blend_s=0.0)
        self._waiting: Final[deque[VideoFrame | Looked]] = deque()
        self._state: Final = EditState()
        self._audio_ended = False
        self._strength = 0.0
        self._last_s = -math.inf

    @property
    def backend(self) -> Mapping[str, Any]:
        """What renders the region, why, and what else was tried: plain JSON values.

        "picture loops", the tracker's networks ("face mesh" and each "face detector"), and where an effort needed them
        "mouth measurement" and "W+ step", hold the same of these.
        """
        return self._backends.as_dict()

    @property
    def effort(self) -> int:
        """Optimisation steps of the next picture; may be changed at any time.

        Raises:
            BadInputError: set to a value out of range.
        """
        return self._effort

    @effort.setter
    def effort(self, steps: int) -> None:
        """Change it; the property says how."""
        self._effort = replace(self._config, effort=steps).effort

    def set_emotion(self, name: str, intensity: float = 1.0, blend_s: float = BLEND_S) -> None:
        """Change the emotion of the pictures to come, without a jump.

        Args:
            name: one of `engine.speech.CHOICES`.
            intensity: 0...1; with "auto" a factor on what is heard.
            blend_s: seconds until it is reached, 0...10; "auto" blends in its own time.

        Raises:
            BadInputError: there is no such emotion, or a value is out of range.
        """
        self._speech.set_emotion(name, intensity, blend_s)
        self._emotion = name

    @property
    def speech_notes(self) -> Mapping[str, object]:
        """How the speech is followed, and which emotions were shown so far (mean shares): plain JSON values."""
        return {
            "look_ahead_ms": self.look_ahead_ms,
            "alignment": self._config.alignment,
            "emotion": self._emotion,
            "emotions_shown": self._speech.shown,
        }

    def push_audio(self, chunk: AudioChunk) -> None:
        """Take the next piece of the dubbing speech: mono, 16 kHz.

        Raises:
            ShapeError: another sample rate.
        """
        if chunk.sample_rate != SPEECH_RATE:
            raise ShapeError(f"speech at {chunk.sample_rate} Hz; expected {SPEECH_RATE} Hz: resample it first")
        self._speech.push(chunk.samples)

    def end_audio(self) -> None:
        """No more speech comes: from its end on, the mouth rests."""
        if not self._audio_ended:
            self._audio_ended = True
            self._speech.end_input()

    def push_video(self, frame: VideoFrame) -> None:
        """Take the next picture; it is edited when `ready` is called and its speech is there."""
        self._waiting.append(frame)

    def look(self, frame: VideoFrame, known: TrackResult | None = None) -> Looked:
        """Find the face in the next picture, ahead of its edit; the result goes to `push_looked`.

        Pictures must be looked at in order, each once. This may run in another thread than everything else. What a
        tracker has said of this very picture before is `known`: the face is not looked for again.
        """
        times: dict[str, float] = {}
        with stopwatch(times, "rgb"):
            rgb = frame.rgb()
        if known is not None:
            return Looked(frame, rgb, known, times)
        fast = self._backends.fast
        with stopwatch(times, "track"), using(fast.loops), running(fast.networks):
            result = self._tracker.track(rgb, frame.seconds)
        return Looked(frame, rgb, result, times)

    def push_looked(self, looked: Looked) -> None:
        """Take the next picture, already looked at; as `push_video`."""
        self._waiting.append(looked)

    def end_video(self) -> None:
        """No more pictures come: pictures that still wait need no more speech, the mouth rests where it is missing."""
        self.end_audio()

    def ready(self) -> list[EditedFrame]:
        """Edit and give the pictures whose speech is there."""
        return [self.finish(self.correct(begun)) for begun in self.started()]

    def started(self) -> Iterator["EditedFrame | Started"]:
        """The pictures whose speech is there, each with its edit predicted, for `correct`: `ready` in three parts."""
        while self._waiting and (self._audio_ended or self._speech.ready_until_s >= self._first_s()):
            item = self._waiting.popleft()
            yield self._start(item if isinstance(item, Looked) else self.look(item))

    def correct(self, begun: "EditedFrame | Started") -> "EditedFrame | Started":
        """Correct the edit of a picture that was started, for `finish`: in order, each once, in one thread.

        The thread may be another; at effort 0 there is nothing to do.
        """
        if isinstance(begun, EditedFrame) or begun.effort == 0:
            return begun
        with using(self._backends.fast.loops):
            return replace(begun, predicted=self._editor.correct(begun.predicted))

    def finish(self, begun: "EditedFrame | Started") -> EditedFrame:
        """Lay the edit over a picture that was corrected: in order, each once, in one thread, which may be another."""
        if isinstance(begun, EditedFrame):
            return begun
        frame, face, times = begun.looked.frame, begun.looked.result.face, dict(begun.stages_ms)
        assert face is not None  # only pictures with a face are started
        with using(self._backends.fast.loops):
            edit = self._editor.composite(begun.predicted)
        times.update(edit.stages_ms)
        with stopwatch(times, "blend"):
            finished = edit.patch.into(frame)
        return EditedFrame(
            finished, frame, True, "edited", begun.effort, edit.target, _flat(face), edit.patch.mask,
            (edit.patch.top, edit.patch.left), begun.speaking, times,
        )  # fmt: skip

    def _first_s(self) -> float:
        """Time of the picture that has waited longest."""
        item = self._waiting[0]
        return item.frame.seconds if isinstance(item, Looked) else item.seconds

    def _start(self, looked: Looked) -> EditedFrame | Started:
        frame, rgb, result, times = looked.frame, looked.rgb, looked.result, dict(looked.stages_ms)
        with stopwatch(times, "speech"):
            mouth = self._speech.at(frame.seconds)
        if result.cut:
            self._state.reset()
        if result.face is None:
            return self._untouched(frame, result, mouth.speaking, times)
        strength = self._fade(frame.seconds, result)
        self._backends.prepare(self._effort)
        with using(self._backends.fast.loops):
            predicted = self._editor.predict(
                rgb, result.face, mouth.displacement, strength, self._effort, self._state, frame.seconds
            )
        return Started(looked, predicted, self._effort, mouth.speaking, times)

    def _untouched(
        self, frame: VideoFrame, result: TrackResult, speaking: float, times: Mapping[str, float]
    ) -> EditedFrame:
        self._state.reset()
        self._strength, self._last_s = 0.0, frame.seconds
        return EditedFrame(frame, frame, False, result.reason, 0, None, None, None, (0, 0), speaking, times)

    def _fade(self, seconds: float, result: TrackResult) -> float:
        """Share of the edit: rises over the fade after a lost face, at once at a cut; falls as the face turns away."""
        fresh = result.cut or math.isinf(self._last_s)
        elapsed = math.inf if fresh else max(0.0, seconds - self._last_s)
        fade_s = self._config.fade_ms / 1000
        self._strength = 1.0 if fresh or fade_s <= 0 else min(1.0, self._strength + elapsed / fade_s)
        self._last_s = seconds
        assert result.face is not None
        turned = (_LAST_YAW_DEG - abs(result.face.pose.yaw_deg)) / (_LAST_YAW_DEG - _EDGE_YAW_DEG)
        return self._strength * min(1.0, max(0.0, turned))


def enroll(
    frames: Iterable[VideoFrame],
    quality: str = "draft",
    tracker: TrackerKind = "mesh",
    progress: Callable[[str, int, int], None] | None = None,
    generator: str = DEFAULT,
    encoder: Path | None = None,
    unfinished: Path | None = None,
) -> SpeakerProfile:
    """Learn a speaker from a clip.

    Args:
        frames: pictures in order; one face, seen well, talking.
        quality: "draft" (minutes), "full" (about three times that) or "compact" (a small
            profile, for faces near the generator's own).
        tracker: which tracker follows the face.
        progress: called with what is being done, how much of it is done and how much there is (0: unknown).
        generator: name of an imported generator, or "default".
        encoder: checkpoint of an encoder (e4e, pSp) of that generator, where the inversion starts.
        unfinished: where the fit is kept while it runs; an enrolment of the same pictures that was broken off is taken
            up from there. The caller removes it once the profile is saved.

    Raises:
        BadInputError: unknown quality or generator, or an encoder of another generator.
        NoFaceError: too few frames show a usable face.
        WeightsError: public weights cannot be had.
    """
    try:
        config = EnrolConfig.preset(quality)
    except ValueError as error:
        raise BadInputError(str(error)) from error
    networks = _networks(generator)
    ready = networks.ready
    begun = None if encoder is None else FaceEncoder.read(encoder)
    if begun is not None:
        check_encoder(begun, ready.statistics, ready.generator.rows)
    parts = EnrolParts(
        ready.generator, ready.statistics, ready.directions, networks.perceptual, networks.mesh,
        create_tracker(tracker, steadied=False), begun,
    )  # fmt: skip
    kept = None if unfinished is None else Kept(unfinished)
    return enroll_speaker(frames, parts, config, progress or _silent, kept)


def compile_for(profile: SpeakerProfile, effort: int = 2) -> Mapping[str, Any]:
    """Compile what edits of this profile run on, so that sessions find it: once for each generator and region.

    Args:
        profile: any speaker of that generator and region.
        effort: 0: the render, the tracker's and the alignment's networks, a minute; 1: the mouth's measurement, too;
            2 or more: W+ steps, minutes.

    Returns:
        What came of it, as `Dubber.backend`.

    Raises:
        BackendError: there is no C++ compiler, or what it makes computes something else.
    """
    networks = _networks(name_of(profile.generator))
    renderer = SpeakerRenderer(profile, networks.ready.generator)
    backends = _backends(renderer, networks, RefineConfig(), "aoti", create_alignment("network"))
    backends.prepare(effort)
    return backends.as_dict()


@dataclass(frozen=True, slots=True)
class _Networks:
    ready: ReadyGenerator
    perceptual: PerceptualLoss
    mesh: MeshNet
    trackers: tuple[TrackerNetwork, ...] = ()


def _backends(
    renderer: SpeakerRenderer, networks: _Networks, config: RefineConfig, asked: BackendName, alignment: Alignment
) -> SessionBackends:
    """What a speaker's work runs on; an alignment without a network has no part in it."""
    return SessionBackends(
        renderer, networks, networks.ready.statistics, config, landmark_weight(), asked, trackers=networks.trackers,
        alignment=alignment if isinstance(alignment, NetworkAlignment) else None,
    )  # fmt: skip


@functools.lru_cache(maxsize=2)
def _networks(name: str) -> _Networks:
    """Networks shared by all sessions of the process; none of them holds state or is ever changed."""
    return _Networks(load_generator(name), _perceptual(), _mesh(), _trackers())


@functools.lru_cache(maxsize=1)
def _perceptual() -> PerceptualLoss:
    return PerceptualLoss(weights.path("stlpips-vgg"), stages=4, half=has_bfloat16())


@functools.lru_cache(maxsize=1)
def _mesh() -> MeshNet:
    return MeshNet(weights.path("mesh")).eval()


@functools.lru_cache(maxsize=1)
def _trackers() -> tuple[TrackerNetwork, ...]:
    return tracker_networks(_mesh())


def _flat(face: TrackedFace) -> NDArray[np.float32]:
    return np.ascontiguousarray(face.points[:, :2], dtype=np.float32)


def _silent(what: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""
