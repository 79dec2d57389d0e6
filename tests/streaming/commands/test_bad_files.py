"""Whatever file a command is given where another one belongs: status 2, one line that names it, nothing left behind."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.editing.profile import SpeakerProfile
from streaming.engines import Profile
from tests.streaming.clips import gradient, make_video, make_wav, tone
from tests.streaming.fakes import FakeEngine, Outcome, livedub

pytestmark = pytest.mark.unit

Make = Callable[[Path], Path]


class Reading(FakeEngine):
    """Reads profiles as they are."""

    def load(self, path: Path) -> Profile:
        return SpeakerProfile.load(path)


def written(content: bytes, name: str = "bad.bin") -> Make:
    """Makes a file of this content."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


def folder_itself(folder: Path) -> Path:
    (folder / "bad.folder").mkdir()
    return folder / "bad.folder"


def cut_video(folder: Path) -> Path:
    """A film whose table of contents, at its end, is not there."""
    whole = make_video(folder / "whole.mp4", [gradient(i, 64, 48) for i in range(12)]).read_bytes()
    (folder / "whole.mp4").unlink()
    return written(whole[: len(whole) // 2], "cut.mp4")(folder)


def riff(size: int) -> bytes:
    """The head of a sound file that promises samples and has none."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + size) + b"WAVE" + form + b"data" + struct.pack("<I", size)


NOISE = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
BAD: dict[str, Make] = {
    "missing": lambda folder: folder / "none.mp4",
    "a folder": folder_itself,
    "empty": written(b"", "bad.mp4"),
    "text": written(b"WEBVTT\n\nThis is no film.\n" * 40, "bad.txt"),
    "noise": written(NOISE, "bad.mkv"),
    "zeros": written(bytes(5000), "bad.mov"),
    "cut short": cut_video,
    "a head without a body": written(riff(0), "bad.wav"),
    "a name that is too long": lambda folder: folder / ("long" * 80 + ".mp4"),
    "a file within a file": lambda folder: written(NOISE, "bad.mp4")(folder) / "film.mp4",
    "another alphabet": written(NOISE, "плохо ünd 坏.mp4"),
    "a name of two lines": written(NOISE, "one\ntwo.mp4"),
    "brackets": written(NOISE, "[red]bad[bold].mp4"),
}


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "good.mp4", [gradient(i, 64, 48) for i in range(5)])


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    return make_wav(tmp_path / "good.wav", tone(0.2, 16000), 16000)


@pytest.fixture(autouse=True)
def nothing_new(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """After a refusal there is no output, finished or not."""
    yield
    left = {path.name for path in tmp_path.iterdir() if path.name.startswith("out")}
    assert not left, f"left behind: {left}"


def check_refusal(done: Outcome, bad: Path) -> None:
    """One line that says which file."""
    assert done.status == 2, done.err
    assert done.err.count("\n") == 1 and done.err.startswith("livedub: error: ")
    assert "Traceback" not in done.err
    assert " ".join(bad.name.split()) in done.err
    assert done.out == ""


@pytest.mark.parametrize("kind", BAD)
def test_films_that_are_none_are_refused_by_name(kind: str, tmp_path: Path, speech: Path) -> None:
    bad = BAD[kind](tmp_path)
    check_refusal(livedub("dub", bad, "--audio", speech, "-o", tmp_path / "out.mp4", "--consent"), bad)
    check_refusal(livedub("enroll", bad, "-o", tmp_path / "out.safetensors", "--consent"), bad)


@pytest.mark.parametrize("kind", BAD)
def test_speech_that_is_none_is_refused_by_name(kind: str, tmp_path: Path, video: Path) -> None:
    bad = BAD[kind](tmp_path)
    check_refusal(livedub("dub", video, "--audio", bad, "-o", tmp_path / "out.mp4", "--consent"), bad)
    check_refusal(livedub("plot", bad, "-o", tmp_path / "out.png"), bad)


@pytest.mark.parametrize("kind", BAD)
def test_profiles_that_are_none_are_refused_by_name(kind: str, tmp_path: Path, video: Path, speech: Path) -> None:
    bad, engine = BAD[kind](tmp_path), Reading()
    words = ("dub", video, "--audio", speech, "--speaker", bad, "-o", tmp_path / "out.mp4", "--consent")
    check_refusal(livedub(*words, engine=engine), bad)
    check_refusal(livedub("compile", bad, engine=engine), bad)
    assert engine.sessions == [] and engine.compiled == []


@pytest.mark.parametrize("command", ["dub", "enroll", "plot", "train"])
def test_names_of_outputs_that_cannot_be_are_refused(command: str, tmp_path: Path, video: Path, speech: Path) -> None:
    """Before any work: a name that is too long, within a file, within a folder that is not there."""
    words = {"dub": ("dub", video, "--audio", speech, "--consent"), "enroll": ("enroll", video, "--consent"),
             "plot": ("plot", speech), "train": ("train", "mood", tmp_path)}[command]  # fmt: skip
    suffix = {"dub": ".mp4", "enroll": ".safetensors", "plot": ".png", "train": ".safetensors"}[command]
    engine = FakeEngine()
    for place in (tmp_path / ("out" * 100 + suffix), video / f"out{suffix}", tmp_path / "none" / f"out{suffix}"):
        check_refusal(livedub(*words, "-o", place, engine=engine), place)
    assert engine.enrolled == [] and engine.sessions == []


def test_settings_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_bytes(b"\xff\xfe\x00")
    done = livedub("train", "speech", tmp_path, tmp_path / "run", "--config", tmp_path / "settings.toml")
    check_refusal(done, tmp_path / "settings.toml")
    assert "expected TOML, as text in UTF-8" in done.err


def test_a_film_without_sound_and_a_sound_without_film_are_told_apart(
    tmp_path: Path, video: Path, speech: Path
) -> None:
    swapped = livedub("dub", speech, "--audio", video, "-o", tmp_path / "out.mp4", "--consent")
    check_refusal(swapped, speech)
    silent = livedub("dub", video, "--audio", video, "-o", tmp_path / "out.mp4", "--consent")
    check_refusal(silent, video)
    assert "no sound" in silent.err and "no sound" not in swapped.err


@pytest.mark.parametrize("kind", ["missing", "noise", "a name of two lines"])
def test_machines_get_the_same_as_an_object(kind: str, tmp_path: Path, speech: Path) -> None:
    bad = BAD[kind](tmp_path)
    done = livedub("dub", bad, "--audio", speech, "-o", tmp_path / "out.mp4", "--consent", "--json")
    assert (done.status, done.err.count("\n")) == (2, 1)
    error = json.loads(done.out)["error"]
    assert (error["kind"], error["exit_code"]) == ("MediaError", 2)
    assert error["message"] == done.err.removeprefix("livedub: error: ").rstrip("\n")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), value=st.integers(0, 255), length=st.integers(1, 64))
def test_a_film_with_wrong_bytes_anywhere_is_dubbed_or_refused(
    video: Path, speech: Path, tmp_path: Path, place: float, value: int, length: int
) -> None:
    """And never ends otherwise; a dub that is made is whole."""
    data = bytearray(video.read_bytes())
    at = int(place * (len(data) - length))
    data[at : at + length] = bytes([value]) * length
    spoilt, out = tmp_path / "spoilt.mp4", tmp_path / "out.mp4"
    spoilt.write_bytes(data)
    done = livedub("dub", spoilt, "--audio", speech, "-o", out, "--consent")
    assert done.status in (0, 2), done.err
    assert done.status == 0 or (
        done.err.splitlines()[-1].startswith("livedub: error: ") and "Traceback" not in done.err
    )
    assert out.exists() == (done.status == 0)
    out.unlink(missing_ok=True)
    assert not [path.name for path in tmp_path.iterdir() if ".part" in path.name]
