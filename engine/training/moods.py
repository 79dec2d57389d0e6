"""Material of the mood network: streams of one speaker, and windows of them against references.

A stream begins neutral and then changes its emotion, as the product hears it. A window is an utterance so far in one
emotion; a reference is neutral speech of the same speaker that was heard before. Everything varies a little from use to
use in pitch, range, tilt and level, as people and microphones do without any emotion. Letters: T frames of 20 ms,
K windows, R references, S statistics, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.speech.controls import FRAME_RATE
from engine.speech.intonation import COLUMNS, FRAME
from engine.speech.mood import READ, STEP, Reference
from engine.speech.utterance import FEATURES, STATISTICS, Flags, Floats, Window, features, statistics
from engine.training.performances import Speaker, Spoken

WINDOWS: Final = 6
"""Windows of a reference whose frames are kept."""

_CHANGES: Final = 3
_PITCH_SPREAD: Final = 0.042  # octaves
_RANGE_SPREAD: Final = 0.09
_TILT_SPREAD_DB: Final = 1.2
_VOICING_SPREAD: Final = 0.007
_LEVEL_SPREAD_DB: Final = 0.9

Parts = Mapping[tuple[int, int], Sequence[Spoken]]


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
    """Frames as the same person might have said them at another moment: a little different in every way."""
    changed = frames.copy()
    voiced = changed[:, FRAME.voicing] > 0.5
    pitch = changed[:, FRAME.pitch]
    middle = float(np.median(pitch[voiced])) if voiced.any() else 0.0
    stretch = np.exp(rng.normal(0.0, _RANGE_SPREAD))
    changed[:, FRAME.pitch] = middle + rng.normal(0.0, _PITCH_SPREAD) + stretch * (pitch - middle)
    bands = changed.shape[1] - FRAME.bands
    gain = rng.normal(0.0, _LEVEL_SPREAD_DB)
    changed[:, FRAME.bands :] += gain + rng.normal(0.0, _TILT_SPREAD_DB) * np.linspace(-0.5, 0.5, bands)
    changed[:, FRAME.level] += gain
    changed[:, [FRAME.voicing, FRAME.edge]] += rng.normal(0.0, _VOICING_SPREAD)
    return changed


def silence(seconds: float) -> Floats:
    """Frames of nothing: [T, COLUMNS]."""
    frames = np.zeros((int(seconds * FRAME_RATE), COLUMNS), np.float32)
    frames[:, FRAME.level] = -100.0
    frames[:, FRAME.bands :] = -100.0
    return frames


def chain(pieces: Sequence[Spoken], rng: np.random.Generator) -> Stream:
    """Pieces with short pauses between them."""
    frames = [np.concatenate([piece.frames, silence(rng.uniform(0.1, 0.6))]) for piece in pieces]
    lengths = [len(each) for each in frames]
    return Stream(
        np.concatenate(frames),
        np.repeat([piece.emotion for piece in pieces], lengths),
        np.repeat([piece.level for piece in pieces], lengths),
    )


def drawn(pieces: Sequence[Spoken], seconds: float, rng: np.random.Generator, vary: bool) -> list[Spoken]:
    """Pieces in a random order, at least `seconds` of them; each once before any comes again."""
    chosen: list[Spoken] = []
    left = seconds * FRAME_RATE
    order: list[int] = []
    while left > 0:
        order = order or rng.permutation(len(pieces)).tolist()
        piece = pieces[order.pop()]
        frames = varied(piece.frames, rng) if vary else piece.frames
        chosen.append(Spoken(frames, piece.emotion, piece.level, piece.sentence))
        left -= len(piece.frames)
    return chosen


def by_mood(pieces: Sequence[Spoken]) -> dict[tuple[int, int], list[Spoken]]:
    """Sentences by (emotion, level)."""
    moods: dict[tuple[int, int], list[Spoken]] = {}
    for piece in pieces:
        moods.setdefault((piece.emotion, piece.level), []).append(piece)
    return moods


def make_stream(
    speaker: Speaker, rng: np.random.Generator, emotional: bool = True, vary: bool = True, unseen: bool = False
) -> Stream:
    """Neutral speech, then three times an emotion and neutral speech again; all neutral if it is not `emotional`.

    With `vary`, pieces differ each time; with `unseen`, what follows the first neutral speech is of the unseen texts.
    """
    moods = by_mood(speaker.unseen if unseen else speaker.known)
    neutral = moods.get((0, 0), []) if unseen else [*speaker.calm, *moods.get((0, 0), [])]
    pieces = drawn(speaker.calm, rng.uniform(9.0, 25.0), rng, vary)
    keys = [key for key in sorted(moods) if key[0] and emotional]
    for _ in range(_CHANGES):
        if keys:
            pieces += drawn(moods[keys[int(rng.integers(len(keys)))]], rng.uniform(5.0, 9.0), rng, vary)
        pieces += drawn(neutral or speaker.calm, rng.uniform(4.0, 9.0), rng, vary)
    return chain(pieces, rng)


@dataclass(frozen=True)
class Material:
    """Windows and the references that they are heard against."""

    summed: NDArray[np.float64]
    """[K, S] statistics of windows."""
    read: NDArray[np.float16]
    """[K, READ, D + 1] features of their newest frames, and 1 where a frame is voiced; zero before a short window."""
    voiced: NDArray[np.float32]
    """[K] voiced frames."""
    emotion: NDArray[np.int64]
    """[K]"""
    level: NDArray[np.int64]
    """[K]"""
    against: NDArray[np.int64]
    """[K] the reference."""
    mean: NDArray[np.float64]
    """[R, S] mean statistics of references."""
    variance: NDArray[np.float64]
    """[R, S] their variances."""
    steps: NDArray[np.float64]
    """[R] judgements that they were learnt from."""
    calm: NDArray[np.float16]
    """[R, WINDOWS, READ, D + 1] windows of the references."""

    @staticmethod
    def joined(parts: "Sequence[Material]") -> "Material":
        """All of them in one."""
        shifts = np.cumsum([0] + [len(part.mean) for part in parts])
        moved = [part.against + shift for part, shift in zip(parts, shifts.tolist(), strict=False)]
        joined = {item.name: np.concatenate([getattr(part, item.name) for part in parts]) for item in fields(Material)}
        return Material(**{**joined, "against": np.concatenate(moved)})

    def distances(self, prior: NDArray[np.float64]) -> Floats:
        """How far windows lie from their references, as the product finds it: [K, S]. prior: [S]."""
        far = np.empty(self.summed.shape, np.float32)
        for index, (mean, variance, steps) in enumerate(zip(self.mean, self.variance, self.steps, strict=True)):
            reference = Reference(prior, mean, variance, steps=float(steps))
            far[self.against == index] = reference.distance(self.summed[self.against == index])
        return far


@dataclass(frozen=True)
class _Heard:
    """A reference while windows are made: what is usual, how loud the voice is, and its windows."""

    learnt: Reference
    peak_db: float
    calm: NDArray[np.float16]


def read_rows(frames: Floats, voiced: Flags, usual: NDArray[np.float64]) -> NDArray[np.float16]:
    """Features of the newest frames [T, COLUMNS] of a window, at the end of [READ, D + 1]."""
    rows = np.zeros((READ, FEATURES + 1), np.float16)
    frames, voiced = frames[-READ:], voiced[-READ:]
    rows[-len(frames) :, :FEATURES] = features(frames, voiced, usual)
    rows[-len(frames) :, FEATURES] = voiced
    return rows


def _listen_to(stream: Stream, prior: NDArray[np.float64], rng: np.random.Generator) -> _Heard:
    """A reference that has heard a neutral stream."""
    window, learnt, count = Window(), Reference(prior), 0
    windows: list[tuple[Floats, Flags]] = []
    for index, frame in enumerate(stream.frames):
        if window.add(frame):
            count += 1
            learnt.frame += (frame - learnt.frame) / count
        newest = window.newest() if (index + 1) % STEP == 0 and any(list(window.voiced)[-STEP:]) else None
        if newest is not None:
            learnt.learn(statistics(*newest), 1.0)
            windows.append(newest)
    chosen = rng.choice(len(windows), WINDOWS, replace=len(windows) < WINDOWS)
    kept = [windows[place] for place in chosen.tolist()]
    calm = np.stack([read_rows(frames, voiced, learnt.frame) for frames, voiced in kept])
    return _Heard(learnt, window.peak_db, calm)


@dataclass(frozen=True)
class Amounts:
    """How much material of one speaker."""

    references: int = 5
    """References."""
    each: int = 10
    """Windows of each emotion in each level."""
    neutral: int = 60
    """Windows of neutral speech."""


def material_of(speaker: Speaker, amounts: Amounts, rng: np.random.Generator) -> Material:
    """Windows of a speaker's known texts, against references of other texts; a third are heard to a part only."""
    moods = by_mood(speaker.known)
    neutral = [*speaker.calm, *moods.get((0, 0), [])]
    prior = np.ones(STATISTICS)
    heard = []
    for _ in range(amounts.references):
        heard.append(_listen_to(chain(drawn(speaker.calm, rng.uniform(8.0, 24.0), rng, True), rng), prior, rng))
    rows = []
    for (emotion, level), pieces in sorted(moods.items()):
        for _ in range(amounts.each if emotion else amounts.neutral):
            against = int(rng.integers(len(heard)))
            made = _window(pieces if emotion else neutral, heard[against], rng)
            if made is not None:
                rows.append((*made, emotion, level, against))
    return _as_material(rows, heard)


