"""Acted speech for the mood network: emotional prosody with the cues that pairs of frames cannot carry, and variation.

`prosody.py` changes pitch, colour and breath alone, the same way for every speaker and sentence. Actors also change
tempo, loudness and its dynamics, the end of the contour, the regularity of the voice and its creak, and no two of them
do it alike. Directions after Banse and Scherer (1996), Juslin and Laukka (2003, table 11) and Scherer (2003): anger,
joy and fear are fast, sadness, disgust and contempt slow; anger and joy are loud, sadness is soft; fear trembles and is
irregular; contempt and disgust are laryngealised and fall; surprise ends high; a smile raises the formants (Tartter
1980). Sizes are ours, of the order that acted corpora show; emotions are rules here, not people.

Variation has three parts, none of it told to whoever listens: a speaker's own share of every cue, a sentence's share,
and what any sentence does by chance, neutral ones as well. Letters: T frames of 5 ms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError
from engine.speech.emotions import EMOTIONS
from engine.training.audio import SAMPLE_RATE
from engine.training.dsp import smooth
from engine.training.prosody import PERIOD_MS, PROSODY, Analysis, Prosody, warped, world

OWN_SPREAD: Final = 0.25
"""Standard deviation, over speakers, of the share to which a speaker uses a cue."""
SENTENCE_SPREAD: Final = 0.2
"""The same over the sentences of a speaker."""
WHOLE_SPREAD: Final = 0.12
"""The same for all cues of a sentence together."""


@dataclass(frozen=True)
class Manner:
    """How a sentence is spoken, against how it lies in the corpus. Every number adds; 0 changes nothing."""

    pitch_st: float = 0.0
    """Shift of the pitch, semitones."""
    range_log: float = 0.0
    """Logarithm of the factor on the pitch's distance from its mean."""
    slope_st: float = 0.0
    """Rise of the pitch over the sentence, semitones."""
    final_st: float = 0.0
    """Rise of the pitch over the last `_FINAL_S` of voice, semitones."""
    tilt_db: float = 0.0
    """Gain at 4 kHz against 500 Hz."""
    breath: float = 0.0
    """Share by which voiced sound turns to noise."""
    tremor_st: float = 0.0
    """Depth of a tremor of 4.5 to 8 Hz, semitones."""
    formants_log: float = 0.0
    """Logarithm of the factor on the formants."""
    level_db: float = 0.0
    """Gain."""
    dynamics_log: float = 0.0
    """Logarithm of the factor on the level's distance from its mean, within voice."""
    tempo_log: float = 0.0
    """Logarithm of the factor on the tempo; vowels take more of it than consonants."""
    jitter_st: float = 0.0
    """Standard deviation of the pitch from one 10 ms to the next, semitones."""
    creak: float = 0.0
    """Share of the ends of phrases that creaks: pitch an octave down and irregular."""

    def plus(self, other: "Manner", share: float = 1.0) -> "Manner":
        """Both, `other` to a share."""
        return Manner(*(getattr(self, item.name) + share * getattr(other, item.name) for item in fields(Manner)))

    def times(self, shares: "Manner") -> "Manner":
        """Each number by its share."""
        return Manner(*(getattr(self, item.name) * getattr(shares, item.name) for item in fields(Manner)))


def _acted(prosody: Prosody, **more: float) -> Manner:
    """The cues of `prosody.py`, and those that it leaves out."""
    known = Manner(
        prosody.pitch_st,
        float(np.log(prosody.range_factor)),
        prosody.slope_st,
        0.0,
        prosody.tilt_db,
        prosody.breath,
        prosody.tremor_st,
        float(np.log(prosody.formants)),
    )
    return replace(known, **more)


ACTED: Final[Mapping[str, Manner]] = MappingProxyType(
    {
        "neutral": Manner(),
        "angry": _acted(
            PROSODY["angry"], level_db=6.0, dynamics_log=0.25, tempo_log=0.08, final_st=-1.5, jitter_st=0.15
        ),
        "contempt": _acted(
            PROSODY["contempt"], level_db=-1.5, dynamics_log=-0.1, tempo_log=-0.08, final_st=-1.5, creak=0.45
        ),
        "disgusted": _acted(PROSODY["disgusted"], level_db=-1.0, tempo_log=-0.15, final_st=-1.0, creak=0.35),
        "fear": _acted(PROSODY["fear"], level_db=-0.5, dynamics_log=0.1, tempo_log=0.14, jitter_st=0.3),
        "happy": _acted(PROSODY["happy"], level_db=3.5, dynamics_log=0.2, tempo_log=0.08, final_st=1.5),
        "sad": _acted(
            PROSODY["sad"], level_db=-5.0, dynamics_log=-0.2, tempo_log=-0.17, final_st=-1.0, jitter_st=0.1, creak=0.1
        ),
        "surprised": _acted(
            PROSODY["surprised"], slope_st=2.0, level_db=2.5, dynamics_log=0.12, tempo_log=0.03, final_st=5.0
        ),
    }
)
"""Emotion -> manner at full intensity."""

