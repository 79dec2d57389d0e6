"""A session: order, waiting for speech, passing through, fading in; with the real parts in the slow test."""

import ctypes
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import engine.dubber as dubber_module
from engine.dubber import SPEECH_RATE, Dubber, DubConfig, EditedFrame, ReadySpeaker
from engine.editing.compositing import Patch
from engine.editing.editor import Edit, EditState
from engine.editing.profile import SpeakerProfile
from engine.editing.stepping import FastForms
from engine.errors import BadInputError, ShapeError
from engine.generators.library import Parts, generator_path, save_generator
from engine.generators.stats import WStatistics
from engine.media import AudioChunk, VideoFrame
from engine.speech.track import SpeechFrame
from engine.tracking.pose import HeadPose
from engine.tracking.running import MESH, passed
from engine.tracking.tracker import Reason, TrackedFace, TrackResult
from kernels.native.pixels import Pixels, fits
from tests.engine.generators.made_stylegan2 import SMALL, randomised

RATE = 25


class ScriptedTracker:
    """Says what a script says of each frame."""

    def __init__(self, script: list[tuple[Reason, bool, float]]) -> None:
        """Takes (reason, cut, yaw) of each frame."""
        self.script: Iterator[tuple[Reason, bool, float]] = iter(script)

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        """The next line of the script."""
        reason, cut, yaw = next(self.script)
        if reason != "ok":
            return TrackResult(None, reason, cut)
        pose = HeadPose(np.eye(3), yaw, 0.0, 0.0, np.zeros(3), 40.0)
        points = np.zeros((68, 3), np.float32)
        return TrackResult(TrackedFace(points, pose, np.zeros((4, 2)), 40.0, 1.0, points), "ok", cut)

    def reset(self) -> None:
        """Nothing to forget."""


class ScriptedSpeech:
    """Speech that is there as far as it was pushed, less a look-ahead of 0.1 s."""

    look_ahead_ms = 100
    shown: Mapping[str, float] = {"neutral": 1.0}

    def __init__(self) -> None:
        """No sound yet."""
        self.moods: list[tuple[str, float, float]] = []
        self.samples = 0
        self.ended = False

    def stream(self) -> "ScriptedSpeech":
        """Itself."""
        return self

    @property
    def ready_until_s(self) -> float:
        """Pushed time less the look-ahead."""
        return self.samples / SPEECH_RATE - 0.1

    def push(self, samples: NDArray[np.float32]) -> None:
        """Count samples."""
        self.samples += len(samples)

    def set_emotion(self, name: str, intensity: float, blend_s: float) -> None:
        """Remember it."""
        self.moods.append((name, intensity, blend_s))

    def end_input(self) -> None:
        """Remember it."""
        self.ended = True

    def at(self, seconds: float) -> SpeechFrame:
        """A displacement that tells its time."""
        return SpeechFrame(np.full((68, 3), seconds, np.float32), 1.0)


class RecordingEditor:
    """Notes what it is asked; its patch is one white pixel with the asked strength."""

    def __init__(self) -> None:
        """Nothing asked yet."""
        self.asked: list[tuple[float, float, bool]] = []
        self.composited: list[float] = []
        self.corrected: list[float] = []

    def predict(
        self,
        rgb: NDArray[np.uint8],
        face: TrackedFace,
        displacement: NDArray[np.float32],
        strength: float,
        effort: int,
        state: EditState,
        seconds: float,
    ) -> tuple[float, float]:
        """Note time, strength and whether the state is fresh."""
        assert seconds == displacement[0, 0], "the picture's own time"
        fresh = state.shot.offset is None
        self.asked.append((float(displacement[0, 0]), strength, fresh))
        state.shot.offset = torch.ones(1, 1)
        return float(displacement[0, 0]), strength

    def correct(self, done: tuple[float, float]) -> tuple[float, float]:
        """Note the time."""
        self.corrected.append(done[0])
        return done

    def composite(self, done: tuple[float, float]) -> Edit:
        """Note the time."""
        self.composited.append(done[0])
        patch = Patch(np.full((1, 1, 3), 255, np.float32), np.full((1, 1), done[1], np.float32), 0, 0)
        return Edit(patch, np.zeros((68, 2), np.float32), {"render": 1.0})


