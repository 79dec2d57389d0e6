"""Training material: the corpus with its targets, and random augmented segments of it."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import BadInputError
from engine.speech.controls import FRAME_RATE
from engine.speech.features import BANDS, CHANNELS, FeatureState, extract
from engine.training.articulation import articulate
from engine.training.audio import SAMPLE_RATE
from engine.training.augment import AugmentConfig, augment, change_speed
from engine.training.corpus import Recording, read_voice
from engine.training.whisper import Teacher

logger = logging.getLogger(__name__)

_SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE


@dataclass(frozen=True)
class Item:
    """One recording with everything that training needs of it."""

    voice: str
    samples: NDArray[np.float32]
    """[N]"""
    controls: NDArray[np.float32]
    """[T, CONTROLS]"""
    teacher: NDArray[np.float16]
    """[T, teacher components]; zero components without a teacher."""


@dataclass(frozen=True)
class Batch:
    """Augmented segments. B segments, F mel frames, T control frames."""

    features: Tensor
    """[B, F, CHANNELS]"""
    controls: Tensor
    """[B, T, CONTROLS]"""
    teacher: Tensor
    """[B, T, components]"""


def _principal(rows: NDArray[np.float32], components: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean [D] and projection [D, components], scaled so that the first component has variance 1."""
    mean = rows.mean(axis=0)
    covariance = np.cov((rows - mean).T.astype(np.float64))
    values, vectors = np.linalg.eigh(covariance)
    order = np.argsort(values)[::-1][:components]
    return mean.astype(np.float32), (vectors[:, order] / np.sqrt(values[order[0]])).astype(np.float32)


def load_items(
    folder: Path,
    teacher_path: Path | None,
    components: int = 64,
    progress: Callable[[str, float], None] | None = None,
) -> list[Item]:
    """All recordings of a corpus with targets; teacher features are kept beside the corpus once computed."""
    paths = sorted(path for path in folder.glob("*.npz") if not path.name.endswith(".part.npz"))
    if not paths:
        raise BadInputError(f"{folder} holds no voices; build the corpus first (`livedub train corpus`)")
    recordings = [list(read_voice(path)) for path in paths]
    raw: list[list[NDArray[np.float16]]] = []
    if teacher_path is not None:
        teacher = Teacher(teacher_path)
        for index, (path, voice) in enumerate(zip(paths, recordings, strict=True)):
            raw.append(_teacher_features(path, voice, teacher))
            if progress is not None:
                progress(f"teacher {path.stem}", (index + 1) / len(paths))
    items: list[Item] = []
    if raw:
        sample = np.concatenate([rows[::7] for voice_rows in raw for rows in voice_rows]).astype(np.float32)
        mean, projection = _principal(sample, components)
    for index, voice in enumerate(recordings):
        for number, recording in enumerate(voice):
            controls = articulate(recording.samples, recording.phones)
            target = np.zeros((len(controls), 0), np.float16)
            if raw:
                target = ((raw[index][number].astype(np.float32) - mean) @ projection).astype(np.float16)
            items.append(Item(recording.voice, recording.samples, controls, target[: len(controls)]))
    return items


