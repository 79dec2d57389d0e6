"""Material of the mood network: streams of one voice that begins neutral and then changes its emotion.

Frames of intonation are found once for each recording, clean and under noise. A stream chains recordings of one voice
and one kind of sound; neutral ones vary a little in pitch, range and tilt, as people do without any emotion.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import FRAME_RATE
from engine.speech.emotions import EMOTIONS
from engine.speech.intonation import COLUMNS, FRAME, IntonationState, listen
from engine.speech.mood import NEWEST, REFERENCE, STATISTICS, STEP, Reference, Window
from engine.training.audio import SAMPLE_RATE
from engine.training.augment import coloured_noise
from engine.training.corpus import read_voice
from engine.training.emotional import Sentence, read_wave
from engine.training.running import Progress

Floats = NDArray[np.float32]
SNR_DB: Final = (60.0, 28.0, 16.0)
"""Ratios of speech to noise of the kinds of sound; the first is clean."""
CALM_S: Final = 120.0
"""Neutral speech of a voice that is used, seconds."""

_PURE: Final = 0.85
_CHANGES: Final = 3
_PITCH_SPREAD: Final = 0.09  # octaves
_RANGE_SPREAD: Final = 0.2
_TILT_SPREAD_DB: Final = 2.5
_VOICING_SPREAD: Final = 0.015


@dataclass(frozen=True)
class Spoken:
    """A recording in one emotion and kind of sound."""

    frames: Floats
    """[T, COLUMNS]"""
    emotion: int
    """Place in `EMOTIONS`."""
    level: int
    """1 ... 3; 0 when neutral."""


@dataclass
class Voice:
    """All that is known of a voice, for each kind of sound."""

    name: str
    """Its name."""
    calm: list[list[Spoken]] = field(default_factory=lambda: [[] for _ in SNR_DB])
    """Neutral recordings as they are."""
    moods: list[dict[tuple[int, int], list[Spoken]]] = field(default_factory=lambda: [{} for _ in SNR_DB])
    """Renderings by (emotion, level); neutral ones among them."""


def _frames(samples: Floats, snr_db: float, rng: np.random.Generator) -> Floats:
    """Frames of a recording under noise, and of the little silence that they need to be complete."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))
    noise = coloured_noise(len(samples), rng) * np.float32(level * 10.0 ** (-snr_db / 20.0))
    return listen(samples + noise, IntonationState())


def read_calm(path: Path) -> Voice:
    """A voice of the corpus: its first `CALM_S` of neutral speech."""
    voice = Voice(path.stem)
    left = CALM_S
    rng = np.random.default_rng(0)
    for recording in read_voice(path):
        seconds = len(recording.samples) / SAMPLE_RATE
        if seconds < 1.0:
            continue
        for kind, snr in enumerate(SNR_DB):
            voice.calm[kind].append(Spoken(_frames(recording.samples, snr, rng), 0, 0))
        left -= seconds
        if left <= 0:
            break
    return voice


def read_voices(
    corpus: Path, sentences: Sequence[Sentence], wanted: Callable[[str], bool], progress: Progress | None = None
) -> list[Voice]:
    """Voices of a corpus whose names are `wanted`, with their emotional `sentences`."""
    paths = [path for path in sorted(corpus.glob("*.npz")) if wanted(path.stem)]
    if not paths:
        raise BadInputError(f"{corpus} holds none of the voices; build the corpus first (`livedub train corpus`)")
    voices = []
    for index, path in enumerate(paths):
        voice = read_calm(path)
        rng = np.random.default_rng(index)
        for sentence in sentences:
            if sentence.speaker == voice.name:
                _add_sentence(voice, sentence, rng)
        if any(voice.calm[0]):
            voices.append(voice)
        if progress is not None:
            progress(f"intonation of {voice.name}", (index + 1) / len(paths))
    return voices


def _add_sentence(voice: Voice, sentence: Sentence, rng: np.random.Generator) -> None:
    for (emotion, level), clip in sentence.clips.items():
        place = EMOTIONS.index(emotion)
        key = (place, level if place else 0)
        samples = read_wave(clip)
        for kind, snr in enumerate(SNR_DB):
            voice.moods[kind].setdefault(key, []).append(Spoken(_frames(samples, snr, rng), *key))


@dataclass(frozen=True)
class Stream:
    """Frames in a row, and what they are spoken in."""

    frames: Floats
    """[T, COLUMNS]"""
    emotion: NDArray[np.int64]
    """[T] places in `EMOTIONS`."""
    level: NDArray[np.int64]
    """[T] 0 ... 3."""


