"""What sums up an utterance so far: numbers over its voice, and features of every frame for a network to sum up.

Letters: T frames of 20 ms, S statistics, D features of a frame. All of it is causal: a window ends at the newest frame.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.controls import FRAME_RATE
from engine.speech.intonation import BANDS_HZ, COLUMNS, FRAME

BANDS: Final = len(BANDS_HZ) - 1
"""Bands of a frame."""
STATISTICS: Final = 24 + BANDS
"""Numbers that sum up a window."""
FEATURES: Final = 18 + BANDS
"""Features of a frame."""
NEWEST: Final = 128
"""Voiced frames of the shortest full window (2.6 s); an utterance that is longer is heard as a whole."""
LEAST: Final = 40
"""Voiced frames of the shortest window (0.8 s)."""
KEPT: Final = 400
"""Frames of the longest window (8 s)."""

_RANGE_DB: Final = 30.0
_PEAK_FALL_DB: Final = 0.05  # a frame
_VOICED: Final = 0.5
_GAP: Final = 12  # frames
_BREAK: Final = 20  # frames without voice between utterances: 0.4 s
_LAST: Final = 20  # voiced frames at the end of a window
_LOW: Final = 0.5  # octaves under the median: creak
_LOUDNESS_UNIT_DB: Final = 10.0
_LARGEST: Final = 4.0

Floats = NDArray[np.float32]
Flags = NDArray[np.bool_]


def statistics(frames: Floats, voiced: Flags) -> NDArray[np.float64]:
    """Sums up frames [T, COLUMNS] by those that are `voiced` [T], at least one -> [STATISTICS]."""
    if frames.ndim != 2 or frames.shape[1] != COLUMNS or voiced.shape != frames.shape[:1] or not voiced.any():
        raise ShapeError(f"frames are {frames.shape}, voiced {voiced.shape}; expected [T, {COLUMNS}], [T], one voiced")
    rows = frames[voiced].astype(np.float64)
    pitch, voicing, edge = rows[:, FRAME.pitch], rows[:, FRAME.voicing], rows[:, FRAME.edge]
    level, crest, bands = rows[:, FRAME.level], rows[:, FRAME.crest], rows[:, FRAME.bands :]
    low, middle, high = np.percentile(pitch, [10, 50, 85])
    line = np.where(voiced, frames[:, FRAME.pitch].astype(np.float64), np.nan)
    tilt = bands[:, 1:5].mean(axis=1) - bands[:, 9:14].mean(axis=1)
    shape = bands - bands.mean(axis=1, keepdims=True)
    at = np.flatnonzero(voiced)
    follows = np.diff(at) == 1
    few = [
        pitch.mean(), pitch.std(), low, middle, high, _slope(at, pitch),
        _bend(line, 1, 0), _bend(line, 2), _bend(line, 4),
        voicing.mean(), np.percentile(voicing, 20), edge.mean(), tilt.std(),
        level.mean(), level.std(), crest.mean(), np.percentile(crest, 85), (pitch < middle - _LOW).mean(),
        pitch[-_LAST:].mean() - middle, _slope(at[-_LAST:], pitch[-_LAST:]),
        _mean(np.abs(np.diff(shape, axis=0)).mean(axis=1)[follows]), _mean(np.abs(np.diff(level))[follows]),
        len(at) / (at[-1] - at[0] + 1), (1 + (~follows).sum()) * FRAME_RATE / (at[-1] - at[0] + 1 + FRAME_RATE),
    ]  # fmt: skip
    return np.concatenate([few, shape.mean(axis=0)])


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else 0.0


def _slope(at: NDArray[np.int64], pitch: NDArray[np.float64]) -> float:
    """How the pitch [V] at frames `at` [V] rises within phrases, octaves a second; a longer gap ends a phrase."""
    phrase = np.concatenate([[0], np.cumsum(np.diff(at) > _GAP)])
    count = np.bincount(phrase)
    late = at / FRAME_RATE
    late = late - (np.bincount(phrase, late) / count)[phrase]
    over = pitch - (np.bincount(phrase, pitch) / count)[phrase]
    return float(np.dot(late, over) / (np.dot(late, late) + 1.0))


def _bend(line: NDArray[np.float64], lag: int, order: int = 1) -> float:
    """Log of the mean change (order 0) or bend (1) of the pitch [T] over lags; NaN where there is no pitch.

    A tremor of 6 Hz turns in 4 frames.
    """
    if order == 0:
        moved = np.abs(line[lag:] - line[:-lag])
    else:
        moved = np.abs(line[2 * lag :] - 2.0 * line[lag:-lag] + line[: -2 * lag]) if len(line) > 2 * lag else line[:0]
    known = moved[np.isfinite(moved)]
    return float(np.log(known.mean() + 1e-3)) if len(known) else 0.0


def features(frames: Floats, voiced: Flags, usual: NDArray[np.float64]) -> Floats:
    """What a network reads of every frame: [T, FEATURES], against what is usual for the voice.

    frames: [T, COLUMNS], voiced: [T], usual: [COLUMNS] mean over the voiced frames of its neutral speech.
    """
    if frames.ndim != 2 or frames.shape[1] != COLUMNS or usual.shape != (COLUMNS,):
        raise ShapeError(f"frames are {frames.shape}, usual {usual.shape}; expected [T, {COLUMNS}], [{COLUMNS}]")
    over = frames - usual.astype(np.float32)
    voice = voiced.astype(np.float32)
    pitch = np.clip(over[:, FRAME.pitch], -2.0, 2.0) * voice
    level = np.clip(over[:, FRAME.level] / _LOUDNESS_UNIT_DB, -4.0, 2.0)
    shape = over[:, FRAME.bands :] - over[:, FRAME.bands :].mean(axis=1, keepdims=True)
    shape = np.clip(shape / _LOUDNESS_UNIT_DB, -2.5, 2.5)
    flux = np.abs(shape - _late(shape, 1)).mean(axis=1)
    columns = [voice, 2.0 * pitch, *(5.0 * _change(pitch, voice, lag) for lag in (1, 2, 4, 8))]
    columns += [10.0 * (_change(pitch, voice, lag) - _late(_change(pitch, voice, lag), lag)) for lag in (1, 2, 4)]
    columns += [4.0 * over[:, FRAME.voicing], 4.0 * over[:, FRAME.edge], over[:, FRAME.crest] / 5.0, level]
    columns += [2.0 * (level - _late(level, lag)) for lag in (1, 3, 8)] + [5.0 * flux, _since(voiced)]
    rows = np.concatenate([np.stack(columns, axis=1), shape], axis=1)
    return np.asarray(np.clip(rows, -_LARGEST, _LARGEST), np.float32)


def _late(rows: Floats, lag: int) -> Floats:
    """Rows [T, ...] `lag` later, the first again and again before them."""
    lag = min(lag, len(rows))
    return np.concatenate([np.repeat(rows[:1], lag, axis=0), rows[: len(rows) - lag]])


def _change(pitch: Floats, voice: Floats, lag: int) -> Floats:
    """Change of the pitch over a lag where both ends are voiced, else 0: [T]."""
    return np.asarray(np.clip(pitch - _late(pitch, lag), -0.4, 0.4) * voice * _late(voice, lag))


def _since(voiced: Flags) -> Floats:
    """Time since the voice last set in, in units of 0.24 s, at most 1: [T]."""
    places = np.arange(len(voiced))
    off = np.maximum.accumulate(np.where(voiced, -1, places))
    return np.asarray(np.minimum(places - off, 12) / 12.0 * voiced, np.float32)


@dataclass
class Window:
    """The newest frames of a voice, and which of them are voiced."""

    frames: deque[Floats] = field(default_factory=lambda: deque(maxlen=KEPT))
    """[COLUMNS] each, the newest last."""
    voiced: deque[bool] = field(default_factory=lambda: deque(maxlen=KEPT))
    """Whether each is voiced."""
    peak_db: float = -60.0
    """Level of the loudest sound, slowly forgotten."""

    def add(self, frame: Floats) -> bool:
        """Takes the next frame [COLUMNS]; whether it is voiced."""
        level = float(frame[FRAME.level])
        self.peak_db = max(level, self.peak_db - _PEAK_FALL_DB, -60.0)
        voiced = bool(frame[FRAME.voicing] > _VOICED and level > self.peak_db - _RANGE_DB)
        self.frames.append(frame)
        self.voiced.append(voiced)
        return voiced

    def clear(self) -> None:
        """Forgets the frames, not how loud the voice is."""
        self.frames.clear()
        self.voiced.clear()

    def newest(self) -> tuple[Floats, Flags] | None:
        """Frames [T, COLUMNS] of the utterance so far, and which are voiced [T]; None where there are too few.

        A short utterance takes what was said before it along, so that a window holds `NEWEST` voiced frames if it can.
        """
        voiced = np.array(self.voiced, bool)
        places = np.flatnonzero(voiced)
        if len(places) < LEAST:
            return None
        breaks = np.flatnonzero(np.diff(places) > _BREAK)
        begin = int(places[breaks[-1] + 1]) if len(breaks) else int(places[0])
        if len(places) > NEWEST:
            begin = min(begin, int(places[-NEWEST]))
        else:
            begin = int(places[0])
        return np.stack(list(self.frames)[begin:]), voiced[begin:]
