"""The picture on which the loops over pixels are compared: every part says something and is judged by itself."""

import pytest
import torch

from engine.editing.loop_trial import example, parts_of
from kernels.backends.choice import worst_of

pytestmark = pytest.mark.unit


def test_every_part_shows_something() -> None:
    """A part that is flat or zero would hide a wrong loop."""
    picture = example()
    assert picture.shape == (1, 4, 256, 256) and float(picture.abs().max()) <= 1
    for index, part in enumerate(parts_of(picture)):
        assert bool(torch.isfinite(part).all()), index
        assert float(part.std() if part.numel() > 1 else part) > 0.04, index


def test_the_same_picture_gives_the_same_parts() -> None:
    assert float(worst_of(parts_of(example()), parts_of(example()))) == 0


def test_parts_depend_on_the_whole_picture() -> None:
    """Turned upside down, each picture and each place where detail is measured changes."""
    pairs = zip(parts_of(example()), parts_of(example().flip(2)), strict=True)
    for index, (one, other) in enumerate(pairs):
        if one.numel() > 1:
            assert float((one - other).square().mean().sqrt()) > 0.04, index