Session = Callable[..., tuple[Dubber, RecordingEditor]]


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Session:
    """Makes a session whose tracker, speech and editor are scripted."""

    def make(
        script: list[tuple[Reason, bool, float]], config: DubConfig | None = None
    ) -> tuple[Dubber, RecordingEditor]:
        editor = RecordingEditor()
        monkeypatch.setattr(dubber_module, "_networks", lambda _: _Nothing())
        monkeypatch.setattr(dubber_module, "SpeakerRenderer", lambda *_: None)
        monkeypatch.setattr(dubber_module, "_backends", lambda *_: NoBackends())
        monkeypatch.setattr(dubber_module, "FrameEditor", lambda *_: editor)
        monkeypatch.setattr(dubber_module, "create_tracker", lambda _: ScriptedTracker(script))
        profile: Any = SimpleNamespace(generator="0" * 16)
        return Dubber(profile, config, ScriptedSpeech()), editor  # type: ignore[arg-type]

    return make


class NoBackends:
    """Notes which efforts were prepared for."""

    def __init__(self) -> None:
        self.fast = FastForms()
        self.efforts: list[int] = []

    def prepare(self, effort: int) -> None:
        self.efforts.append(effort)

    def as_dict(self) -> dict[str, object]:
        return {"backend": "eager", "efforts": self.efforts}


class _Nothing:
    ready = SimpleNamespace(generator=None, statistics=None)
    perceptual = mesh = None


def frame(index: int) -> VideoFrame:
    """A dark frame."""
    return VideoFrame.from_rgb(np.full((16, 16, 3), 40, np.uint8), pts=index, time_base=Fraction(1, RATE))


def sound(seconds: float) -> AudioChunk:
    """Silence."""
    samples = np.zeros(round(seconds * SPEECH_RATE), np.float32)
    return AudioChunk(samples, SPEECH_RATE, 0, Fraction(1, SPEECH_RATE))


@pytest.mark.unit
def test_frames_wait_for_their_speech(session: Session) -> None:
    """A frame comes out as soon as its own time and the look-ahead are heard, in order, once."""
    dubber, editor = session([("ok", i == 0, 0.0) for i in range(5)])
    for index in range(5):
        dubber.push_video(frame(index))
    assert dubber.ready() == []
    dubber.push_audio(sound(0.19))
    assert [item.source.pts for item in dubber.ready()] == [0, 1, 2]
    dubber.end_audio()
    assert [item.source.pts for item in dubber.ready()] == [3, 4]
    assert dubber.ready() == []
    assert [round(seconds * RATE) for seconds, _, _ in editor.asked] == [0, 1, 2, 3, 4]


@pytest.mark.unit
def test_end_of_video_needs_no_more_speech(session: Session) -> None:
    """Pictures that still wait come out."""
    dubber, _ = session([("ok", True, 0.0)])
    dubber.push_video(frame(0))
    dubber.end_video()
    assert len(dubber.ready()) == 1


@pytest.mark.unit
@pytest.mark.parametrize("reason", ["no_face", "turned_away", "too_small", "covered", "cut"])
def test_unusable_frames_pass_through(session: Session, reason: Reason) -> None:
    """The very frame that came in goes out, with the tracker's reason; the state is forgotten."""
    dubber, editor = session([("ok", True, 0.0), ("ok", False, 0.0), (reason, False, 0.0), ("ok", False, 0.0)])
    dubber.end_audio()
    for index in range(4):
        dubber.push_video(frame(index))
    done = dubber.ready()
    assert [item.edited for item in done] == [True, True, False, True]
    assert done[2].frame is done[2].source
    assert done[2].reason == reason
    assert done[2].effort == 0
    assert [fresh for _, _, fresh in editor.asked] == [True, False, True]