def _teacher_features(path: Path, voice: Sequence[Recording], teacher: Teacher) -> list[NDArray[np.float16]]:
    """Teacher features per recording of one voice, from the cache beside it when they are there."""
    cache = path.parent / "teacher" / f"{path.stem}.npy"
    lengths = [-(-len(recording.samples) // _SAMPLES_PER_FRAME) for recording in voice]
    if cache.exists():
        joined = np.load(cache)
    else:
        joined = np.concatenate([teacher.features(recording.samples) for recording in voice]).astype(np.float16)
        cache.parent.mkdir(exist_ok=True)
        np.save(cache, joined)
    if len(joined) != sum(lengths):
        raise BadInputError(f"{cache} has {len(joined)} rows, expected {sum(lengths)}: delete it, the voice changed")
    return np.split(joined, np.cumsum(lengths)[:-1])


def warp_bands(features: NDArray[np.float32], factor: float) -> NDArray[np.float32]:
    """Shifts formants by stretching the mel axis; features: [F, CHANNELS]."""
    source = np.clip(np.arange(BANDS) * factor, 0, BANDS - 1)
    low = source.astype(int)
    high = np.minimum(low + 1, BANDS - 1)
    share = (source - low).astype(np.float32)
    out = features.copy()
    out[:, :BANDS] = features[:, low] * (1 - share) + features[:, high] * share
    return out


class Sampler:
    """Random augmented segments: recordings of one voice in a row with pauses between them."""

    def __init__(self, items: Sequence[Item], segment_s: float, config: AugmentConfig, seed: int) -> None:
        """Voices are drawn by the square root of their length, so that long ones do not drown short ones."""
        if not items:
            raise BadInputError("no recordings to train on; check the corpus and the held-out voices")
        self._items = items
        self._frames = int(segment_s * FRAME_RATE)
        self._config = config
        self._rng = np.random.default_rng(seed)
        by_voice: dict[str, list[int]] = {}
        for index, item in enumerate(items):
            by_voice.setdefault(item.voice, []).append(index)
        self._voices = list(by_voice.values())
        seconds = np.array([sum(len(items[i].controls) for i in voice) for voice in self._voices], float)
        self._weights = np.sqrt(seconds) / np.sqrt(seconds).sum()

    def batch(self, size: int) -> Batch:
        """The next `size` segments."""
        rows = [self._segment() for _ in range(size)]
        features, controls, teacher = (np.stack(part) for part in zip(*rows, strict=True))
        return Batch(torch.from_numpy(features), torch.from_numpy(controls), torch.from_numpy(teacher))

    def _segment(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        rng = self._rng
        factor = float(np.exp(rng.uniform(-1.0, 1.0) * np.log1p(self._config.speed)))
        samples, controls, teacher = self._chain(self._voice(), int(self._frames * factor) + 2)
        samples = change_speed(samples, factor)
        at = np.minimum(np.arange(self._frames) * factor, len(controls) - 1)
        length = self._frames * _SAMPLES_PER_FRAME
        samples = np.pad(samples, (0, max(0, length - len(samples))))[:length]
        babble = self._chain(self._voice(), self._frames)[0][:length]
        if not np.any(babble):
            babble = rng.standard_normal(length).astype(np.float32)
        noisy = augment(samples, babble, rng, self._config)
        state = FeatureState()
        features = extract(np.concatenate([noisy, np.zeros(200, np.float32)]), state)[: 2 * self._frames]
        features = warp_bands(features, rng.uniform(0.9, 1.1))
        if features.shape != (2 * self._frames, CHANNELS):
            raise BadInputError(f"segment gave features {features.shape}, expected {(2 * self._frames, CHANNELS)}")
        return features, _interpolate(controls, at), _interpolate(teacher, at)

    def _voice(self) -> list[int]:
        return self._voices[int(self._rng.choice(len(self._voices), p=self._weights))]

    def _chain(
        self, voice: list[int], frames: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Recordings of a voice and pauses in a row, cut to `frames` at a random place of the first."""
        rng = self._rng
        samples: list[NDArray[np.float32]] = []
        controls: list[NDArray[np.float32]] = []
        teacher: list[NDArray[np.float32]] = []
        total = 0
        components = self._items[0].teacher.shape[1]
        while total < frames:
            item = self._items[voice[int(rng.integers(len(voice)))]]
            length = len(item.controls)
            skip = int(rng.integers(0, max(1, length - frames))) if total == 0 else 0
            pause = int(rng.exponential(0.25) * FRAME_RATE)
            sound = item.samples[skip * _SAMPLES_PER_FRAME :]
            samples.append(np.pad(sound, (0, (length - skip + pause) * _SAMPLES_PER_FRAME - len(sound))))
            controls.append(np.pad(item.controls[skip:], ((0, pause), (0, 0))))
            body = item.teacher[skip:].astype(np.float32)
            teacher.append(
                np.pad(body, ((0, pause), (0, 0)), mode="edge")
                if components
                else np.zeros((length - skip + pause, 0), np.float32)
            )
            total += length - skip + pause
        return (
            np.concatenate(samples)[: frames * _SAMPLES_PER_FRAME],
            np.concatenate(controls)[:frames],
            np.concatenate(teacher)[:frames],
        )


def _interpolate(rows: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows at fractional indices; rows: [T, C], at: [K] within the range -> [K, C]."""
    low = at.astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (at - low).astype(np.float32)[:, None]
    return np.asarray(rows[low] * (1 - share) + rows[high] * share, np.float32)
