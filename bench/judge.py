"""How far the judge can be trusted: its noise on real clips, and whether it sees edits of known size.

Nothing is dubbed here. On untouched frames the judge and the tracker read the same mouth: what they disagree by, once
the mean offset is taken out, is what no edit can get under. Then mouths are opened and closed by a warp of known size,
on time and late, and the whole chain of figures has to give that size and that delay back.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.machine import header, write_json
from engine.errors import BadInputError
from engine.evaluation import JUDGES, Collector, Judge, MeasuredFrame, NotMeasured, figures
from engine.evaluation.judges import check_reading
from engine.media import VideoFrame
from engine.tracking.tracker import FaceTracker
from streaming.ingest.file import probe_video, read_video

CLIPS: Final = ("vrt_face2", "liveportrait_d20", "sadtalker_WDA_KatieHill_000", "latentsync_demo2")
WARPED_CLIP: Final = "vrt_face2"
LATE_FRAMES: Final = 2
INNER_LIPS: Final = {61: -1.0, 62: -1.0, 63: -1.0, 65: 1.0, 66: 1.0, 67: 1.0}
"""Inner-lip points that the warp moves, and which way."""
REACH: Final = 0.5
"""How far above and below the mouth's middle the warp moves anything, in inter-ocular distances."""


@dataclass(frozen=True)
class Read:
    """What tracker and judge say of one untouched frame."""

    frame: VideoFrame
    tracked: NDArray[np.float32]
    judged: figures.Series
    again: figures.Series
    """The judge's second reading, in a box moved as much as the tracker's own points wander."""


def readings(clip: Path, judge: Judge, left_out: list[str]) -> Iterator[Read]:
    """Tracks and judges every frame of a clip; reasons of frames without a reading are added to `left_out`."""
    tracker, random = FaceTracker.from_cache(steadied=False), np.random.default_rng(0)
    for frame in read_video(probe_video(clip)):
        rgb = frame.rgb()
        face = tracker.track(rgb, frame.seconds)
        if face.face is None:
            left_out.append(face.reason)
            continue
        points = np.ascontiguousarray(face.face.points[:, :2])
        try:
            judged = judge.landmarks(rgb, points)
            check_reading(judged, points)
        except NotMeasured:
            left_out.append("the judge lost the face")
            continue
        moved = points + random.normal(0, 0.02 * face.face.iod_px, 2).astype(np.float32)
        yield Read(frame, points, judged, judge.landmarks(rgb, moved))


def jitter(series: figures.Series) -> float:
    """What a series [T,...] wobbles by from frame to frame: its distance from the mean of its neighbours, as noise."""
    residual = (series[1:-1] - (series[2:] + series[:-2]) / 2) / 1.5**0.5
    return float(np.sqrt((residual**2).mean()))


def noise_of(reads: list[Read]) -> dict[str, float | int]:
    """The judge's noise floor on one clip, in inter-ocular distances where nothing else is said."""
    frames = [figures.eye_frame(read.tracked) for read in reads]
    mouths = {
        name: np.array(
            [figures.to_eye_frame(getattr(r, name)[figures.MOUTH], e) for r, e in zip(reads, frames, strict=True)]
        )
        for name in ("tracked", "judged", "again")
    }
    openings = {name: figures.opening(np.array([getattr(read, name) for read in reads])) for name in mouths}
    tracked, judged = openings["tracked"], openings["judged"]
    offset = figures.convention_offset(mouths["tracked"], mouths["judged"])
    r = figures.correlation(judged, tracked)
    return {
        "frames": len(reads),
        "iod_px": float(np.mean([np.linalg.norm(r.tracked[45] - r.tracked[36]) for r in reads])),
        "opening_mean_tracker": float(tracked.mean()),
        "opening_mean_judge": float(judged.mean()),
        "opening_std_tracker": float(tracked.std()),
        "opening_std_judge": float(judged.std()),
        "opening_jitter_tracker": jitter(tracked),
        "opening_jitter_judge": jitter(judged),
        "opening_repeat_judge": float((openings["again"] - judged).std() / 2**0.5),
        "opening_r_tracker_judge": r,
        "opening_gain_judge_over_tracker": float(r * judged.std() / tracked.std()),
        "lip_error_floor": figures.lip_target_error(mouths["judged"], mouths["tracked"] + offset),
        "lip_error_floor_uncorrected": figures.lip_target_error(mouths["judged"], mouths["tracked"]),
        "lip_repeat_judge": figures.lip_target_error(mouths["again"], mouths["judged"]),
    }


def rounded(value: float) -> float:
    """Four significant digits; whole numbers as they are."""
    return value if isinstance(value, int) else float(f"{value:.4g}")