@pytest.mark.unit
def test_edit_fades_in_after_a_lost_face(session: Session) -> None:
    """At once at the start and at a cut; over `fade_ms` when the face comes back."""
    script: list[tuple[Reason, bool, float]] = [("ok", True, 0.0), ("no_face", False, 0.0)]
    script.extend([("ok", False, 0.0)] * 5)
    script.append(("ok", True, 0.0))
    dubber, editor = session(script, DubConfig(fade_ms=160))
    dubber.end_audio()
    for index in range(len(script)):
        dubber.push_video(frame(index))
    dubber.ready()
    assert [round(strength, 2) for _, strength, _ in editor.asked] == [1, 0.25, 0.5, 0.75, 1, 1, 1]


@pytest.mark.unit
def test_edit_fades_out_as_the_face_turns_away(session: Session) -> None:
    """Full up to 38 degrees, nothing at 45."""
    dubber, editor = session([("ok", True, 30.0), ("ok", False, -41.5), ("ok", False, 45.0)])
    dubber.end_audio()
    for index in range(3):
        dubber.push_video(frame(index))
    dubber.ready()
    assert [round(strength, 2) for _, strength, _ in editor.asked] == [1, 0.5, 0]


@pytest.mark.unit
def test_a_session_begins_in_its_emotion_and_changes_it_by_blending(session: Session) -> None:
    """At once at the start; in the time that is asked for later."""
    dubber, _ = session([], DubConfig(emotion="happy", intensity=0.5))
    dubber.set_emotion("sad")
    dubber.set_emotion("angry", 0.3, blend_s=2.0)
    speech: Any = dubber._speech
    assert speech.moods == [("happy", 0.5, 0.0), ("sad", 1.0, 0.6), ("angry", 0.3, 2.0)]


@pytest.mark.unit
def test_a_session_tells_how_it_follows_the_speech(session: Session) -> None:
    """Its look-ahead and alignment, the emotion asked last and those shown."""
    dubber, _ = session([], DubConfig(emotion="auto", alignment="network"))
    assert dubber.look_ahead_ms == 100
    assert dubber.speech_notes["emotion"] == "auto"
    dubber.set_emotion("sad")
    assert dubber.speech_notes == {
        "look_ahead_ms": 100,
        "alignment": "network",
        "emotion": "sad",
        "emotions_shown": {"neutral": 1.0},
    }