CHANCE: Final = Manner(
    pitch_st=0.6,
    range_log=0.08,
    slope_st=0.8,
    final_st=0.8,
    tilt_db=1.0,
    breath=0.02,
    tremor_st=0.03,
    formants_log=0.006,
    level_db=1.2,
    dynamics_log=0.05,
    tempo_log=0.05,
    jitter_st=0.03,
    creak=0.08,
)
"""Standard deviations, over sentences, of what any sentence does by chance."""
_POSITIVE: Final = ("breath", "tremor_st", "jitter_st", "creak")

_FINAL_S: Final = 0.4
_CREAK_S: Final = 0.35
_PHRASE_GAP: Final = 30  # frames: 150 ms
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 700.0
_VOWELS, _CONSONANTS = 1.15, 0.7


@dataclass(frozen=True)
class Person:
    """A speaker: how a voice is changed to become another one, and the share to which each cue is used."""

    tract_log: float
    """Logarithm of the factor on the formants: a shorter tract."""
    pitch_st: float
    """Shift of the pitch, semitones."""
    range_log: float
    """Logarithm of the factor on the pitch's range."""
    tilt_db: float
    """Gain at 4 kHz against 500 Hz."""
    breath: float
    """Share by which voiced sound turns to noise."""
    tempo_log: float
    """Logarithm of the factor on the tempo."""
    shares: Mapping[str, Manner]
    """Emotion -> share of every cue."""

    @property
    def own(self) -> Manner:
        """The voice's own manner, in every emotion."""
        return Manner(
            pitch_st=self.pitch_st, range_log=self.range_log, tilt_db=self.tilt_db, breath=self.breath,
            formants_log=self.tract_log, tempo_log=self.tempo_log,
        )  # fmt: skip


def draw_person(rng: np.random.Generator, another: bool) -> Person:
    """A speaker with the voice of the corpus, or with `another` one, of another size."""
    shares = {emotion: _shares(OWN_SPREAD, rng) for emotion in EMOTIONS}
    if not another:
        return Person(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, shares)
    tract = rng.uniform(-0.13, 0.13)
    pitch = 25.0 * tract + rng.uniform(-2.5, 2.5)
    breath = max(0.0, rng.normal(0.0, 0.08))
    return Person(tract, pitch, rng.normal(0.0, 0.2), rng.normal(0.0, 2.5), breath, rng.normal(0.0, 0.1), shares)


def _shares(spread: float, rng: np.random.Generator) -> Manner:
    return Manner(*np.clip(rng.normal(1.0, spread, len(fields(Manner))), 0.2, 1.8).tolist())


def draw_manner(person: Person, emotion: str, intensity: float, rng: np.random.Generator) -> Manner:
    """How a person says a sentence in an emotion this time."""
    if emotion not in EMOTIONS:
        raise BadInputError(f"emotion is {emotion!r}, expected one of {', '.join(EMOTIONS)}")
    chance = CHANCE.times(Manner(*rng.standard_normal(len(fields(Manner))).tolist()))
    meant = ACTED[emotion].times(person.shares[emotion]).times(_shares(SENTENCE_SPREAD, rng))
    share = intensity * float(np.clip(rng.normal(1.0, WHOLE_SPREAD), 0.5, 1.5))
    sum_of_all = person.own.plus(chance).plus(meant, share)
    return replace(sum_of_all, **{name: max(0.0, getattr(sum_of_all, name)) for name in _POSITIVE})


def perform(analysis: Analysis, manner: Manner, rng: np.random.Generator) -> NDArray[np.float32]:
    """Speaks a sentence in a manner: [N] float32, as long as its tempo makes it, at its own level (may pass 1)."""
    timed = _retimed(analysis, manner.tempo_log)
    pitch, creaks = _contour(timed, manner, rng)
    envelope = _loudness(timed, manner) * warped(timed.envelope, float(np.exp(manner.formants_log)), manner.tilt_db)
    breath = np.clip(manner.breath + 0.25 * creaks, 0.0, 0.9)[:, None]
    noise = timed.aperiodicity + (1.0 - timed.aperiodicity) * breath
    out = world().synthesize(*map(np.ascontiguousarray, (pitch, envelope, noise)), SAMPLE_RATE, frame_period=PERIOD_MS)
    if not np.isfinite(out).all():
        raise BackendError("WORLD gave samples that are not finite; leave the sentence out")
    return np.asarray(out, np.float32)


