"""Training material: the corpus with its targets, and random augmented segments of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import BadInputError
from engine.speech.controls import CONTROLS, FRAME_RATE
from engine.speech.emotions import emotion_shares
from engine.speech.encoding import Encoding, silent_frames
from engine.speech.features import FeatureState, extract
from engine.speech.whisper import CHUNK, WhisperEncoder
from engine.training.arrays import read_arrays, write_arrays
from engine.training.articulation import articulate
from engine.training.audio import SAMPLE_RATE
from engine.training.augment import AugmentConfig, augment, change_speed
from engine.training.corpus import read_voice

_SAMPLES_PER_FRAME = SAMPLE_RATE // FRAME_RATE
_CLOSE = CONTROLS.index("close")


@dataclass(frozen=True)
class Item:
    """One recording with everything that training needs of it."""

    voice: str
    samples: NDArray[np.float32]
    """[N]"""
    controls: NDArray[np.float32]
    """[T, CONTROLS]"""


@dataclass(frozen=True)
class Batch:
    """Augmented segments. B segments, T control frames."""

    inputs: Tensor
    """[B, T, 390] what the network hears"""
    controls: Tensor
    """[B, T, CONTROLS]"""
    shares: Tensor
    """[B, EMOTIONS] in which emotion it is spoken"""
    known: Tensor
    """[B, T] of bool: where the controls are known; films have gaps"""

    @classmethod
    def joined(cls, batches: "Sequence[Batch]") -> "Batch":
        """All segments of batches of equal length."""
        return cls(*(torch.cat([vars(batch)[name] for batch in batches]) for name in vars(batches[0])))

    def on(self, device: torch.device) -> "Batch":
        """The batch in the memory of a device."""
        return Batch(*(tensor.to(device) for tensor in vars(self).values()))


def load_items(folder: Path) -> list[Item]:
    """All recordings of a corpus with their targets."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise BadInputError(f"{folder} holds no voices; build the corpus first (`livedub train corpus`)")
    return [
        Item(recording.voice, recording.samples, articulate(recording.samples, recording.phones))
        for path in paths
        for recording in read_voice(path)
    ]


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

    def segments(self, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The next `size` segments: mel frames [B, 2 T, CHANNELS] and controls [B, T, CONTROLS]."""
        rows = [self._segment() for _ in range(size)]
        frames, controls = (np.stack(part) for part in zip(*rows, strict=True))
        return frames, controls

    def _segment(self, voice: list[int] | None = None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """A segment of recordings of `voice`, one drawn by chance unless given."""
        rng = self._rng
        factor = float(np.exp(rng.uniform(-1.0, 1.0) * np.log1p(self._config.speed)))
        samples, controls = self._chain(voice or self._voice(), int(self._frames * factor) + 2)
        samples = change_speed(samples, factor)
        at = np.minimum(np.arange(self._frames) * factor, len(controls) - 1)
        length = self._frames * _SAMPLES_PER_FRAME
        samples = np.pad(samples, (0, max(0, length - len(samples))))[:length]
        babble = self._chain(self._voice(), self._frames)[0][:length]
        noisy = augment(samples, babble, rng, self._config)
        frames = extract(np.concatenate([noisy, np.zeros(200, np.float32)]), FeatureState())[: 2 * self._frames]
        return frames, interpolate(controls, at)

    def _voice(self) -> list[int]:
        return self._voices[int(self._rng.choice(len(self._voices), p=self._weights))]

    def _chain(self, voice: list[int], frames: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Recordings of a voice and pauses in a row, cut to `frames` at a random place of the first."""
        rng = self._rng
        samples: list[NDArray[np.float32]] = []
        controls: list[NDArray[np.float32]] = []
        total = 0
        while total < frames:
            item = self._items[voice[int(rng.integers(len(voice)))]]
            length = len(item.controls)
            skip = int(rng.integers(0, max(1, length - frames))) if total == 0 else 0
            pause = int(rng.exponential(0.25) * FRAME_RATE)
            sound = item.samples[skip * _SAMPLES_PER_FRAME :]
            samples.append(np.pad(sound, (0, (length - skip + pause) * _SAMPLES_PER_FRAME - len(sound))))
            controls.append(np.pad(item.controls[skip:], ((0, pause), (0, 0))))
            total += length - skip + pause
        return np.concatenate(samples)[: frames * _SAMPLES_PER_FRAME], np.concatenate(controls)[:frames]


class Pool:
    """Segments that went through the Whisper encoder once and are trained on many times, on disk and in memory."""

    def __init__(
        self,
        inputs: NDArray[np.float16],
        controls: NDArray[np.float16],
        shares: NDArray[np.float32] | None = None,
        known: NDArray[np.bool_] | None = None,
    ) -> None:
        """inputs: [S, T, 390]; controls: [S, T, CONTROLS]; shares: [S, EMOTIONS], neutral unless given.

        `known`: [S, T] where the controls are known, everywhere unless given.
        """
        self._inputs, self._controls = inputs, controls
        neutral = np.tile(emotion_shares("neutral"), (len(inputs), 1))
        self._shares = neutral if shares is None else shares
        self._known = np.ones(inputs.shape[:2], bool) if known is None else known

    @classmethod
    def joined(cls, pools: "Sequence[Pool]") -> "Pool":
        """The segments of all pools, which are equally long."""
        names = ("_inputs", "_controls", "_shares", "_known")
        return cls(*(np.concatenate([vars(pool)[name] for pool in pools]) for name in names))

    @property
    def seconds(self) -> float:
        """Length of all segments together."""
        return float(self._controls.shape[0] * self._controls.shape[1] / FRAME_RATE)

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation [390] of the inputs."""
        rows = self._inputs[:, ::5].reshape(-1, self._inputs.shape[2]).astype(np.float32)
        return torch.from_numpy(rows.mean(axis=0)), torch.from_numpy(rows.std(axis=0))

    def batch(self, size: int, frames: int, rng: np.random.Generator, jitter: int = 0) -> Batch:
        """Random windows of `frames` control frames.

        Controls of a window, but for closing, come early or late by one time of at most `jitter` frames.
        """
        rows = rng.integers(0, len(self._inputs), size)
        starts, moved = self._places(size, frames, rng, jitter)
        return self._cut(rows, starts, moved, frames)

    def pair_batch(self, pairs: int, frames: int, rng: np.random.Generator, jitter: int = 0) -> Batch:
        """Random windows of rows that match: row p and row p + `pairs` of the batch are a pair, shifted alike."""
        even = 2 * rng.integers(0, len(self._inputs) // 2, pairs)
        starts, moved = self._places(pairs, frames, rng, jitter)
        return self._cut(np.concatenate([even, even + 1]), np.tile(starts, 2), np.tile(moved, 2), frames)

    def _places(
        self, size: int, frames: int, rng: np.random.Generator, jitter: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where `size` windows of the sound begin, and where those of their controls do."""
        starts = rng.integers(jitter, self._inputs.shape[1] - frames - jitter + 1, size)
        return starts, starts + rng.integers(-jitter, jitter + 1, size)

    def closings(self, size: int, span: int, rng: np.random.Generator, lead: int = 0) -> tuple[Tensor, Tensor]:
        """Random stretches of `span` positions: inputs [size, span, 390], and the closing [size] that goes with them.

        It is that of the position before the last, or of `lead` control frames after it.
        """
        rows = rng.integers(0, len(self._inputs), size).tolist()
        starts = rng.integers(0, self._inputs.shape[1] - span - lead + 1, size).tolist()
        inputs = np.stack([self._inputs[row, at : at + span] for row, at in zip(rows, starts, strict=True)])
        places = [(row, at + span - 2 + lead) for row, at in zip(rows, starts, strict=True)]
        closing = np.array([self._controls[row, at, _CLOSE] for row, at in places])
        return torch.from_numpy(inputs).float(), torch.from_numpy(closing).float()

    def _cut(self, rows: NDArray[np.int64], starts: NDArray[np.int64], moved: NDArray[np.int64], frames: int) -> Batch:
        heard = list(zip(rows.tolist(), starts.tolist(), strict=True))
        shown = list(zip(rows.tolist(), moved.tolist(), strict=True))
        inputs = np.stack([self._inputs[row, start : start + frames] for row, start in heard])
        controls = np.stack([self._controls[row, start : start + frames] for row, start in shown])
        closing = np.stack([self._controls[row, start : start + frames, _CLOSE] for row, start in heard])
        controls[:, :, _CLOSE] = closing
        seen, lips = (np.stack([self._known[row, at : at + frames] for row, at in each]) for each in (heard, shown))
        known = torch.from_numpy(seen & lips)
        shares = torch.from_numpy(self._shares[rows])
        return Batch(torch.from_numpy(inputs).float(), torch.from_numpy(controls).float(), shares, known)


def build_pool(
    items: Sequence[Item],
    encoder: WhisperEncoder,
    folder: Path,
    segments: int,
    segment_s: float,
    config: AugmentConfig,
    seed: int,
    progress: Callable[[str, float], None] | None = None,
    at_once: int = 16,
    chunks: Sequence[int] = (CHUNK,),
) -> Pool:
    """Makes (or finishes) a pool of augmented, encoded segments; parts that are in `folder` are kept.

    `chunks` are the encoder's chunks, by turns from part to part.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inputs: list[NDArray[np.float16]] = []
    controls: list[NDArray[np.float16]] = []
    parts = -(-segments // at_once)
    for part in range(parts):
        path = folder / f"part-{part:04d}.npz"
        if not path.exists():
            frames, wanted = Sampler(items, segment_s, config, seed * 1_000_003 + part).segments(at_once)
            encoding = Encoding.begin(encoder, at_once, chunks[part % len(chunks)])
            heard = encoding.push(np.concatenate([frames, silent_frames(at_once, 1)], axis=1)).inputs
            heard = heard[:, : wanted.shape[1] // CHUNK * CHUNK]
            controls_part = wanted[:, : heard.shape[1]].astype(np.float16)
            write_arrays(path, {"inputs": heard.half().numpy(), "controls": controls_part})
        heard_part, wanted_part = read_arrays(
            path, ("inputs", "controls"), "a part of a pool", "delete it: it is made again"
        )
        inputs.append(heard_part)
        controls.append(wanted_part)
        if progress is not None:
            progress(f"segments {(part + 1) * at_once}", (part + 1) / parts)
    return Pool(np.concatenate(inputs), np.concatenate(controls))


def interpolate(rows: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows at fractional indices; rows: [T, C], at: [K] within the range -> [K, C]."""
    low = at.astype(int)
    high = np.minimum(low + 1, len(rows) - 1)
    share = (at - low).astype(np.float32)[:, None]
    return np.asarray(rows[low] * (1 - share) + rows[high] * share, np.float32)
