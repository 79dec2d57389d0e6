"""Speakers are made ready one after the other; one that cannot be keeps nobody waiting, and says why."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from engine.dubber import Looked
from engine.errors import ProfileError
from engine.media import VideoFrame
from engine.tracking.tracker import TrackResult
from streaming.clock import MS, LoopClock
from streaming.engines import OpenedSession, Profile
from streaming.ingest.file import probe_video
from streaming.live import preparation as module
from streaming.live.config import Surroundings
from streaming.live.preparation import Preparation
from streaming.live.sources import first_picture
from streaming.live.speakers import Speakers
from streaming.stage import TaskOwner
from streaming.virtual_time import run_virtual
from tests.streaming.clips import gradient, make_video
from tests.streaming.fakes import FakeEngine
from tests.streaming.live.fakes import ScriptedWorker, picture
from tests.streaming.scripted import LOOK_AHEAD_MS, ScriptedSession

pytestmark = pytest.mark.unit


class Picky(FakeEngine):
    """Cannot begin with one of the speakers."""

    def load(self, path: Path) -> Profile:
        if path.stem == "bad":
            raise ProfileError(f"{path.name} is damaged.\nEnrol again.")
        return super().load(path)


class Broken(FakeEngine):
    """Breaks in a way that nobody foresaw."""

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        raise ZeroDivisionError


class Looker(ScriptedSession):
    """Looks at pictures, too."""

    seen: ClassVar[list[tuple[int, int]]] = []

    def look(self, frame: VideoFrame, known: TrackResult | None = None) -> Looked:
        self.seen.append((frame.width, frame.height))
        return Looked(frame, frame.rgb(), TrackResult(None, "no_face", False), {})

    def push_looked(self, looked: Looked) -> None:
        """Nothing is edited here."""


class LookingEngine(FakeEngine):
    """Its sessions look."""

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        return OpenedSession(Looker(), LOOK_AHEAD_MS)


def around(folder: Path, preparation: Preparation, engine: FakeEngine, *names: str) -> Surroundings:
    """What a server has; speakers with files for profiles."""
    for name in names:
        (folder / f"{name}.safetensors").write_text("full")
    known = {name: folder / f"{name}.safetensors" for name in names}
    return Surroundings(
        engine, ScriptedWorker(lambda _: 10.0), lambda _: ScriptedWorker(lambda _: 5.0), LoopClock(),
        Speakers(known, folder), preparation=preparation,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def small_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trial edits of a small picture; virtual time does not see other threads."""

    async def at_once(work: Callable[[], None]) -> None:
        """Do it here."""
        work()

    monkeypatch.setattr(module, "first_picture", lambda: picture(0))
    monkeypatch.setattr(asyncio, "to_thread", at_once)


def test_speakers_are_prepared_in_order_and_measured(tmp_path: Path) -> None:
    engine = FakeEngine()
    preparation = Preparation(["ann", "bob"])
    parts = around(tmp_path, preparation, engine, "ann", "bob")

    async def main() -> list[tuple[str, int, int]]:
        clock, told = LoopClock(), []
        async with TaskOwner("server") as tasks:
            tasks.begin("prepare", preparation.run(parts))
            for _ in range(90):
                await clock.sleep_until(clock.now() + MS)
                step = preparation.progress
                told.append(("", -1, 0) if step is None else (step.what, step.done, step.total))
                if preparation.ready == ["ann"]:
                    await preparation.when_done("ann")
            await preparation.when_done("bob")
            await preparation.when_done("eve")
        return list(dict.fromkeys(told))

    told = run_virtual(main())
    assert told[0] == ("preparing ann", 0, 4) and told[-1] == ("", -1, 0)
    assert [what for what, *_ in told] == sorted((what for what, *_ in told), key=lambda what: what == "")
    assert ("preparing bob", 1, 4) in told
    assert preparation.ready == ["ann", "bob"] and preparation.progress is None
    costs = parts.known_cost_ms
    assert list(costs) == [("ann", 1), ("bob", 1)] and all(cost > 0 for cost in costs.values())
    assert [len(each.voice) > 0 for each in engine.live_sessions[:2]] == [True, True]


def test_one_that_cannot_be_prepared_is_told_and_the_next_one_is(tmp_path: Path) -> None:
    preparation = Preparation(["bad", "ann"])
    parts = around(tmp_path, preparation, Picky(), "bad", "ann")

    async def main() -> None:
        await preparation.run(parts)
        await preparation.when_done("bad")

    run_virtual(main())
    assert preparation.ready == ["ann"] and list(parts.known_cost_ms) == [("ann", 1)]
    assert preparation.problems == {"bad": "bad.safetensors is damaged. Enrol again."}


def test_an_unforeseen_error_keeps_no_session_of_that_speaker_waiting(tmp_path: Path) -> None:
    preparation = Preparation(["ann"])

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await preparation.run(around(tmp_path, preparation, Broken(), "ann"))
        await preparation.when_done("ann")

    run_virtual(main())
    assert preparation.progress is None and preparation.ready == []


def test_the_faces_of_the_presenter_s_clip_are_known_before_the_first_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every picture is looked at; a session of the same clip finds them. Speakers are ready before that."""
    clip = make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(6)])
    monkeypatch.setattr(module, "PRESENTER_CLIP", clip)
    Looker.seen.clear()
    preparation = Preparation(["ann"])
    parts = around(tmp_path, preparation, LookingEngine(), "ann")
    told: list[str] = []

    async def main() -> None:
        clock = LoopClock()
        async with TaskOwner("server") as tasks:
            tasks.begin("prepare", preparation.run(parts))
            await preparation.when_done("ann")
            for _ in range(30):
                told.append("" if preparation.progress is None else preparation.progress.what)
                await clock.sleep_until(clock.now() + 5 * MS)

    run_virtual(main())
    assert Looker.seen == [(64, 48)] * 6 and len(parts.known.of(probe_video(clip))) == 6
    assert set(told) == {"looking at the presenter's clip", ""} and told[-1] == ""


def test_the_picture_that_edits_are_tried_on_is_the_presenter_s() -> None:
    frame = first_picture()
    assert (frame.width, frame.height, frame.pts) == (720, 720, 0)
