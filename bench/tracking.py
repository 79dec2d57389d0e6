"""Measures the tracker: cost per stage on one core, steadiness and lag of the crop, distance from another tracker.

Run `python -m bench tracking DATA_FOLDER [--out FILE]`; DATA_FOLDER holds `clips/*.mp4` and `faces/*.jpg`. The distance
needs the `eval` extra (dlib), whose 68-point model is the judge; it is left out, and said to be, without it.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from bench.frames import pictures
from bench.machine import header, write_json
from engine import weights
from engine.errors import BadInputError
from engine.tracking import (
    MESH_SIZE,
    FaceDetector,
    FaceTracker,
    MeshNet,
    TrackedFace,
    crop_from_rgb,
    ffhq_quad,
    head_pose,
    mesh_to_68,
    quad_transform,
    to_head,
    warp,
)
from engine.tracking.cuts import CutDetector
from engine.tracking.smoothing import QuadSmoother

CLIPS: Final = (
    "vrt_face2",
    "liveportrait_d20",
    "sadtalker_WDA_KatieHill_000",
    "latentsync_demo2",
    "liveportrait_s18",
)
_FRAMES: Final = 200
_REPEATS: Final = 15
_LEAST_FACES: Final = 16
"""Frames with a face from which steadiness and lag can be told."""
_REFERENCE_SECONDS: Final = 0.32
_GROUPS: Final = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "outer lips": slice(48, 60),
    "inner lips": slice(60, 68),
}

Track = list[tuple[float, TrackedFace]]


def main(arguments: list[str]) -> int:
    """Measure and write the figures as JSON; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench tracking", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with clips/ and faces/")
    parser.add_argument("--out", type=Path, default=Path("bench/results/tracking.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    tracker = FaceTracker.from_cache()
    clips = {name: _clip(tracker, options.data / "clips" / f"{name}.mp4") for name in CLIPS}
    report = {
        **header("python -m bench tracking DATA_FOLDER"),
        "threads": torch.get_num_threads(),
        "units": "ms: processor time of the one thread per frame, so that other work on the machine does not count; "
        "% side: of the FFHQ crop's side; % iod: of the eyes' distance",
        "stages_ms": _stages(options.data / "clips" / f"{CLIPS[0]}.mp4", tracker),
        "clips": clips,
        "distance_from_dlib_percent_iod": _distance(tracker, options.data / "faces"),
    }
    write_json(options.out, report)
    sys.stdout.write(f"wrote {options.out}\n")
    return 0


def _frames(path: Path) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Times and pictures of the first frames of a clip."""
    return pictures(path, _FRAMES)


def _clip(tracker: FaceTracker, path: Path) -> dict[str, Any]:
    """Figures of one clip.

    Raises:
        BadInputError: too few of its frames show a face.
    """
    tracker.reset()
    track: Track = []
    reasons: Counter[str] = Counter()
    cuts, spent = 0, []
    for seconds, rgb in _frames(path):
        begin = time.thread_time()
        result = tracker.track(rgb, seconds)
        spent.append(time.thread_time() - begin)
        reasons[result.reason] += 1
        cuts += result.cut
        if result.face is not None:
            track.append((seconds, result.face))
    if len(track) < _LEAST_FACES:
        seen = ", ".join(f"{reason}: {count}" for reason, count in sorted(reasons.items())) or "no pictures"
        raise BadInputError(
            f"{path.name}: got {len(track)} frames with a face ({seen}), expected at least {_LEAST_FACES}"
        )
    return {
        "size": f"{rgb.shape[1]}x{rgb.shape[0]}",
        "frames": len(spent),
        "reasons": dict(reasons),
        "shots": cuts,
        "iod_px": round(statistics.median(face.iod_px for _, face in track), 1),
        "yaw_deg": [round(value, 1) for value in _range([face.pose.yaw_deg for _, face in track])],
        "track_ms": {"p50": _ms(float(np.median(spent))), "p95": _ms(float(np.percentile(spent, 95)))},
        **_steadiness(track),
    }


def _steadiness(track: Track) -> dict[str, float]:
    """How much crop and landmarks tremble (third differences, as white noise) and how far the crop lags."""
    seconds = np.array([time for time, _ in track])
    step = float(np.median(np.diff(seconds)))
    smooth = np.array([face.quad for _, face in track])
    plain = np.array([ffhq_quad(face.points) for _, face in track])
    side = float(np.median(np.linalg.norm(plain[:, 3] - plain[:, 0], axis=1)))
    head = np.array([to_head(face.points, face.pose) for _, face in track])
    reference = _centred_mean(plain, max(int(_REFERENCE_SECONDS / step) // 2, 1))
    return {
        "tremble_plain_quad_percent_side": round(_tremble(plain) / side * 100, 4),
        "tremble_smoothed_quad_percent_side": round(_tremble(smooth) / side * 100, 4),
        "tremble_eyes_nose_percent_iod": round(_tremble(head[:, 27:48]) * 100, 4),
        "distance_smoothed_from_centred_mean_percent_side": round(
            float(np.linalg.norm(smooth - reference, axis=-1).mean()) / side * 100, 3
        ),
        "lag_ms": round(_lag(smooth.mean(1), reference.mean(1), seconds) * 1000, 1),
    }


def _tremble(path: NDArray[np.float64]) -> float:
    """Deviation of white noise that would give the third differences of a path [T,N,D]."""
    return float(np.sqrt((np.diff(path, 3, axis=0) ** 2).sum(-1).mean() / 20))


def _centred_mean(path: NDArray[np.float64], half: int) -> NDArray[np.float64]:
    """Mean over `half` frames to each side: a path without lag."""
    padded = np.concatenate([path[:1].repeat(half, 0), path, path[-1:].repeat(half, 0)])
    total = np.cumsum(np.concatenate([np.zeros_like(path[:1]), padded]), axis=0)
    mean: NDArray[np.float64] = (total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)
    return mean


def _lag(path: NDArray[np.float64], reference: NDArray[np.float64], seconds: NDArray[np.float64]) -> float:
    """Delay in seconds by which a path [T,2] fits a reference best."""
    delays = np.arange(-0.04, 0.16, 0.002)
    inner = slice(6, -6)
    errors = [
        sum(
            float(((np.interp(seconds - delay, seconds, reference[:, axis]) - path[:, axis])[inner] ** 2).mean())
            for axis in (0, 1)
        )
        for delay in delays
    ]
    return float(delays[int(np.argmin(errors))])


def _stages(path: Path, tracker: FaceTracker) -> dict[str, float]:
    """Milliseconds of each stage on the first frame of a clip."""
    seconds, rgb = next(_frames(path))
    tracker.reset()
    face = tracker.track(rgb, seconds).face
    if face is None:
        raise BadInputError(f"{path.name}: got no face in the first frame, expected one; take another clip")
    net = MeshNet(weights.path("mesh")).eval()
    forward, _ = quad_transform(face.quad, MESH_SIZE)
    crop = crop_from_rgb(rgb, forward, MESH_SIZE)
    aligned, _ = quad_transform(face.quad, 1024)
    picture = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
    smoother, cuts = QuadSmoother(), CutDetector()
    times = iter(range(10**6))
    short, full = (FaceDetector(weights.path(name)) for name in ("detector-short", "detector-full"))
    stages: dict[str, Callable[[], object]] = {
        "cut check": lambda: cuts(rgb),
        "detector, near (only when lost)": lambda: short.detect(rgb),
        "detector, far (only when lost)": lambda: full.detect(rgb),
        "mesh crop": lambda: crop_from_rgb(rgb, forward, MESH_SIZE),
        "mesh network": lambda: net(crop),
        "pose": lambda: head_pose(face.mesh),
        "68 points": lambda: mesh_to_68(face.mesh),
        "smoothing": lambda: smoother(face.points, face.pose, next(times) / 25),
        "aligned crop of 1024 px": lambda: warp(picture, aligned, 1024),
    }
    with torch.inference_mode():
        return {name: _ms(_median_seconds(stage)) for name, stage in stages.items()}


def _median_seconds(stage: Callable[[], object]) -> float:
    """Median time of a call, after one to warm up."""
    stage()
    spent = []
    for _ in range(_REPEATS):
        begin = time.thread_time()
        stage()
        spent.append(time.thread_time() - begin)
    return statistics.median(spent)


def _distance(tracker: FaceTracker, faces: Path) -> dict[str, Any] | str:
    """How far the 68 points are from dlib's on still portraits.

    Raises:
        BadInputError: no portrait has a face that both see.
    """
    try:
        dlib: Any = importlib.import_module("dlib")
    except ImportError:
        return "not measured: dlib is not installed (extra `eval`)"
    predictor, detector = dlib.shape_predictor(str(weights.path("dlib-68"))), dlib.get_frontal_face_detector()
    differences = []
    for path in sorted(faces.glob("*.jpg")):
        _, whole = next(pictures(path))
        rgb = np.ascontiguousarray(whole[::2, ::2])
        tracker.reset()
        face = tracker.track(rgb, 0.0).face
        boxes = detector(rgb, 0)
        if face is None or not boxes:
            continue
        shape = predictor(rgb, max(boxes, key=lambda box: box.area()))
        theirs = np.array([[part.x + 0.5, part.y + 0.5] for part in shape.parts()])
        differences.append((face.points[:, :2] - theirs) / face.iod_px * 100)
    if not differences:
        raise BadInputError(
            f"{faces}: got no portrait (*.jpg) with a face that tracker and dlib both see, expected at least one"
        )
    found = np.array(differences)
    groups = {
        name: {
            "bias_x": round(float(found[:, rows, 0].mean()), 2),
            "bias_y": round(float(found[:, rows, 1].mean()), 2),
            "mean_distance": round(float(np.linalg.norm(found[:, rows], axis=-1).mean()), 2),
        }
        for name, rows in _GROUPS.items()
    }
    return {"portraits": len(found), "groups": groups, "bias_per_point": found.mean(0).round(1).tolist()}


def _range(values: list[float]) -> tuple[float, float]:
    """Smallest and largest."""
    return min(values), max(values)


def _ms(seconds: float) -> float:
    """Milliseconds, two decimals."""
    return round(seconds * 1000, 2)