@pytest.mark.unit
def test_the_look_ahead_of_the_configuration_reaches_the_model(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no model is handed in."""
    asked: list[int | None] = []

    def load(limit_ms: int | None) -> ScriptedSpeech:
        asked.append(limit_ms)
        return ScriptedSpeech()

    session([])
    monkeypatch.setattr(dubber_module, "load_speech_model", load)
    profile: Any = SimpleNamespace(generator="0" * 16)
    Dubber(profile, DubConfig(look_ahead_ms=60))
    Dubber(profile)
    assert asked == [60, None]


@pytest.mark.unit
def test_speech_at_another_rate_is_refused(session: Session) -> None:
    """The message says what is expected."""
    dubber, _ = session([])
    chunk = AudioChunk(np.zeros(10, np.float32), 44100, 0, Fraction(1, 44100))
    with pytest.raises(ShapeError, match="16000 Hz"):
        dubber.push_audio(chunk)


@pytest.mark.unit
@pytest.mark.parametrize(
    "values",
    [
        {"effort": -1},
        {"effort": 1000},
        {"fade_ms": -1.0},
        {"intensity": 1.1},
        {"emotion": "bored"},
        {"alignment": "by"},
        {"look_ahead_ms": 39},
        {"look_ahead_ms": 201},
    ],
)
def test_settings_out_of_range_are_refused(values: dict[str, float | str]) -> None:
    """Each names the setting."""
    with pytest.raises(BadInputError, match=next(iter(values))):
        DubConfig(**values)  # type: ignore[arg-type]


@pytest.mark.unit
def test_unknown_quality_is_refused() -> None:
    """Before any work is done."""
    with pytest.raises(BadInputError, match="unknown quality"):
        dubber_module.enroll([], quality="best")


@pytest.mark.unit
def test_an_unknown_generator_is_refused_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path))
    with pytest.raises(BadInputError, match="no generator 'nobody'; there are: default"):
        dubber_module.enroll([], generator="nobody")


@pytest.mark.unit
def test_a_profile_finds_its_generator_by_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path))
    model = randomised(SMALL)
    identity = save_generator(generator_path("mine"), Parts(model, WStatistics.sample(model, 12, 100), None, ()))
    asked: list[str] = []

    def networks(name: str) -> None:
        asked.append(name)
        raise LookupError  # all else of a session needs public weights

    monkeypatch.setattr(dubber_module, "_networks", networks)
    for generator in (identity, "0" * 16):
        profile: Any = SimpleNamespace(generator=generator)
        with pytest.raises(LookupError):
            Dubber(profile)
    assert asked == ["mine", "default"]


def _faces(data_dir: Path) -> Iterator[VideoFrame]:
    from streaming.ingest.file import probe_video, read_video

    return read_video(probe_video(data_dir / "clips" / "vrt_face2.mp4"), 0.0, 0.4)


@pytest.mark.slow
def test_enrol_and_dub_a_real_face(
    data_dir: Path, weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ten frames through every real part: the profile survives its file, edits stay inside their masks, mouths move."""
    from engine.editing.enrolment import EnrolConfig
    from engine.editing.inversion import InversionConfig
    from engine.editing.tuning import TuningConfig

    for name in ("mobilestylegan-synthesis-xml", "stlpips-vgg", "mesh"):
        weights(name)
    short = EnrolConfig("draft", 8, InversionConfig(shared_steps=2, row_steps=1), TuningConfig(steps=4))
    monkeypatch.setattr(EnrolConfig, "preset", classmethod(lambda cls, quality: short))
    stages: list[str] = []
    profile = dubber_module.enroll(_faces(data_dir), progress=lambda what, done, total: stages.append(what))
    assert list(dict.fromkeys(stages)) == [
        "looking at the speaker", "finding the face", "learning the face", "measuring the mouth",
    ]  # fmt: skip
    path = tmp_path / "speaker.safetensors"
    profile.save(path)
    done = _dub(SpeakerProfile.load(path), data_dir)
    assert len(done) == 10
    assert all(item.edited and item.effort == 2 for item in done)
    for item in done:
        assert item.mask is not None
        share = np.zeros((item.frame.height, item.frame.width), np.float32)
        top, left = item.mask_origin
        share[top : top + item.mask.shape[0], left : left + item.mask.shape[1]] = item.mask
        changed = item.frame.planes[0] != item.source.planes[0]
        assert changed[share > 0.9].mean() > 0.3
        assert not changed[share == 0].any()


def _dub(profile: SpeakerProfile, data_dir: Path) -> list[EditedFrame]:
    dubber = Dubber(profile, DubConfig(effort=2))
    noise = np.random.default_rng(0).normal(0, 0.1, SPEECH_RATE).astype(np.float32)
    dubber.push_audio(AudioChunk(noise, SPEECH_RATE, 0, Fraction(1, SPEECH_RATE)))
    dubber.end_audio()
    for item in _faces(data_dir):
        dubber.push_video(item)
    dubber.end_video()
    return dubber.ready()


@pytest.mark.unit
def test_effort_may_change_between_pictures(session: Session) -> None:
    """The next picture is edited with it; a value out of range changes nothing."""
    dubber, _ = session([("ok", i == 0, 0.0) for i in range(2)], DubConfig(effort=1))
    dubber.end_audio()
    dubber.push_video(frame(0))
    first = dubber.ready()
    dubber.effort = 0
    with pytest.raises(BadInputError, match="effort is 65"):
        dubber.effort = 65
    dubber.push_video(frame(1))
    assert [item.effort for item in (*first, *dubber.ready())] == [1, 0]


@pytest.mark.unit
def test_the_loops_that_were_chosen_are_used_in_every_part_of_a_session_and_not_beyond(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, used = Pixels(ctypes.CDLL(None), Path("none")), []
    parts: tuple[tuple[type, str], ...] = (
        (ScriptedTracker, "track"), (RecordingEditor, "predict"), (RecordingEditor, "composite"),
    )  # fmt: skip

    def noting(part: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any) -> Any:
            used.append((part, fits()))
            return whole(*given)

        return run

    for holder, name in parts:
        monkeypatch.setattr(holder, name, noting(name, getattr(holder, name)))
    dubber, _ = session([("ok", True, 0.0)])
    dubber._backends.fast.loops = chosen
    dubber.end_audio()
    dubber.push_video(frame(0))
    assert len(dubber.ready()) == 1
    assert used == [("track", chosen), ("predict", chosen), ("composite", chosen)] and fits() is None


@pytest.mark.unit
def test_backends_are_prepared_for_the_first_effort_and_for_each_picture_s(session: Session) -> None:
    """So that an effort that is raised on the way finds what it needs; what was chosen is told at the end."""
    dubber, _ = session([("ok", i == 0, 0.0) for i in range(2)], DubConfig(effort=0))
    assert dubber.backend["efforts"] == [0]
    dubber.end_audio()
    dubber.push_video(frame(0))
    dubber.ready()
    dubber.effort = 2
    dubber.push_video(frame(1))
    dubber.ready()
    assert dubber.backend == {"backend": "eager", "efforts": [0, 0, 2]}


@pytest.mark.unit
def test_pictures_looked_at_ahead_are_edited_as_others(session: Session) -> None:
    """In another thread, some of them, in any mixture with others; waiting for speech holds for both."""
    script: list[tuple[Reason, bool, float]] = [("ok", i == 0, 0.0) for i in range(6)]
    script[2] = ("no_face", False, 0.0)
    plain, one = session(script)
    plain.end_audio()
    ahead, other = session(script)
    frames = [frame(index) for index in range(6)]
    for item in frames:
        plain.push_video(item)
    with ThreadPoolExecutor(1) as thread:
        looked = list(thread.map(ahead.look, frames[:4]))
    for each in looked:
        ahead.push_looked(each)
    assert ahead.ready() == []
    ahead.end_audio()
    ahead.push_video(frames[4])
    ahead.push_looked(ahead.look(frames[5]))
    done, wanted = ahead.ready(), plain.ready()
    assert [(item.source.pts, item.edited, item.reason) for item in done] == [
        (item.source.pts, item.edited, item.reason) for item in wanted
    ]
    assert one.asked == other.asked and len(done) == 6
    assert done[0].stages_ms.keys() == {"rgb", "track", "speech", "render", "blend"}


@pytest.fixture
def ready(session: Session, monkeypatch: pytest.MonkeyPatch) -> tuple[ReadySpeaker, list[str]]:
    """A speaker made ready, and what was loaded since."""
    session([])
    loaded: list[str] = []

    def tracker(kind: str) -> ScriptedTracker:
        loaded.append(kind)
        return ScriptedTracker([("ok", i == 0, 0.0) for i in range(3)])

    def speech(limit_ms: int | None) -> ScriptedSpeech:
        loaded.append("speech")
        return ScriptedSpeech()

    monkeypatch.setattr(dubber_module, "create_tracker", tracker)
    monkeypatch.setattr(dubber_module, "load_speech_model", speech)
    profile: Any = SimpleNamespace(generator="0" * 16)
    return ReadySpeaker(profile, DubConfig(effort=1)), loaded


@pytest.mark.unit
def test_sessions_of_a_ready_speaker_load_nothing_and_track_on_their_own(
    ready: tuple[ReadySpeaker, list[str]],
) -> None:
    """Networks are loaded once; a picture that one session saw does not count for the other."""
    speaker, loaded = ready
    assert loaded == ["speech", "mesh"]
    one, other = Dubber(speaker), Dubber(speaker, DubConfig(effort=0, emotion="sad", intensity=0.5, fade_ms=0.0))
    assert (one.effort, other.effort) == (1, 0)
    assert one.backend == other.backend == {"backend": "eager", "efforts": [1, 0]}
    assert [one.look(frame(0)).result.cut, one.look(frame(1)).result.cut] == [True, False]
    assert other.look(frame(0)).result.cut
    assert loaded == ["speech", "mesh"]


@pytest.mark.unit
@pytest.mark.parametrize("values", [{"backend": "aoti"}, {"look_ahead_ms": 60}, {"alignment": "network"}])
def test_a_speaker_that_was_made_ready_otherwise_is_refused(
    ready: tuple[ReadySpeaker, list[str]], values: dict[str, Any]
) -> None:
    """The message names what differs."""
    with pytest.raises(BadInputError, match=f"made ready with {next(iter(values))}"):
        Dubber(ready[0], DubConfig(effort=1, **values))


@pytest.mark.unit
def test_a_face_that_is_known_is_not_looked_for_again(session: Session) -> None:
    """The edit is the same; the tracker is not asked."""
    script: list[tuple[Reason, bool, float]] = [("ok", True, 0.0), ("ok", False, 10.0)]
    tracked, one = session(script)
    told, other = session([])
    for dubber in (tracked, told):
        dubber.end_audio()
    for index in range(2):
        looked = tracked.look(frame(index))
        tracked.push_looked(looked)
        again = told.look(frame(index), looked.result)
        assert (again.rgb == looked.rgb).all() and again.stages_ms.keys() == {"rgb"}
        told.push_looked(again)
    assert [item.edited for item in told.ready()] == [item.edited for item in tracked.ready()] == [True, True]
    assert one.asked == other.asked


@pytest.mark.unit
@pytest.mark.parametrize("effort", [0, 2])
def test_pictures_started_ahead_are_finished_as_others(session: Session, effort: int) -> None:
    """Untouched ones come through as they are; what a picture was started with is what it tells."""
    script: list[tuple[Reason, bool, float]] = [("ok", True, 0.0), ("no_face", False, 0.0), ("ok", False, 0.0)]
    alone, _ = session(script, DubConfig(effort=effort))
    apart, editor = session(script, DubConfig(effort=effort))
    for dubber in (alone, apart):
        for index in range(3):
            dubber.push_video(frame(index))
        dubber.end_audio()
    begun = list(apart.started())
    apart.effort = 4
    assert editor.corrected == editor.composited == [] and len(editor.asked) == 2
    corrected = [apart.correct(each) for each in begun]
    assert editor.composited == []
    assert editor.corrected == pytest.approx([] if effort == 0 else [0.0, 2 / RATE])
    found, wanted = [apart.finish(each) for each in corrected], alone.ready()
    assert editor.composited == pytest.approx([0.0, 2 / RATE])
    for one, other in zip(found, wanted, strict=True):
        assert (one.edited, one.reason, one.effort, one.source.pts) == (
            other.edited, other.reason, other.effort, other.source.pts,
        )  # fmt: skip
        assert all(np.array_equal(a, b) for a, b in zip(one.frame.planes, other.frame.planes, strict=True))
        assert set(one.stages_ms) == set(other.stages_ms)
    assert list(apart.started()) == []


@pytest.mark.unit
def test_a_session_s_tracker_looks_by_what_was_chosen_for_it(session: Session) -> None:
    """Only while it looks; a session that chose nothing looks by its own networks."""
    said: list[float] = []

    class Asking:
        """A tracker that runs one network on every picture."""

        def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
            picture = torch.ones(1, 3, 2, 2)
            said.append(float(passed(MESH, torch.nn.Identity(), picture)[0].mean()))
            return TrackResult(None, "no_face", False)

    chosen, _ = session([])
    plain, _ = session([])
    for dubber in (chosen, plain):
        vars(dubber)["_tracker"] = Asking()
    chosen._backends.fast.networks[MESH] = lambda x: (5 * x,)
    chosen.look(frame(0))
    plain.look(frame(0))
    assert said == [5, 1] and float(passed(MESH, torch.nn.Identity(), torch.ones(1, 1))[0].mean()) == 1


@pytest.mark.unit
def test_enrolment_measures_mouths_on_a_mesh_that_is_not_steadied(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mesh's errors move lips and head together: only taken as measured do they cancel out."""
    asked: list[dict[str, Any]] = []
    ready = SimpleNamespace(generator=None, statistics=None, directions=None)
    networks = SimpleNamespace(ready=ready, perceptual=None, mesh=None)
    monkeypatch.setattr(dubber_module, "_networks", lambda _: networks)
    monkeypatch.setattr(dubber_module, "create_tracker", lambda kind, **options: asked.append(options))
    monkeypatch.setattr(dubber_module, "enroll_speaker", lambda *_: None)
    dubber_module.enroll([])
    assert asked == [{"steadied": False}]
