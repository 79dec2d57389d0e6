"""The learner's own process, called here: what it sends in which case, and that it ends when nobody listens."""

import signal
from collections.abc import Iterable, Iterator
from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch

from engine.errors import NoFaceError
from engine.generators.library import DEFAULT
from engine.media import VideoFrame
from streaming.engines import Profile, Quality, Tracker
from streaming.live.learner import Learnt, NotLearnt, Progress, learn, received
from streaming.screen import Report
from tests.streaming.fakes import FakeEngine
from tests.streaming.live.fakes import picture

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """The process changes what belongs to it alone; here it is put back."""
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    yield
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, handler)


class Failing(FakeEngine):
    """Looks at everything, then cannot."""

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = DEFAULT
    ) -> Profile:
        seen = len(list(frames))
        report("looking", seen, 0)
        raise NoFaceError(f"{seen} frames,\n  nobody to be seen")


def test_it_tells_each_step_saves_and_says_so_last(tmp_path: Path) -> None:
    ours, theirs = Pipe()
    for index in range(3):
        ours.send(picture(index))
    ours.send(None)
    place = tmp_path / "ann.safetensors"
    learn(theirs, FakeEngine(), "compact", place)
    said = [ours.recv() for _ in range(4)]
    assert said == [*(Progress("enrolling", count, 0) for count in (1, 2, 3)), Learnt()]
    assert (place.read_text(), sorted(path.name for path in tmp_path.iterdir())) == (
        "compact", ["ann.png", "ann.safetensors"],
    )  # fmt: skip
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    with pytest.raises(EOFError):
        ours.recv()


def test_a_face_that_cannot_be_learnt_is_said_in_one_line_and_nothing_is_saved(tmp_path: Path) -> None:
    ours, theirs = Pipe()
    ours.send(picture(0))
    ours.send(None)
    learn(theirs, Failing(), "draft", tmp_path / "ann.safetensors")
    assert [ours.recv(), ours.recv()] == [Progress("looking", 1, 0), NotLearnt("1 frames, nobody to be seen")]
    assert list(tmp_path.iterdir()) == []


def test_a_profile_that_cannot_be_saved_is_said(tmp_path: Path) -> None:
    ours, theirs = Pipe()
    ours.send(None)
    learn(theirs, FakeEngine(), "draft", tmp_path / "gone" / "ann.safetensors")
    said = ours.recv()
    assert isinstance(said, NotLearnt)
    assert "cannot be written" in said.reason


@pytest.mark.parametrize("before_the_end", [True, False])
def test_it_ends_when_the_session_is_gone(tmp_path: Path, before_the_end: bool) -> None:
    ours, theirs = Pipe()
    ours.send(picture(0))
    if not before_the_end:
        ours.send(None)
    ours.close()
    with pytest.raises(SystemExit) as ended:
        learn(theirs, Failing() if before_the_end else FakeEngine(), "draft", tmp_path / "ann.safetensors")
    assert ended.value.code == 0
    assert list(tmp_path.iterdir()) == []


def test_pictures_come_in_their_order_until_the_end() -> None:
    ours, theirs = Pipe()
    for index in range(4):
        ours.send(picture(index))
    ours.send(None)
    ours.send(picture(99))
    assert [frame.pts for frame in received(theirs)] == [0, 1, 2, 3]
