"""Generators for the tests: a small hand-made one, and the real one with its original files."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from engine.generators.mobile import MobileStyleGAN


@pytest.fixture(scope="session")
def tiny() -> MobileStyleGAN:
    """A generator of 64 px with random weights: all kinds of layers, milliseconds a picture."""
    channels = (16, 12, 8)
    model = MobileStyleGAN(channels, (1.0,) * (2 + 3 * len(channels)))
    noise = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            fan_in = math.prod(tensor.shape[1:]) if tensor.ndim > 1 else 16
            tensor.copy_(torch.randn(tensor.shape, generator=noise) / math.sqrt(fan_in))
            if name.endswith(("style.bias", "up.bias")):
                tensor.add_(1.0)
            if name.endswith(("style.weight", "up.weight", "noise")):
                tensor.mul_(0.2)
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="session")
def files(weights: Callable[[str], Path]) -> dict[str, Path]:
    """The four original files of the default generator by short name."""
    names = ("synthesis-xml", "synthesis-bin", "mapping-xml", "mapping-bin")
    return {name: weights(f"mobilestylegan-{name}") for name in names}


@pytest.fixture(scope="session")
def real(files: dict[str, Path]) -> MobileStyleGAN:
    """The default generator as the engine loads it."""
    from engine.generators import load_default_generator

    assert all(path.is_file() for path in files.values())
    return load_default_generator()
