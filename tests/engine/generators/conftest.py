"""Generators for the tests: a small hand-made one, and the real one with its original files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.generators.mobile import MobileStyleGAN
from tests.engine.generators.made_mobile import random_mobile


@pytest.fixture(scope="session")
def tiny() -> MobileStyleGAN:
    """A generator of 64 px with random weights: all kinds of layers, milliseconds a picture."""
    return random_mobile((16, 12, 8), 3, ("style.weight", "up.weight", "noise"))


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
