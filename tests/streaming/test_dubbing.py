"""One dub: the same file whether its stages go on at the same time or not; errors of any stage end all of it."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.dubber import Looked
from engine.errors import MediaError, ShapeError
from engine.media import VideoFrame
from engine.tracking.tracker import TrackResult
from streaming import dubbing
from streaming.dubbing import Looking, Tally, dub_to_file
from streaming.egress.file import Mp4Writer
from streaming.ingest.file import probe_video, read_video
from streaming.ingest.sound import read_sound
from streaming.timeline import Timeline
from tests.streaming.clips import gradient, make_video, make_wav, tone
from tests.streaming.fakes import FakeSession
from tests.streaming.scripted import FakeEdit

pytestmark = pytest.mark.unit

COUNT = 24


class LookingSession(FakeSession):
    """Looks at pictures, too; notes which thread did what, and in which order."""

    def __init__(self) -> None:
        super().__init__({5: "no_face"}, 1, None)
        self.looked: list[tuple[int, str]] = []
        self.edited: list[tuple[int, str]] = []

    def look(self, frame: VideoFrame) -> Looked:
        self.looked.append((frame.pts, threading.current_thread().name))
        return Looked(frame, frame.rgb(), TrackResult(None, "no_face", False), {"track": 1.0})

    def push_looked(self, looked: Looked) -> None:
        self.edited.append((looked.frame.pts, threading.current_thread().name))
        assert looked.rgb.shape == (48, 64, 3)
        self.push_video(looked.frame)


class PartedSession(LookingSession):
    """A session whose edits are corrected and finished apart from their begin; notes in which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.corrected: list[tuple[int, str]] = []
        self.finished: list[tuple[int, str]] = []

    def started(self) -> Iterator[FakeEdit]:
        """What is ready."""
        yield from self.ready()

    def correct(self, begun: FakeEdit) -> FakeEdit:
        """The same."""
        self.corrected.append((begun.frame.pts, threading.current_thread().name))
        return begun

    def finish(self, begun: FakeEdit) -> FakeEdit:
        """The same."""
        self.finished.append((begun.frame.pts, threading.current_thread().name))
        return begun


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


@pytest.fixture(autouse=True)
def cores_for_all_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dubbing, "stages_may_overlap", lambda effort: True)


@pytest.fixture
def dub(tmp_path: Path) -> Callable[..., Tally]:
    """Dubs a small clip into `tmp_path/out.mp4` with a session."""
    clip = make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(COUNT)])
    sound = read_sound(make_wav(tmp_path / "speech.wav", tone(1.0, 16000), 16000))
    timeline = Timeline.plan(probe_video(clip), 0.0, None, sound.duration, loop=False)

    def run(
        session: FakeSession,
        overlap: bool = True,
        watch: Callable[[FakeEdit], None] | None = None,
        effort: int = 0,
    ) -> Tally:
        seen: list[tuple[str, int, int]] = []
        tally = dub_to_file(
            session, timeline, sound, tmp_path / "out.mp4", lambda *line: seen.append(line),
            watch, overlap, effort,  # type: ignore[arg-type]  # the fake's pictures alone are watched
        )  # fmt: skip
        assert [line[1] for line in seen] == list(range(COUNT + 1))
        return tally

    return run


def test_only_sessions_that_look_are_asked_to() -> None:
    assert isinstance(LookingSession(), Looking)
    assert not isinstance(FakeSession({}, 1, None), Looking)


