"""Speech r: the opening that the speech model predicts against the opening of real lips, and what it costs.

Each clip is tracked; the measured opening is |p62 - p66| over the inter-ocular distance. Predicted opening and the
loudness baseline are correlated with it at the best lag within +-80 ms of the clip's documented offset. Nothing is
fitted on the clips. The figure is the mesh tracker's; judges of other make measure the same lips on request.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.frames import pictures
from bench.machine import header, write_json
from engine.errors import BadInputError
from engine.evaluation.figures import NotMeasured
from engine.evaluation.judges import DlibJudge, Judge, NetJudge
from engine.speech import MouthTrack, SpeechModel, load_speech_model
from engine.speech.features import BAND_LOUDNESS, SAMPLE_RATE, FeatureState, extract
from engine.tracking import create_tracker
from engine.training.arrays import read_arrays, write_arrays
from engine.training.audio import read_audio
from engine.training.evaluation import opening_of

Series = NDArray[np.float64]

LARGEST_LAG_MS: Final = 80
"""Lags that are tried either way of a clip's documented offset."""
BLOCK_S: Final = 1.0
"""Length of the pieces that are drawn for confidence intervals."""
DRAWINGS: Final = 500
"""How often frames are drawn anew."""
MESH: Final = "mesh"
"""The tracker of the headline figure."""
JUDGES: Final[Mapping[str, Callable[[], Judge]]] = MappingProxyType({"face-api": NetJudge, "dlib": DlibJudge})
"""Trackers of other make, by name; they need livedub[eval]."""
TRACKERS: Final = (MESH, *JUDGES)
"""Who can measure the lips."""
ALL: Final = "mean of all"
"""The mean of all trackers' openings, each in units of its own spread."""


@dataclass(frozen=True)
class Clip:
    """A real clip whose sound and lips belong together."""

    name: str
    video: str
    sound: str
    offset_ms: int = 0
    """How much its lips lag its sound, as documented."""


CLIPS: Final = (
    Clip("syncnet_example", "clips/syncnet_example.avi", "clips/syncnet_example.avi", 120),
    Clip("liveportrait_d6", "clips/liveportrait_d6.mp4", "clips/liveportrait_d6.mp4"),
    Clip("vrt_face1", "clips/vrt_face1.mp4", "clips/vrt_face1.mp4", 60),
    Clip("styletalk_feifeili", "clips/styletalk_feifeili_clip1.mp4", "speech/styletalk_feifeili_clip1.wav"),
    Clip("vrt_face2", "clips/vrt_face2.mp4", "clips/vrt_face2.mp4"),
    Clip("sadtalker_KatieHill", "clips/sadtalker_WDA_KatieHill_000.mp4", "clips/sadtalker_WDA_KatieHill_000.mp4"),
)
"""The six clips of the figure `speech_r`."""


def measure_opening(path: Path, judge: Judge | None = None) -> tuple[Series, Series]:
    """Times [T] in seconds and inner-lip openings [T] over the inter-ocular distance; NaN where no face is tracked.

    With a `judge` its landmarks count, read where the tracker sees the face; NaN also where it cannot read it.
    """
    tracker = create_tracker(steadied=False)
    times: list[float] = []
    openings: list[float] = []
    for seconds, picture in pictures(path):
        found = tracker.track(picture, seconds).face
        times.append(seconds)
        if found is None:
            openings.append(float("nan"))
            continue
        openings.append(_opening(picture, found.points, judge))
    return np.array(times), np.array(openings)


def _opening(picture: NDArray[np.uint8], tracked: NDArray[np.floating], judge: Judge | None) -> float:
    try:
        points = tracked if judge is None else judge.landmarks(picture, tracked[:, :2])
    except NotMeasured:
        return float("nan")
    return float(np.linalg.norm(points[62] - points[66]) / np.linalg.norm(points[36] - points[45]))


