"""One live session in virtual time: its states, a face learnt on air, sizes that change, failures in plain words."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

import streaming.live.session as session_module
from engine.dubber import Looked
from engine.errors import BackendError, BadInputError, MediaError
from engine.media import VideoFrame
from engine.tracking.tracker import TrackResult
from streaming.clock import MS, NS, LoopClock
from streaming.engines import DubEngine, OpenedSession, Profile, Quality
from streaming.ingest.network import Item
from streaming.live.config import NotReady, SessionConfig, Surroundings
from streaming.live.enrolment import EnrolSpec
from streaming.live.learner import Learner, Learnt, NotLearnt
from streaming.live.media import BLOCK, LivePicture
from streaming.live.preparation import Preparation
from streaming.live.session import LiveDubSession
from streaming.live.sources import SourceSpec, VoiceSpec
from streaming.live.speakers import Speakers
from streaming.stage import TaskOwner
from streaming.virtual_time import run_virtual
from tests.streaming.clips import gradient, make_video
from tests.streaming.fakes import FakeEngine
from tests.streaming.live.fakes import Recorder, ScriptedWorker, picture
from tests.streaming.live.test_enrolment import ScriptedLearner
from tests.streaming.scripted import LOOK_AHEAD_MS, ScriptedSession
from tests.streaming.server.serving import write_wav

pytestmark = pytest.mark.unit

T = TypeVar("T")

EDIT_MS = 20.0


@pytest.fixture(autouse=True)
def threads_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time does not see other threads: what the session asks of one is done at once."""

    async def at_once(work: Callable[..., T], *args: Any) -> T:
        """Do it here."""
        return work(*args)

    monkeypatch.setattr(asyncio, "to_thread", at_once)


