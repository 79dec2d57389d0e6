"""A face learnt live: how pictures get to the learner, what is told, what is left behind."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from engine.errors import BackendError, NoFaceError
from engine.media import VideoFrame
from streaming.clock import NS, LoopClock
from streaming.consent import Consent
from streaming.engines import Profile, Quality, Tracker
from streaming.live.enrolment import EnrolSpec, LiveEnrolment, NotEnrolled
from streaming.live.learner import Learner, Learnt, Message, NotLearnt, ProcessLearner, Progress
from streaming.screen import Report
from streaming.stage import TaskOwner
from streaming.virtual_time import run_virtual
from tests.streaming.fakes import FakeEngine
from tests.streaming.live.fakes import ScriptedWorker, picture

pytestmark = pytest.mark.unit

CONSENT = Consent("command line", "2026-01-02T03:04:05+00:00")


class ScriptedLearner:
    """Takes pictures; once they have ended it says what its script says."""

    def __init__(self, script: Iterable[Message | Exception]) -> None:
        self.script = iter(script)
        self.frames: list[VideoFrame] = []
        self.started = self.ended = False
        self.closed = 0

    def start(self) -> None:
        self.started = True

    def picture(self, frame: VideoFrame) -> None:
        assert self.started
        assert not self.ended
        self.frames.append(frame)

    def end(self) -> None:
        self.ended = True

    def receive(self) -> Message:
        if not self.ended:
            return Progress("looking at the speaker", len(self.frames), 0)
        message = next(self.script)
        if isinstance(message, Exception):
            raise message
        return message

    def close(self) -> None:
        self.closed += 1


def enrolment(learner: Learner, place: Path, look_ms: float = 100.0, seconds: float = 4.0) -> LiveEnrolment:
    """An enrolment whose learner takes `look_ms` a picture."""
    spec = EnrolSpec("ann", CONSENT, "draft", seconds)
    return LiveEnrolment(spec, place, learner, lambda _: ScriptedWorker(lambda _: look_ms), LoopClock())


async def feed(live: LiveEnrolment, pictures: int) -> None:
    """Pictures at 25 a second."""
    clock = LoopClock()
    begin = clock.now()
    for index in range(pictures):
        await clock.sleep_until(begin + index * NS // 25)
        live.push(picture(index))


def test_a_learner_that_looks_slowly_gets_new_pictures_and_the_rest_goes_unseen(tmp_path: Path) -> None:
    async def main() -> None:
        steps: list[Message] = [Progress("learning the face", 1, 3), Progress("learning the face", 2, 3), Learnt()]
        learner = ScriptedLearner(steps)
        live = enrolment(learner, tmp_path / "ann.safetensors")
        async with TaskOwner("source") as source:
            source.begin("pictures", feed(live, 200))
            await live.run()
        assert live.phase == "done"
        assert live.pictures == len(learner.frames) == pytest.approx(60, abs=6)
        steps_between = [b.pts - a.pts for a, b in zip(learner.frames, learner.frames[1:], strict=False)]
        assert max(steps_between) <= 4
        assert learner.frames[-1].pts <= 6.7 * 25
        assert learner.closed == 1
        assert live.as_dict()["what"] == "learning the face"

    run_virtual(main())


@pytest.mark.parametrize(("look_ms", "seconds"), [(20.0, 4.0), (2000.0, 16.0)])
def test_pictures_are_taken_for_the_time_asked_for_and_up_to_four_times_as_long_where_they_are_few(
    tmp_path: Path, look_ms: float, seconds: float
) -> None:
    async def main() -> None:
        learner = ScriptedLearner([Learnt()])
        live = enrolment(learner, tmp_path / "ann.safetensors", look_ms)
        async with TaskOwner("source") as source:
            source.begin("pictures", feed(live, 700))
            await live.run()
        taken = learner.frames[-1].seconds - learner.frames[0].seconds
        assert taken == pytest.approx(seconds, abs=2 * look_ms / 1000 + 0.6)

    run_virtual(main())


def test_the_consent_is_written_down_beside_the_profile(tmp_path: Path) -> None:
    async def main() -> None:
        live = enrolment(ScriptedLearner([Learnt()]), tmp_path / "ann.safetensors")
        async with TaskOwner("source") as source:
            source.begin("pictures", feed(live, 120))
            await live.run()

    run_virtual(main())
    record = json.loads((tmp_path / "ann.json").read_text())
    assert record["name"] == "ann"
    assert record["pictures"] > 20
    assert record["consent"]["at"] == CONSENT.at
    assert "agreed to being edited" in record["consent"]["statement"]


def test_a_source_that_stops_is_learnt_from_what_was_seen(tmp_path: Path) -> None:
    async def main() -> None:
        learner = ScriptedLearner([Learnt()])
        live = enrolment(learner, tmp_path / "ann.safetensors")
        async with TaskOwner("source") as source:
            source.begin("pictures", feed(live, 10))
            await live.run()
        assert live.phase == "done"
        assert 3 <= len(learner.frames) <= 10

    run_virtual(main())


@pytest.mark.parametrize(
    ("last", "words"), [(NotLearnt("only 2 frames show a face"), "only 2 frames"), (BackendError("it died"), "it died")]
)
def test_what_cannot_be_learnt_is_said_and_nothing_is_left(
    tmp_path: Path, last: Message | Exception, words: str
) -> None:
    async def main() -> None:
        learner = ScriptedLearner([Progress("learning the face", 1, 9), last])
        live = enrolment(learner, tmp_path / "ann.safetensors", seconds=1.0)
        async with TaskOwner("source") as source:
            source.begin("pictures", feed(live, 60))
            with pytest.raises(NotEnrolled, match=words):
                await live.run()
        assert live.phase == "failed"
        assert words in (live.problem or "")
        assert learner.closed == 1
        live.push(picture(99))

    run_virtual(main())
    assert list(tmp_path.iterdir()) == []


class Choosy(FakeEngine):
    """Learns nobody from fewer than five pictures."""

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = ""
    ) -> Profile:
        kept = list(frames)
        if len(kept) < 5:
            raise NoFaceError(f"only {len(kept)} frames\nshow a face")
        return super().enroll(kept, quality, tracker, report)


def learnt_from(learner: Learner, pictures: int) -> list[Message]:
    """Everything that a learner says to so many pictures."""
    learner.start()
    for index in range(pictures):
        learner.picture(picture(index))
    learner.end()
    said = [learner.receive()]
    while isinstance(said[-1], Progress):
        said.append(learner.receive())
    return said


def test_a_process_of_its_own_learns_from_pictures_and_saves(tmp_path: Path) -> None:
    place = tmp_path / "ann.safetensors"
    learner = ProcessLearner(Choosy(), "draft", place)
    assert learnt_from(learner, 6) == [*(Progress("enrolling", n, 0) for n in range(1, 7)), Learnt()]
    assert place.read_text() == "draft"
    assert place.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    learner.close()
    learner.close()
    with pytest.raises(BackendError, match="has ended"):
        learner.picture(picture(9))


def test_a_process_that_cannot_learn_says_why_and_one_that_is_ended_is_noticed(tmp_path: Path) -> None:
    few = ProcessLearner(Choosy(), "draft", tmp_path / "few.safetensors")
    assert learnt_from(few, 2) == [NotLearnt("only 2 frames show a face")]
    few.close()
    assert list(tmp_path.iterdir()) == []
    killed = ProcessLearner(Choosy(), "draft", tmp_path / "killed.safetensors")
    killed.start()
    killed._process.kill()
    with pytest.raises(BackendError, match="has ended"):
        killed.receive()
    killed.close()
