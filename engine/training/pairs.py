"""Pairs of equal content in different emotions: the material of cross-reconstruction."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import FRAME_RATE
from engine.speech.emotions import EMOTIONS, emotion_shares
from engine.speech.encoding import Encoding, silent_frames
from engine.speech.features import FeatureState, extract
from engine.speech.whisper import CHUNK, WhisperEncoder
from engine.training.arrays import read_arrays, write_arrays
from engine.training.articulation import articulate
from engine.training.audio import SAMPLE_RATE
from engine.training.augment import AugmentConfig, augment, change_speed
from engine.training.dataset import Pool, interpolate
from engine.training.emotional import Sentence, read_wave
from engine.training.expressions import emotional_controls
from engine.training.prosody import LEVELS, level_intensity

_SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
_AT_ONCE = 16

Rendering = tuple[str, int]


class PairSampler:
    """Random augmented segments in two emotions: the same sentences, at the same times, in the same room."""

    def __init__(self, sentences: Sequence[Sentence], segment_s: float, config: AugmentConfig, seed: int) -> None:
        """Every sentence needs its neutral rendering, from which the targets come."""
        self._by_speaker: dict[str, list[Sentence]] = {}
        for sentence in sentences:
            if ("neutral", 1) in sentence.clips:
                self._by_speaker.setdefault(sentence.speaker, []).append(sentence)
        if not self._by_speaker:
            raise BadInputError("no emotional sentences to train on; build the corpus, or check the held-out voices")
        self._frames = int(segment_s * FRAME_RATE)
        self._config = config
        self._rng = np.random.default_rng(seed)
        self._read = lru_cache(maxsize=512)(read_wave)
        self._targets: dict[Path, NDArray[np.float32]] = {}

    def segments(self, pairs: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """The next pairs in a row: mel frames [2 P, 2 T, CHANNELS], controls [2 P, T, CONTROLS], shares [2 P, 8]."""
        rows = [row for _ in range(pairs) for row in self._pair()]
        frames, controls, shares = (np.stack(part) for part in zip(*rows, strict=True))
        return frames, controls, shares

    def _pair(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]]:
        rng = self._rng
        speakers = sorted(self._by_speaker)
        sentences = self._by_speaker[speakers[int(rng.integers(len(speakers)))]]
        two = rng.choice(len(EMOTIONS), 2, replace=False)
        factor = float(np.exp(rng.uniform(-1.0, 1.0) * np.log1p(self._config.speed)))
        order = [int(index) for index in rng.integers(0, len(sentences), 40)]
        pauses = rng.exponential(0.2, len(order))
        seed = int(rng.integers(2**31))
        result = []
        for index in two.tolist():
            level = 1 if index == 0 else int(rng.choice(LEVELS))
            samples, controls = self._chain(sentences, (EMOTIONS[index], level), order, pauses, factor)
            length = self._frames * _SAMPLES_PER_FRAME
            samples = change_speed(samples, factor)
            samples = np.pad(samples, (0, max(0, length - len(samples))))[:length]
            noisy = augment(samples, np.roll(samples, length // 3), np.random.default_rng(seed), self._config)
            mel = extract(np.concatenate([noisy, np.zeros(200, np.float32)]), FeatureState())[: 2 * self._frames]
            shares = emotion_shares(EMOTIONS[index], 1.0 if index == 0 else level_intensity(level))
            at = np.minimum(np.arange(self._frames) * factor, len(controls) - 1)
            result.append((mel, emotional_controls(interpolate(controls, at), shares), shares))
        return result

    def _chain(
        self, sentences: list[Sentence], key: Rendering, order: list[int], pauses: NDArray[np.float64], factor: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Sentences in a row in one emotion, and the controls of their neutral rendering."""
        wanted = int(self._frames * factor) + 2
        samples: list[NDArray[np.float32]] = []
        controls: list[NDArray[np.float32]] = []
        total = 0
        for index, pause in zip(order, pauses.tolist(), strict=True):
            sentence = sentences[index]
            neutral = sentence.clips[("neutral", 1)]
            target = self._target(sentence, neutral)
            sound = self._read(sentence.clips.get(key, neutral))
            length = len(target) + int(pause * FRAME_RATE)
            samples.append(np.pad(sound, (0, length * _SAMPLES_PER_FRAME - len(sound))))
            controls.append(np.pad(target, ((0, length - len(target)), (0, 0))))
            total += length
            if total >= wanted:
                break
        return np.concatenate(samples)[: wanted * _SAMPLES_PER_FRAME], np.concatenate(controls)[:wanted]

    def _target(self, sentence: Sentence, neutral: Path) -> NDArray[np.float32]:
        if neutral not in self._targets:
            self._targets[neutral] = articulate(self._read(neutral), sentence.phones)
        return self._targets[neutral]


def build_pairs(
    sentences: Sequence[Sentence],
    encoder: WhisperEncoder,
    folder: Path,
    segments: int,
    segment_s: float,
    config: AugmentConfig,
    seed: int,
    progress: Callable[[str, float], None] | None = None,
    chunks: Sequence[int] = (CHUNK,),
) -> Pool:
    """Makes (or finishes) a pool of encoded pairs; parts that are in `folder` are kept. Rows 2 k and 2 k + 1 match.

    `chunks` are the encoder's chunks, by turns from part to part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    loaded: list[list[NDArray[Any]]] = []
    parts = -(-segments // _AT_ONCE)
    for part in range(parts):
        path = folder / f"pairs-{part:04d}.npz"
        if not path.exists():
            sampler = PairSampler(sentences, segment_s, config, seed * 2_000_003 + part)
            frames, wanted, shares = sampler.segments(_AT_ONCE // 2)
            encoding = Encoding.begin(encoder, _AT_ONCE, chunks[part % len(chunks)])
            heard = encoding.push(np.concatenate([frames, silent_frames(_AT_ONCE, 1)], axis=1)).inputs
            heard = heard[:, : wanted.shape[1] // CHUNK * CHUNK]
            controls = wanted[:, : heard.shape[1]].astype(np.float16)
            write_arrays(path, {"inputs": heard.half().numpy(), "controls": controls, "shares": shares})
        names = ("inputs", "controls", "shares")
        loaded.append(read_arrays(path, names, "a part of a pool", "delete it: it is made again"))
        if progress is not None:
            progress(f"pairs {(part + 1) * _AT_ONCE // 2}", (part + 1) / parts)
    inputs, controls, shares = (np.concatenate(part) for part in zip(*loaded, strict=True))
    return Pool(inputs, controls, shares)