class Studio:
    """A session with a scripted engine, and a camera at 25 pictures a second."""

    def __init__(self, folder: Path, engine: FakeEngine | None = None, learner: Learner | None = None) -> None:
        """Nothing runs."""
        self.profile = folder / "ann.safetensors"
        self.profile.write_text("full")
        self.folder = folder
        self.engine = engine or FakeEngine()
        self.learner = learner
        self.around = Surroundings(
            self.engine, ScriptedWorker(lambda _: EDIT_MS), self._worker, LoopClock(),
            Speakers({"ann": self.profile}, folder / "kept"), make_learner=self._learner,
        )  # fmt: skip

    def _worker(self, name: str) -> ScriptedWorker:
        return ScriptedWorker(lambda _: 50.0 if "learn" in name else 0.0)

    def _learner(self, engine: DubEngine, quality: Quality, place: Path) -> Learner:
        assert self.learner is not None
        place.write_text(quality)
        return self.learner

    def config(self, **more: Any) -> SessionConfig:
        """A camera, no voice."""
        return replace(SessionConfig(SourceSpec("whip"), VoiceSpec("none"), self.profile, "ann", delay_ms=400), **more)

    async def film(self, session: LiveDubSession, seconds: float, width: int = 32) -> None:
        """Give pictures at their times."""
        clock = self.around.clock
        for _ in range(round(25 * seconds)):
            session.take_picture(picture(clock.now() // (40 * MS), width=width))
            await clock.sleep_until(clock.now() + 40 * MS)

    def run(self, config: SessionConfig, script: Callable[[LiveDubSession], Awaitable[T]]) -> T:
        """Play a session in virtual time; no task may live on after its end."""

        async def main() -> T:
            session = LiveDubSession(config, self.around)
            await session.start()
            try:
                return await script(session)
            finally:
                await session.aclose()
                await session.aclose()

        return run_virtual(main())


async def noted(studio: Studio, session: LiveDubSession, seconds: float, width: int = 32) -> list[LivePicture]:
    """Everything that was released while the camera filmed for so long, and until the last of it was out."""
    notes = Recorder(session.time)
    session.pipeline.outputs.append(notes)
    await studio.film(session, seconds, width)
    await session.time.sleep_until(session.time.now() + 600 * MS)
    session.pipeline.outputs.remove(notes)
    return [shown for _, shown in notes.pictures]


def test_a_session_waits_loads_and_runs(tmp_path: Path) -> None:
    studio = Studio(tmp_path)

    async def script(session: LiveDubSession) -> None:
        assert session.as_dict()["state"] == "waiting"
        with pytest.raises(NotReady, match="the session is waiting"):
            await session.watch("v=0", "edited")
        session.interrupt()
        await studio.film(session, 1.0)
        await session.when_running()
        await session.when_editing()
        shown = await noted(studio, session, 2.0)
        told = session.as_dict()
        assert (told["state"], told["error"], told["speaker"], told["viewers"]) == ("running", None, "ann", 0)
        assert told["stats"]["delay_ms"] == 400
        assert {each.reason for each in shown} == {"edited"}
        assert len(shown) >= 49

    studio.run(studio.config(), script)
    assert list(studio.around.known_cost_ms) == [("ann", 1)]


def test_the_delay_is_measured_where_none_is_asked_for_and_known_to_the_next_session(tmp_path: Path) -> None:
    studio = Studio(tmp_path)

    async def first(session: LiveDubSession) -> int:
        await studio.film(session, 1.0)
        return int(session.as_dict()["stats"]["delay_ms"])

    async def second(session: LiveDubSession) -> int:
        session.take_picture(picture(10_000))
        await asyncio.wait_for(session.when_running(), 0.06)
        await session.when_editing()
        return int(session.as_dict()["stats"]["delay_ms"])

    measured = studio.run(studio.config(delay_ms=None), first)
    studio.around.known_cost_ms["ann", 1] = 100.0
    known = studio.run(studio.config(delay_ms=None), second)
    assert measured == pytest.approx(420, abs=40)
    assert known == 700
    assert 40 < studio.around.known_cost_ms["ann", 1] < 60


def test_a_session_of_a_known_cost_edits_its_very_first_picture(tmp_path: Path) -> None:
    """All is there before the first picture, viewers too; pictures wait for the trial edit instead of passing."""
    studio = Studio(tmp_path)
    studio.around.known_cost_ms["ann", 1] = EDIT_MS
    clock = studio.around.clock

    async def script(session: LiveDubSession) -> None:
        await clock.sleep_until(clock.now() + NS)
        told = session.as_dict()
        assert (told["state"], told["loading"], told["stats"]["frames_in"]) == ("waiting", None, 0)
        begin = session.time.now()
        shown = await noted(studio, session, 1.0)
        assert shown[0].media == begin and {each.reason for each in shown} == {"edited"}
        told = session.as_dict()
        assert (told["stats"]["frames_in"], told["stats"]["released"], told["stats"]["delay_ms"]) == (25, 25, 460)

    studio.run(studio.config(delay_ms=None), script)


def test_a_recorded_voice_begins_with_the_first_picture(tmp_path: Path) -> None:
    """Not with the session: whoever grants a camera late would miss its beginning."""
    studio = Studio(tmp_path)
    studio.around.known_cost_ms["ann", 1] = EDIT_MS
    voice = VoiceSpec("file", write_wav(tmp_path / "voice.wav", np.full(48_000, 0.5, np.float32)))
    clock = studio.around.clock

    async def script(session: LiveDubSession) -> None:
        await clock.sleep_until(clock.now() + 3 * NS)
        await session.set_voice(voice)
        notes = Recorder(session.time)
        session.pipeline.outputs.append(notes)
        begin = session.time.now()
        await studio.film(session, 2.0)
        loud = [block.media for _, block in notes.sounds if np.abs(block.samples).max() > 0.1]
        assert 0 <= loud[0] - begin <= 80 * MS
        assert 0.9 * NS < loud[-1] - loud[0] < 1.1 * NS

    studio.run(studio.config(voice=voice), script)


def test_a_voice_that_programs_send_may_begin_before_the_first_picture(tmp_path: Path) -> None:
    """It is the same buffer afterwards: what was sent is not lost."""
    studio = Studio(tmp_path)

    async def script(session: LiveDubSession) -> None:
        await studio.around.clock.sleep_until(studio.around.clock.now() + NS)
        sent = session.play_out
        assert sent is not None
        await studio.film(session, 1.0)
        assert session.state == "running" and session.play_out is sent

    studio.run(studio.config(voice=VoiceSpec("stream")), script)


def test_a_session_waits_for_its_speaker_s_preparation_and_tells_how_far_that_is(tmp_path: Path) -> None:
    """What it measured is used: there is one trial edit, not three."""
    studio = Studio(tmp_path)
    preparation = Preparation(["ann"])
    studio.around = replace(studio.around, preparation=preparation)
    clock, around = studio.around.clock, studio.around

    async def script(session: LiveDubSession) -> None:
        async with TaskOwner("server") as tasks:
            tasks.begin("prepare", preparation.run(around))
            session.take_picture(picture(0))
            told = []
            for _ in range(200):
                await clock.sleep_until(clock.now() + MS)
                told.append(session.as_dict()["loading"])
        steps = [(each["what"], each["done"], each["total"]) for each in told if each is not None]
        assert steps[0] == ("preparing ann", 0, 4)
        assert steps[-1] == ("measuring this computer", 2, 2)
        assert session.state == "running" and told[-1] is None

    studio.run(studio.config(delay_ms=None), script)


class LookingSession(ScriptedSession):
    """Looks at pictures; notes how many it was told of."""

    def __init__(self) -> None:
        """None yet."""
        super().__init__()
        self.told = self.looked = 0

    def look(self, frame: VideoFrame, known: TrackResult | None = None) -> Looked:
        self.looked += known is None
        return Looked(frame, frame.rgb(), known or TrackResult(None, "turned_away", False), {})

    def push_looked(self, looked: Looked) -> None:
        self.told += 1
        self.push_video(looked.frame)


class LookingEngine(FakeEngine):
    """Its sessions look."""

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        self.live_sessions.append(LookingSession())
        return OpenedSession(self.live_sessions[-1], LOOK_AHEAD_MS)


@pytest.mark.parametrize("looks_ahead", [True, False])
def test_faces_of_a_recording_are_looked_for_once(tmp_path: Path, looks_ahead: bool) -> None:
    """By a session beside the one that edits; a second session of the same file looks for none."""
    engine = LookingEngine()
    studio = Studio(tmp_path, engine)
    clip = make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(10)])
    config = studio.config(source=SourceSpec("file", clip), looks_ahead=looks_ahead)

    async def script(session: LiveDubSession) -> Any:
        await studio.around.clock.sleep_until(studio.around.clock.now() + 3 * NS)
        assert session.state == "running" and session.as_dict()["stats"]["edited"] > 40
        return session.as_dict()["faces_known"]

    known = [studio.run(config, script) for _ in range(2)]
    sessions = [each for each in engine.live_sessions if isinstance(each, LookingSession)]
    if looks_ahead:
        assert known == [[10, 10], [10, 10]]
        assert [each.looked for each in sessions] == [0, 10, 0]
        assert [each.told > 40 for each in sessions] == [True, False, True]
    else:
        assert known == [None, None] and [each.looked + each.told for each in sessions] == [0, 0]


