"""Before/after strips: one column per chosen moment; rows source, edited, and on request landmarks and difference.

The moments are chosen while the frames go by (wide open, closed while speaking, silent), so a strip of a run of any
length costs the memory of its columns.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.errors import ShapeError
from engine.evaluation.collector import EditedFrameLike
from engine.evaluation.figures import (
    ENDED_BELOW,
    LEFT_EYE,
    MOUTH,
    RIGHT_EYE,
    SILENT_BELOW,
    NotMeasured,
    opening,
    require_shape,
)
from engine.evaluation.judges import Judge

Moment = Literal["open", "closed", "silent"]
MOMENTS: Final[tuple[Moment, ...]] = ("open", "closed", "silent")
Picture = NDArray[np.uint8]

CROP_EYE_DISTANCES: Final = 2.6
"""Side of the square that is shown, in inter-ocular distances."""
DIFFERENCE_GAIN: Final = 4
"""How much the difference is amplified."""
GAP_PX: Final = 4
"""White pixels between the pictures."""
TARGET_RGB: Final = (40, 220, 60)
JUDGED_RGB: Final = (240, 60, 220)


@dataclass(frozen=True)
class Column:
    """One moment of a strip."""

    seconds: float
    """Media time."""
    source: Picture
    """[S,S,3] the face as it came."""
    edited: Picture
    """[S,S,3] the same place of the finished picture."""
    target: NDArray[np.float64] | None = None
    """[20,2] mouth points asked for, in pixels of the crop."""
    judged: NDArray[np.float64] | None = None
    """[20,2] mouth points that the judge read on the finished picture, in pixels of the crop."""


def face_square(points: NDArray[np.floating], height: int, width: int) -> tuple[int, int, int]:
    """Top, left and side in pixels of the square around a face [68,2] that is shown, within the picture."""
    require_shape("points", points, 68, 2)
    iod = float(np.linalg.norm(points[LEFT_EYE] - points[RIGHT_EYE]))
    side = max(8, min(round(CROP_EYE_DISTANCES * iod), height, width))
    centre = (points[[RIGHT_EYE, LEFT_EYE]].mean(axis=0) + points[MOUTH].mean(axis=0)) / 2
    left, top = (round(float(c) - side / 2) for c in centre)
    return min(max(0, top), height - side), min(max(0, left), width - side), side


def resized(rgb: Picture, height: int, width: int) -> Picture:
    """A picture [H,W,3] at another size, antialiased."""
    require_shape("rgb", rgb, None, None, 3)
    planes = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float()
    small = functional.interpolate(planes, size=(height, width), mode="bilinear", antialias=True)
    return np.ascontiguousarray(small[0].round().clamp(0, 255).byte().permute(1, 2, 0).numpy())


@dataclass
class StripMaker:
    """Chooses the columns of a strip from a run's frames, given one by one in order of time."""

    size: int = 256
    """Side of one picture in pixels."""
    per_moment: int = 2
    """Columns per moment."""
    apart_s: float = 0.4
    """Columns of the same moment are at least this far apart."""
    judge: Judge | None = None
    """Reads the landmarks of the landmarks row, if there is to be one."""
    _kept: dict[Moment, list[tuple[float, Column]]] = field(default_factory=lambda: {m: [] for m in MOMENTS})

    def add(self, frame: EditedFrameLike) -> None:
        """Looks at one frame; keeps it if it is among the best of its moment so far."""
        if not frame.edited or frame.tracked is None or frame.target is None:
            return
        gap, seconds = float(opening(frame.target[None])[0]), frame.source.seconds
        moments: dict[Moment, float] = {}
        if frame.speaking >= ENDED_BELOW:
            moments = {"open": gap, "closed": -gap}
        elif frame.speaking < SILENT_BELOW:
            moments = {"silent": -gap}
        chosen = [m for m, score in moments.items() if self._room(m, seconds, score)]
        if chosen:
            column = self._column(frame)
            for moment in chosen:
                self._keep(moment, moments[moment], column)

    def _room(self, moment: Moment, seconds: float, score: float) -> bool:
        kept = self._kept[moment]
        near = [old for old, column in kept if abs(column.seconds - seconds) < self.apart_s]
        if near:
            return score > max(near)
        return len(kept) < self.per_moment or score > min(old for old, _ in kept)

    def _keep(self, moment: Moment, score: float, column: Column) -> None:
        far = [(s, c) for s, c in self._kept[moment] if abs(c.seconds - column.seconds) >= self.apart_s]
        self._kept[moment] = sorted([*far, (score, column)], key=lambda entry: -entry[0])[: self.per_moment]

    def _column(self, frame: EditedFrameLike) -> Column:
        assert frame.tracked is not None and frame.target is not None
        edited, source = frame.frame.rgb(), frame.source.rgb()
        top, left, side = face_square(frame.tracked, frame.source.height, frame.source.width)
        cut = (slice(top, top + side), slice(left, left + side))
        scale, corner = self.size / side, np.array([left, top])
        judged = None if self.judge is None else _read(self.judge, edited, frame.tracked)
        return Column(
            seconds=frame.source.seconds,
            source=resized(source[cut], self.size, self.size),
            edited=resized(edited[cut], self.size, self.size),
            target=(frame.target[MOUTH] - corner) * scale,
            judged=None if judged is None else (judged[MOUTH] - corner) * scale,
        )

    @property
    def columns(self) -> list[Column]:
        """The chosen columns in order of time, each once."""
        found = {column.seconds: column for moment in MOMENTS for _, column in self._kept[moment]}
        return [found[second] for second in sorted(found)]


