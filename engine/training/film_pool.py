"""Segments of filmed speech to train on, encoded once, in the form of the synthetic corpus's.

Clips of one speaker in one emotion are put in a row. Where a speaker says a sentence in two emotions or levels, dynamic
time warping lays one over the other: pairs of equal content, as cross-reconstruction wants them.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.speech.controls import FRAME_RATE
from engine.speech.encoding import Encoding, silent_frames
from engine.speech.features import FeatureState, extract
from engine.speech.whisper import CHUNK, WhisperEncoder
from engine.training.arrays import read_arrays, write_arrays
from engine.training.audio import SAMPLE_RATE
from engine.training.augment import augment
from engine.training.config import TrainConfig
from engine.training.dataset import Item, Pool, Sampler
from engine.training.film_clips import FilmedClip, Style
from engine.training.running import Progress
from engine.training.transcripts import CLOCK_S, WORST_COST, matched

logger = logging.getLogger(__name__)

_SAMPLES_PER_FRAME: Final = SAMPLE_RATE // FRAME_RATE
_AT_ONCE: Final = 16
_PAUSE: Final = 10  # control frames between sentences
_SURE: Final = 0.99
_PARTS: Final = ("inputs", "controls", "shares", "known")

Rows = NDArray[np.float32]


def _with_known(clip: FilmedClip) -> Rows:
    """Controls [T, CONTROLS + 1]; the last column tells whether the others are known."""
    return np.column_stack([clip.controls, clip.known]).astype(np.float32)


class FilmSampler(Sampler):
    """Random augmented segments of films: clips of one speaker in one emotion in a row."""

    def __init__(self, clips: Sequence[FilmedClip], config: TrainConfig, seed: int) -> None:
        """Speakers and their emotions are drawn by the square root of their length."""
        items = [Item("/".join(map(str, clip.style)), clip.samples, _with_known(clip)) for clip in clips]
        super().__init__(items, config.segment_s, config.augment, seed)
        self._shares = [clip.shares for clip in clips]

    def filmed(self, size: int) -> tuple[Rows, Rows, Rows]:
        """The next: mel frames [B, 2 T, CHANNELS], controls and known [B, T, CONTROLS + 1], shares [B, EMOTIONS]."""
        rows = []
        for _ in range(size):
            voice = self._voice()
            rows.append((*self._segment(voice), self._shares[voice[0]]))
        frames, controls, shares = (np.stack(part) for part in zip(*rows, strict=True))
        return frames, controls, shares


@dataclass(frozen=True)
class Match:
    """One sentence, said twice."""

    one: FilmedClip
    other: FilmedClip
    places: NDArray[np.float64]
    """Control frames of `other` at which it says what `one` says at its own [T]."""


def match(one: FilmedClip, other: FilmedClip) -> Match | None:
    """Lays one clip over another; None where they do not say the same."""
    found, cost = matched(one.samples, other.samples)
    if cost >= WORST_COST:
        return None
    at = np.arange(len(one.controls)) / FRAME_RATE
    places = np.interp(at, np.arange(len(found)) * CLOCK_S, found) * FRAME_RATE
    return Match(one, other, np.minimum(places, len(other.controls) - 1))


def meetings(clips: Sequence[FilmedClip], seed: int) -> list[list[Match]]:
    """Sentences that a speaker says in two styles, for each style and one other of the same speaker, by chance.

    Equal numbers need not be equal words: what the sound does not confirm is left out.
    """
    rng = np.random.default_rng(seed)
    said: dict[str, dict[Style, dict[str, FilmedClip]]] = {}
    for clip in clips:
        if clip.sentence:
            said.setdefault(clip.speaker, {}).setdefault(clip.style, {})[clip.sentence] = clip
    found = []
    for by_style in said.values():
        styles = [list(by_style.values())[place] for place in rng.permutation(len(by_style))]
        for ours, theirs in zip(styles, styles[1:] + styles[:1], strict=True):
            shared = sorted(ours.keys() & theirs.keys()) if ours is not theirs else []
            matches = [match(ours[sentence], theirs[sentence]) for sentence in shared]
            found.append([each for each in matches if each is not None])
    told = sum(map(len, found))
    logger.info("%d sentences are said in two emotions or levels", told)
    return [each for each in found if each]


def _in_a_row(clips: Sequence[FilmedClip]) -> tuple[Rows, Rows]:
    """Sound [N] and controls [T, CONTROLS + 1] of clips with pauses, in which nothing is known, between them."""
    controls = [np.pad(_with_known(clip), ((0, _PAUSE), (0, 0))) for clip in clips]
    lengths = [len(rows) * _SAMPLES_PER_FRAME for rows in controls]
    sound = [np.pad(c.samples[:n], (0, max(0, n - len(c.samples)))) for c, n in zip(clips, lengths, strict=True)]
    return np.concatenate(sound), np.concatenate(controls)


def pair_rows(
    met: Sequence[Match], encoder: WhisperEncoder, config: TrainConfig, rng: np.random.Generator, chunk: int
) -> tuple[Rows, Rows, Rows]:
    """A pair of segments of one meeting: the second is brought to the times of the first, after it was heard.

    Returns:
        Inputs [2, T, 390], controls and known [2, T, CONTROLS + 1], shares [2, EMOTIONS].
    """
    frames = int(config.segment_s * FRAME_RATE) // CHUNK * CHUNK
    chosen: list[Match] = []
    places: list[NDArray[np.float64]] = []
    begin = total = 0
    while total < frames:
        chosen.append(met[int(rng.integers(len(met)))])
        length = len(chosen[-1].other.controls)
        places.append(begin + np.concatenate([chosen[-1].places, length + np.arange(_PAUSE)]))
        begin, total = begin + length + _PAUSE, total + len(places[-1])
    sides = [_in_a_row([each.one for each in chosen]), _in_a_row([each.other for each in chosen])]
    longest, seed = max(len(sound) for sound, _ in sides), int(rng.integers(2**31))
    mel = [_heard(np.pad(sound, (0, longest - len(sound))), config, seed) for sound, _ in sides]
    at = np.concatenate(places)[:frames].round().astype(int)
    encoded = Encoding.begin(encoder, 2, chunk).push(np.stack(mel)).inputs.numpy()
    inputs = np.stack([encoded[0, :frames], encoded[1, at]])
    controls = np.stack([sides[0][1][:frames], sides[1][1][at]])
    return inputs, controls, np.stack([chosen[0].one.shares, chosen[0].other.shares])


def _heard(samples: Rows, config: TrainConfig, seed: int) -> Rows:
    """Mel frames of a sound in a room that depends on the seed, and as much after it as the encoder waits for."""
    noisy = augment(samples, np.roll(samples, len(samples) // 3), np.random.default_rng(seed), config.augment)
    tail = np.zeros(2 * CHUNK * _SAMPLES_PER_FRAME, np.float32)
    return extract(np.concatenate([noisy, tail]), FeatureState())


Made = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]


def _parts(folder: Path, name: str, count: int, make: Callable[[int], Made], progress: Progress | None) -> Pool:
    """A pool of `count` parts on disk; those that are missing are made: inputs, controls and known, shares."""
    folder.mkdir(parents=True, exist_ok=True)
    pools = []
    for part in range(count):
        path = folder / f"{name}-{part:04d}.npz"
        if not path.exists():
            inputs, controls, shares = make(part)
            known = controls[:, :, -1] > _SURE
            values = (inputs.astype(np.float16), controls[:, :, :-1].astype(np.float16), shares, known)
            write_arrays(path, dict(zip(_PARTS, values, strict=True)))
        pools.append(Pool(*read_arrays(path, _PARTS, "a part of a pool", "delete it: it is made again")))
        if progress is not None:
            progress(f"{name} {part + 1} of {count}", (part + 1) / count)
    return Pool.joined(pools)


def build_filmed(
    clips: Sequence[FilmedClip],
    encoder: WhisperEncoder,
    folder: Path,
    config: TrainConfig,
    progress: Progress | None = None,
) -> tuple[Pool, Pool | None]:
    """Makes (or finishes) the pools of a filmed corpus in `folder`: segments, and pairs where there are any.

    Rows 2 k and 2 k + 1 of the pairs match.
    """

    def segments(part: int) -> Made:
        """Segments of the next clips in a row."""
        sampler = FilmSampler(clips, config, config.seed * 3_000_017 + part)
        frames, controls, shares = sampler.filmed(size)
        encoding = Encoding.begin(encoder, size, config.chunks[part % len(config.chunks)])
        heard = encoding.push(np.concatenate([frames, silent_frames(size, 1)], axis=1)).inputs.numpy()
        heard = heard[:, : controls.shape[1] // CHUNK * CHUNK]
        return heard, controls[:, : heard.shape[1]], shares

    def pairs(part: int) -> Made:
        """Pairs of meetings drawn by chance."""
        rng = np.random.default_rng([config.seed, part])
        chunk = config.chunks[part % len(config.chunks)]
        drawn = [met[int(rng.integers(len(met)))] for _ in range(couples)]
        rows = [pair_rows(each, encoder, config, rng, chunk) for each in drawn]
        inputs, controls, shares = (np.concatenate(part) for part in zip(*rows, strict=True))
        return inputs, controls, shares

    size, couples = min(_AT_ONCE, config.filmed_segments), min(_AT_ONCE // 2, config.filmed_pairs)
    pool = _parts(folder, "films", -(-config.filmed_segments // size), segments, progress)
    met = meetings(clips, config.seed) if config.pairs else []
    if not met:
        return pool, None
    return pool, _parts(folder, "film-pairs", -(-config.filmed_pairs // couples), pairs, progress)
