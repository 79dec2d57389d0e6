"""The speech benchmark's own arithmetic, on series and sounds whose answers are known."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import speech
from bench.machine import read_json
from bench.speech import (
    CLIPS,
    DRAWINGS,
    LARGEST_LAG_MS,
    Clip,
    Measured,
    baseline,
    best_r,
    drawn_anew,
    interval,
    mean_interval,
    measure_activity,
    measure_clip,
    measure_cost,
)
from engine.errors import BadInputError
from engine.evaluation.figures import NotMeasured
from engine.speech import MouthTrack, SpeechModel
from engine.tracking import TrackedFace
from engine.tracking.tracker import TrackResult

pytestmark = pytest.mark.unit

AT = np.arange(200) / 50
TIMES = np.arange(20, 80) / 25


def opening(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.1 + 0.05 * np.sin(9 * seconds) + 0.03 * np.sin(17 * seconds + 1))


@pytest.mark.parametrize("offset_ms", [0, 120])
@pytest.mark.parametrize("lag_ms", [-60, 0, 40, 80])
def test_a_delayed_opening_is_found_at_its_delay_beyond_the_documented_one(offset_ms: int, lag_ms: int) -> None:
    """The lips follow the sound by both together; frames without a face count for nothing."""
    measured = opening(TIMES - (offset_ms + lag_ms) / 1000)
    measured[5:9] = np.nan
    r, lag = best_r(TIMES, measured, AT, opening(AT), offset_ms)
    assert lag == lag_ms and r > 0.99


def test_no_lag_beyond_the_largest_is_tried() -> None:
    r, lag = best_r(TIMES, opening(TIMES - 0.16), AT, opening(AT), 0)
    assert abs(lag) <= LARGEST_LAG_MS and r < 0.95


def test_scale_and_level_of_an_opening_do_not_matter_but_its_sign_does() -> None:
    plain = best_r(TIMES, opening(TIMES), AT, opening(AT), 0)
    scaled = best_r(TIMES, 3 * opening(TIMES) + 7, AT, 0.1 * opening(AT) - 2, 0)
    assert scaled[0] == pytest.approx(plain[0]) and scaled[1] == plain[1]
    assert best_r(TIMES, opening(TIMES), AT, -opening(AT), 0)[0] < 0.9


def test_a_prediction_that_never_moves_has_no_correlation() -> None:
    """And no lag is better than any other: the smallest is told, not the largest that was tried."""
    assert best_r(TIMES, opening(TIMES), AT, np.ones(len(AT)), 0) == (0.0, 0)


@pytest.mark.parametrize("measured", [np.ones(60), np.where(np.arange(60) < 24, opening(TIMES), np.nan)])
def test_too_few_or_unmoving_lips_are_refused(measured: NDArray[np.float64]) -> None:
    with pytest.raises(BadInputError, match="at least 25 that differ"):
        best_r(TIMES, measured, AT, opening(AT), 0)


def test_the_interval_holds_the_correlation_and_narrows_with_more_to_see() -> None:
    """Noise on the measured opening: the interval lies about r, and a clip four times as long gives a narrower one."""
    widths = []
    for seconds in (8, 32):
        at = np.arange(seconds * 50) / 50
        noise = 0.04 * np.random.default_rng(1).standard_normal(seconds * 25)
        times = np.arange(seconds * 25) / 25
        measured = opening(times) + noise
        measured[7] = np.nan
        r, lag = best_r(times, measured, at, opening(at), 0)
        drawn = drawn_anew(times, measured, at, opening(at), lag)
        low, high = interval(drawn)
        assert low < r < high < 1.0 and drawn.shape == (DRAWINGS,)
        assert interval(drawn_anew(times, measured, at, opening(at), lag)) == (low, high)
        widths.append(high - low)
    assert widths[1] < 0.8 * widths[0]


def test_lips_that_never_move_have_no_interval() -> None:
    with pytest.raises(BadInputError, match="lips that move"):
        drawn_anew(TIMES, np.ones(len(TIMES)), AT, opening(AT), 0)


def test_two_predictions_are_judged_by_the_same_frames() -> None:
    """Of one that is the other upside down every drawing says the opposite; drawings that do not vary say nothing."""
    drawn = drawn_anew(TIMES, opening(TIMES + 0.05), AT, opening(AT), 0)
    np.testing.assert_allclose(drawn_anew(TIMES, opening(TIMES + 0.05), AT, -opening(AT), 0), -drawn, atol=1e-9)
    still = np.where(AT < 1.6, 0.3, opening(AT))
    some = drawn_anew(TIMES, opening(TIMES), AT, np.where(AT < 2.9, 0.3, still), 0)
    assert np.isnan(some).any() and not np.isnan(some).all()
    assert interval(some) == pytest.approx(np.percentile(some[~np.isnan(some)], [2.5, 97.5]))


def test_the_interval_of_the_mean_is_narrower_by_the_root_of_the_clips() -> None:
    """Clips whose drawings go up and down together count as independent all the same."""
    drawn = np.random.default_rng(2).normal(0.5, 0.1, DRAWINGS)
    low, high = mean_interval([drawn])
    assert (low, high) == pytest.approx(interval(drawn))
    narrow = mean_interval([drawn] * 4)
    assert narrow[1] - narrow[0] == pytest.approx((high - low) / 2, rel=0.12)
    assert narrow[0] < 0.5 < narrow[1]


def bursts(seconds: float = 3.0) -> NDArray[np.float32]:
    """A voice that is loud in the second half of every second."""
    at = np.arange(round(16000 * seconds)) / 16000
    noise = np.random.default_rng(0).normal(size=len(at))
    return (noise * np.where(at % 1 >= 0.5, 0.2, 0.002)).astype(np.float32)


def test_baseline_is_higher_where_the_voice_is_louder() -> None:
    times, loud = baseline(bursts())
    assert np.allclose(np.diff(times), 0.02) and abs(times[-1] - 3.0) < 0.05
    inside = (times % 1 > 0.6) & (times % 1 < 0.9)
    outside = (times % 1 > 0.15) & (times % 1 < 0.45)
    assert loud[inside].min() > loud[outside].max()


@dataclass
class Basis:
    """A closed mouth."""

    rest: NDArray[np.float32] = field(default_factory=lambda: np.zeros((68, 3), np.float32))


class Echo:
    """A speech model that opens the mouth as wide as the sound is loud."""

    basis = Basis()

    def offline(self, samples: NDArray[np.float32]) -> MouthTrack:
        count = len(samples) // 320
        level = np.abs(samples[: count * 320]).reshape(count, 320).max(1)
        moved = np.zeros((count, 68, 3), np.float32)
        moved[:, 66, 1] = level
        return MouthTrack(np.arange(count) / 50, moved, (level > 0.01).astype(np.float32))


def test_motion_is_timed_from_the_first_sound_and_the_last() -> None:
    """The double moves exactly while there is sound: none before it, none after its last frame."""
    spoken = np.full(8000, 0.5, np.float32)
    found = measure_activity(cast(SpeechModel, Echo()), spoken)
    assert found == {"first_motion_before_sound_ms": 0.0, "last_motion_after_sound_ms": -20.0}


def clip_results(folder: Path, monkeypatch: pytest.MonkeyPatch, offset_ms: int = 0) -> dict[str, Any]:
    samples = bursts()
    track = Echo().offline(samples)
    times = np.arange(75) / 25
    measured = np.interp(times - offset_ms / 1000, track.times, track.displacement[:, 66, 1])
    measured[:3] = np.nan
    monkeypatch.setattr(speech, "read_audio", lambda path: samples)
    monkeypatch.setattr(speech, "measure_opening", lambda path: (times, measured))
    clip = Clip("one", "a.mp4", "a.wav", offset_ms)
    return measure_clip(cast(SpeechModel, Echo()), clip, folder, folder / "kept").figures


def test_a_clip_that_opens_as_predicted_reads_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = clip_results(tmp_path, monkeypatch, 60)
    assert found["speech_r"] > 0.99 and found["lag_ms"] == 0
    assert found["frames"] == 75 and found["frames_without_face"] == 3
    assert found["speaking_share"] == pytest.approx(0.5, abs=0.05)
    assert list(found["measured_opening"]) == ["p10", "p50", "p90", "p99"]
    assert found["measured_opening"]["p10"] <= found["measured_opening"]["p90"]


def test_measured_openings_are_kept_and_taken_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = clip_results(tmp_path, monkeypatch)

    def refuse(path: Path) -> Any:
        raise AssertionError("measured again")

    monkeypatch.setattr(speech, "measure_opening", refuse)
    again = measure_clip(cast(SpeechModel, Echo()), Clip("one", "a.mp4", "a.wav"), tmp_path, tmp_path / "kept").figures
    assert again == first
    with pytest.raises(AssertionError, match="measured again"):
        measure_clip(cast(SpeechModel, Echo()), Clip("other", "a.mp4", "a.wav"), tmp_path, tmp_path / "kept")


class Blurred:
    """A judge that sees lips twice as far apart as the tracker, and nothing in bright pictures."""

    name = "blurred"

    def landmarks(self, rgb: NDArray[np.uint8], tracked: NDArray[np.floating]) -> NDArray[np.float64]:
        assert tracked.shape == (68, 2)
        if rgb[0, 0, 0] > 40:
            raise NotMeasured("too bright")
        seen = tracked.astype(np.float64)
        seen[66] *= 2
        return seen

    def descriptor(self, rgb: NDArray[np.uint8], landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
        raise AssertionError("nobody asked who it is")


def test_a_judge_reads_the_lips_in_place_of_the_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    shots = [(0.04 * index, np.full((4, 4, 3), level, np.uint8)) for index, level in enumerate([0, 25, 13, 50])]
    monkeypatch.setattr(speech, "create_tracker", lambda steadied: Faces())
    monkeypatch.setattr(speech, "pictures", lambda path: iter(shots))
    _, openings = speech.measure_opening(Path("x.mp4"), Blurred())
    np.testing.assert_allclose(openings, [0.0, 1.0, np.nan, np.nan])


def test_other_trackers_stand_beside_the_mesh_and_change_nothing_of_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sees the same lips on another scale, one sees noise; openings are kept by clip and tracker."""
    plain = clip_results(tmp_path, monkeypatch)
    with np.load(tmp_path / "kept" / "one.npz") as archive:
        times, measured = archive["times"], archive["measured"]
    noise = np.random.default_rng(1).standard_normal(len(times))
    noise[10:14] = np.nan
    seen = {"alike": 3 * measured + 1, "blind": noise}
    monkeypatch.setattr(speech, "JUDGES", {name: (lambda name=name: name) for name in seen})
    monkeypatch.setattr(speech, "measure_opening", lambda path, judge: (times, seen[judge]))
    clip = Clip("one", "a.mp4", "a.wav")
    found = measure_clip(cast(SpeechModel, Echo()), clip, tmp_path, tmp_path / "kept", ["mesh", "alike", "blind"])
    others = found.figures.pop("trackers")
    assert found.figures == plain
    assert list(others) == ["alike", "blind", "mean of all"]
    assert others["alike"] == {
        "speech_r": plain["speech_r"],
        "log_energy_r": plain["log_energy_r"],
        "frames_unread": plain["frames_without_face"],
    }
    assert others["blind"]["speech_r"] < 0.5 < others["mean of all"]["speech_r"] < plain["speech_r"]
    assert others["mean of all"]["frames_unread"] == 7
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"one.npz", "one-alike.npz", "one-blind.npz"}
    np.testing.assert_allclose(
        found.drawn_over, found.drawn - drawn_anew(times, measured, *baseline(bursts()), plain["log_energy_lag_ms"])
    )