def test_a_source_that_changes_its_size_passes_through_for_a_moment_and_is_edited_again(tmp_path: Path) -> None:
    studio = Studio(tmp_path)

    async def script(session: LiveDubSession) -> None:
        await studio.film(session, 1.0)
        await noted(studio, session, 1.0)
        wide = await noted(studio, session, 4.0, width=64)
        back = await noted(studio, session, 4.0)
        for shown, width in ((wide, 64), (back, 32)):
            reasons = [each.reason for each in shown]
            first = reasons.index("edited")
            assert first < 25
            assert set(reasons[:first]) == {"size_changed"}
            assert set(reasons[first:]) == {"edited"}
            assert {each.frame.width for each in shown} == {width}
            assert len(shown) >= 97
        assert session.as_dict()["error"] is None

    studio.run(studio.config(), script)
    assert len(studio.engine.live_sessions) == 3


def test_a_face_learnt_on_air_is_edited_afterwards_and_known_to_all(tmp_path: Path) -> None:
    learner = ScriptedLearner([Learnt()])
    studio = Studio(tmp_path, learner=learner)

    async def script(session: LiveDubSession) -> None:
        await studio.film(session, 1.0)
        assert session.is_enrolling
        with pytest.raises(BadInputError, match="is being learnt"):
            await session.set_speaker("ann")
        shown = await noted(studio, session, 6.0)
        assert shown[0].reason == "enrolling"
        assert shown[-1].reason == "edited"
        told = session.as_dict()
        assert (told["speaker"], told["enrolment"]["phase"], session.is_enrolling) == ("bob", "done", False)
        await session.set_speaker("ann")
        assert session.as_dict()["speaker"] == "ann"

    studio.run(studio.config(enrol=EnrolSpec("bob", None, "draft", 1.0)), script)
    assert studio.around.speakers.names() == ("ann", "bob")
    assert learner.closed == 1