def best_r(times: Series, measured: Series, at: Series, predicted: Series, offset_ms: int) -> tuple[float, int]:
    """Best correlation and its lag in ms beyond the offset; predicted [K] at times `at`, measured [T] at `times`.

    Of lags that are as good as each other the smallest counts.

    Raises:
        BadInputError: too few frames have a face, or the lips never move.
    """
    known = np.isfinite(measured)
    if known.sum() < 25 or np.std(measured[known]) == 0.0:
        raise BadInputError(
            f"got {int(known.sum())} frames with a face, expected at least 25 that differ; take another clip"
        )
    results = []
    for lag in range(-LARGEST_LAG_MS, LARGEST_LAG_MS + 1, 10):
        moved = np.interp(times[known] - (offset_ms + lag) / 1000, at, predicted)
        r = np.corrcoef(measured[known], moved)[0, 1] if np.std(moved) > 0 else 0.0
        results.append((float(r), lag))
    return max(results, key=lambda result: (result[0], -abs(result[1])))


def drawn_anew(times: Series, measured: Series, at: Series, predicted: Series, shift_ms: int) -> Series:
    """Correlations [DRAWINGS] at one lag of frames drawn anew: a moving-block bootstrap (Kunsch 1989).

    Blocks of `BLOCK_S` are drawn with replacement: neighbouring frames are no witnesses of their own. `shift_ms` is the
    documented offset and the lag together. Two predictions of one clip are judged by the same frames; NaN where what
    was drawn does not vary.
    """
    known = np.isfinite(measured)
    real, moved = measured[known], np.interp(times[known] - shift_ms / 1000, at, predicted)
    length = max(1, round(BLOCK_S * len(times) / max(times[-1] - times[0], 1e-9)))
    rng = np.random.default_rng(0)
    results = np.full(DRAWINGS, np.nan)
    for drawing in range(DRAWINGS):
        starts = rng.integers(0, max(1, len(real) - length + 1), -(-len(real) // length))
        rows = (starts[:, None] + np.arange(length)).ravel() % len(real)
        if np.std(real[rows]) > 0 and np.std(moved[rows]) > 0:
            results[drawing] = np.corrcoef(real[rows], moved[rows])[0, 1]
    if np.isnan(results).all():
        raise BadInputError("no drawing of the clip's frames varies, expected lips that move")
    return results


def interval(drawn: Series) -> tuple[float, float]:
    """95 % confidence interval of drawings [DRAWINGS], those that are NaN left out."""
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(drawings: Sequence[Series]) -> tuple[float, float]:
    """95 % confidence interval of the mean over clips, whose drawings [DRAWINGS] are independent of each other.

    It says how far the mean hangs on the seconds that happened to be filmed, not on who was filmed.
    """
    rng = np.random.default_rng(0)
    return interval(np.mean([rng.permutation(drawn) for drawn in drawings], axis=0))


def baseline(samples: NDArray[np.float32]) -> tuple[Series, Series]:
    """Times and log energy (mean log-mel level over the running level) every 20 ms."""
    rows = extract(np.concatenate([samples, np.zeros(200, np.float32)]), FeatureState())[::2, BAND_LOUDNESS]
    return np.arange(len(rows)) / 50, rows.astype(np.float64)


def _percentiles(values: Series) -> dict[str, float]:
    return {f"p{share}": round(float(np.nanpercentile(values, share)), 4) for share in (10, 50, 90, 99)}


@dataclass(frozen=True)
class Measured:
    """What is measured on one clip."""

    figures: dict[str, Any]
    drawn: Series
    """Correlations of the prediction in frames drawn anew [DRAWINGS]."""
    drawn_over: Series
    """The same, less those of log energy in the same frames."""


def openings_of(clip: Clip, data: Path, folder: Path | None, tracker: str) -> tuple[Series, Series]:
    """Times and openings of a clip by one of `TRACKERS`, kept in `folder` when one is given."""
    suffix = "" if tracker == MESH else f"-{tracker}"
    cache = folder / f"{clip.name}{suffix}.npz" if folder else None
    if cache is not None and cache.exists():
        names = ("times", "measured")
        times, measured = read_arrays(cache, names, "the measured opening of a clip", "delete it: it is measured again")
        return times, measured
    judge = JUDGES.get(tracker)
    times, measured = measure_opening(data / clip.video, *([] if judge is None else [judge()]))
    if cache is not None:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(cache, {"times": times, "measured": measured})
    return times, measured


def standardised(openings: Sequence[Series]) -> Series:
    """Mean over trackers of openings [T] in units of each one's own spread, NaN where one of them is."""
    return np.asarray(np.mean([(row - np.nanmean(row)) / np.nanstd(row) for row in openings], axis=0))


def measure_clip(
    model: SpeechModel, clip: Clip, data: Path, openings: Path | None, trackers: Sequence[str] = ()
) -> Measured:
    """All figures of one clip, by the mesh tracker and by other `trackers` beside it.

    Measured openings are kept in the folder `openings` when one is given.
    """
    times, measured = openings_of(clip, data, openings, MESH)
    samples = read_audio(data / clip.sound)
    track = model.offline(samples)
    predicted = opening_of(track.displacement, model.basis.rest).astype(np.float64)
    loud = baseline(samples)
    r, lag = best_r(times, measured, track.times, predicted, clip.offset_ms)
    drawn = drawn_anew(times, measured, track.times, predicted, clip.offset_ms + lag)
    loud_r, loud_lag = best_r(times, measured, *loud, clip.offset_ms)
    figures = {
        "clip": clip.name,
        "frames": len(times),
        "frames_without_face": int(np.isnan(measured).sum()),
        "speech_r": round(r, 3),
        "interval_95": [round(bound, 3) for bound in interval(drawn)],
        "lag_ms": lag,
        "log_energy_r": round(loud_r, 3),
        "log_energy_lag_ms": loud_lag,
        "measured_opening": _percentiles(measured),
        "predicted_opening_speaking": _percentiles(predicted[track.speaking > 0.5]),
        "speaking_share": round(float(np.mean(track.speaking > 0.5)), 3),
    }
    others = {name: openings_of(clip, data, openings, name)[1] for name in trackers if name != MESH}
    if others:
        others[ALL] = standardised([measured, *others.values()])
        figures["trackers"] = {
            name: {
                "speech_r": round(best_r(times, row, track.times, predicted, clip.offset_ms)[0], 3),
                "log_energy_r": round(best_r(times, row, *loud, clip.offset_ms)[0], 3),
                "frames_unread": int(np.isnan(row).sum()),
            }
            for name, row in others.items()
        }
    over = drawn - drawn_anew(times, measured, *loud, clip.offset_ms + loud_lag)
    return Measured(figures, drawn, over)


def measure_activity(model: SpeechModel, samples: NDArray[np.float32]) -> dict[str, float]:
    """Voice activity around speech cut out of silence: times in ms from the first and the last sound.

    Raises:
        BadInputError: the mouth never moves.
    """
    silence = np.zeros(SAMPLE_RATE, np.float32)
    track: MouthTrack = model.offline(np.concatenate([silence, samples, silence]))
    moving = np.flatnonzero(np.abs(track.displacement).reshape(len(track.times), -1).max(axis=1) > 0.0)
    if not len(moving):
        raise BadInputError("got a mouth that never moves, expected speech in the samples; take another recording")
    end = 1.0 + len(samples) / SAMPLE_RATE
    return {
        "first_motion_before_sound_ms": round(1000 * (1.0 - float(track.times[moving[0]])), 1),
        "last_motion_after_sound_ms": round(1000 * (float(track.times[moving[-1]]) - end), 1),
    }


def measure_cost(model: SpeechModel, samples: NDArray[np.float32]) -> dict[str, float]:
    """Processor time of a live stream fed 40 ms at a time, after a warm-up."""
    step = SAMPLE_RATE // 25
    pieces = [samples[begin : begin + step] for begin in range(0, len(samples) - step, step)]
    spent: list[float] = []
    with model.stream() as stream:
        for piece in pieces:
            began = time.process_time()
            stream.push(piece)
            spent.append(1000 * (time.process_time() - began))
    steady = np.array(spent[25:])
    return {
        "mean_ms_per_40_ms": round(float(steady.mean()), 2),
        "p50_ms": round(float(np.percentile(steady, 50)), 2),
        "p95_ms": round(float(np.percentile(steady, 95)), 2),
        "p99_ms": round(float(np.percentile(steady, 99)), 2),
    }


def main(arguments: list[str]) -> int:
    """Measures and writes `bench/results/speech.json`; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench speech", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with clips/ and speech/")
    parser.add_argument("--weights", type=Path, help="other speech weights than the shipped ones")
    parser.add_argument("--openings", type=Path, help="folder that keeps the measured openings between runs")
    parser.add_argument("--look-ahead", type=int, metavar="MS", help="largest look-ahead (default: of the weights)")
    parser.add_argument("--out", type=Path, default=Path("bench/results/speech.json"))
    parser.add_argument("--tracker", nargs="+", choices=TRACKERS, default=[MESH], help="who measures the lips as well")
    options = parser.parse_args(arguments)
    model = load_speech_model(options.weights, limit_ms=options.look_ahead)
    measured = [measure_clip(model, clip, options.data, options.openings, options.tracker) for clip in CLIPS]
    clips = [each.figures for each in measured]
    speech = read_audio(options.data / "speech" / "ditto_audio.wav")
    mean_r, mean_loud = (float(np.mean([clip[name] for clip in clips])) for name in ("speech_r", "log_energy_r"))
    results = {
        **header("python -m bench speech"),
        "figures": {"speech_r": round(mean_r, 3), "speech_r_over_baseline": round(mean_r - mean_loud, 3)},
        "log_energy_r": round(mean_loud, 3),
        "interval_95": [round(bound, 3) for bound in mean_interval([each.drawn for each in measured])],
        "over_baseline_interval_95": [
            round(bound, 3) for bound in mean_interval([each.drawn_over for each in measured])
        ],
        "trackers": _by_tracker(clips),
        "look_ahead_ms": model.look_ahead_ms,
        "clips": clips,
        "activity": measure_activity(model, speech[: 5 * SAMPLE_RATE]),
        "cost": measure_cost(model, speech[: 20 * SAMPLE_RATE]),
    }
    write_json(options.out, results)
    for line in _lines(results):
        sys.stdout.write(line + "\n")
    return 0


def _by_tracker(clips: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over clips of the other trackers' figures; empty where only the mesh measured."""
    return {
        name: {
            figure: round(float(np.mean([clip["trackers"][name][figure] for clip in clips])), 3)
            for figure in ("speech_r", "log_energy_r")
        }
        for name in clips[0].get("trackers", {})
    }


def _lines(results: Mapping[str, Any]) -> list[str]:
    """What the command says: a line for each clip, for the mean, and for the mean by each other tracker."""

    def line(name: str, r: float, sure: Sequence[float] | None, loud: float) -> str:
        """One row."""
        told = "" if sure is None else f" ({sure[0]:.2f} to {sure[1]:.2f})"
        return f"{name:<22} r {r:.3f}{told}  log energy {loud:.3f}"

    rows = [
        line(clip["clip"], clip["speech_r"], clip["interval_95"], clip["log_energy_r"]) for clip in results["clips"]
    ]
    rows.append(line("mean of six", results["figures"]["speech_r"], results["interval_95"], results["log_energy_r"]))
    others = results["trackers"].items()
    return rows + [line(f"by {name}", figures["speech_r"], None, figures["log_energy_r"]) for name, figures in others]
