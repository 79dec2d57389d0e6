"""Phone times of recorded speech whose words are known: espeak-ng speaks them, and that is laid over the recording.

Dynamic time warping on level-free spectra (16 broad bands and their slopes) finds which moment of the recording each
moment of the synthetic speech is. A recogniser that does not know a language names the nearest sounds of another; here
the sounds are those of the words. Measured on three voices with exact times (230 labials): their centres lie 2 ms late
in the median, and within -24 and +30 ms (10th to 90th percentile).
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError, ShapeError
from engine.speech.features import HOP, WINDOW, spectra
from engine.training.audio import SAMPLE_RATE
from engine.training.espeak import EspeakVoice
from engine.training.voices import SILENCE, Phone

CLOCK_S: Final = HOP / SAMPLE_RATE
"""Seconds from one row of `matched` to the next."""
WORST_COST: Final = 0.55
"""Mean distance along the path from which on words and recording are taken not to belong together."""

_RANGE_DB, _SOUNDING_DB = 60.0, 35.0
_BANDS, _STEP = 8, 4
_SLOPE_WEIGHT = 0.7
_DETOUR = 0.15


def read_transcripts(path: Path) -> Mapping[str, str]:
    """File name without ending -> what is said, from lines `name: words`; lines with ; and [sounds] are left out.

    `path` is text, or gzip where its name ends in .gz; UTF-8, or Latin 1 where it is not that.
    """
    try:
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise BackendError(f"{path} cannot be read: {error}; install the package with these transcripts") from error
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    said: dict[str, str] = {}
    for line in text.splitlines():
        name, colon, words = (part.strip() for part in line.partition(":"))
        words = words.removeprefix(f"{name}:").strip()
        if colon and words and not name.startswith(";") and not words.startswith("["):
            said[name] = words
    return said


def _outline(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """[F, 38] bands over the recording's own mean and their slopes, a frame every 10 ms; the level hardly counts."""
    padded = np.pad(samples, (WINDOW // 2, WINDOW))
    loudness, mel = (part[: len(samples) // HOP] for part in spectra(padded))
    mel = np.maximum(10.0 * mel, 10.0 * mel.max() - _RANGE_DB)
    mel = mel - mel[loudness > np.percentile(loudness, 95) - _SOUNDING_DB].mean(axis=0)
    broad = np.stack([mel[:, at : at + _BANDS].mean(axis=1) for at in range(0, mel.shape[1] - _STEP, _STEP)], axis=1)
    slope = np.zeros_like(broad)
    slope[2:-2] = broad[4:] - broad[:-4]
    return np.concatenate([broad / (broad.std() + 1e-6), _SLOPE_WEIGHT * slope / (slope.std() + 1e-6)], axis=1)


def warp(distance: NDArray[np.float32]) -> tuple[NDArray[np.int64], float]:
    """The cheapest path through [N, M] distances from corner to corner: ([P, 2] places, mean cost of a step).

    Steps that move along one side only cost `_DETOUR` of the median distance more.
    """
    if distance.ndim != 2 or min(distance.shape) < 1:
        raise ShapeError(f"distances are {distance.shape}, expected [N, M] with N and M at least 1")
    rows, columns = distance.shape
    detour = _DETOUR * float(np.median(distance))
    total = np.full((rows + 1, columns + 1), np.inf, np.float32)
    total[0, 0] = 0.0
    step = np.zeros((rows, columns), np.int8)
    for diagonal in range(2, rows + columns + 1):
        i = np.arange(max(1, diagonal - columns), min(rows, diagonal - 1) + 1)
        j = diagonal - i
        ways = np.stack([total[i - 1, j - 1], total[i - 1, j] + detour, total[i, j - 1] + detour])
        best = ways.argmin(axis=0)
        total[i, j] = ways[best, np.arange(len(i))] + distance[i - 1, j - 1]
        step[i - 1, j - 1] = best
    path = [(rows - 1, columns - 1)]
    while path[-1] != (0, 0):
        row, column = path[-1]
        taken = step[row, column]
        path.append((row - int(taken != 2), column - int(taken != 1)))
    return np.array(path[::-1], np.int64), float(total[rows, columns]) / (rows + columns)


def matched(spoken: NDArray[np.float32], samples: NDArray[np.float32]) -> tuple[NDArray[np.float64], float]:
    """Where `samples` say what `spoken` says: seconds [F], one for every `CLOCK_S` of `spoken`; and the mean cost.

    Both are [N] mono at 16 kHz. Costs of `WORST_COST` and more mean that they do not say the same.
    """
    if min(len(samples), len(spoken)) < 5 * HOP:
        raise BadInputError(f"recordings of {len(samples)} and {len(spoken)} samples, expected at least {5 * HOP}")
    ours, theirs = _outline(spoken), _outline(samples)
    square = (ours**2).sum(axis=1)[:, None] + (theirs**2).sum(axis=1)[None] - 2.0 * ours @ theirs.T
    path, cost = warp(np.sqrt(np.maximum(square, 0.0) / ours.shape[1]))
    sums = np.bincount(path[:, 0], path[:, 1].astype(float)) / np.bincount(path[:, 0])
    return sums * CLOCK_S, cost


def laid_over(
    samples: NDArray[np.float32], spoken: NDArray[np.float32], phones: tuple[Phone, ...]
) -> tuple[list[Phone], float]:
    """Phones of `spoken` at the times at which `samples` say the same, without pauses; and the mean cost.

    Both are [N] mono at 16 kHz.
    """
    found, cost = matched(spoken, samples)
    places = np.arange(len(found)) * CLOCK_S

    def moved(seconds: float) -> float:
        """The time in the recording."""
        return float(np.interp(seconds, places, found))

    return [Phone(p.ipa, moved(p.start), moved(p.end)) for p in phones if p.ipa != SILENCE], cost


@dataclass(frozen=True)
class Transcripts:
    """What the recordings of a folder say, and the espeak-ng voice that can say it."""

    path: Path
    """Text of `read_transcripts`."""
    voice: str
    """Language of espeak-ng, for example `ru`."""

    @cached_property
    def words(self) -> Mapping[str, str]:
        """File name without ending -> what is said."""
        return read_transcripts(self.path)

    def phones(self, name: str, samples: NDArray[np.float32]) -> list[Phone] | None:
        """Phones of the recording `name`, samples [N] at 16 kHz; None where its words are not known or do not fit."""
        words = self.words.get(name)
        if words is None or len(samples) < 5 * HOP:
            return None
        for spoken in EspeakVoice(self.voice, (words,), rate=150).utterances():
            if len(spoken.samples) >= 5 * HOP:
                found, cost = laid_over(samples, spoken.samples, spoken.phones)
                return found if cost < WORST_COST else None
        return None