@pytest.mark.parametrize("kind", [LookingSession, PartedSession, lambda: FakeSession({5: "no_face"}, 1, None)])
def test_the_same_pictures_are_encoded_bit_for_bit(
    dub: Callable[..., Tally], kind: Callable[[], FakeSession], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are compared as the encoder gets them: x264 itself does not always code the same ones alike."""
    write = Mp4Writer.write
    written: list[tuple[int, bytes]] = []

    def noting(self: Mp4Writer, frame: VideoFrame) -> None:
        written.append((frame.pts, b"".join(plane.tobytes() for plane in frame.planes)))
        write(self, frame)

    monkeypatch.setattr(Mp4Writer, "write", noting)
    one = dub(kind(), False)
    alone = written.copy()
    written.clear()
    two = dub(kind(), True)
    assert written == alone and len(written) == COUNT
    assert one.as_dict() == two.as_dict() and two.frames == COUNT
    assert two.passed_through == {"no_face": 1}


def test_looking_goes_ahead_in_a_thread_and_editing_stays_in_the_callers(dub: Callable[..., Tally]) -> None:
    session = LookingSession()
    dub(session)
    here = threading.current_thread().name
    assert session.looked == [(pts, "livedub-look") for pts, _ in session.looked]
    assert session.edited == [(pts, here) for pts, _ in session.looked]
    assert [pts for pts, _ in session.looked] == sorted(pts for pts, _ in session.looked)
    assert len(session.looked) == COUNT


def test_edits_are_finished_in_order_in_a_thread_and_begun_in_the_callers(dub: Callable[..., Tally]) -> None:
    session = PartedSession()
    tally = dub(session)
    here = threading.current_thread().name
    assert session.finished == [(pts, "livedub-composite") for pts, _ in session.edited]
    assert session.corrected == session.edited == [(pts, here) for pts, _ in session.edited]
    assert len(session.finished) == tally.frames == COUNT


def test_corrections_have_a_thread_of_their_own(dub: Callable[..., Tally]) -> None:
    session = PartedSession()
    assert dub(session, True, None, 1).frames == COUNT
    assert session.corrected == [(pts, "livedub-correct") for pts, _ in session.edited]
    assert session.finished == [(pts, "livedub-composite") for pts, _ in session.edited]


def test_an_error_of_a_correction_ends_the_dub(dub: Callable[..., Tally], tmp_path: Path) -> None:
    class Broken(PartedSession):
        def correct(self, begun: FakeEdit) -> FakeEdit:
            raise ShapeError("no mouth")

    for effort in (0, 1):
        with pytest.raises(ShapeError, match="no mouth"):
            dub(Broken(), True, None, effort)
        assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]


def test_without_overlap_nothing_is_finished_apart(dub: Callable[..., Tally]) -> None:
    session = PartedSession()
    assert dub(session, False).frames == COUNT
    assert session.finished == []


def test_on_few_cores_the_edit_keeps_to_one_thread_and_files_are_read_and_written_beside_it(
    dub: Callable[..., Tally], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dubbing, "stages_may_overlap", lambda effort: False)
    looked, parted, wrote, write = LookingSession(), PartedSession(), set(), Mp4Writer.write

    def noting(self: Mp4Writer, frame: VideoFrame) -> None:
        wrote.add(threading.current_thread().name)
        write(self, frame)

    monkeypatch.setattr(Mp4Writer, "write", noting)
    assert dub(looked).frames == dub(parted).frames == COUNT
    assert looked.looked == parted.finished == []
    assert wrote == {"livedub-encode"}


def test_an_error_of_finishing_ends_the_dub(dub: Callable[..., Tally], tmp_path: Path) -> None:
    class Broken(PartedSession):
        def finish(self, begun: FakeEdit) -> FakeEdit:
            raise ShapeError("no patch")

    with pytest.raises(ShapeError, match="no patch"):
        dub(Broken())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]


def test_what_watches_sees_each_picture_once_in_order(dub: Callable[..., Tally]) -> None:
    seen: list[int] = []
    dub(LookingSession(), True, lambda edited: seen.append(edited.source.pts))
    assert seen == sorted(seen) and len(seen) == COUNT


class Failing(LookingSession):
    """Fails where it is told to."""

    def __init__(self, place: str, error: BaseException) -> None:
        super().__init__()
        self.place, self.error, self.count = place, error, 0

    def fail(self, place: str) -> None:
        """Raise the error at the 12th call."""
        if place == self.place:
            self.count += 1
            if self.count == 12:
                raise self.error

    def look(self, frame: VideoFrame) -> Looked:
        self.fail("look")
        return super().look(frame)

    def push_looked(self, looked: Looked) -> None:
        self.fail("push")
        super().push_looked(looked)


@pytest.mark.parametrize("place", ["look", "push"])
@pytest.mark.parametrize("error", [MediaError("no"), RuntimeError("broken"), KeyboardInterrupt()])
def test_an_error_of_looking_or_editing_ends_the_dub_with_nothing_half_written(
    dub: Callable[..., Tally], place: str, error: BaseException, tmp_path: Path
) -> None:
    with pytest.raises(type(error)):
        dub(Failing(place, error))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]


def test_an_error_of_decoding_ends_the_dub(
    dub: Callable[..., Tally], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def frames(self: Timeline) -> Iterator[VideoFrame]:
        for index, frame in enumerate(read_video(self.info)):
            if index == 9:
                raise MediaError("damaged at picture 9")
            yield frame

    monkeypatch.setattr(Timeline, "frames", frames)
    session = LookingSession()
    with pytest.raises(MediaError, match="damaged at picture 9"):
        dub(session)
    assert len(session.edited) == 9, "what came before it was edited"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]


def test_an_error_of_encoding_ends_the_dub(
    dub: Callable[..., Tally], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write = Mp4Writer.write
    threads: set[str] = set()

    def failing(self: Mp4Writer, frame: VideoFrame) -> None:
        threads.add(threading.current_thread().name)
        if frame.seconds > 0.4:
            raise MediaError("the disk is full")
        write(self, frame)

    monkeypatch.setattr(Mp4Writer, "write", failing)
    with pytest.raises(MediaError, match="the disk is full"):
        dub(LookingSession())
    assert threads == {"livedub-encode"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]


class Interrupted(LookingSession):
    """Ctrl-C comes while a later stage waits for this one."""

    def look(self, frame: VideoFrame) -> Looked:
        if len(self.looked) == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return super().look(frame)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """Python's own answer to ctrl-C, also where tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_is_heard_while_the_caller_waits_for_a_thread(dub: Callable[..., Tally], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        dub(Interrupted())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]


def test_pictures_that_wait_are_few(dub: Callable[..., Tally]) -> None:
    """Looking never runs far ahead of editing, however slow that is."""
    most = 0

    class Slow(LookingSession):
        def push_looked(self, looked: Looked) -> None:
            nonlocal most
            super().push_looked(looked)
            most = max(most, len(self.looked) - len(self.edited))

    dub(Slow())
    assert most <= 5


def test_a_picture_is_decoded_once_for_looking_and_editing(dub: Callable[..., Tally]) -> None:
    session = LookingSession()
    dub(session)
    assert session.seen == COUNT and session.video_ended and session.audio_ended
    assert sum(len(chunk.samples) for chunk in session.heard) == round(COUNT / 25 * 16000)
