"""The command line as a whole: options, exit statuses, interruptions."""

import io
import os
import signal
from pathlib import Path

import pytest

from engine.media import VideoFrame
from streaming.cli import build_parser, main
from streaming.dubbing import Session
from streaming.engines import Profile, Tracker
from streaming.screen import Screen
from tests.streaming.clips import gradient, make_video, make_wav, tone
from tests.streaming.fakes import FakeEngine, FakeSession, livedub

pytestmark = pytest.mark.unit


def test_every_command_of_the_interface_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        build_parser().parse_args(["--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("demo", "enroll", "dub", "weights", "doctor"))


@pytest.mark.parametrize(
    "words",
    ["demo --out x.mp4", "enroll v.mp4 -o p.safetensors --quality full",
     "dub v.mp4 --audio a.wav -o o.mp4 --speaker p --effort 3 --start 1 --duration 2 --report r.json --loop",
     "dub v.mp4 --audio a.wav -o o.mp4 --tracker fan --consent --json", "weights list", "weights fetch mesh",
     "weights verify", "doctor --json"],
)  # fmt: skip
def test_the_fixed_names_and_options_parse(words: str) -> None:
    assert callable(build_parser().parse_args(words.split()).run)


@pytest.mark.parametrize("words", ["", "frobnicate", "dub v.mp4", "enroll v.mp4", "weights", "dub v.mp4 --effort x"])
def test_wrong_options_end_with_status_2(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    assert stop.value.code == 2
    assert "usage: livedub" in capsys.readouterr().err


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out.startswith("livedub 0.")


class _Stopped(FakeSession):
    """Is asked to end by the system in the middle."""

    def push_video(self, frame: VideoFrame) -> None:
        if self.seen == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        super().push_video(frame)


class _StoppedEngine(FakeEngine):
    """Gives a session that is stopped."""

    def session(
        self, profile: Profile, effort: int | None, tracker: Tracker, emotion: str = "neutral", intensity: float = 1.0
    ) -> Session:
        return _Stopped({}, 1, None)


def test_a_request_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(12)])
    speech = make_wav(tmp_path / "speech.wav", tone(0.4, 16000), 16000)
    before = signal.getsignal(signal.SIGTERM)
    done = livedub("dub", video, "--audio", speech, "-o", tmp_path / "o.mp4", "--consent", engine=_StoppedEngine())
    assert done.status == 130
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_machine_reads_one_object_and_people_read_the_rest() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = Screen(True, out, err)
    screen.say("hello")
    screen.warn("careful [brackets]")
    screen.table("t", ["a"], [["b"]])
    with screen.progress() as report:
        report("work", 1, 2)
    screen.result({"value": 1}, "unused")
    assert out.getvalue() == '{\n  "value": 1,\n  "warnings": [\n    "careful [brackets]"\n  ]\n}\n'
    assert err.getvalue() == "hello\nlivedub: warning: careful [brackets]\n"


class _Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_drawn_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    err = _Terminal()
    screen = Screen(False, io.StringIO(), err)
    with screen.progress() as report:
        report("editing", 3, 7)
        report("fetching", 10, 0)
    assert "editing" in err.getvalue()
    assert "3/7" in err.getvalue()


def test_tables_show_square_brackets_as_they_are() -> None:
    out = io.StringIO()
    Screen(False, out, io.StringIO()).table("Title", ["name", "value"], [["livedub[eval]", "[red]x"]])
    assert "livedub[eval]" in out.getvalue()
    assert "[red]x" in out.getvalue()