def varied(frames: Floats, rng: np.random.Generator) -> Floats:
    """Frames as the same person might have said them at another moment: pitch, range and tilt a little different."""
    changed = frames.copy()
    voiced = changed[:, FRAME.voicing] > 0.5
    pitch = changed[:, FRAME.pitch]
    middle = float(np.median(pitch[voiced])) if voiced.any() else 0.0
    stretch = np.exp(rng.normal(0.0, _RANGE_SPREAD))
    changed[:, FRAME.pitch] = middle + rng.normal(0.0, _PITCH_SPREAD) + stretch * (pitch - middle)
    bands = changed.shape[1] - FRAME.bands
    changed[:, FRAME.bands :] += rng.normal(0.0, _TILT_SPREAD_DB) * np.linspace(-0.5, 0.5, bands)
    changed[:, [FRAME.voicing, FRAME.edge]] += rng.normal(0.0, _VOICING_SPREAD)
    return changed


def chain(pieces: Sequence[Spoken], rng: np.random.Generator) -> Stream:
    """Pieces with short pauses between them."""
    frames, emotion, level = [], [], []
    for piece in pieces:
        pause = int(rng.uniform(0.1, 0.5) * FRAME_RATE)
        silence = np.zeros((pause, COLUMNS), np.float32)
        silence[:, FRAME.level] = -100.0
        silence[:, FRAME.bands :] = -100.0
        frames.append(np.concatenate([piece.frames, silence]))
        emotion.append(np.full(len(piece.frames) + pause, piece.emotion))
        level.append(np.full(len(piece.frames) + pause, piece.level))
    return Stream(np.concatenate(frames), np.concatenate(emotion), np.concatenate(level))


def _drawn(pieces: Sequence[Spoken], seconds: float, rng: np.random.Generator, vary: bool) -> list[Spoken]:
    """Pieces at random, at least `seconds` of them."""
    chosen: list[Spoken] = []
    left = seconds * FRAME_RATE
    while left > 0:
        piece = pieces[int(rng.integers(len(pieces)))]
        frames = varied(piece.frames, rng) if vary else piece.frames
        chosen.append(Spoken(frames, piece.emotion, piece.level))
        left -= len(piece.frames)
    return chosen


def make_stream(voice: Voice, kind: int, rng: np.random.Generator, emotional: bool = True, vary: bool = True) -> Stream:
    """Neutral speech, then three times an emotion and neutral speech again.

    All of it is neutral without renderings, or if it is not to be `emotional`. With `vary`, pieces differ each time.
    """
    calm, moods = voice.calm[kind], voice.moods[kind]
    rendered = moods.get((0, 0), [])
    neutral = rendered if rendered and rng.random() < 0.5 else calm
    pieces = _drawn(neutral, rng.uniform(7.0, 25.0), rng, vary)
    keys = [key for key in moods if key[0] and emotional]
    for _ in range(_CHANGES):
        if keys:
            pieces += _drawn(moods[keys[int(rng.integers(len(keys)))]], rng.uniform(5.0, 9.0), rng, vary)
        again = rendered if rendered and rng.random() < 0.5 else calm
        pieces += _drawn(again, rng.uniform(4.0, 9.0), rng, vary)
    return chain(pieces, rng)


@dataclass(frozen=True)
class Heard:
    """Distances from the reference with what they mean. K judgements."""

    far: Floats
    """[K, S]"""
    emotion: NDArray[np.int64]
    """[K]; -1 where a window holds two emotions."""
    level: NDArray[np.int64]
    """[K]"""


def hear(stream: Stream, usual: NDArray[np.float64]) -> Heard:
    """What a teller would be shown of a stream, its reference led by the truth."""
    reference = Reference(usual)
    far: list[Floats] = []
    emotion, level = [], []
    for summed, voiced, mood, strength in summaries(stream):
        if voiced >= REFERENCE:
            far.append(reference.distance(summed))
            emotion.append(mood)
            level.append(strength)
        reference.learn(summed, float(mood == 0 or voiced < REFERENCE))
    empty = np.zeros((0, STATISTICS), np.float32)
    return Heard(np.stack(far) if far else empty, np.array(emotion, np.int64), np.array(level, np.int64))


def summaries(stream: Stream) -> Iterator[tuple[NDArray[np.float64], int, int, int]]:
    """(statistics, voiced frames so far, emotion or -1, level) of every judgement that a stream holds."""
    window, total = Window(), 0
    newest: list[tuple[int, int]] = []
    for index, frame in enumerate(stream.frames):
        if window.add(frame):
            total += 1
            newest.append((int(stream.emotion[index]), int(stream.level[index])))
            del newest[:-NEWEST]
        if (index + 1) % STEP or not any(list(window.voiced)[-STEP:]):
            continue
        summed = window.sum_up()
        if summed is not None:
            last = newest[-1]
            pure = np.mean([place == last for place in newest]) >= _PURE
            yield summed, total, last[0] if pure else -1, last[1]


def usual_variance(voices: Sequence[Voice]) -> NDArray[np.float64]:
    """[S] mean variance of the statistics within neutral speech of one voice."""
    spreads = []
    for voice in voices:
        rng = np.random.default_rng(0)
        pieces = [Spoken(varied(piece.frames, rng), 0, 0) for piece in voice.calm[0]]
        rows = np.stack([row[0] for row in summaries(chain(pieces, rng))])
        spreads.append(rows.var(axis=0))
    return np.asarray(np.mean(spreads, axis=0))
