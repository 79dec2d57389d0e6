"""Speakers are made ready one after the other; one that cannot be keeps nobody waiting, and says why."""

from pathlib import Path

import pytest

from engine.errors import ProfileError
from streaming.clock import MS, LoopClock
from streaming.engines import OpenedSession, Profile
from streaming.live import preparation as module
from streaming.live.preparation import Costs, Preparation
from streaming.live.sources import first_picture
from streaming.live.speakers import Speakers
from streaming.stage import TaskOwner
from streaming.virtual_time import run_virtual
from tests.streaming.fakes import FakeEngine
from tests.streaming.live.fakes import ScriptedWorker, picture

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


def speakers(folder: Path, *names: str) -> Speakers:
    """Speakers with files for profiles."""
    for name in names:
        (folder / f"{name}.safetensors").write_text("full")
    return Speakers({name: folder / f"{name}.safetensors" for name in names}, folder)


@pytest.fixture(autouse=True)
def small_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trial edits of a small picture."""
    monkeypatch.setattr(module, "first_picture", lambda: picture(0))


def test_speakers_are_prepared_in_order_and_measured(tmp_path: Path) -> None:
    costs: Costs = {}
    engine = FakeEngine()
    preparation = Preparation(["ann", "bob"])

    async def main() -> list[tuple[str, int, int]]:
        clock, told = LoopClock(), []
        worker = ScriptedWorker(lambda _: 10.0)
        async with TaskOwner("server") as tasks:
            tasks.begin("prepare", preparation.run(engine, worker, speakers(tmp_path, "ann", "bob"), costs))
            for _ in range(65):
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
    assert list(costs) == [("ann", 1), ("bob", 1)] and all(cost > 0 for cost in costs.values())
    assert [len(each.voice) > 0 for each in engine.live_sessions] == [True, True]


def test_one_that_cannot_be_prepared_is_told_and_the_next_one_is(tmp_path: Path) -> None:
    costs: Costs = {}
    preparation = Preparation(["bad", "ann"])

    async def main() -> None:
        worker = ScriptedWorker(lambda _: 10.0)
        await preparation.run(Picky(), worker, speakers(tmp_path, "bad", "ann"), costs)
        await preparation.when_done("bad")

    run_virtual(main())
    assert preparation.ready == ["ann"] and list(costs) == [("ann", 1)]
    assert preparation.problems == {"bad": "bad.safetensors is damaged. Enrol again."}


def test_an_unforeseen_error_keeps_no_session_of_that_speaker_waiting(tmp_path: Path) -> None:
    preparation = Preparation(["ann"])

    async def main() -> None:
        with pytest.raises(ZeroDivisionError):
            await preparation.run(Broken(), ScriptedWorker(lambda _: 1.0), speakers(tmp_path, "ann"), {})
        await preparation.when_done("ann")

    run_virtual(main())
    assert preparation.progress is None and preparation.ready == []


def test_the_picture_that_edits_are_tried_on_is_the_presenter_s() -> None:
    frame = first_picture()
    assert (frame.width, frame.height, frame.pts) == (720, 720, 0)