def test_clips_have_names_of_their_own() -> None:
    """Openings are kept by name."""
    assert len({clip.name for clip in CLIPS}) == len(CLIPS) == 6


def test_the_lag_is_the_one_of_a_slow_search() -> None:
    """Against each lag tried by itself, with noise, so that no lag is perfect."""
    rng = np.random.default_rng(4)
    measured = opening(TIMES - 0.03) + 0.05 * rng.standard_normal(len(TIMES))
    tried = {
        lag: float(np.corrcoef(measured, np.interp(TIMES - lag / 1000, AT, opening(AT)))[0, 1])
        for lag in range(-LARGEST_LAG_MS, LARGEST_LAG_MS + 1, 10)
    }
    r, lag = best_r(TIMES, measured, AT, opening(AT), 0)
    assert lag == max(tried, key=lambda each: tried[each]) and r == pytest.approx(tried[lag])


@pytest.mark.parametrize("shift", [0.0, 3.6])
def test_the_interval_does_not_hang_on_when_the_clip_begins_nor_on_units(shift: float) -> None:
    rng = np.random.default_rng(5)
    measured = opening(TIMES) + 0.03 * rng.standard_normal(len(TIMES))
    plain = interval(drawn_anew(TIMES, measured, AT, opening(AT), 0))
    other = interval(drawn_anew(TIMES + shift, 5 * measured - 1, AT + shift, 2 * opening(AT) + 4, 0))
    assert other == pytest.approx(plain)


