"""Directions in W along which a generator's faces turn and move their mouths.

Ridge regression (Hoerl and Kennard 1970) of whitened W on what our tracker sees of random faces: head angles, the eight
mouth numbers, eye opening and brow height together, so that one does not stand in for another. Enrolment starts its
per-speaker directions from these. `python -m engine.training.directions` makes the file of the default generator (some
20 minutes, two cores); imported generators get theirs when they are imported.
"""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from engine.editing.mouth import mouth_shape
from engine.errors import NoFaceError
from engine.generators import load_default_generator
from engine.generators.directions import DIRECTIONS_FILE
from engine.generators.protocol import Generator
from engine.generators.stats import WStatistics
from engine.tracking.pose import to_head
from engine.tracking.tracker import FaceTracker, TrackedFace

_log = logging.getLogger(__name__)
_FACES: Final = 4500
"""Random faces. Regressed on two halves of 1,300, directions of the mouth agree with cosine 0.34 to 0.53, of 4,500 with
0.58 to 0.81: with fewer, what moves a mouth is half noise."""
_SEED: Final = 7
_TRUNCATION: Final = 0.85
_RIDGE: Final = 0.02
_ANGLE_UNIT_DEG: Final = 10.0
_UPPER_FACE_UNIT: Final = 0.1
_PATIENCE: Final = 30
_LEAST_SHARE: Final = 0.3
"""Fewer faces than this share of so many pictures: not a generator of faces."""


def face_numbers(face: TrackedFace) -> NDArray[np.float64]:
    """What is regressed on: yaw, pitch, roll (10 degrees), mouth (8), eye opening, brow height: [13]."""
    head = to_head(face.points, face.pose)
    angles = np.array([face.pose.yaw_deg, face.pose.pitch_deg, face.pose.roll_deg]) / _ANGLE_UNIT_DEG
    eyes = head[41, 1] - head[37, 1] + head[46, 1] - head[44, 1]
    brows = head[19, 1] + head[24, 1]
    return np.concatenate([angles, mouth_shape(head), np.array([eyes, brows]) / _UPPER_FACE_UNIT])


def sample_faces(
    generator: Generator,
    tracker: FaceTracker,
    count: int,
    seed: int = _SEED,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Draw random faces and look at them.

    Args:
        generator: whose faces.
        tracker: what looks at them.
        count: faces to draw.
        seed: seed of the faces.
        progress: told (done, total) after every face.

    Returns:
        [N,D] w and [N,13] numbers of the faces that the tracker found, N at most `count`.

    Raises:
        NoFaceError: the pictures show no faces.
    """
    noise = torch.Generator().manual_seed(seed)
    codes, numbers = [], []
    with torch.no_grad():
        mean = generator.mapping(torch.randn(4000, generator.noise_width, generator=noise)).mean(0)
        for index in range(count):
            w = generator.mapping(torch.randn(1, generator.noise_width, generator=noise))
            w = mean + _TRUNCATION * (w - mean)
            picture = generator.coarse(w[:, None].expand(-1, generator.rows, -1))[0].permute(1, 2, 0).clamp(-1, 1)
            tracker.reset()
            found = tracker.track(((picture + 1) * 127.5).round().to(torch.uint8).contiguous().numpy(), 0.0)
            if found.face is not None:
                codes.append(w[0].numpy())
                numbers.append(face_numbers(found.face))
            elif index + 1 >= _PATIENCE and len(codes) < _LEAST_SHARE * (index + 1):
                raise NoFaceError(
                    f"{len(codes)} of the first {index + 1} pictures of this generator show a face; expected "
                    f"{_LEAST_SHARE:.0%} or more. Is it a generator of aligned faces?"
                )
            if progress is not None:
                progress(index + 1, count)
    if not codes:
        raise NoFaceError(f"none of {count} pictures of this generator shows a face; is it one of aligned faces?")
    return np.stack(codes), np.stack(numbers)


def regress(codes: NDArray[np.float32], numbers: NDArray[np.float64], statistics: WStatistics) -> NDArray[np.float64]:
    """Change of the whitened code per unit of each number: [13,K]."""
    white = statistics.encode(torch.from_numpy(codes)).numpy().astype(np.float64)
    x = numbers - numbers.mean(0)
    gram = x.T @ x + len(x) * _RIDGE * np.eye(x.shape[1])
    return np.linalg.solve(gram, x.T @ (white - white.mean(0))).astype(np.float64)


def main(target: Path = DIRECTIONS_FILE) -> None:
    """Make the shipped file."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    generator = load_default_generator()
    codes, numbers = sample_faces(generator, FaceTracker.from_cache(), _FACES, progress=_tell)
    directions = regress(codes, numbers, WStatistics.sample(generator))
    save_file({"directions": torch.from_numpy(directions).to(torch.float16)}, target)
    _log.info("%s: directions of %d faces", target.name, len(codes))


def _tell(done: int, total: int) -> None:
    if done % 100 == 0:
        _log.info("%d of %d faces", done, total)


if __name__ == "__main__":
    main()
