"""`livedub dub` and `livedub enroll` around a scripted engine: lengths, consent, refusals, nothing left behind."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import BackendError, NoFaceError, WeightsError
from engine.evaluation import FIGURES
from engine.generators.library import generator_path
from streaming import cli
from streaming.commands import dub
from streaming.ingest.file import probe_video, read_video
from streaming.ingest.sound import read_sound
from tests.streaming.clips import gradient, make_video, make_wav, tone
from tests.streaming.fakes import FakeEngine, livedub

pytestmark = pytest.mark.unit


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """One second of 64x48 at 25 pictures a second."""
    return make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(25)])


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """0.6 s of sound."""
    return make_wav(tmp_path / "speech.wav", tone(0.6, 16000), 16000)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the result goes: a folder of its own."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "dubbed.mp4"


def test_the_output_has_the_videos_pictures_and_the_new_sound(video: Path, speech: Path, out: Path) -> None:
    engine = FakeEngine(reasons={3: "no_face", 4: "no_face"})
    done = livedub("dub", video, "--audio", speech, "-o", out, "--consent", "--json", engine=engine)
    assert done.status == 0
    assert done.values["frames"] == 25
    assert done.values["edited"] == 23
    assert done.values["passed_through"] == {"no_face": 2}
    assert done.values["effort"] == {"2": 23}
    before, after = probe_video(video), probe_video(out)
    assert [t * after.time_base for t in after.ticks] == [t * before.time_base for t in before.ticks]
    frames = list(read_video(after))
    assert np.abs(frames[0].rgb()[10:22, 10:22].astype(int) - 128).mean() < 6
    assert np.abs(frames[3].rgb().astype(int) - list(read_video(before))[3].rgb()).mean() < 3
    sound = read_sound(out)
    assert sound.duration == pytest.approx(1.0, abs=0.05)
    assert np.abs(sound.track[0, 2000:8000]).max() > 0.4
    assert np.abs(sound.track[0, 11000:]).max() < 0.01


def test_the_engine_hears_the_speech_once_and_is_told_of_both_ends(video: Path, speech: Path, out: Path) -> None:
    engine = FakeEngine()
    assert livedub("dub", video, "--audio", speech, "-o", out, "--consent", engine=engine).status == 0
    session = engine.sessions[0]
    assert sum(len(chunk.samples) for chunk in session.heard) == 9600
    assert session.audio_ended and session.video_ended
    assert engine.enrolled == [(25, "draft", "mesh")]


def test_the_output_is_marked_as_edited(video: Path, speech: Path, out: Path) -> None:
    livedub("dub", video, "--audio", speech, "-o", out, "--consent")
    with av.open(str(out)) as container:
        assert container.metadata["livedub_edited"] == "1"
        assert "livedub" in container.metadata["comment"]


def test_a_profile_effort_and_tracker_reach_the_engine(video: Path, speech: Path, out: Path, tmp_path: Path) -> None:
    profile = tmp_path / "p.safetensors"
    profile.write_text("full")
    engine = FakeEngine()
    words = ("dub", video, "--audio", speech, "-o", out, "--speaker", profile, "--effort", 5, "--tracker", "fan")
    done = livedub(*words, "--consent", "--json", engine=engine)
    assert (engine.enrolled, engine.asked) == ([], [(5, "fan")])
    assert done.values["effort"] == {"5": 25}


@pytest.mark.parametrize(
    ("words", "mood"),
    [
        ((), ("neutral", 1.0)),
        (("--emotion", "happy"), ("happy", 1.0)),
        (("--emotion", "sad", "--intensity", 0.4), ("sad", 0.4)),
        (("--emotion", "auto"), ("auto", 1.0)),
    ],
)
def test_an_emotion_and_its_intensity_reach_the_engine(
    video: Path, speech: Path, out: Path, words: tuple[object, ...], mood: tuple[str, float]
) -> None:
    engine = FakeEngine()
    assert livedub("dub", video, "--audio", speech, "-o", out, *words, "--consent", engine=engine).status == 0
    assert engine.moods == [mood]


@pytest.mark.parametrize(
    "words",
    [
        ("--emotion", "bored"),
        ("--intensity", 1.5),
        ("--intensity", -1),
        ("--look-ahead", 39),
        ("--look-ahead", 201),
        ("--look-ahead", "soon"),
        ("--alignment", "by hand"),
    ],
)
def test_what_is_no_emotion_is_refused_before_any_work(
    video: Path, speech: Path, out: Path, words: tuple[object, ...]
) -> None:
    engine = FakeEngine()
    with pytest.raises(SystemExit):
        livedub("dub", video, "--audio", speech, "-o", out, *words, "--consent", engine=engine)
    assert engine.enrolled == []


@pytest.mark.parametrize("command", ["dub", "serve"])
def test_look_ahead_and_alignment_reach_the_engine(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[object, ...]] = []

    def engine(*arguments: object) -> FakeEngine:
        made.append(arguments)
        return FakeEngine()

    monkeypatch.setattr(cli, "LocalEngine", engine)
    files = ["nowhere.mp4", "--audio", "nowhere.wav", "-o", "x.mp4"] if command == "dub" else ["--port", "70000"]
    assert cli.main([command, *files, "--look-ahead", "60", "--alignment", "network"]) == 2
    assert cli.main([command, *files]) == 2
    assert [arguments[3:] for arguments in made] == [(60, "network"), (None, "geometric")]


def test_longer_speech_is_cut_with_a_warning(video: Path, out: Path, tmp_path: Path) -> None:
    speech = make_wav(tmp_path / "long.wav", tone(1.8, 16000), 16000)
    engine = FakeEngine()
    done = livedub("dub", video, "--audio", speech, "-o", out, "--consent", "--json", engine=engine)
    assert done.status == 0
    assert "0.80 s longer than the video and is cut" in done.err
    assert "--loop" in done.values["warnings"][0]
    assert done.values["seconds"] == 1.0
    assert sum(len(chunk.samples) for chunk in engine.sessions[0].heard) == 16000


def test_loop_plays_back_and_forth_until_the_speech_ends(video: Path, out: Path, tmp_path: Path) -> None:
    speech = make_wav(tmp_path / "long.wav", tone(2.5, 16000), 16000)
    done = livedub("dub", video, "--audio", speech, "-o", out, "--loop", "--consent", "--json")
    assert done.status == 0
    assert done.values["warnings"] == []
    assert done.values["seconds"] == pytest.approx(2.5, abs=0.05)
    after = list(read_video(probe_video(out)))
    before = list(read_video(probe_video(video)))
    order = [*range(25), *range(23, -1, -1), *range(1, 25)]
    assert len(after) == 63
    assert [round(frame.seconds * 25) for frame in after] == list(range(63))
    for frame, index in zip(after, order, strict=False):
        distances = [np.abs(frame.rgb()[:, 32:].astype(int) - b.rgb()[:, 32:]).mean() for b in before]
        assert int(np.argmin(distances)) % 12 == index % 12


def test_loop_with_a_variable_rate_mirrors_the_pauses(out: Path, tmp_path: Path) -> None:
    pts = [0, 3000, 12000, 15000]
    shots = [gradient(i, 64, 48) for i in range(4)]
    video = make_video(tmp_path / "vfr.mp4", shots, pts=pts, time_base=Fraction(1, 90000))
    speech = make_wav(tmp_path / "s.wav", tone(0.36, 16000), 16000)
    assert livedub("dub", video, "--audio", speech, "-o", out, "--loop", "--consent").status == 0
    ticks = [round(frame.seconds * 90000) for frame in read_video(probe_video(out))]
    assert ticks == [0, 3000, 12000, 15000, 18000, 27000, 30000]


def test_start_and_duration_cut_the_video(video: Path, speech: Path, out: Path) -> None:
    words = ("dub", video, "--audio", speech, "-o", out, "--start", 0.2, "--duration", 0.4, "--consent", "--json")
    done = livedub(*words)
    assert (done.values["frames"], done.values["seconds"]) == (10, 0.4)
    assert probe_video(out).ticks[0] == 0


def test_rotation_and_odd_rates_survive_a_dub(speech: Path, out: Path, tmp_path: Path) -> None:
    shots = [gradient(i, 64, 48) for i in range(12)]
    rate = Fraction(2213, 100)
    video = make_video(tmp_path / "turned.mp4", shots, rotation=270, rate=rate, time_base=1 / rate, tags=(1, 1, 1, 1))
    assert livedub("dub", video, "--audio", speech, "-o", out, "--consent").status == 0
    before, after = probe_video(video), probe_video(out)
    assert (after.orientation, after.picture, after.width) == (before.orientation, before.picture, 48)
    assert float(after.rate) == pytest.approx(22.13, abs=0.02)
    assert np.abs(next(read_video(after)).rgb()[10:22, 10:22].astype(int) - 128).mean() < 6


def test_a_report_holds_every_figure_or_its_reason(
    video: Path, speech: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_judge(tell: object) -> None:
        raise BackendError("dlib is not installed")

    monkeypatch.setattr(dub, "best_judge", no_judge)
    report = tmp_path / "report.json"
    done = livedub("dub", video, "--audio", speech, "-o", out, "--report", report, "--consent", "--json")
    assert done.status == 0
    written = json.loads(report.read_text())
    assert set(written["figures"]) == set(FIGURES)
    assert written["figures"]["outside"] == 0
    assert all(written["not_measured"][key] for key, value in written["figures"].items() if value is None)
    assert written["command"].startswith("livedub dub ")
    assert written["frames"] == 25
    assert written["speech"] == {"look_ahead_ms": 113, "alignment": "geometric"}
    assert "dlib is not installed" in done.values["warnings"][0]


def test_a_video_without_any_edit_is_said_aloud(video: Path, speech: Path, out: Path) -> None:
    engine = FakeEngine(reasons={i: "too_small" for i in range(25)})
    done = livedub("dub", video, "--audio", speech, "-o", out, "--consent", engine=engine)
    assert done.status == 0
    assert "no picture was edited" in done.err
    assert "too_small 25" in done.out


def test_consent_is_asked_for_at_a_terminal(video: Path, speech: Path, out: Path) -> None:
    words = ("dub", video, "--audio", speech, "-o", out)
    assert livedub(*words, answer="y").status == 0
    out.unlink()
    refused = livedub(*words, answer="no")
    assert (refused.status, out.exists()) == (2, False)
    assert "Has the person in this video agreed" in refused.err
    assert "consent was not given" in refused.err


def test_consent_without_a_terminal_needs_the_flag(video: Path, speech: Path, out: Path) -> None:
    done = livedub("dub", video, "--audio", speech, "-o", out)
    assert done.status == 2
    assert "--consent" in done.err
    assert not out.exists()


def test_no_face_ends_with_status_2_and_one_line(video: Path, speech: Path, out: Path) -> None:
    engine = FakeEngine(enroll_error=NoFaceError("no face in 25 pictures,\nexpected one. Choose another video."))
    done = livedub("dub", video, "--audio", speech, "-o", out, "--consent", "--json", engine=engine)
    assert done.status == 2
    assert done.err == "livedub: error: no face in 25 pictures, expected one. Choose another video.\n"
    assert done.values["error"]["kind"] == "NoFaceError"
    assert list(out.parent.iterdir()) == []


def test_missing_weights_end_with_status_3(video: Path, speech: Path, out: Path) -> None:
    engine = FakeEngine(enroll_error=WeightsError("weights mesh cannot be fetched: no network"))
    done = livedub("dub", video, "--audio", speech, "-o", out, "--consent", engine=engine)
    assert done.status == 3
    assert done.err.count("\n") == 1


def test_an_interruption_leaves_nothing_behind(video: Path, speech: Path, out: Path) -> None:
    done = livedub("dub", video, "--audio", speech, "-o", out, "--consent", engine=FakeEngine(interrupt_at=12))
    assert done.status == 130
    assert "interrupted" in done.err
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("role", ["--audio", "VIDEO"])
def test_an_output_that_is_an_input_is_refused(video: Path, speech: Path, role: str, tmp_path: Path) -> None:
    if role == "VIDEO":
        done = livedub("dub", video, "--audio", speech, "-o", video, "--consent")
    else:
        voice = make_video(tmp_path / "voice.mp4", [gradient(0, 64, 48)], sound=np.zeros((1, 9600), np.float32))
        done = livedub("dub", video, "--audio", voice, "-o", voice, "--consent")
    assert done.status == 2
    assert "also an input" in done.err


def test_report_and_output_must_differ_in_kind(video: Path, speech: Path, out: Path) -> None:
    done = livedub("dub", video, "--audio", speech, "-o", out, "--report", out, "--consent")
    assert done.status == 2
    assert "expected .json" in done.err


def test_bad_inputs_are_one_line_and_status_2(video: Path, speech: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "cut.mp4").write_bytes(video.read_bytes()[:1500])
    silent = make_video(tmp_path / "silent.mp4", [gradient(0, 64, 48)])
    for clip, voice, message in (
        (tmp_path / "none.mp4", speech, "no such file"),
        (tmp_path / "empty.mp4", speech, "is empty"),
        (tmp_path / "cut.mp4", speech, "cut short"),
        (speech, speech, "no video in it"),
        (video, silent, "no sound in it"),
        (video, tmp_path / "empty.mp4", "is empty"),
    ):
        done = livedub("dub", clip, "--audio", voice, "-o", out, "--consent")
        assert (done.status, done.err.count("\n")) == (2, 1)
        assert message in done.err
        assert done.out == ""
    assert list(out.parent.iterdir()) == []


@pytest.mark.parametrize("words", [("--start", "-1"), ("--duration", "0"), ("--effort", "-2"), ("--start", "soon")])
def test_values_out_of_range_are_refused(
    video: Path, speech: Path, out: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        livedub("dub", video, "--audio", speech, "-o", out, "--consent", *words)
    assert stop.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_enroll_saves_a_profile_and_a_preview(video: Path, out: Path) -> None:
    engine = FakeEngine()
    profile = out.with_suffix(".safetensors")
    words = ("enroll", video, "-o", profile, "--quality", "full", "--duration", 0.5, "--consent", "--json")
    done = livedub(*words, engine=engine)
    assert done.status == 0
    assert engine.enrolled == [(13, "full", "mesh")] or engine.enrolled == [(12, "full", "mesh")]
    assert done.values["frames"] == engine.enrolled[0][0]
    assert profile.read_text() == "full"
    with av.open(str(done.values["preview"])) as picture:
        assert next(picture.decode(video=0)).to_ndarray(format="rgb24").mean() == 90


def test_enroll_takes_an_imported_generator_and_refuses_an_unknown_one(
    video: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIVEDUB_CACHE", str(tmp_path / "cache"))
    engine, words = FakeEngine(), ("enroll", video, "-o", out.with_suffix(".safetensors"), "--consent")
    refused = livedub(*words, "--generator", "ffhq", engine=engine)
    assert (refused.status, engine.generators) == (2, [])
    assert "no generator 'ffhq'; there are: default" in refused.err
    generator_path("ffhq").parent.mkdir(parents=True)
    generator_path("ffhq").touch()
    assert livedub(*words, "--generator", "ffhq", engine=engine).status == 0
    assert livedub(*words, engine=engine).status == 0
    assert engine.generators == ["ffhq", "default"]


def test_enroll_without_a_face_leaves_nothing_behind(video: Path, out: Path) -> None:
    engine = FakeEngine(enroll_error=NoFaceError("no face"))
    done = livedub("enroll", video, "-o", out.with_suffix(".safetensors"), "--consent", engine=engine)
    assert done.status == 2
    assert list(out.parent.iterdir()) == []


def test_enroll_needs_consent_and_another_name(video: Path, out: Path) -> None:
    assert livedub("enroll", video, "-o", out.with_suffix(".safetensors")).status == 2
    assert "expected .safetensors" in livedub("enroll", video, "-o", video, "--consent").err