def _window(
    pieces: Sequence[Spoken], heard: _Heard, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float16], int] | None:
    """A window of one or two sentences: (statistics, features, voiced frames); None: too little is voiced."""
    chosen = [pieces[int(rng.integers(len(pieces)))] for _ in range(1 if rng.random() < 0.6 else 2)]
    frames = chain([Spoken(varied(piece.frames, rng), 0, 0) for piece in chosen], rng).frames
    if rng.random() < 0.35:
        frames = frames[: int(len(frames) * rng.uniform(0.35, 1.0))]
    window = Window(peak_db=heard.peak_db)
    for frame in frames:
        window.add(frame)
    newest = window.newest()
    if newest is None:
        return None
    return statistics(*newest), read_rows(*newest, heard.learnt.frame), int(newest[1].sum())


def _as_material(
    rows: Sequence[tuple[NDArray[np.float64], NDArray[np.float16], int, int, int, int]],
    heard: Sequence[_Heard],
) -> Material:
    summed, read, voiced, emotion, level, against = zip(*rows, strict=True)
    return Material(
        np.stack(summed),
        np.stack(read),
        np.array(voiced, np.float32),
        np.array(emotion),
        np.array(level),
        np.array(against),
        np.stack([each.learnt.mean for each in heard]),
        np.stack([each.learnt.variance for each in heard]),
        np.array([each.learnt.steps for each in heard]),
        np.stack([each.calm for each in heard]),
    )
