"""Finding faces in a picture: MediaPipe's BlazeFace, near and far."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import WeightsFormatError
from engine.tracking.alignment import crop_from_rgb
from engine.tracking.running import detector, passed
from engine.tracking.tflite_net import TfliteNet

_ANCHORS: Final = {128: ((8, 2), (16, 6)), 192: ((4, 1),), 256: ((16, 2), (32, 6))}
"""By input size: (stride in px, anchors per cell) of each grid of the detector's output."""
_VALUES: Final = 16
"""Per anchor: box centre x, y, width, height, then x, y of six key points."""
_OVERLAP: Final = 0.3
"""Two boxes that share more than this part of their union are one face."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One face as the detector sees it, in px of the frame."""

    box: NDArray[np.float64]
    """[4]: left, top, right, bottom; from the eyebrows to the chin."""
    keys: NDArray[np.float64]
    """[6,2]: eye at the picture's left, eye at its right, nose tip, mouth, ear at the left, ear at the right."""
    score: float
    """0 to 1."""

    @property
    def size(self) -> float:
        """Geometric mean of width and height in px."""
        left, top, right, bottom = self.box.tolist()
        return math.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0))

    @property
    def centre(self) -> NDArray[np.float64]:
        """[2]: middle of the box."""
        return (self.box[:2] + self.box[2:]) / 2


class FaceDetector:
    """One BlazeFace network: whole picture in, faces out, best first."""

    def __init__(self, path: Path, min_score: float = 0.5) -> None:
        """Load the network.

        Args:
            path: the original TensorFlow Lite file (`engine.weights.path("detector-short")` or its sisters).
            min_score: faces with a lower score are left out.

        Raises:
            WeightsError: the file cannot be read, or is not such a network.
        """
        self.net: Final = TfliteNet(path).eval()
        channels, height, self.size = self.net.input_shape
        if channels != 3 or height != self.size or self.size not in _ANCHORS:
            raise WeightsFormatError(
                f"{path} takes {self.net.input_shape}, expected a face detector of {sorted(_ANCHORS)} px"
            )
        self.min_score: Final = min_score
        self._anchors: Final = _anchors(self.size)

    def detect(self, rgb: NDArray[np.uint8], window: tuple[float, float, float] | None = None) -> list[Detection]:
        """Find the faces of a picture.

        Args:
            rgb: [H,W,3] uint8.
            window: left, top and side in px of the square to look at; the whole picture (letterboxed) when None.

        Returns:
            Faces in px of the frame, highest score first, each once.
        """
        left, top, side = window or _letterbox(rgb)
        scale = side / self.size
        matrix = np.array([[scale, 0.0, left], [0.0, scale, top], [0.0, 0.0, 1.0]])
        picture = crop_from_rgb(rgb, matrix, self.size) * 2 - 1
        outputs = passed(detector(self.size), self.net, picture)
        values = next(item for item in outputs if item.shape[-1] == _VALUES)[0].numpy().astype(np.float64)
        logits = next(item for item in outputs if item.shape[-1] == 1)[0, :, 0].numpy().astype(np.float64)
        scores = 1 / (1 + np.exp(-np.clip(logits, -50, 50)))
        return _faces(values, scores, self._anchors, self.min_score, (left, top, scale))


def merge(faces: list[Detection]) -> list[Detection]:
    """Drop faces that overlap a better one; the rest, best first."""
    kept: list[Detection] = []
    for face in sorted(faces, key=lambda each: -each.score):
        if all(overlap(face.box, other.box) <= _OVERLAP for other in kept):
            kept.append(face)
    return kept


def overlap(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Part of their union that two boxes (left, top, right, bottom) share, 0 to 1."""
    shared = np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None).prod()
    union = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - shared
    return float(shared / union) if union > 0 else 0.0


def _letterbox(rgb: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Left, top and side of the smallest square around a picture."""
    height, width = rgb.shape[:2]
    side = float(max(height, width))
    return (width - side) / 2, (height - side) / 2, side


def _anchors(size: int) -> NDArray[np.float64]:
    """[N,2] px of the input: where each anchor sits."""
    grids = []
    for stride, count in _ANCHORS[size]:
        line = (np.arange(size // stride) + 0.5) * stride
        x, y = np.meshgrid(line, line)
        grids.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(grids)


def _faces(
    values: NDArray[np.float64],
    scores: NDArray[np.float64],
    anchors: NDArray[np.float64],
    min_score: float,
    place: tuple[float, float, float],
) -> list[Detection]:
    """Turn the network's output into faces of the frame; `place` is left, top and frame px per input px."""
    left, top, scale = place
    found = []
    for index in np.flatnonzero(scores >= min_score):
        numbers = values[index].reshape(8, 2)
        points = (numbers[[0, 2, 3, 4, 5, 6, 7]] + anchors[index]) * scale + (left, top)
        half = numbers[1] * scale / 2
        box = np.concatenate([points[0] - half, points[0] + half])
        found.append(Detection(box=box, keys=points[1:], score=float(scores[index])))
    return merge(found)
