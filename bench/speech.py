"""Speech r: the opening that the speech model predicts against the opening of real lips, and what it costs.

Each clip is tracked; the measured opening is |p62 - p66| over the inter-ocular distance. Predicted opening and the
loudness baseline are correlated with it at the best lag within +-80 ms of the clip's documented offset. Nothing is
fitted on the clips.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.frames import pictures
from bench.machine import header, write_json
from engine.errors import BadInputError
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


def measure_opening(path: Path) -> tuple[Series, Series]:
    """Times [T] in seconds and inner-lip openings [T] over the inter-ocular distance; NaN where no face is tracked."""
    tracker = create_tracker()
    times: list[float] = []
    openings: list[float] = []
    for seconds, picture in pictures(path):
        found = tracker.track(picture, seconds).face
        times.append(seconds)
        if found is None:
            openings.append(float("nan"))
            continue
        points = found.points
        openings.append(float(np.linalg.norm(points[62] - points[66]) / np.linalg.norm(points[36] - points[45])))
    return np.array(times), np.array(openings)


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


def interval(
    times: Series, measured: Series, at: Series, predicted: Series, shift_ms: int, blocks: int = 500
) -> tuple[float, float]:
    """95 % confidence interval of the correlation at one lag, by a moving-block bootstrap (Kunsch 1989).

    Blocks of `BLOCK_S` are drawn with replacement: neighbouring frames are no witnesses of their own. `shift_ms` is the
    documented offset and the lag together.
    """
    known = np.isfinite(measured)
    real, moved = measured[known], np.interp(times[known] - shift_ms / 1000, at, predicted)
    length = max(1, round(BLOCK_S * len(times) / max(times[-1] - times[0], 1e-9)))
    rng = np.random.default_rng(0)
    results = []
    for _ in range(blocks):
        starts = rng.integers(0, max(1, len(real) - length + 1), -(-len(real) // length))
        rows = (starts[:, None] + np.arange(length)).ravel() % len(real)
        if np.std(real[rows]) > 0 and np.std(moved[rows]) > 0:
            results.append(float(np.corrcoef(real[rows], moved[rows])[0, 1]))
    if not results:
        raise BadInputError("no drawing of the clip's frames varies, expected lips that move")
    low, high = np.percentile(results, [2.5, 97.5])
    return float(low), float(high)


def baseline(samples: NDArray[np.float32]) -> tuple[Series, Series]:
    """Times and log energy (mean log-mel level over the running level) every 20 ms."""
    rows = extract(np.concatenate([samples, np.zeros(200, np.float32)]), FeatureState())[::2, BAND_LOUDNESS]
    return np.arange(len(rows)) / 50, rows.astype(np.float64)


def _percentiles(values: Series) -> dict[str, float]:
    return {f"p{share}": round(float(np.nanpercentile(values, share)), 4) for share in (10, 50, 90, 99)}


def measure_clip(model: SpeechModel, clip: Clip, data: Path, openings: Path | None) -> dict[str, Any]:
    """All figures of one clip; measured openings are kept in the folder `openings` when one is given."""
    cache = openings / f"{clip.name}.npz" if openings else None
    if cache is not None and cache.exists():
        names = ("times", "measured")
        times, measured = read_arrays(cache, names, "the measured opening of a clip", "delete it: it is measured again")
    else:
        times, measured = measure_opening(data / clip.video)
        if cache is not None:
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_arrays(cache, {"times": times, "measured": measured})
    samples = read_audio(data / clip.sound)
    track = model.offline(samples)
    predicted = opening_of(track.displacement, model.basis.rest).astype(np.float64)
    r, lag = best_r(times, measured, track.times, predicted, clip.offset_ms)
    sure = interval(times, measured, track.times, predicted, clip.offset_ms + lag)
    loud_r, loud_lag = best_r(times, measured, *baseline(samples), clip.offset_ms)
    return {
        "clip": clip.name,
        "frames": len(times),
        "frames_without_face": int(np.isnan(measured).sum()),
        "speech_r": round(r, 3),
        "interval_95": [round(bound, 3) for bound in sure],
        "lag_ms": lag,
        "log_energy_r": round(loud_r, 3),
        "log_energy_lag_ms": loud_lag,
        "measured_opening": _percentiles(measured),
        "predicted_opening_speaking": _percentiles(predicted[track.speaking > 0.5]),
        "speaking_share": round(float(np.mean(track.speaking > 0.5)), 3),
    }


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
    options = parser.parse_args(arguments)
    model = load_speech_model(options.weights, limit_ms=options.look_ahead)
    clips = [measure_clip(model, clip, options.data, options.openings) for clip in CLIPS]
    speech = read_audio(options.data / "speech" / "ditto_audio.wav")
    mean_r = float(np.mean([clip["speech_r"] for clip in clips]))
    mean_loud = float(np.mean([clip["log_energy_r"] for clip in clips]))
    results = {
        **header("python -m bench speech"),
        "figures": {"speech_r": round(mean_r, 3), "speech_r_over_baseline": round(mean_r - mean_loud, 3)},
        "log_energy_r": round(mean_loud, 3),
        "look_ahead_ms": model.look_ahead_ms,
        "clips": clips,
        "activity": measure_activity(model, speech[: 5 * SAMPLE_RATE]),
        "cost": measure_cost(model, speech[: 20 * SAMPLE_RATE]),
    }
    write_json(options.out, results)
    for clip in clips:
        low, high = clip["interval_95"]
        sure = f"{low:.2f} to {high:.2f}"
        sys.stdout.write(
            f"{clip['clip']:<22} r {clip['speech_r']:.3f} ({sure})  log energy {clip['log_energy_r']:.3f}\n"
        )
    sys.stdout.write(f"{'mean of six':<22} r {mean_r:.3f}  log energy {mean_loud:.3f}\n")
    return 0
