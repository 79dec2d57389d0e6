"""What owners of tasks are told when a task fails, and what is cleaned up when a beginning fails."""

from pathlib import Path

import pytest

from streaming.server.manager import Uploads
from streaming.stage import TaskOwner
from streaming.virtual_time import run_virtual
from tests.streaming.passing import one_turn, passes

pytestmark = pytest.mark.unit


def test_an_owner_is_told_each_failure_and_keeps_the_first() -> None:
    async def main() -> None:
        told: list[Exception] = []
        owner = TaskOwner("test", told.append)

        async def fail(after: float, error: Exception) -> None:
            await passes(after)
            raise error

        first, second = ValueError("first"), KeyError("second")
        owner.begin("a", fail(1, first))
        owner.begin("b", fail(2, second))
        await owner.drained()
        await one_turn()
        assert told == [first, second]
        assert owner.error is first

    run_virtual(main())


def test_a_cancelled_task_is_no_failure() -> None:
    async def main() -> None:
        told: list[Exception] = []
        owner = TaskOwner("test", told.append)
        owner.begin("a", passes(100))
        await passes(1)
        await owner.end()
        assert told == []
        assert not owner.failed.is_set()

    run_virtual(main())


def test_an_upload_that_breaks_off_leaves_nothing_and_the_oldest_goes_when_there_are_too_many() -> None:
    uploads = Uploads(2)

    def send(text: str) -> tuple[str, Path]:
        with uploads.receiving() as (name, path):
            path.write_text(text)
            if text == "broken":
                raise ConnectionError("gone")
        return name, path

    with pytest.raises(ConnectionError):
        send("broken")
    sent = [send(text) for text in ("a", "b", "c")]
    assert [path.exists() for _, path in sent] == [False, True, True]
    assert uploads.path(sent[2][0]).read_text() == "c"
    assert {path.name for path in sent[2][1].parent.iterdir()} == {sent[1][0], sent[2][0]}
    uploads.close()
