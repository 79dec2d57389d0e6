"""Which emotion a voice is heard in, told from how it differs from the same voice's own neutral speech.

What is heard first is taken for neutral: the reference. Every 0.2 s the utterance so far is summed up, by `STATISTICS`
numbers and by means over a small network's answers to every frame; a second network reads how far both lie from the
reference. An emotion is shown when it is likely enough for long enough. Everything runs on the sample clock, and the
state is bounded. Letters: T frames of 20 ms, S statistics, M networks whose answers are averaged, P their means over
frames, E emotions.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from engine.errors import ShapeError, WeightsError, WeightsFormatError
from engine.speech.emotions import EMOTIONS
from engine.speech.intonation import COLUMNS, IntonationState, listen
from engine.speech.utterance import FEATURES, STATISTICS, Flags, Floats, Window, features, statistics

SHIPPED: Final = Path(__file__).with_name("mood.safetensors")
"""The weights that come with the package."""
STEP: Final = 10
"""Frames between judgements (0.2 s)."""
REFERENCE: Final = 250
"""Voiced frames that are taken for neutral before anything is told (5 s: about 8 s of speech)."""
FRAME_UNITS: Final = (48, 32)
"""Units of the two layers that answer every frame."""
POOLED: Final = 2 * FRAME_UNITS[1]
"""P: means of the second over an utterance and over its last half second of voice."""
UNITS: Final = 64
"""Hidden units of the network that judges."""
LATEST: Final = 25
"""Voiced frames of the last half second."""
READ: Final = 256
"""Frames of a window that are answered, the newest."""

FAR_SCALE: Final = 0.5
"""Factor on distances before the network reads them."""
APART_SCALE: Final = 3.0
"""The same for differences of means."""

_FORMAT = "livedub-mood-2"
_PRIOR_STEPS: Final = 40.0
_LEAST_SHARE: Final = 1.0 / 300.0  # of a judgement in the reference: it follows within a minute
_LEAST_WEIGHT: Final = 0.02  # of what is surely not neutral: nobody is angry for an hour
_FURTHEST: Final = 6.0
_SMOOTHING: Final = 0.35
_HOLD: Final = 6  # judgements
_STAY: Final = 0.6
_PAUSE: Final = 100  # frames: 2 s
_LEAST_CHANGE: Final = 0.15
_PIECES: Final = 6
_PIECE: Final = 200  # frames


def length_input(voiced: int) -> float:
    """What the network reads of how much voice it has heard: 0 for 1.8 s."""
    return float(np.log(max(1, voiced)) - 4.5)


@dataclass
class Reference:
    """A voice's own neutral speech: mean and spread of its statistics, and its usual frame, followed slowly."""

    prior: NDArray[np.float64]
    """[S] variances that a voice has before it is known."""
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(STATISTICS))
    """[S]"""
    variance: NDArray[np.float64] = field(default_factory=lambda: np.zeros(STATISTICS))
    """[S]"""
    frame: NDArray[np.float64] = field(default_factory=lambda: np.zeros(COLUMNS))
    """[COLUMNS] mean of voiced frames."""
    pooled: Floats | None = None
    """[M, P] means over neutral frames; None until the voice is known."""
    steps: float = 0.0
    """Judgements that it has learnt from, by their weights."""

    def learn(self, summed: NDArray[np.float64], weight: float, pooled: Floats | None = None) -> None:
        """Takes statistics [S] and means [M, P] of a window; `weight` 0 ... 1 is how sure it is that it is neutral."""
        if weight <= 0.0:
            return
        self.steps += weight
        share = weight * max(1.0 / max(1.0, self.steps), _LEAST_SHARE)
        away = summed - self.mean
        self.mean = self.mean + share * away
        self.variance = (1.0 - share) * (self.variance + share * np.square(away))
        if pooled is not None and self.pooled is not None:
            self.pooled = self.pooled + np.float32(share) * (pooled - self.pooled)

    def distance(self, summed: NDArray[np.float64]) -> Floats:
        """How far statistics [S] lie from the reference, in spreads: [S]."""
        known = min(self.steps, 1.0 / _LEAST_SHARE)
        variance = (_PRIOR_STEPS * self.prior + known * self.variance) / (_PRIOR_STEPS + known)
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
    """M pairs of networks: one answers every frame, the other reads what the answers and statistics differ by."""

    first: Floats
    """[M, D, FRAME_UNITS[0]]"""
    first_bias: Floats
    """[M, FRAME_UNITS[0]]"""
    second: Floats
    """[M, FRAME_UNITS[0], FRAME_UNITS[1]]"""
    second_bias: Floats
    """[M, FRAME_UNITS[1]]"""
    inner: Floats
    """[M, S + P + 1, UNITS]: distances, differences of means, and how much was heard"""
    inner_bias: Floats
    """[M, UNITS]"""
    outer: Floats
    """[M, UNITS, E + 1]: logits of the emotions, and of the strength"""
    outer_bias: Floats
    """[M, E + 1]"""
    usual: NDArray[np.float64]
    """[S] variances of a voice that is not known yet"""
    certain: float
    """Chance from which an emotion is shown."""

    def __post_init__(self) -> None:
        """Checks the shapes."""
        shapes = tuple(getattr(self, name).shape for name in _TENSORS)
        members, answers = len(self.first), len(EMOTIONS) + 1
        wanted = tuple((members, *shape) for shape in _shapes(answers)) + ((STATISTICS,),)
        if shapes != wanted or not members:
            raise ShapeError(f"mood network has shapes {shapes}, expected {wanted}")

    def pool(self, frames: Floats, voiced: Flags, frame: NDArray[np.float64]) -> Floats:
        """Means over the voiced ones of the newest `READ` frames -> [M, P].

        frames: [T, COLUMNS], voiced: [T], at least one, frame: [COLUMNS] usual frame of the voice.
        """
        frames, voiced = frames[-READ:], voiced[-READ:]
        rows = features(frames, voiced, frame)[voiced]
        hidden = np.maximum(rows @ self.first + self.first_bias[:, None], 0.0)
        answers = np.tanh(hidden @ self.second + self.second_bias[:, None])
        return np.concatenate([answers.mean(axis=1), answers[:, -LATEST:].mean(axis=1)], axis=1)

    def judge(self, far: Floats, apart: Floats, voiced: int) -> Judgement:
        """far: [S] distances from the reference, apart: [M, P] differences of means, voiced: frames heard."""
        count = len(self.first)
        heard = np.full((count, 1), length_input(voiced), np.float32)
        inputs = np.concatenate([np.tile(FAR_SCALE * far, (count, 1)), APART_SCALE * apart, heard], axis=1)
        hidden = np.tanh((inputs[:, None] @ self.inner)[:, 0] + self.inner_bias)
        answer = (hidden[:, None] @ self.outer)[:, 0] + self.outer_bias
        logits = answer[:, :-1] - answer[:, :-1].max(axis=1, keepdims=True)
        chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return Judgement(chances.mean(axis=0).astype(np.float32), float((1.0 / (1.0 + np.exp(-answer[:, -1]))).mean()))

    def save(self, path: Path, notes: dict[str, str]) -> None:
        """Writes a safetensors file, in half precision; `notes` join its header."""
        tensors = {name: np.ascontiguousarray(getattr(self, name), np.float16) for name in _TENSORS}
        tensors["usual"] = np.ascontiguousarray(self.usual, np.float32)
        partial = path.with_suffix(".part")
        save_file(tensors, partial, {**notes, "format": _FORMAT, "certain": f"{self.certain:.4f}"})
        partial.replace(path)