def test_a_face_that_cannot_be_learnt_passes_through_and_the_session_goes_on(tmp_path: Path) -> None:
    studio = Studio(tmp_path, learner=ScriptedLearner([NotLearnt("nobody to be seen")]))

    async def script(session: LiveDubSession) -> None:
        await studio.film(session, 6.0)
        shown = await noted(studio, session, 1.0)
        assert {each.reason for each in shown} == {"not_enrolled"}
        told = session.as_dict()
        assert (told["state"], told["speaker"]) == ("running", "ann")
        assert "nobody to be seen" in told["enrolment"]["problem"]

    studio.run(studio.config(enrol=EnrolSpec("bob", None, "draft", 1.0)), script)
    assert studio.around.speakers.names() == ("ann",)


def test_what_is_loading_is_told_step_by_step(tmp_path: Path) -> None:
    studio = Studio(tmp_path)

    async def script(session: LiveDubSession) -> None:
        assert session.as_dict()["loading"] is None
        session.take_picture(picture(0))
        clock, told = studio.around.clock, []
        for _ in range(60):
            await clock.sleep_until(clock.now() + MS)
            told.append(session.as_dict()["loading"])
        steps = [(each["what"], each["done"], each["total"]) for each in told if each is not None]
        assert steps[0] == ("opening the speaker's profile", 0, 4)
        assert steps[-1] == ("measuring this computer", 4, 4)
        assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
        assert told[-1] is None
        assert session.state == "running"

    studio.run(studio.config(), script)


class NoEngine(FakeEngine):
    """Cannot begin a live dub."""

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        raise BackendError("no memory is left.\nClose other programs.")


def test_an_engine_that_cannot_begin_fails_the_session_in_one_sentence(tmp_path: Path) -> None:
    studio = Studio(tmp_path, NoEngine())

    async def script(session: LiveDubSession) -> None:
        await studio.film(session, 2.0)
        told = session.as_dict()
        assert (told["state"], told["error"]) == ("failed", "no memory is left. Close other programs.")
        with pytest.raises(BackendError, match="the session has failed: no memory is left"):
            await session.when_editing()

    studio.run(studio.config(), script)