def _read(judge: Judge, rgb: Picture, tracked: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """The judge's landmarks [68,2], None where it cannot read."""
    try:
        return judge.landmarks(rgb, tracked)
    except NotMeasured:
        return None


def draw_strip(columns: list[Column], *, difference: bool = True, landmarks: bool = False) -> Picture:
    """The strip as one picture.

    Args:
        columns: at least one, all of the same size.
        difference: adds a last row, |edited - source| times `DIFFERENCE_GAIN`.
        landmarks: adds a row with targets (green) and what the judge read (magenta) over the edited pictures.

    Returns:
        uint8 RGB [rows * (S + gap) - gap, columns * (S + gap) - gap, 3].
    """
    if not columns:
        raise ShapeError("strip: got no column, expected at least one edited frame")
    rows = [[c.source for c in columns], [c.edited for c in columns]]
    if landmarks:
        rows.append([_overlaid(c) for c in columns])
    if difference:
        apart = (np.abs(c.edited.astype(np.int16) - c.source) * DIFFERENCE_GAIN for c in columns)
        rows.append([np.clip(d, 0, 255).astype(np.uint8) for d in apart])
    size = columns[0].source.shape[0]
    step = size + GAP_PX
    strip = np.full((len(rows) * step - GAP_PX, len(columns) * step - GAP_PX, 3), 255, dtype=np.uint8)
    for down, row in enumerate(rows):
        for across, part in enumerate(row):
            require_shape("column", part, size, size, 3)
            strip[down * step : down * step + size, across * step : across * step + size] = part
    return strip


def _overlaid(column: Column) -> Picture:
    """The edited picture with its landmarks drawn as dots of 3 x 3 pixels."""
    picture = column.edited.copy()
    for points, colour in ((column.target, TARGET_RGB), (column.judged, JUDGED_RGB)):
        for x, y in () if points is None else points:
            row, across = int(y), int(x)
            picture[max(0, row - 1) : max(0, row + 2), max(0, across - 1) : max(0, across + 2)] = colour
    return picture


def png(rgb: Picture) -> bytes:
    """A picture [H,W,3] as the bytes of a PNG file."""
    require_shape("rgb", rgb, None, None, 3)
    height, width, _ = rgb.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rgb.reshape(height, width * 3)], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in body)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
