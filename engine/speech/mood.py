"""Which emotion a voice is heard in, told from how it differs from the same voice's own neutral speech.

What is heard first is taken for neutral: the reference. Every 0.2 s the newest voiced sound is summed up in
`STATISTICS` numbers; a small network reads how far they lie from the reference, in units of how much this voice varies.
An emotion is shown when it is likely enough for long enough. Everything runs on the sample clock, and the state is
bounded. Letters: T frames of 20 ms, S statistics, E emotions.
"""

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engine.errors import ShapeError, WeightsError, WeightsFormatError
from engine.speech.controls import FRAME_RATE
from engine.speech.emotions import EMOTIONS
from engine.speech.intonation import BANDS_HZ, COLUMNS, FRAME, IntonationState, listen

SHIPPED: Final = Path(__file__).with_name("mood.safetensors")
"""The weights that come with the package."""
STEP: Final = 10
"""Frames between judgements (0.2 s)."""
STATISTICS: Final = 13 + len(BANDS_HZ) - 1
"""Numbers that sum up a window."""
REFERENCE: Final = 250
"""Voiced frames that are taken for neutral before anything is told (5 s: about 8 s of speech)."""
NEWEST: Final = 128
"""Voiced frames of a window (2.6 s)."""
UNITS: Final = 48
"""Hidden units of the network."""

_FORMAT = "livedub-mood-1"
_RANGE_DB: Final = 30.0
_PEAK_FALL_DB: Final = 0.05  # a frame
_VOICED: Final = 0.5
_KEPT: Final = 400  # frames: 8 s
_LEAST: Final = 48  # voiced frames of the shortest window
_GAP: Final = 12  # frames
_PRIOR_STEPS: Final = 40.0
_LEAST_SHARE: Final = 1.0 / 300.0  # of a judgement in the reference: it follows within a minute
_LEAST_WEIGHT: Final = 0.02  # of what is surely not neutral: nobody is angry for an hour
_FURTHEST: Final = 6.0
_SMOOTHING: Final = 0.35
_HOLD: Final = 6  # judgements
_STAY: Final = 0.6
_PAUSE: Final = 100  # frames: 2 s
_LEAST_CHANGE: Final = 0.15

Floats = NDArray[np.float32]


