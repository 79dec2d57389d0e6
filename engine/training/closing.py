"""Trains the detector of closing lips on the pools of the speech network."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from engine.speech.closing import SPAN, ClosingNet
from engine.training.dataset import Pool
from engine.training.running import Progress, descend, require_at_least

_SURE: Final = (0.3, 0.7)
"""Wanted shares of closing between which lips go from open to closed."""


@dataclass(frozen=True)
class ClosingConfig:
    """One training run."""

    steps: int = 4000
    """Optimiser steps."""
    batch: int = 1024
    """Frames per step."""
    learning_rate: float = 2.0e-3
    """Rate of AdamW; falls to zero in a straight line."""
    weight_decay: float = 0.05
    """Decoupled weight decay."""
    noise: float = 0.3
    """Gaussian noise on the normalised features, in standard deviations."""
    closed_weight: float = 2.0
    """Weight of closed frames."""
    focus: float = 1.0
    """Power of the error by which frames are weighted (focal loss): what is clear counts little."""
    lead: int = 2
    """Control frames (20 ms) by which closing is told early: lips begin before they are heard, and need time."""
    seed: int = 1
    """Seed of weights and material."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        require_at_least(1, self, "steps", "batch")
        require_at_least(0, self, "lead")


def train_closing(pools: list[Pool], config: ClosingConfig, progress: Progress | None = None) -> ClosingNet:
    """Trains on frames of pools, drawn alike from all their segments."""
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network = ClosingNet().train()
    mean, deviation = pools[0].statistics()
    network.mean.copy_(mean)
    network.scale.copy_(1.0 / deviation.clamp(min=1e-3))
    shares = np.array([pool.seconds for pool in pools])
    counts = np.maximum(1, np.round(config.batch * shares / shares.sum()).astype(int))

    def loss() -> Tensor:
        """Of frames that were not drawn before."""
        drawn = [pool.closings(int(count), SPAN, rng, config.lead) for pool, count in zip(pools, counts, strict=True)]
        features, wanted = (torch.cat(part) for part in zip(*drawn, strict=True))
        normal = network.normal(features)
        return _loss(network((normal + config.noise * torch.randn_like(normal)).flatten(1)), wanted, config)

    descend(network, config, loss, "closing", progress)
    return network.eval()


def _loss(logits: Tensor, wanted: Tensor, config: ClosingConfig) -> Tensor:
    """Focal cross-entropy; logits, wanted: [B], wanted the share of closing."""
    low, high = _SURE
    sure = ((wanted - low) / (high - low)).clamp(0.0, 1.0)
    each = functional.binary_cross_entropy_with_logits(logits, sure, reduction="none")
    weight = 1.0 + (config.closed_weight - 1.0) * sure
    if config.focus > 0:
        weight = weight * 2.0 * (torch.sigmoid(logits).detach() - sure).abs() ** config.focus
    return (weight * each).mean()
