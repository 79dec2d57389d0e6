"""Configuration of speech training, read from TOML: unknown keys are errors."""

import dataclasses
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from engine.errors import BadInputError
from engine.speech.network import NetworkConfig
from engine.speech.whisper import CHUNKS
from engine.training.augment import AugmentConfig
from engine.training.running import require_at_least

DEVICES: Final = ("cpu", "cuda")
"""Devices that can train."""


@dataclass(frozen=True)
class TrainConfig:
    """One training run."""

    steps: int = 700
    """Optimiser steps."""
    batch: int = 16
    """Windows of neutral speech per step."""
    pairs: int = 6
    """Pairs of windows of equal content in two emotions per step."""
    segment_s: float = 20.0
    """Length of an encoded segment of the pool, seconds."""
    segments: int = 512
    """Segments of neutral speech in the pool."""
    emotional_segments: int = 224
    """Segments of emotional speech in the pool, two for each pair."""
    filmed_share: float = 0.5
    """Share of the windows that are not pairs that come from films, where there are films."""
    filmed_segments: int = 512
    """Segments of filmed speech in the pool."""
    filmed_pairs: int = 112
    """Pairs of segments of filmed speech in the pool, where sentences were filmed in several emotions."""
    sentences: int = 8
    """Sentences of every emotional speaker."""
    chunks: tuple[int, ...] = (4, 2, 4, 1)
    """Positions that the encoder takes together, by turns from part to part of the pool: what live streams may use."""
    window_s: float = 6.0
    """Length of a training window, seconds."""
    time_jitter_ms: int = 80
    """Farthest that the targets of a window are moved against its sound, either way: nobody's lips keep exact time."""
    learning_rate: float = 2.0e-3
    """Peak learning rate of AdamW; warms up over the first 5 % and falls to zero as a cosine."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    averaging: float = 0.99
    """Share of the moving average of the weights that stays at a step; a run gives the average. 0: the last weights."""
    opening_weight: float = 2.0
    """Weight of the inner-lip opening's error."""
    width_weight: float = 4.0
    """Weight of the mouth's width's error."""
    velocity_weight: float = 4.0
    """Weight of the error of frame-to-frame differences."""
    closure_weight: float = 0.5
    """Weight of the opening that is left where lips should close."""
    closing_weight: float = 1.0
    """Weight of the cross-entropy of the share of closing."""
    expression_weight: float = 1.0
    """Weight of the error of brows, lids, cheeks and corners of the mouth."""
    naming_weight: float = 0.1
    """Weight of the cross-entropy of the emotion."""
    cross_weight: float = 0.3
    """Weight of the four reconstruction terms; 0 leaves out all of cross-reconstruction."""
    content_weight: float = 0.1
    """Weight of the difference between the content codes of a pair."""
    input_noise: float = 0.4
    """Gaussian noise added to the normalised inputs, in standard deviations."""
    held_out: tuple[str, ...] = ("festival-pc_diphone", "flite-awb", "human-ru-ivrvoice")
    """Voices never trained on: the figures that choose between runs come from them."""
    seed: int = 1
    """Seed of weights and material."""
    threads: int = 1
    """CPU threads."""
    device: str = "cpu"
    """Where the network is trained, one of `DEVICES`; the material is made by the processor."""
    mixed: bool = False
    """Whether products of the networks are in bfloat16 (mixed precision, for GPUs); weights and losses are float32."""
    checkpoint_steps: int = 100
    """Steps between checkpoints."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Sizes."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Changes made to the sound."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        counts = ("steps", "batch", "threads", "checkpoint_steps", "segments", "emotional_segments", "sentences")
        require_at_least(1, self, *counts, "filmed_segments", "filmed_pairs")
        if self.pairs < 0:
            raise BadInputError(f"pairs is {self.pairs}, expected 0 (none) or more")
        if not 0.0 <= self.filmed_share <= 1.0:
            raise BadInputError(f"filmed_share is {self.filmed_share}, expected a share of 0 ... 1")
        if not 0.0 <= self.averaging < 1.0:
            raise BadInputError(f"averaging is {self.averaging}, expected 0 (none) or more, below 1")
        if self.device not in DEVICES:
            raise BadInputError(f"device is {self.device!r}, expected one of {', '.join(DEVICES)}")
        if not self.chunks or set(self.chunks) - set(CHUNKS):
            raise BadInputError(f"chunks are {self.chunks}, expected some of {CHUNKS}")
        if self.time_jitter_ms < 0:
            raise BadInputError(f"time_jitter_ms is {self.time_jitter_ms}, expected 0 (none) or more")
        longest = self.segment_s - 0.08 - 2 * self.time_jitter_ms / 1000
        if not 1.0 <= self.window_s <= longest:
            raise BadInputError(
                f"window_s is {self.window_s}, expected 1 ... {longest:g}: within a segment, jitter and all"
            )


def _build(kind: type[Any], table: Mapping[str, Any], where: str) -> Any:
    """Fills a config dataclass from a TOML table."""
    fields = {entry.name: entry for entry in dataclasses.fields(kind)}
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise BadInputError(f"{where} has unknown keys {unknown}, expected some of {sorted(fields)}; correct the file")
    values: dict[str, Any] = {}
    for name, value in table.items():
        default = getattr(kind(), name)
        if dataclasses.is_dataclass(default) and isinstance(value, Mapping):
            values[name] = _build(type(default), value, f"{where}.{name}")
        elif isinstance(default, tuple) and isinstance(value, list):
            values[name] = tuple(value)
        elif type(value) is type(default) or (isinstance(default, float) and isinstance(value, int)):
            values[name] = value
        else:
            expected = type(default).__name__
            raise BadInputError(f"{where}.{name} is {value!r}, expected {expected}; correct the file")
    return kind(**values)


def read_config(path: Path | None) -> TrainConfig:
    """The configuration of a TOML file, or the defaults: those of the shipped weights, but runs are averaged now."""
    if path is None:
        return TrainConfig()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} is not a configuration file: {error}; expected TOML, as text in UTF-8") from error
    config = _build(TrainConfig, table, path.name)
    if not isinstance(config, TrainConfig):
        raise BadInputError(f"{path} gave {type(config).__name__}, expected TrainConfig")
    return config