def statistics(frames: Floats, voiced: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Sums up frames [T, COLUMNS] by those that are `voiced` [T], at least one -> [STATISTICS]."""
    if frames.ndim != 2 or frames.shape[1] != COLUMNS or voiced.shape != frames.shape[:1] or not voiced.any():
        raise ShapeError(f"frames are {frames.shape}, voiced {voiced.shape}; expected [T, {COLUMNS}], [T], one voiced")
    rows = frames[voiced].astype(np.float64)
    pitch, voicing, edge = rows[:, FRAME.pitch], rows[:, FRAME.voicing], rows[:, FRAME.edge]
    bands = rows[:, FRAME.bands :]
    low, middle, high = np.percentile(pitch, [10, 50, 85])
    line = np.where(voiced, frames[:, FRAME.pitch].astype(np.float64), np.nan)
    jump, quick, slow = _jump(line), _bend(line, 2), _bend(line, 4)
    tilt = bands[:, :3].mean(axis=1) - bands[:, 4:7].mean(axis=1)
    colour = bands.mean(axis=0)
    few = [
        pitch.mean(), pitch.std(), low, middle, high, _slope(np.flatnonzero(voiced), pitch), jump, quick, slow,
        voicing.mean(), np.percentile(voicing, 20), edge.mean(), tilt.std(),
    ]  # fmt: skip
    return np.concatenate([few, colour - colour.mean()])


def _slope(at: NDArray[np.int64], pitch: NDArray[np.float64]) -> float:
    """How the pitch [V] at frames `at` [V] rises within phrases, octaves a second; a longer gap ends a phrase."""
    phrase = np.concatenate([[0], np.cumsum(np.diff(at) > _GAP)])
    count = np.bincount(phrase)
    late = at / FRAME_RATE
    late = late - (np.bincount(phrase, late) / count)[phrase]
    over = pitch - (np.bincount(phrase, pitch) / count)[phrase]
    return float(np.dot(late, over) / (np.dot(late, late) + 1.0))


def _jump(line: NDArray[np.float64]) -> float:
    """Log of the mean change of the pitch [T] from frame to frame; NaN where there is none."""
    steps = np.abs(np.diff(line))
    known = steps[np.isfinite(steps)]
    return float(np.log(known.mean() + 1e-3)) if len(known) else 0.0


def _bend(line: NDArray[np.float64], lag: int) -> float:
    """Log of the mean bend of the pitch [T] over two lags: a tremor of 6 Hz turns in 4 frames."""
    bends = np.abs(line[2 * lag :] - 2.0 * line[lag:-lag] + line[: -2 * lag]) if len(line) > 2 * lag else line[:0]
    known = bends[np.isfinite(bends)]
    return float(np.log(known.mean() + 1e-3)) if len(known) else 0.0


@dataclass
class Window:
    """The newest frames of a voice, and which of them are voiced."""

    frames: deque[Floats] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """[COLUMNS] each, the newest last."""
    voiced: deque[bool] = field(default_factory=lambda: deque(maxlen=_KEPT))
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

    def sum_up(self) -> NDArray[np.float64] | None:
        """The statistics [S] of the newest voiced frames; None where there are too few."""
        voiced = np.array(self.voiced, bool)
        places = np.flatnonzero(voiced)
        if len(places) < _LEAST:
            return None
        first = int(places[-NEWEST]) if len(places) > NEWEST else 0
        return statistics(np.stack(list(self.frames)[first:]), voiced[first:])


@dataclass
class Reference:
    """A voice's own neutral speech: mean and spread of its statistics, followed slowly."""

    usual: NDArray[np.float64]
    """[S] variances that a voice has before it is known."""
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(STATISTICS))
    """[S]"""
    variance: NDArray[np.float64] = field(default_factory=lambda: np.zeros(STATISTICS))
    """[S]"""
    steps: float = 0.0
    """Judgements that it has learnt from, by their weights."""

    def learn(self, summed: NDArray[np.float64], weight: float) -> None:
        """Takes the statistics [S] of a window; `weight` 0 ... 1 is how sure it is that the window is neutral."""
        if weight <= 0.0:
            return
        self.steps += weight
        share = weight * max(1.0 / max(1.0, self.steps), _LEAST_SHARE)
        away = summed - self.mean
        self.mean = self.mean + share * away
        self.variance = (1.0 - share) * (self.variance + share * np.square(away))

    def distance(self, summed: NDArray[np.float64]) -> Floats:
        """How far statistics [S] lie from the reference, in spreads: [S]."""
        known = min(self.steps, 1.0 / _LEAST_SHARE)
        variance = (_PRIOR_STEPS * self.usual + known * self.variance) / (_PRIOR_STEPS + known)
        far = (summed - self.mean) / np.sqrt(variance + 1e-8)
        return np.clip(far, -_FURTHEST, _FURTHEST).astype(np.float32)


class Judgement(NamedTuple):
    """What the network makes of a window."""

    chances: Floats
    """[E] of each emotion, adding up to 1."""
    level: float
    """How strong the emotion is, 0 ... 1."""


@dataclass(frozen=True)
class MoodNet:
    """Two layers: distances from the reference to an emotion and its strength."""

    inner: Floats
    """[S, UNITS]"""
    inner_bias: Floats
    """[UNITS]"""
    outer: Floats
    """[UNITS, E + 1]: logits of the emotions, and of the strength"""
    outer_bias: Floats
    """[E + 1]"""
    usual: NDArray[np.float64]
    """[S] variances of a voice that is not known yet"""
    certain: float
    """Chance from which an emotion is shown."""

    def __post_init__(self) -> None:
        """Checks the shapes."""
        shapes = tuple(part.shape for part in (self.inner, self.inner_bias, self.outer, self.outer_bias, self.usual))
        answers = len(EMOTIONS) + 1
        wanted = ((STATISTICS, UNITS), (UNITS,), (UNITS, answers), (answers,), (STATISTICS,))
        if shapes != wanted:
            raise ShapeError(f"mood network has shapes {shapes}, expected {wanted}")

    def judge(self, far: Floats) -> Judgement:
        """far: [S] distances from the reference."""
        answer = np.tanh(far @ self.inner + self.inner_bias) @ self.outer + self.outer_bias
        logits = answer[:-1] - answer[:-1].max()
        chances = np.exp(logits) / np.exp(logits).sum()
        return Judgement(chances.astype(np.float32), float(1.0 / (1.0 + np.exp(-answer[-1]))))

    def save(self, path: Path, notes: dict[str, str]) -> None:
        """Writes a safetensors file; `notes` join its header."""
        tensors = {name: np.ascontiguousarray(getattr(self, name), np.float32) for name in _TENSORS}
        partial = path.with_suffix(".part")
        save_file(tensors, partial, {**notes, "format": _FORMAT, "certain": f"{self.certain:.4f}"})
        partial.replace(path)