def test_a_mouth_that_never_moves_is_refused_in_words() -> None:
    with pytest.raises(BadInputError, match="got a mouth that never moves, expected speech"):
        measure_activity(cast(SpeechModel, Echo()), np.zeros(8000, np.float32))


def test_a_damaged_file_of_openings_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short while it was written by an earlier version, or of something else."""
    clip_results(tmp_path, monkeypatch)
    path = tmp_path / "kept" / "one.npz"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(BadInputError, match=r"one\.npz is not the measured opening of a clip: .*; delete it"):
            clip_results(tmp_path, monkeypatch)
    assert [item.name for item in path.parent.iterdir()] == ["one.npz"]


class Faces:
    """A tracker that finds a face whose lips are as far apart as the picture is bright, in all pictures but one."""

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        if rgb[0, 0, 0] == 13:
            return TrackResult(None, "no_face", False)
        points = np.zeros((68, 3), np.float32)
        points[36], points[45] = (10, 20, 0), (40, 60, 0)
        points[66, 1] = rgb[0, 0, 0]
        return TrackResult(cast(TrackedFace, SimpleNamespace(points=points)), "ok", False)


def test_openings_are_in_eye_distances_and_unknown_without_a_face(monkeypatch: pytest.MonkeyPatch) -> None:
    levels = [0, 25, 13, 50]
    shots = [(0.04 * index, np.full((4, 4, 3), level, np.uint8)) for index, level in enumerate(levels)]
    monkeypatch.setattr(speech, "create_tracker", lambda steadied: Faces())
    monkeypatch.setattr(speech, "pictures", lambda path: iter(shots))
    times, openings = speech.measure_opening(Path("x.mp4"))
    assert times.tolist() == [0.0, 0.04, 0.08, 0.12]
    np.testing.assert_allclose(openings, [0.0, 0.5, np.nan, 1.0])


class Streaming(Echo):
    """The double with a live stream, whose pieces take a stated time each."""

    look_ahead_ms = 113

    def __init__(self, clock: "Clock") -> None:
        self.clock, self.pieces = clock, list[int]()

    def stream(self) -> "Streaming":
        return self

    def __enter__(self) -> "Streaming":
        """Is the stream itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Notes that it was closed."""
        self.pieces.append(-1)

    def push(self, samples: NDArray[np.float32]) -> None:
        self.pieces.append(len(samples))
        self.clock.seconds += 0.5 if len(self.pieces) <= 25 else 0.002


class Clock:
    """Processor time that moves when somebody works."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_cost_is_that_of_pieces_of_40_ms_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first second, in which things are made ready, does not count; the stream is closed."""
    clock = Clock()
    model = Streaming(clock)
    monkeypatch.setattr(time, "process_time", clock)
    found = measure_cost(cast(SpeechModel, model), np.zeros(3 * 16000, np.float32))
    assert set(model.pieces[:-1]) == {640} and len(model.pieces) == 75 and model.pieces[-1] == -1
    assert found == {"mean_ms_per_40_ms": 2.0, "p50_ms": 2.0, "p95_ms": 2.0, "p99_ms": 2.0}


