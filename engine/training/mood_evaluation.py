"""How well moods are told: sentence by sentence, and in streams as the product hears them.

A sentence is heard whole, by a teller that has heard neutral speech of the same speaker before, as a stream has; what
the network holds most likely at its end is the answer, neutral where too little is voiced. Accuracies are means over
the eight emotions of the share that is named right, at one level of intensity; neutral, which has no level, counts at
each. So chance is one in eight. Everything is measured on emotions that rules put into voices.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.speech.emotions import EMOTIONS
from engine.speech.mood import MoodNet, MoodTeller
from engine.training.moods import Stream, chain, drawn, make_stream, silence
from engine.training.performances import Speaker
from engine.training.prosody import LEVELS

REFERENCE_S: Final = 16.0
"""Neutral speech that a teller has heard before a sentence, seconds."""
CHANCE: Final = 1.0 / len(EMOTIONS)
"""Accuracy of guessing."""

_DRAWS: Final = 1000
_LATE: Final = 150  # frames
_PAUSE_S: Final = 2.2

Counts = NDArray[np.int64]


class Named(NamedTuple):
    """One sentence, and what it was taken for."""

    voice: str
    """The voice of the corpus."""
    sound: str
    """"clean" or "noisy", the voice as it is; "changed", a speaker made of it."""
    sentence: int
    """Number of the sentence within the voice."""
    emotion: int
    """Spoken: place in `EMOTIONS`."""
    level: int
    """1 ... 3; 0 when neutral."""
    answer: int
    """Told: place in `EMOTIONS`."""


def name_sentences(net: MoodNet, speaker: Speaker, rng: np.random.Generator) -> list[Named]:
    """Every unseen sentence of a speaker, named by a teller that has heard `REFERENCE_S` of neutral speech."""
    if not speaker.unseen:
        return []
    teller = MoodTeller(net)
    while not teller.knows_the_voice:
        for frame in chain(drawn(speaker.calm, REFERENCE_S, rng, False), rng).frames:
            teller.take(frame)
    for frame in silence(_PAUSE_S):
        teller.take(frame)
    sound = ("clean" if speaker.snr_db > 40.0 else "noisy") if speaker.own else "changed"
    rows = []
    for spoken in speaker.unseen:
        listener = copy.deepcopy(teller, {id(net): net})
        for frame in spoken.frames:
            listener.take(frame)
        opinion = listener.opinion()
        answer = 0 if opinion is None else int(opinion.chances.argmax())
        rows.append(Named(speaker.voice, sound, spoken.sentence, spoken.emotion, spoken.level, answer))
    return rows


def confusions(rows: Sequence[Named]) -> Counts:
    """[LEVELS, E, E] sentences: spoken x told; neutral ones stand in every level."""
    counts = np.zeros((len(LEVELS), len(EMOTIONS), len(EMOTIONS)), int)
    for row in rows:
        for place, level in enumerate(LEVELS):
            if row.level in (0, level):
                counts[place, row.emotion, row.answer] += 1
    return counts


def accuracies(counts: Counts) -> NDArray[np.float64]:
    """[..., LEVELS, E, E] -> [..., LEVELS]: mean over the emotions of the share that is named right."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    return np.asarray(np.mean(right / np.maximum(1, counts.sum(axis=-1)), axis=-1))


@dataclass(frozen=True)
class SentenceFigures:
    """How well whole sentences are named."""

    voices: int
    """Voices of the corpus."""
    clips: int
    """Sentences, each in every emotion and level that it is spoken in."""
    accuracy: dict[str, float]
    """At each level, and "all": the mean of the levels."""
    interval: dict[str, tuple[float, float]]
    """95 % of each, by drawing voices, and sentences within them, anew."""
    by_sound: dict[str, dict[str, float]]
    """Accuracies of the voices as they are, of the same under noise, and of speakers made of them."""
    by_voice: dict[str, dict[str, float]]
    """Accuracies of each voice."""
    confusion: dict[str, list[list[int]]]
    """[E, E] sentences for each level: spoken x told, in the order of `EMOTIONS`."""
    chance: float = CHANCE
    """Accuracy of guessing."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON report."""
        return asdict(self)


def sentence_figures(rows: Sequence[Named], seed: int = 3) -> SentenceFigures:
    """Figures of sentences that were named."""
    counts = confusions(rows)
    low, high = np.percentile(_redrawn(rows, np.random.default_rng(seed)), [2.5, 97.5], axis=0)
    names = [*(f"level_{level}" for level in LEVELS), "all"]
    return SentenceFigures(
        len({row.voice for row in rows}),
        len(rows),
        _as_names(counts),
        {name: (round(float(a), 3), round(float(b), 3)) for name, a, b in zip(names, low, high, strict=True)},
        _grouped(rows, lambda row: row.sound),
        _grouped(rows, lambda row: row.voice),
        {name: table.tolist() for name, table in zip(names, counts, strict=False)},
    )


