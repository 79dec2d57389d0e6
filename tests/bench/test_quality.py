"""The quality benchmark on a scripted engine and a clip made on the spot."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from bench import pairs
from bench import quality as q
from bench import report as table
from bench.__main__ import main as bench_main
from bench.machine import header, read_json, write_json
from bench.others import System, score_all
from engine.errors import BadInputError
from engine.evaluation import FIGURES, code_digest
from engine.tracking.tracker import FaceTracker
from tests.bench.made_runs import FRAMES, Blind, Echo, FakeEngine, NoJudge, make_clip, make_speech
from tests.engine.evaluation.made_syncnet import public_syncnet, write

pytestmark = pytest.mark.unit


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A data folder's clip and speech."""
    for name in ("clips", "speech"):
        (tmp_path / "data" / name).mkdir(parents=True)
    return make_clip(tmp_path / "data/clips/grey.mp4"), make_speech(tmp_path / "data/speech/noise.wav")


def bench_of(tmp_path: Path, engine: FakeEngine, options: q.Options | None = None) -> q.Bench:
    """A benchmark without a judge whose clock ticks once a look."""
    ticks = iter(range(10**6))
    folders = q.Folders(tmp_path / "profiles", tmp_path / "out", tmp_path / "strips")
    return q.Bench(engine, None, options or q.Options(), folders, clock=lambda: float(next(ticks)))