def test_the_command_measures_all_clips_and_tells_the_mean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = iter([0.4, 0.5, 0.6, 0.7, 0.8, 0.9])
    asked: list[tuple[object, int | None]] = []

    def one(model: object, clip: Clip, data: Path, openings: Path | None, trackers: list[str]) -> Measured:
        assert trackers == ["mesh", "dlib"]
        r = next(scores)
        figures = {"clip": clip.name, "speech_r": r, "log_energy_r": r - 0.1, "interval_95": [r - 0.2, r + 0.1]}
        others = {"dlib": {"speech_r": r - 0.05, "log_energy_r": 0.3, "frames_unread": 0}}
        return Measured(figures | {"trackers": others}, np.full(DRAWINGS, r), np.full(DRAWINGS, 0.1))

    def load(weights: Path | None, limit_ms: int | None) -> Streaming:
        asked.append((weights, limit_ms))
        return Streaming(Clock())

    monkeypatch.setattr(speech, "measure_clip", one)
    monkeypatch.setattr(speech, "load_speech_model", load)
    monkeypatch.setattr(speech, "read_audio", lambda path: bursts(22.0))
    out = tmp_path / "deep" / "speech.json"
    assert (
        speech.main(["--data", str(tmp_path), "--out", str(out), "--look-ahead", "80", "--tracker", "mesh", "dlib"])
        == 0
    )
    found = read_json(out)
    assert asked == [(None, 80)] and found["look_ahead_ms"] == 113
    assert found["figures"] == {"speech_r": 0.65, "speech_r_over_baseline": 0.1} and found["log_energy_r"] == 0.55
    assert [clip["clip"] for clip in found["clips"]] == [clip.name for clip in CLIPS]
    assert found["interval_95"] == [0.65, 0.65] and found["over_baseline_interval_95"] == [0.1, 0.1]
    assert found["trackers"] == {"dlib": {"speech_r": 0.6, "log_energy_r": 0.3}}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 and lines[0].split()[:5] == ["syncnet_example", "r", "0.400", "(0.20", "to"]
    assert lines[-2].split() == "mean of six r 0.650 (0.65 to 0.65) log energy 0.550".split()
    assert lines[-1].split() == "by dlib r 0.600 log energy 0.300".split()


def test_by_default_the_mesh_alone_measures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip_results(tmp_path, monkeypatch)
    monkeypatch.setattr(speech, "measure_opening", lambda path: (AT, opening(AT)))
    monkeypatch.setattr(speech, "load_speech_model", lambda weights, limit_ms: Streaming(Clock()))
    monkeypatch.setattr(speech, "CLIPS", (Clip("one", "a.mp4", "a.wav"),))
    out = tmp_path / "speech.json"
    assert speech.main(["--data", str(tmp_path), "--out", str(out)]) == 0
    found = read_json(out)
    assert found["trackers"] == {} and "trackers" not in found["clips"][0]
    with pytest.raises(SystemExit):
        speech.main(["--tracker", "eyes"])