class Breaking(FakeEngine):
    """Its third picture breaks it, in a way that nobody foresaw."""

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        opened = super().live(profile, effort)
        push, left = opened.session.push_video, iter(range(6))

        def count(frame: VideoFrame) -> None:
            """Take it, or break."""
            if next(left, None) is None:
                raise ZeroDivisionError
            push(frame)

        opened.session.push_video = count  # type: ignore[method-assign]
        return opened


def test_an_engine_that_breaks_while_it_runs_fails_the_session_by_the_name_of_what_happened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    studio = Studio(tmp_path, Breaking())

    async def script(session: LiveDubSession) -> None:
        await studio.film(session, 3.0)
        told = session.as_dict()
        assert (told["state"], told["error"]) == ("failed", "ZeroDivisionError")

    studio.run(studio.config(), script)
    assert any(record.exc_info for record in caplog.records)


def test_a_recording_that_is_not_there_is_said_before_anything_runs(tmp_path: Path) -> None:
    studio = Studio(tmp_path)
    for config in (
        studio.config(source=SourceSpec("file", tmp_path / "none.mp4")),
        studio.config(voice=VoiceSpec("file", tmp_path / "none.wav")),
    ):

        async def main(config: SessionConfig = config) -> None:
            session = LiveDubSession(config, studio.around)
            with pytest.raises(MediaError, match=r"none\.(mp4|wav)"):
                await session.start()
            await session.aclose()

        run_virtual(main())


def test_what_is_changed_before_the_engine_is_there_holds_when_it_comes(tmp_path: Path) -> None:
    studio = Studio(tmp_path)

    async def script(session: LiveDubSession) -> None:
        session.set_effort(3)
        await session.set_emotion("happy", 0.5)
        await session.set_voice(VoiceSpec("stream"))
        assert session.play_out is None
        await studio.film(session, 1.0)
        await session.when_editing()
        assert session.play_out is not None
        session.set_effort(2)
        shown = await noted(studio, session, 1.0)
        assert {each.effort for each in shown if each.edited} <= {3, 2}
        assert shown[-1].effort == 2
        with pytest.raises(BadInputError, match="speaker is 'eve'"):
            await session.set_speaker("eve")
        assert not await session.hang_up("nobody")

    studio.run(studio.config(), script)
    assert studio.engine.asked == [(3, "mesh")]
    assert studio.engine.live_sessions[0].emotions == [("happy", 0.5)]


class Feed:
    """A network source: a picture and its sound every 40 ms, lost after a while."""

    opened = 0

    def __init__(self, url: str) -> None:
        """Opened once more."""
        Feed.opened += 1
        self.sent = 0

    def read(self) -> Item | None:
        self.sent += 1
        if self.sent > 100:
            raise MediaError("rtsp://camera: lost: nothing came")
        return picture(self.sent // 2) if self.sent % 2 else np.full(2 * BLOCK, 0.5, np.float32)

    def close(self) -> None:
        """Nothing to let go."""


def test_a_network_source_brings_pictures_and_their_sound_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = Studio(tmp_path)
    studio.around = replace(studio.around, make_worker=lambda _: ScriptedWorker(lambda _: 20.0))
    monkeypatch.setattr(session_module, "FfmpegStream", Feed)

    async def script(session: LiveDubSession) -> None:
        clock = studio.around.clock
        await clock.sleep_until(clock.now() + NS)
        await session.when_editing()
        notes = Recorder(session.time)
        session.pipeline.outputs.append(notes)
        await clock.sleep_until(clock.now() + 6 * NS)
        told = session.as_dict()
        assert told["network"]["attempts"] == Feed.opened >= 3
        assert told["network"]["has_sound"]
        assert "nothing came" in told["network"]["problem"]
        assert max(float(np.abs(block.samples).max()) for _, block in notes.sounds) == pytest.approx(0.5, abs=0.05)
        assert notes.reasons()["edited"] > 60
        assert told["stats"]["source_restarts"] == 0

    studio.run(studio.config(source=SourceSpec("url", url="rtsp://camera"), voice=VoiceSpec("source")), script)
