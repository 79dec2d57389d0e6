"""A picture of what the model makes of speech: sound, activity, opening and width, emotion, and faces over time."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError, ShapeError
from engine.speech.controls import FRAME_RATE
from engine.speech.emotions import EMOTIONS, Shares
from engine.speech.features import SAMPLE_RATE
from engine.speech.track import MouthTrack

Picture = NDArray[np.uint8]
Curve = NDArray[np.float64]

FACES: Final = 12
"""Faces of the filmstrip."""

_WIDTH, _LEFT, _RIGHT, _TOP, _GAP = 1600, 130, 30, 40, 26
_FACE_HEIGHT: Final = 140
_INK, _FAINT, _GRID = (40, 40, 40), (150, 150, 150), (225, 225, 225)
_BLUE, _GREEN, _RED = (31, 92, 168), (46, 139, 87), (190, 60, 50)
_EMOTION_COLOURS: Final = (
    (215, 215, 215), (204, 64, 51), (141, 110, 150), (110, 139, 61), (92, 64, 140), (240, 180, 40), (70, 120, 180),
    (230, 120, 60),
)  # fmt: skip
_LINES: Final = (
    (range(0, 17), False), (range(17, 22), False), (range(22, 27), False), (range(27, 31), False),
    (range(31, 36), False), (range(36, 42), True), (range(42, 48), True), (range(48, 60), True), (range(60, 68), True),
)  # fmt: skip
"""The strokes of a face: landmarks, and whether the stroke is closed."""


@dataclass(frozen=True)
class Drawn:
    """What is drawn; T control frames."""

    samples: NDArray[np.float32]
    """[N] mono, 16 kHz, in [-1, 1]."""
    track: MouthTrack
    """What the model makes of them."""
    rest: NDArray[np.float32]
    """[68, 3] rest face."""
    shares: Shares
    """[T, EMOTIONS] emotion shown."""

    def __post_init__(self) -> None:
        """Checks the shapes."""
        frames = len(self.track.times)
        if self.shares.shape != (frames, len(EMOTIONS)) or self.rest.shape != (68, 3) or self.samples.ndim != 1:
            raise ShapeError(
                f"samples {self.samples.shape}, rest {self.rest.shape}, shares {self.shares.shape}; expected [N], "
                f"[68, 3], [{frames}, {len(EMOTIONS)}]"
            )
        if len(self.samples) < SAMPLE_RATE // FRAME_RATE:
            raise BadInputError(f"{len(self.samples)} samples; expected at least one frame of 20 ms to draw")

    @property
    def seconds(self) -> float:
        """Length of the sound."""
        return len(self.samples) / SAMPLE_RATE


class _Canvas:
    """A white picture with rows from top to bottom that share one axis of time."""

    def __init__(self, height: int, seconds: float) -> None:
        self.picture: Picture = np.full((height, _WIDTH, 3), 255, np.uint8)
        self._seconds = seconds

    def x(self, times: Curve) -> Curve:
        """Places of times across the picture."""
        return _LEFT + times / self._seconds * (_WIDTH - _LEFT - _RIGHT)

    def text(self, words: str, left: float, base: float, colour: tuple[int, int, int] = _INK) -> None:
        """Words that begin at `left` and stand on `base`."""
        font, smooth = cv2.FONT_HERSHEY_SIMPLEX, cv2.LINE_AA
        cv2.putText(self.picture, words, (round(left), round(base)), font, 0.45, colour, 1, smooth)

    def stroke(self, x: Curve, y: Curve, colour: tuple[int, int, int], closed: bool = False, thick: int = 1) -> None:
        """A line through points, drawn with sub-pixel precision."""
        points = np.round(np.stack([x, y], axis=1) * 16).astype(np.int32)
        cv2.polylines(self.picture, [points], closed, colour, thick, cv2.LINE_AA, 4)

    def box(self, left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
        """A filled rectangle."""
        self.picture[round(top) : round(bottom), round(left) : round(right)] = colour

    def frame(self, top: int, height: int, title: str, grid: bool = True) -> None:
        """The outline, title and seconds of a row."""
        for tick in _ticks(self._seconds):
            place = round(float(self.x(np.array(tick))))
            if grid:
                self.picture[top : top + height, place] = _GRID
            self.text(f"{tick:g}", place - 6, top + height + 15, _FAINT)
        for line in (top, top + height):
            self.picture[line, _LEFT : _WIDTH - _RIGHT] = _FAINT
        self.text(title, 12, top + height / 2 + 5)


def _ticks(seconds: float) -> list[float]:
    """Times that are marked: about ten or twenty."""
    step = next(step for step in (0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 3600, 1e9) if seconds / step <= 20)
    return [round(step * index, 3) for index in range(int(seconds / step) + 1)]


def draw(drawn: Drawn) -> Picture:
    """The picture, [H, W, 3]; time runs to the right in every row but the faces, which say theirs."""
    heights = (130, 50, 190, 50)
    height = _TOP + sum(heights) + _GAP * (len(heights) + 1) + _FACE_HEIGHT + 30
    canvas = _Canvas(height, drawn.seconds)
    canvas.text("what the model makes of this speech; lengths in inter-ocular distances", 12, 22, _FAINT)
    top = _TOP
    for row, size in zip((_wave, _activity, _mouth, _emotion), heights, strict=True):
        row(canvas, drawn, top, size)
        top += size + _GAP
    _faces(canvas, drawn, top + 6)
    return canvas.picture


def _wave(canvas: _Canvas, drawn: Drawn, top: int, height: int) -> None:
    """Least and greatest sample under every column."""
    canvas.frame(top, height, "sound")
    edges = np.linspace(0, len(drawn.samples), _WIDTH - _LEFT - _RIGHT + 1).astype(int)
    for column, (begin, end) in enumerate(zip(edges[:-1], edges[1:], strict=True)):
        piece = np.nan_to_num(drawn.samples[begin : max(end, begin + 1)])
        low, high = np.clip([piece.min(), piece.max()], -1.0, 1.0) * (height / 2 - 2)
        middle = top + height / 2
        canvas.box(_LEFT + column, middle - high, _LEFT + column + 1, middle - low + 1, _BLUE)


def _activity(canvas: _Canvas, drawn: Drawn, top: int, height: int) -> None:
    """How far the mouth may leave its rest."""
    canvas.frame(top, height, "speech")
    _curve(canvas, drawn, drawn.track.speaking.astype(np.float64), (0.0, 1.0), (top, height), _GREEN)


def _mouth(canvas: _Canvas, drawn: Drawn, top: int, height: int) -> None:
    """Inner-lip opening, and how much wider than at rest the mouth is."""
    canvas.frame(top, height, "")
    face = drawn.rest + drawn.track.displacement
    opening = np.linalg.norm(face[:, 66] - face[:, 62], axis=1)
    width = (face[:, 54, 0] - face[:, 48, 0]) - float(drawn.rest[54, 0] - drawn.rest[48, 0])
    high = max(0.25, float(opening.max()) * 1.05)
    low = min(-0.12, float(width.min()) * 1.05)
    zero = top + height * high / (high - low)
    canvas.stroke(canvas.x(np.array([0.0, drawn.seconds])), np.array([zero, zero]), _FAINT)
    _curve(canvas, drawn, width.astype(np.float64), (low, high), (top, height), _RED)
    _curve(canvas, drawn, opening.astype(np.float64), (low, high), (top, height), _BLUE, 2)
    canvas.text("opening", 12, top + height * 0.35, _BLUE)
    canvas.text("width - rest", 12, top + height * 0.35 + 20, _RED)
    for value in (0.2, 0.1, 0.0, -0.1):
        canvas.text(f"{value:g}", _LEFT - 36, top + height * (high - value) / (high - low) + 4, _FAINT)


def _curve(
    canvas: _Canvas,
    drawn: Drawn,
    values: Curve,
    limits: tuple[float, float],
    place: tuple[int, int],
    colour: tuple[int, int, int],
    thick: int = 1,
) -> None:
    """A curve over the frames that lie within the sound; `place` is the row's top and height."""
    inside = drawn.track.times <= drawn.seconds
    share = (values[inside] - limits[0]) / (limits[1] - limits[0])
    canvas.stroke(canvas.x(drawn.track.times[inside]), place[0] + place[1] * (1.0 - share), colour, thick=thick)