def _as_names(counts: Counts) -> dict[str, float]:
    """Accuracies of each level and of all."""
    values = accuracies(counts)
    figures = {f"level_{level}": round(float(value), 3) for level, value in zip(LEVELS, values, strict=True)}
    return {**figures, "all": round(float(values.mean()), 3)}


def _grouped(rows: Sequence[Named], group: Callable[[Named], str]) -> dict[str, dict[str, float]]:
    names = sorted({group(row) for row in rows})
    return {name: _as_names(confusions([row for row in rows if group(row) == name])) for name in names}


def _redrawn(rows: Sequence[Named], rng: np.random.Generator) -> NDArray[np.float64]:
    """[DRAWS, LEVELS + 1] accuracies of voices and of their sentences drawn anew, with repetition."""
    parts: dict[str, dict[tuple[str, int], list[Named]]] = {}
    for row in rows:
        parts.setdefault(row.voice, {}).setdefault((row.sound, row.sentence), []).append(row)
    voices = [np.stack([confusions(sentence) for sentence in voice.values()]) for voice in parts.values()]
    drawn_rows = np.empty((_DRAWS, len(LEVELS) + 1))
    for index in range(_DRAWS):
        chosen = [voices[place] for place in rng.integers(len(voices), size=len(voices)).tolist()]
        counts = np.sum([each[rng.integers(len(each), size=len(each))].sum(axis=0) for each in chosen], axis=0)
        values = accuracies(counts)
        drawn_rows[index] = [*values, values.mean()]
    return drawn_rows


@dataclass(frozen=True)
class MoodFigures:
    """How well moods are shown in streams of voices that were never trained on."""

    streams: int
    """Streams that were heard."""
    named: dict[str, float | None]
    """Share of emotional speech that is shown in its emotion, for each level, from three seconds after it begins.

    None, here and below: there was none to measure."""
    shown: dict[str, float | None]
    """The same for any emotion."""
    false: dict[str, float | None]
    """Share of the time that speech which is neutral throughout is shown in an emotion, for each voice."""
    confusion: list[list[int]]
    """[E, E] frames: spoken x shown, in the order of `EMOTIONS`, all levels; neutral: in neutral streams."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON report."""
        return asdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """As rows of a table: each emotion, and what it was shown as."""
        return [
            {"spoken": name, **{shown: _share(count, sum(row)) for shown, count in zip(EMOTIONS, row, strict=True)}}
            for name, row in zip(EMOTIONS, self.confusion, strict=True)
        ]


def _share(count: float, total: float) -> float | None:
    """To three digits; None of nothing."""
    return round(float(count / total), 3) if total else None


def evaluate_mood(net: MoodNet, speakers: Sequence[Speaker], streams: int, seed: int = 7) -> MoodFigures:
    """Follows streams of each speaker as the product does: `streams` that change and as many that stay neutral."""
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), int)
    by_level = {level: np.zeros(3) for level in LEVELS}
    false: dict[str, Counts] = {}
    for index, speaker in enumerate(speakers):
        rng = np.random.default_rng([seed, index])
        quiet = false.setdefault(speaker.voice, np.zeros(len(EMOTIONS), int))
        for number in range(2 * streams):
            changing = number < streams
            stream = make_stream(speaker, rng, changing, vary=False, unseen=bool(speaker.unseen))
            for shown, emotion, level in _settled(net, stream):
                if changing and emotion:
                    confusion[emotion, shown] += 1
                    by_level[level] += (1, shown == emotion, shown > 0)
                elif not changing:
                    quiet[shown] += 1
    confusion[0] = np.sum(list(false.values()), axis=0) if false else 0
    named, any_shown = (
        {f"level_{level}": _share(row[place], row[0]) for level, row in by_level.items()} for place in (1, 2)
    )
    wrong = {voice: _share(quiet[1:].sum(), quiet.sum()) for voice, quiet in false.items()}
    return MoodFigures(2 * streams * len(speakers), named, any_shown, wrong, confusion.tolist())


def _settled(net: MoodNet, stream: Stream) -> Iterator[tuple[int, int, int]]:
    """(shown, spoken, level) of the frames from three seconds after each change, once the voice is known."""
    teller, since, last = MoodTeller(net), 0, 0
    for frame, emotion, level in zip(stream.frames, stream.emotion.tolist(), stream.level.tolist(), strict=True):
        shown = EMOTIONS.index(teller.take(frame).emotion)
        since, last = (since + 1 if emotion == last else 0), emotion
        if since > _LATE and teller.knows_the_voice:
            yield shown, emotion, level