_TENSORS: Final = ("inner", "inner_bias", "outer", "outer_bias", "usual")


def read_mood_net(path: Path = SHIPPED) -> MoodNet:
    """The network of a file that `livedub train mood` wrote; the shipped one by default."""
    if not path.is_file():
        raise WeightsError(f"{path} is not there, expected the mood weights; reinstall, or name another file")
    try:
        with safe_open(path, framework="np") as archive:
            header = archive.metadata() or {}
            parts = {name: archive.get_tensor(name) for name in _TENSORS}
        if header.get("format") != _FORMAT:
            raise WeightsFormatError(f"{path} has format {header.get('format')!r}, expected {_FORMAT!r}")
        parts["usual"] = parts["usual"].astype(np.float64)
        return MoodNet(**parts, certain=float(header["certain"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise WeightsFormatError(f"{path} does not hold a mood network: {error}; train it again") from error


class Mood(NamedTuple):
    """What is told of a voice."""

    emotion: str
    """One of `EMOTIONS`."""
    level: float
    """Its strength, 0 ... 1; 0 when neutral."""


NEUTRAL: Final = Mood("neutral", 0.0)


@dataclass
class Decision:
    """Which emotion is shown: one that is likely enough, and not another one every moment."""

    certain: float
    """Chance from which an emotion is shown; it stays while its chance is above `_STAY` of that."""
    mood: Mood = NEUTRAL
    """What is shown."""
    chances: Floats = field(default_factory=lambda: _none_likely())
    """[E] smoothed."""
    level: float = 0.0
    """Smoothed strength."""
    held: int = 0
    """Judgements until it may change."""

    def rest(self) -> None:
        """Begins anew, neutral."""
        self.mood, self.chances, self.held = NEUTRAL, _none_likely(), 0

    def follow(self, judged: Judgement) -> Mood:
        """Takes the next judgement; what is shown from then on."""
        self.chances = self.chances + np.float32(_SMOOTHING) * (judged.chances - self.chances)
        self.level += _SMOOTHING * (judged.level - self.level)
        self.held = max(0, self.held - 1)
        shown, strength = EMOTIONS.index(self.mood.emotion), round(self.level, 3)
        best = 1 + int(self.chances[1:].argmax())
        if self.held == 0 and best != shown and self.chances[best] >= self.certain:
            self.mood, self.held = Mood(EMOTIONS[best], strength), _HOLD
        elif self.held == 0 and shown and self.chances[shown] < _STAY * self.certain:
            self.mood, self.held = NEUTRAL, _HOLD
        elif shown and abs(strength - self.mood.level) >= _LEAST_CHANGE:
            self.mood = Mood(self.mood.emotion, strength)
        return self.mood


def _none_likely() -> Floats:
    chances = np.zeros(len(EMOTIONS), np.float32)
    chances[0] = 1.0
    return chances


class MoodTeller:
    """Tells the mood of one voice, frame by frame."""

    def __init__(self, network: MoodNet) -> None:
        """Knows nothing of the voice yet."""
        self._network = network
        self._decision = Decision(network.certain)
        self._intonation = IntonationState()
        self._window = Window()
        self._reference = Reference(network.usual)
        self._voiced = 0
        self._silent = 0
        self._frames = 0

    @property
    def knows_the_voice(self) -> bool:
        """Whether enough was heard to tell anything."""
        return self._voiced >= REFERENCE

    def push(self, samples: NDArray[np.float32]) -> list[Mood]:
        """samples: [N] float32, 16 kHz, cleaned -> the mood of all frames that they complete, in order."""
        return [self.take(frame) for frame in listen(samples, self._intonation)]

    def take(self, frame: Floats) -> Mood:
        """The mood after one more frame [COLUMNS]."""
        voiced = self._window.add(frame)
        self._voiced = min(REFERENCE, self._voiced + voiced)
        self._silent = 0 if voiced else min(_PAUSE, self._silent + 1)
        self._frames = (self._frames + 1) % STEP
        if self._silent >= _PAUSE:
            self._decision.rest()
        elif self._frames == 0 and self._silent < STEP:
            self._judge()
        return self._decision.mood

    def _judge(self) -> None:
        """Follows what the network makes of the newest window."""
        summed = self._window.sum_up()
        if summed is None:
            return
        weight = 1.0
        if self.knows_the_voice:
            self._decision.follow(self._network.judge(self._reference.distance(summed)))
            weight = float(self._decision.chances[0]) ** 2
        self._reference.learn(summed, max(weight, _LEAST_WEIGHT))