def _emotion(canvas: _Canvas, drawn: Drawn, top: int, height: int) -> None:
    """Shares of the emotions, stacked."""
    canvas.frame(top, height, "emotion", grid=False)
    columns = np.arange(_WIDTH - _LEFT - _RIGHT)
    frames = np.clip((columns / len(columns) * drawn.seconds * FRAME_RATE).astype(int), 0, len(drawn.shares) - 1)
    edges = np.concatenate([np.zeros((len(columns), 1)), drawn.shares[frames].cumsum(axis=1)], axis=1)
    for index, colour in enumerate(_EMOTION_COLOURS):
        for column in np.flatnonzero(edges[:, index + 1] - edges[:, index] > 1e-3).tolist():
            begin, end = top + 1 + (1.0 - edges[column, [index + 1, index]]) * (height - 2)
            canvas.box(_LEFT + column, begin, _LEFT + column + 1, end + 1, colour)
    strongest = int(drawn.shares.mean(axis=0).argmax())
    canvas.text(EMOTIONS[strongest], _LEFT + 8, top + height / 2 + 5)


def face_times(drawn: Drawn, count: int = FACES) -> Curve:
    """Times of the filmstrip: spread evenly over the frames with speech, or over everything where there is none."""
    inside = np.flatnonzero(drawn.track.times <= drawn.seconds)
    speaking = inside[drawn.track.speaking[inside] > 0.5]
    chosen = speaking if len(speaking) >= count else inside
    return np.asarray(drawn.track.times[chosen[np.linspace(0, len(chosen) - 1, count).round().astype(int)]])


def _faces(canvas: _Canvas, drawn: Drawn, top: int) -> None:
    """Landmark faces, the mouth in ink, each with its time."""
    canvas.text("faces", 12, top + _FACE_HEIGHT / 2)
    step = (_WIDTH - _LEFT - _RIGHT) / FACES
    low, high = drawn.rest[:, 1].min() - 0.08, drawn.rest[:, 1].max() + 0.25
    scale = min((_FACE_HEIGHT - 10) / (high - low), (step - 12) / float(np.ptp(drawn.rest[:, 0])))
    for index, seconds in enumerate(face_times(drawn)):
        face = drawn.rest + drawn.track.at(float(seconds)).displacement
        x = _LEFT + (index + 0.5) * step + face[:, 0] * scale
        y = top + (face[:, 1] - low) * scale
        for points, closed in _LINES:
            mouth = points.start >= 48
            canvas.stroke(x[points], y[points], _INK if mouth else _FAINT, closed)
        canvas.text(f"{seconds:.2f} s", _LEFT + (index + 0.5) * step - 24, top + _FACE_HEIGHT + 12, _FAINT)