_TENSORS: Final = (
    "first", "first_bias", "second", "second_bias", "inner", "inner_bias", "outer", "outer_bias", "usual"
)  # fmt: skip


def _shapes(answers: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of one member's parts, in the order of `_TENSORS`."""
    first, second = FRAME_UNITS
    return (
        (FEATURES, first), (first,), (first, second), (second,), (STATISTICS + POOLED + 1, UNITS), (UNITS,),
        (UNITS, answers), (answers,),
    )  # fmt: skip


def read_mood_net(path: Path = SHIPPED) -> MoodNet:
    """The network of a file that `livedub train mood` wrote; the shipped one by default."""
    if not path.is_file():
        raise WeightsError(f"{path} is not there, expected the mood weights; reinstall, or name another file")
    try:
        with safe_open(path, framework="np") as archive:
            header = archive.metadata() or {}
            parts = {name: archive.get_tensor(name).astype(np.float32) for name in _TENSORS}
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
        self.judged: Judgement | None = None
        """The newest judgement; None before the voice is known."""

    @property
    def knows_the_voice(self) -> bool:
        """Whether enough was heard to tell anything."""
        return self._reference.pooled is not None

    def push(self, samples: NDArray[np.float32]) -> list[Mood]:
        """samples: [N] float32, 16 kHz, cleaned -> the mood of all frames that they complete, in order."""
        return [self.take(frame) for frame in listen(samples, self._intonation)]

    def take(self, frame: Floats) -> Mood:
        """The mood after one more frame [COLUMNS]."""
        voiced = self._window.add(frame)
        if voiced and not self.knows_the_voice:
            self._voiced += 1
            self._reference.frame += (frame - self._reference.frame) / self._voiced
        self._silent = 0 if voiced else min(_PAUSE, self._silent + 1)
        self._frames = (self._frames + 1) % STEP
        if self._silent >= _PAUSE:
            self._decision.rest()
            if self.knows_the_voice:
                self._window.clear()
        elif self._frames == 0 and self._silent < STEP:
            self._follow()
        return self._decision.mood

    def opinion(self) -> Judgement | None:
        """What the network makes of the utterance so far; None where too little was heard, or of the voice."""
        newest = self._window.newest()
        if newest is None or self._reference.pooled is None:
            return None
        return self._judged(statistics(*newest), self._pooled(*newest), newest[1])

    def _pooled(self, frames: Floats, voiced: Flags) -> Floats:
        return self._network.pool(frames, voiced, self._reference.frame)

    def _judged(self, summed: NDArray[np.float64], pooled: Floats, voiced: Flags) -> Judgement:
        """What the network makes of a window's statistics [S] and means [M, P]."""
        usual = pooled if self._reference.pooled is None else self._reference.pooled
        return self._network.judge(self._reference.distance(summed), pooled - usual, int(voiced.sum()))

    def _follow(self) -> None:
        """Follows what the network makes of the utterance so far, and learns what is neutral."""
        newest = self._window.newest()
        if newest is None:
            return
        summed, frames, voiced = statistics(*newest), *newest
        if not self.knows_the_voice:
            self._reference.learn(summed, 1.0)
            if self._voiced >= REFERENCE:
                self._reference.pooled = self._first_means()
            return
        pooled = self._pooled(frames, voiced)
        self.judged = self._judged(summed, pooled, voiced)
        self._decision.follow(self.judged)
        weight = max(float(self._decision.chances[0]) ** 2, _LEAST_WEIGHT)
        self._reference.learn(summed, weight, pooled)
        share = weight * max(1.0 / self._reference.steps, _LEAST_SHARE)
        self._reference.frame += share * (frames[voiced].mean(axis=0) - self._reference.frame)

    def _first_means(self) -> Floats:
        """Means [M, P] of what was heard until the voice was known, over pieces of four seconds."""
        frames, voiced = np.stack(list(self._window.frames)), np.array(self._window.voiced, bool)
        ends = np.linspace(min(_PIECE, len(frames)), len(frames), _PIECES).round().astype(int)
        pieces = [slice(max(0, end - _PIECE), end) for end in ends.tolist()]
        means = [self._pooled(frames[each], voiced[each]) for each in pieces if voiced[each].any()]
        return np.asarray(np.mean(means, axis=0), np.float32)