def test_a_pair_is_enrolled_dubbed_measured_and_drawn(tmp_path: Path, files: tuple[Path, Path]) -> None:
    engine = FakeEngine()
    report = bench_of(tmp_path, engine).measure(*files)
    assert report == read_json(tmp_path / "out" / "grey__noise.json")
    assert (report["frames"], report["edited"], report["figures"]["outside"]) == (FRAMES, FRAMES, 0)
    assert report["run"]["clip"] == "grey" and report["enrolled_s"] == 1
    work = 5 + 1 + FRAMES + 1
    assert report["ms_per_frame"] == round(1000 * work / FRAMES, 1)
    assert report["peak_memory_mb"] > 0
    assert (tmp_path / "strips" / "grey__noise.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path) not in json.dumps(report)


def test_a_measured_pair_is_not_measured_again_unless_something_changed(
    tmp_path: Path, files: tuple[Path, Path]
) -> None:
    engine = FakeEngine()
    bench_of(tmp_path, engine).measure(*files)
    bench_of(tmp_path, engine).measure(*files)
    assert (engine.enrolled, engine.sessions) == (1, [None])
    bench_of(tmp_path, engine, q.Options(effort=4)).measure(*files)
    assert (engine.enrolled, engine.sessions) == (1, [None, 4])


def test_what_another_version_of_the_code_measured_is_measured_again_unless_it_is_kept(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = FakeEngine()
    report = bench_of(tmp_path, engine).measure(*files)
    assert report["code"] == code_digest() and len(code_digest()) == 16
    monkeypatch.setattr(q, "code_digest", lambda: "changed")
    kept = bench_of(tmp_path, engine)
    kept.keep_older = True
    assert kept.measure(*files) == report and len(engine.sessions) == 1
    assert q.summary_of([report])["measured_by_other_code"] == 1
    again = bench_of(tmp_path, engine).measure(*files)
    assert len(engine.sessions) == 2 and again["code"] == "changed"
    assert "measured_by_other_code" not in q.summary_of([again])


def test_a_pair_that_fails_says_why_and_the_others_go_on(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(q, "LocalEngine", FakeEngine)
    monkeypatch.setattr(q, "JUDGES", {"net": NoJudge, "dlib": NoJudge})
    clip, speech = (str(path) for path in files)
    (tmp_path / "none.wav").write_bytes(b"")
    arguments = ["--clips", clip, "--speech", str(tmp_path / "none.wav"), speech, "--strips", str(tmp_path / "s")]
    assert q.main([*arguments, "--profiles", str(tmp_path / "p"), "--out", str(tmp_path / "o")]) == 1
    failed, measured = read_json(tmp_path / "o" / "summary.json")["runs"]
    assert "the file is empty" in failed["missing"] and measured["frames"] == FRAMES
    assert "grey + none: " in capsys.readouterr().out
    assert "the file is empty" in (tmp_path / "s" / "index.html").read_text()


def test_a_run_that_is_broken_off_has_its_summary_and_is_taken_up_again(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Broken off in the third of four pairs: two are there, and only two are dubbed afterwards."""
    engines: list[FakeEngine] = []

    class Tired(FakeEngine):
        def session(self, profile: Any, effort: int | None, tracker: str, *rest: Any) -> Echo:
            if engines[0] is self and len(self.sessions) == 2:
                raise KeyboardInterrupt
            return super().session(profile, effort, tracker)

    def made() -> FakeEngine:
        engines.append(Tired())
        return engines[-1]

    monkeypatch.setattr(q, "LocalEngine", made)
    monkeypatch.setattr(q, "JUDGES", {"net": NoJudge, "dlib": NoJudge})
    (tmp_path / "data/clips/other.mp4").write_bytes(files[0].read_bytes())
    (tmp_path / "data/speech/hum.wav").write_bytes(files[1].read_bytes())
    arguments = ["--data", str(tmp_path / "data"), "--clips", "grey", "other", "--speech", "noise", "hum"]
    arguments += ["--profiles", str(tmp_path / "p"), "--out", str(tmp_path / "o"), "--strips", str(tmp_path / "s")]
    with pytest.raises(KeyboardInterrupt):
        q.main(arguments)
    summary = read_json(tmp_path / "o" / "summary.json")
    assert (len(summary["runs"]), summary["not_begun"], engines[0].enrolled) == (2, 2, 2)
    assert "grey + hum" in (tmp_path / "s" / "index.html").read_text()
    assert q.main(arguments) == 0
    summary = read_json(tmp_path / "o" / "summary.json")
    assert (len(summary["runs"]), summary["not_begun"]) == (4, 0)
    assert (engines[1].enrolled, len(engines[1].sessions)) == (0, 2)
    assert summary["worst"] and "other + hum" in (tmp_path / "s" / "index.html").read_text()


def test_syncnet_measures_ours_and_others_when_its_weights_are_given(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a second is too short for a figure: the report says so instead of "none given"."""
    monkeypatch.setattr(q, "LocalEngine", FakeEngine)
    monkeypatch.setattr(q, "JUDGES", {"net": NoJudge, "dlib": NoJudge})
    clip, speech = files
    (tmp_path / "w2l").mkdir()
    (tmp_path / "w2l" / "grey__noise.mp4").write_bytes(clip.read_bytes())
    weights = write(tmp_path / "syncnet_v2.model", public_syncnet())
    arguments = ["--clips", str(clip), "--speech", str(speech), "--profiles", str(tmp_path / "p")]
    arguments += ["--out", str(tmp_path / "o"), "--results", f"W={tmp_path / 'w2l'}"]
    assert q.main(arguments) == 0
    assert "none given" in read_json(tmp_path / "o" / "grey__noise.json")["not_measured"]["lse_c"]
    monkeypatch.setattr(FaceTracker, "from_cache", Blind)
    assert q.main([*arguments, "--syncnet", str(weights)]) == 0
    ours = read_json(tmp_path / "o" / "grey__noise.json")
    assert ours["lse"]["windows"] == 7 and ours["run"]["syncnet"].startswith("syncnet_v2.model ")
    assert "at least 25 are needed" in ours["not_measured"]["lse_c"]
    theirs = read_json(tmp_path / "o" / "grey__noise__by_W.json")
    assert theirs["not_measured"]["lse_d"] == "the result has no sound"
    assert bench_main(["quality", *arguments, "--syncnet", str(tmp_path / "no.model")]) == 2


def test_pictures_of_other_people_s_clips_never_go_into_the_repository(tmp_path: Path) -> None:
    inside = q.REPOSITORY / "bench" / "results" / "strips"
    with pytest.raises(BadInputError, match="real people"):
        q.guard_pictures(inside, tmp_path / "person.mp4")
    with pytest.raises(BadInputError):
        q.guard_pictures(q.REPOSITORY / "tests" / ".." / "bench", q.REPOSITORY / ".." / "person.mp4")
    q.guard_pictures(inside, q.REPOSITORY / "engine" / "presenter.mp4")
    q.guard_pictures(tmp_path, tmp_path / "person.mp4")


def test_files_are_found_by_name_or_path(files: tuple[Path, Path]) -> None:
    clip, _ = files
    assert pairs.find(clip.parent, "grey") == clip
    assert pairs.find(clip.parent, str(clip)) == clip
    with pytest.raises(BadInputError, match="got 0 files"):
        pairs.find(clip.parent, "blue")


def test_command_has_the_options_and_no_folders() -> None:
    options = q.Options(effort=3, start=1.5, duration=2)
    expected = "python -m bench quality --clips a --speech b --quality draft --effort 3 --start 1.5 --duration 2"
    assert q.command_of(options, Path("/x/a.mp4"), Path("/x/b.wav")) == expected


def test_command_line_measures_pairs_and_sums_up(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(q, "LocalEngine", FakeEngine)
    monkeypatch.setattr(q, "JUDGES", {"net": NoJudge, "dlib": NoJudge})
    arguments = ["--data", str(tmp_path / "data"), "--clips", "grey", "--speech", "noise"]
    arguments += ["--profiles", str(tmp_path / "p"), "--out", str(tmp_path / "o")]
    assert bench_main(["quality", *arguments]) == 0
    summary = read_json(tmp_path / "o" / "summary.json")
    [run] = summary["runs"]
    assert set(run["figures"]) == set(FIGURES) and summary["not_begun"] == 0
    assert "| seam | <= 1.05 | 1 |" in capsys.readouterr().out
    assert bench_main(["report", str(tmp_path / "o" / "summary.json")]) == 0
    assert summary["machine"]["processor"] in capsys.readouterr().out


def test_time_limit_begins_no_further_pair(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(q, "LocalEngine", FakeEngine)
    monkeypatch.setattr(q, "JUDGES", {"net": NoJudge, "dlib": NoJudge})
    clip, speech = (str(path) for path in files)
    arguments = ["--clips", clip, clip, "--speech", speech, "--time-limit", "-1"]
    assert q.main([*arguments, "--profiles", str(tmp_path / "p"), "--out", str(tmp_path / "o")]) == 0
    assert read_json(tmp_path / "o" / "summary.json")["not_begun"] == 2
    assert "2 of 2 pairs" in capsys.readouterr().err
    with pytest.raises(BadInputError, match="as many"):
        q.main([*arguments, "--pairwise", "--profiles", str(tmp_path), "--out", str(tmp_path)])


def test_unknown_benchmarks_and_bad_input_end_with_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_main(["nonsense"]) == 2
    assert bench_main([]) == 2
    assert bench_main(["--help"]) == 0
    assert "quality" in capsys.readouterr().out
    bad = ["quality", "--clips", "nobody", "--speech", "nothing", "--profiles", "p", "--out", "o", "--data", "nowhere"]
    assert bench_main(bad) == 2
    assert "nobody: got 0 files" in capsys.readouterr().err


def test_table_marks_what_is_not_reached() -> None:
    assert table.cell("identity", 0.31) == "0.31 *"
    assert table.cell("identity", 0.3) == "0.3"
    assert table.cell("speech_r", None) == "-"


def test_result_files_are_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "result.json"
    write_json(path, header("command"))
    assert read_json(path)["command"] == "command"
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": float("inf")})
    assert read_json(path)["command"] == "command"
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def with_sound(folder: Path) -> Path:
    """A clip of grey pictures with noise as its own sound."""
    path = folder / "spoken.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        for index in range(FRAMES):
            random = np.random.default_rng(index)
            frame = av.VideoFrame.from_ndarray(random.integers(60, 190, (64, 64, 3), dtype=np.uint8), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(video.encode(frame))
            samples = random.integers(-9000, 9000, (1, 640)).astype(np.int16)
            sound = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = 16000, 640 * index, Fraction(1, 16000)
            container.mux(audio.encode(sound))
        container.mux(video.encode())
        container.mux(audio.encode())
    return path


def test_a_clip_dubbed_with_its_own_sound_is_compared_with_itself(tmp_path: Path) -> None:
    clip = with_sound(tmp_path)
    bench = bench_of(tmp_path, FakeEngine())
    bench.distance = lambda a, b: 0.0 if (a == b).all() else 1.0
    report = bench.measure(clip, None)
    assert report == read_json(tmp_path / "out" / "spoken__own.json") and report["run"]["speech"] == "own"
    figures = report["reconstruction"]["figures"]
    assert (figures["psnr_db"], figures["ssim"], figures["lpips_st"], figures["lmd"]) == (100, 1, 0, None)
    assert report["command"].startswith("python -m bench quality --clips spoken --speech own")
    assert "| psnr_db | own sound | 100 |" in table.quality_table(q.summary_of([report])["runs"])


def test_own_sound_begins_where_the_part_begins(tmp_path: Path) -> None:
    clip = with_sound(tmp_path)
    whole, later = pairs.own_sound(clip, 0.0), pairs.own_sound(clip, 0.2)
    assert len(whole.speech) - len(later.speech) == 3200
    assert np.array_equal(whole.speech[3200:], later.speech) and later.duration == pytest.approx(whole.duration - 0.2)


def test_strips_openings_and_page_lie_together(tmp_path: Path, files: tuple[Path, Path]) -> None:
    bench = bench_of(tmp_path, FakeEngine())
    report = bench.measure(*files)
    bench.write_page([report, {"run": {"system": "B", "clip": "grey", "speech": "own"}, "missing": "no video"}], {})
    assert len(read_json(tmp_path / "strips" / "grey__noise.json")["seconds"]) == FRAMES
    text = (tmp_path / "strips" / "index.html").read_text()
    assert "grey + noise" in text and "data:image/png;base64" in text and "no video" in text
    bench.folders = q.Folders(tmp_path, tmp_path, None)
    bench.write_page([report], {})
    assert not (tmp_path / "index.html").exists()


def test_results_of_another_system_are_scored_once(tmp_path: Path, files: tuple[Path, Path]) -> None:
    clip, speech = files
    folder = tmp_path / "wav2lip"
    folder.mkdir()
    (folder / "grey__noise.mp4").write_bytes(clip.read_bytes())
    bench, made = bench_of(tmp_path, FakeEngine()), []

    def tracker() -> Blind:
        made.append(1)
        return Blind()

    for _ in range(2):
        reports = score_all([System("W2L", folder)], [(clip, speech), (clip, None)], bench.score(tracker, "W2L"))
    assert len(made) == 1
    assert (reports[0]["frames"], reports[0]["edited"], reports[0]["passed_through"]) == (
        FRAMES,
        0,
        {"no_face": FRAMES},
    )
    assert (tmp_path / "out" / "grey__noise__by_W2L.json").is_file() and "missing" in reports[1]
    (folder / "grey__noise.mp4").write_bytes(make_clip(tmp_path / "again.mp4").read_bytes() + b"\0")
    score_all([System("W2L", folder)], [(clip, speech)], bench.score(tracker, "W2L"))
    assert len(made) == 2
    bench.write_page(reports, {})
    assert "W2L: grey + noise" in (tmp_path / "strips" / "index.html").read_text()
    assert "W2L: grey + noise" in table.quality_table(q.summary_of(reports)["runs"])


def test_another_judge_scores_the_same_video_again(tmp_path: Path, files: tuple[Path, Path]) -> None:
    """What one judge has read is not told as another's."""
    clip, speech = files
    folder = tmp_path / "wav2lip"
    folder.mkdir()
    (folder / "grey__noise.mp4").write_bytes(clip.read_bytes())
    bench, made = bench_of(tmp_path, FakeEngine()), []

    def tracker() -> Blind:
        made.append(1)
        return Blind()

    class Other(NoJudge):
        """As blind as the first, but another one."""

        name = "other"

    for judge in (NoJudge(), NoJudge(), Other()):
        bench.judge = judge
        score_all([System("W2L", folder)], [(clip, speech)], bench.score(tracker, "W2L"))
    assert len(made) == 2


def test_a_damaged_report_is_told_and_the_other_pairs_go_on(tmp_path: Path, files: tuple[Path, Path]) -> None:
    """Reports are written whole: one that is not is somebody's, and is not written over."""
    clip, speech = files
    bench = bench_of(tmp_path, FakeEngine())
    path = tmp_path / "out" / "grey__noise.json"
    path.parent.mkdir()
    path.write_text('{"figures": {')
    report = bench.attempt(clip, speech)
    assert "grey__noise.json: got" in report["missing"] and path.read_text() == '{"figures": {'
    path.unlink()
    assert "missing" not in bench.attempt(clip, speech)


def test_command_line_scores_folders(
    tmp_path: Path, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(q, "LocalEngine", FakeEngine)
    monkeypatch.setattr(q, "JUDGES", {"net": NoJudge, "dlib": NoJudge})
    monkeypatch.setattr(FaceTracker, "from_cache", Blind)
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "grey__noise.mp4").write_bytes(files[0].read_bytes())
    arguments = ["--data", str(tmp_path / "data"), "--clips", "grey", "--speech", "noise", "--results", f"B={folder}"]
    arguments += ["--profiles", str(tmp_path / "p"), "--out", str(tmp_path / "o"), "--strips", str(tmp_path / "s")]
    assert q.main(arguments) == 0
    runs = read_json(tmp_path / "o" / "summary.json")["runs"]
    assert [run["run"].get("system") for run in runs] == [None, "B"]
    assert (tmp_path / "s" / "index.html").is_file() and "B: grey + noise" in capsys.readouterr().out
    assert bench_main(["quality", *arguments[:-8], "--results", "B=nowhere", *arguments[-6:]]) == 2