def _retimed(analysis: Analysis, tempo_log: float) -> Analysis:
    """The sentence faster or slower: frames are left out or said again."""
    share = np.where(analysis.pitch > 0, _VOWELS, _CONSONANTS)
    ends = np.cumsum(np.exp(-tempo_log * share))
    count = max(1, round(float(ends[-1])))
    rows = np.minimum(np.searchsorted(ends, np.arange(count) + 0.5), len(ends) - 1)
    samples = round(count * PERIOD_MS / 1000.0 * SAMPLE_RATE)
    return Analysis(analysis.pitch[rows], analysis.envelope[rows], analysis.aperiodicity[rows], samples)


def _before_phrase_end(voiced: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[T] frames of voice until the phrase ends, from 0; infinite where there is no voice."""
    left = np.full(len(voiced), np.inf)
    count, gap = 0, _PHRASE_GAP
    for index in range(len(voiced) - 1, -1, -1):
        if not voiced[index]:
            gap += 1
            continue
        count = 0 if gap >= _PHRASE_GAP else count + 1
        left[index], gap = count, 0
    return left


def _contour(
    analysis: Analysis, manner: Manner, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The pitch [T] in Hz, 0 where unvoiced, and how much each frame creaks [T], 0 or 1."""
    voiced = analysis.pitch > 0
    creaks = np.zeros(len(voiced))
    if not voiced.any():
        return analysis.pitch, creaks
    semitones = 12.0 * np.log2(np.where(voiced, analysis.pitch, 1.0))
    middle = float(semitones[voiced].mean())
    moved = middle + manner.pitch_st + np.exp(manner.range_log) * (semitones - middle)
    moved += manner.slope_st * np.linspace(-0.5, 0.5, len(moved))
    frames = 1000.0 / PERIOD_MS
    to_end = (np.cumsum(voiced[::-1])[::-1] - voiced) / frames
    moved += manner.final_st * np.clip(1.0 - to_end / _FINAL_S, 0.0, 1.0)
    times = np.arange(len(moved)) / frames
    wander = np.cumsum(rng.normal(0.0, 0.12, len(moved)))
    moved += manner.tremor_st * np.sin(2.0 * np.pi * (rng.uniform(4.5, 8.0) * times) + wander)
    moved += manner.jitter_st * np.repeat(rng.standard_normal(len(moved) // 2 + 1), 2)[: len(moved)]
    creaks = _creaking(voiced, manner.creak, rng)
    moved += creaks * (-9.0 + 2.0 * np.repeat(rng.standard_normal(len(moved) // 3 + 1), 3)[: len(moved)])
    return np.where(voiced, np.clip(2.0 ** (moved / 12.0), _LOWEST_HZ, _HIGHEST_HZ), 0.0), creaks


def _creaking(voiced: NDArray[np.bool_], creak: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Which frames [T] creak, 0 or 1: the last of each phrase, by chance and for a while."""
    left = _before_phrase_end(voiced)
    creaks = np.zeros(len(voiced))
    for index in np.flatnonzero(left == 0).tolist():
        if rng.random() < 1.6 * creak:
            length = int(rng.uniform(0.4, 1.0) * _CREAK_S * 1000.0 / PERIOD_MS)
            begin = max(0, index - length)
            creaks[begin : index + 1] = voiced[begin : index + 1]
    return creaks


def _loudness(analysis: Analysis, manner: Manner) -> NDArray[np.float64]:
    """Factor on the power of every frame [T, 1]: gain, and more or less of the level's own changes."""
    level = 10.0 * np.log10(analysis.envelope.mean(axis=1) + 1e-12)
    slow = smooth(level.astype(np.float32), 6.0).astype(np.float64)
    voiced = analysis.pitch > 0
    middle = float(slow[voiced].mean()) if voiced.any() else float(slow.mean())
    extra = (np.exp(manner.dynamics_log) - 1.0) * np.clip(slow - middle, -15.0, 15.0)
    return np.asarray(10.0 ** ((manner.level_db + np.clip(extra, -8.0, 8.0)) / 10.0))[:, None]