def opened(rgb: NDArray[np.uint8], points: NDArray[np.float32], change: float) -> NDArray[np.uint8]:
    """A picture whose mouth is opened (or, below 0, closed) by `change` pixels between the inner lips.

    The picture is stretched along the face's down axis only: in the mouth's middle by the whole change, less towards
    its corners; half an inter-ocular distance above and below nothing moves.
    """
    height, width = rgb.shape[:2]
    down = _down(points)
    across = np.array([down[1], -down[0]])
    middle = (points[62] + points[66]) / 2
    gap = max(1.0, float(np.linalg.norm(points[66] - points[62])) / 2)
    reach = REACH * float(np.linalg.norm(points[45] - points[36]))
    half_width = float(np.linalg.norm(points[54] - points[48])) / 2
    y, x = np.indices((height, width), dtype=np.float32) + 0.5
    along = (x - middle[0]) * across[0] + (y - middle[1]) * across[1]
    below = (x - middle[0]) * down[0] + (y - middle[1]) * down[1]
    weight = np.cos(np.clip(along / half_width, -1, 1) * np.pi / 2) ** 2
    new_gap = np.maximum(0.5, gap + change / 2 * weight)
    depth = np.abs(below)
    outer = gap + (depth - new_gap) * (reach - gap) / (reach - new_gap)
    source = np.sign(below) * np.where(depth < new_gap, depth * gap / new_gap, np.where(depth < reach, outer, depth))
    move = source - below
    map_x, map_y = (np.asarray(v, dtype=np.float32) for v in (x + move * down[0] - 0.5, y + move * down[1] - 0.5))
    return np.asarray(cv2.remap(rgb, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8)


def _down(points: NDArray[np.float32]) -> NDArray[np.float64]:
    """The face's down axis in the picture, of length 1."""
    eyes = np.asarray(points[45] - points[36], dtype=np.float64)
    return np.asarray(np.array([-eyes[1], eyes[0]]) / np.linalg.norm(eyes))


def wanted_change(seconds: float, iod: float) -> float:
    """The change of the opening that is asked for, in pixels: it wanders between -0.10 and +0.10 eye distances."""
    return float(iod * 0.05 * (np.sin(11.0 * seconds) + np.sin(6.3 * seconds + 1)))


def warped(read: Read, gap: float, made: float, asked: float) -> MeasuredFrame:
    """A frame whose inner lips were moved from `gap` to `made` pixels apart, and whose target asks for `asked`."""
    points = read.tracked
    frame = VideoFrame.from_rgb(
        opened(read.frame.rgb(), points, made - gap), read.frame.pts, read.frame.time_base, read.frame.subsampling,
        read.frame.bit_depth, read.frame.matrix, read.frame.full_range,
    )  # fmt: skip
    target = points.copy()
    for row, sign in INNER_LIPS.items():
        target[row] += sign * (asked - gap) / 2 * _down(points)
    low, high = points[48:].min(axis=0), points[48:].max(axis=0)
    reach = REACH * float(np.linalg.norm(points[45] - points[36]))
    (left, top), (right, bottom) = np.floor(low - reach).astype(int), np.ceil(high + reach).astype(int)
    mask = np.ones((bottom - top, right - left), np.float32)
    origin = (int(top), int(left))
    return MeasuredFrame(frame, read.frame, target=target, tracked=points, mask=mask, mask_origin=origin)


def sensitivity(reads: list[Read], judge: Judge, late_frames: int) -> dict[str, Any]:
    """Figures of a run whose mouths were opened by a known series, `late_frames` late."""
    collector = Collector(judge)
    gaps = [float(np.linalg.norm(read.tracked[66] - read.tracked[62])) for read in reads]
    sizes = [float(np.linalg.norm(read.tracked[45] - read.tracked[36])) for read in reads]
    asked = [
        max(1.0, gap + wanted_change(r.frame.seconds, iod)) for gap, iod, r in zip(gaps, sizes, reads, strict=True)
    ]
    for index, read in enumerate(reads):
        made = asked[max(0, index - late_frames)]
        collector.add(warped(read, gaps[index], made, asked[index]))
    report = collector.finish().as_dict()
    keys = ("lip_target_error", "lip_opening_r", "sync_offset_ms", "identity", "tl_id")
    details = ("opening_gain", "lip_opening_r_uncorrected", "lip_opening_r_at_best_lag", "opening_r_with_source_mouth")
    known = {key: report["details"][key] for key in details if key in report["details"]}
    return {**{key: report["figures"][key] for key in keys}, **known, "frames": report["edited"]}


def main(arguments: list[str]) -> int:
    """Measures the judge on the clips and writes figures (no pictures)."""
    parser = argparse.ArgumentParser(prog="python -m bench judge", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with clips/")
    parser.add_argument("--clips", nargs="+", default=list(CLIPS), help="names of clips without ending")
    parser.add_argument("--out", type=Path, default=Path("bench/results/judge_noise.json"))
    parser.add_argument("--judge", choices=sorted(JUDGES), default="net", help="whose readings are measured")
    options = parser.parse_args(arguments)
    judge = JUDGES[options.judge]()
    result = {
        **header(f"python -m bench judge --data DATA --judge {options.judge}"),
        "judge": judge.name,
        "noise": {},
        "known_edits": {},
    }
    for name in options.clips:
        left_out: list[str] = []
        reads = list(readings(options.data / "clips" / f"{name}.mp4", judge, left_out))
        if len(reads) < figures.MIN_FRAMES:
            raise BadInputError(
                f"{name}: got {len(reads)} frames that tracker and judge both read ({len(left_out)} left out), "
                f"expected at least {figures.MIN_FRAMES}; take another clip"
            )
        noise = noise_of(reads)
        result["noise"][name] = {**{key: rounded(value) for key, value in noise.items()}, "left_out": len(left_out)}
        sys.stdout.write(f"{name}: {result['noise'][name]}\n")
        if name == WARPED_CLIP:
            for late in (0, LATE_FRAMES):
                result["known_edits"][f"{name}, {late} frames late"] = sensitivity(reads, judge, late)
        sys.stdout.flush()
    write_json(options.out, result)
    return 0
