"""Alignment on real clips: geometry against the network, each placing mouths on tracked faces that move.

Run `python -m bench alignment [--data FOLDER] [--weights FILE] [--out FILE]`. A speaker's rest face comes from the
first half of a clip, the figures from the second:
still      frames whose mouth is at rest: distance of the placed mouth (nothing asked) from the one that is tracked
transplant the mouth of one frame asked for in another of the same pose: distance from that mouth, laid over by the
           points that do not move
leak       nothing asked: how far the placed opening still follows the filmed one
tremor     nothing asked: second difference of the placed mouth from frame to frame, beside that of the tracked nose
All in % of the inter-ocular distance. No clip is trained on. The tracker is its own judge here: figures tell how steady
a placement is against the picture, not whether a mouth looks right.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.frames import pictures
from bench.machine import header, write_json
from engine.editing.mouth import rest_face
from engine.errors import BadInputError
from engine.speech.alignment import SHIPPED, Alignment, GeometricAlignment, NetworkAlignment, read_alignment_net
from engine.tracking import create_tracker
from engine.tracking.pose import HeadPose, from_head, to_head

Points = NDArray[np.float64]

CLIPS: Final = (
    "vrt_face1.mp4", "vrt_face2.mp4", "liveportrait_d6.mp4", "liveportrait_d20.mp4", "styletalk_feifeili_clip1.mp4",
    "sadtalker_WDA_KatieHill_000.mp4", "latentsync_demo2.mp4", "syncnet_example.avi",
)  # fmt: skip
"""Real people who talk and move."""

_FRAMES: Final = 300
_LEAST_FACES: Final = 50
_STILL: Final = np.array([0, 1, 15, 16, *range(27, 36), 36, 39, 42, 45])
_MOUTH: Final = slice(48, 68)
_SAME_POSE_DEG: Final = 1.5
_OTHER_MOUTH: Final = 0.05
_PAIRS: Final = 200
_RESTING_SHARE: Final = 0.1


@dataclass(frozen=True)
class Face:
    """One tracked frame."""

    points: Points
    """[68,3] px of the frame."""
    head: Points
    """[68,3] the same in the head frame."""
    pose: HeadPose

    @property
    def opening(self) -> float:
        """Inner-lip opening, inter-ocular distances."""
        return float(self.head[66, 1] - self.head[62, 1])


def tracked_faces(path: Path, most: int = _FRAMES) -> list[Face]:
    """The faces of a clip's first `most` frames."""
    tracker = create_tracker()
    faces = []
    for seconds, picture in pictures(path, most):
        found = tracker.track(picture, seconds).face
        if found is not None:
            points = found.points.astype(np.float64)
            faces.append(Face(points, to_head(points, found.pose), found.pose))
    return faces


def laid_over(source: Points, target: Points) -> tuple[Points, Points]:
    """The similarity (matrix [2,2], shift [2]) that best lays points `source` [N,2] on `target` [N,2]."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, strength, vt = np.linalg.svd(b.T @ a)
    flip = np.array([1.0, np.sign(np.linalg.det(u @ vt))])
    matrix = (u * flip) @ vt * (strength * flip).sum() / np.square(a).sum()
    return matrix, target.mean(axis=0) - matrix @ source.mean(axis=0)


def _placed(way: Alignment, face: Face, rest: Points, asked: Points) -> Points:
    """[68,2] px of the frame."""
    return np.asarray(from_head(way.place(face.head, rest, face.pose, asked), face.pose)[:, :2])


def _distance(a: Points, b: Points, face: Face) -> float:
    return 100.0 * float(np.linalg.norm(a[_MOUTH, :2] - b[_MOUTH, :2], axis=1).mean()) / face.pose.iod_px


def _angles(face: Face) -> Points:
    return np.array([face.pose.yaw_deg, face.pose.pitch_deg])


def transplant_pairs(faces: list[Face], seed: int = 0) -> list[tuple[Face, Face]]:
    """Random (frame, frame whose mouth it is given): the same pose, other mouths."""
    pairs = [
        (one, other)
        for one in faces
        for other in faces
        if abs(one.opening - other.opening) > _OTHER_MOUTH
        and np.abs(_angles(one) - _angles(other)).max() <= _SAME_POSE_DEG
    ]
    chosen = np.random.default_rng(seed).permutation(len(pairs))[:_PAIRS]
    return [pairs[index] for index in chosen.tolist()]


def _transplant(way: Alignment, pair: tuple[Face, Face], rest: Points) -> float:
    face, giver = pair
    matrix, shift = laid_over(giver.points[_STILL, :2], face.points[_STILL, :2])
    wanted = giver.points[:, :2] @ matrix.T + shift
    return _distance(_placed(way, face, rest, giver.head - rest), wanted, face)


def figures(way: Alignment, faces: list[Face]) -> dict[str, float | None]:
    """All figures of one way on a clip's faces; None where the clip has no frames for one."""
    half = len(faces) // 2
    rest = rest_face(np.stack([face.head for face in faces[:half]]))
    later = faces[half:]
    nothing = np.zeros((68, 3))
    places = [_placed(way, face, rest, nothing) for face in later]
    openings = np.array([face.opening for face in later])
    closed = np.flatnonzero(openings <= np.quantile(openings, _RESTING_SHARE))
    still = [_distance(places[index], later[index].points, later[index]) for index in closed.tolist()]
    moved = [_transplant(way, pair, rest) for pair in transplant_pairs(later)]
    left = np.array([p[66, 1] - p[62, 1] for p in places]) / np.array([face.pose.iod_px for face in later])
    slope = float(np.polyfit(openings, left, 1)[0]) if np.ptp(openings) > 0 else 0.0
    scale = 100.0 / float(np.mean([face.pose.iod_px for face in later]))
    tremor = np.linalg.norm(np.diff(np.stack(places)[:, _MOUTH], 2, axis=0), axis=2).mean() * scale
    nose = np.stack([face.points[27:36, :2] for face in later])
    return {
        "still": float(np.mean(still)),
        "transplant": float(np.mean(moved)) if moved else None,
        "leak": slope,
        "tremor": float(tremor),
        "tremor_of_nose": float(np.linalg.norm(np.diff(nose, 2, axis=0), axis=2).mean() * scale),
    }


def main(arguments: list[str]) -> int:
    """Measures and writes `bench/results/alignment.json`; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench alignment", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder with clips/")
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="weights of the alignment network")
    parser.add_argument("--out", type=Path, default=Path("bench/results/alignment.json"))
    options = parser.parse_args(arguments)
    ways: dict[str, Alignment] = {
        "geometric": GeometricAlignment(),
        "network": NetworkAlignment(read_alignment_net(options.weights)),
    }
    clips: dict[str, Any] = {}
    for name in CLIPS:
        faces = tracked_faces(options.data / "clips" / name)
        if len(faces) < _LEAST_FACES:
            raise BadInputError(f"{name}: got {len(faces)} frames with a face, expected at least {_LEAST_FACES}")
        clips[name] = {kind: figures(way, faces) for kind, way in ways.items()}
        sys.stdout.write(f"{name}\n")
        for kind, values in clips[name].items():
            cells = "  ".join(f"{key} {'-' if value is None else f'{value:.2f}'}" for key, value in values.items())
            sys.stdout.write(f"  {kind:<10} {cells}\n")
    write_json(options.out, {**header("python -m bench alignment"), "clips": clips})
    return 0
