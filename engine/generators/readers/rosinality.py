"""The layout of rosinality/stylegan2-pytorch (`g_ema` of a `.pt`), also of files converted from TensorFlow.

Names as in that repository: style.N (mapping), input.input, conv1, to_rgb1, convs.N, to_rgbs.N, noises.noise_N.
Its convolutions are scaled by 1 / sqrt(inputs * 9) before they are demodulated, so that scale is folded in.
Encoders of the pSp and e4e family keep the same generator under `decoder.`, and the average w in `latent_avg`.
"""

import math
from collections.abc import Mapping
from typing import Final

from torch import Tensor

from engine.errors import WeightsFormatError
from engine.generators.readers.layout import Entry, Ingredients, counted

MARK: Final = "to_rgb1.conv.weight"
"""A name that only this layout has."""
_OWN: Final = ("style.", "input.", "conv1.", "to_rgb1.", "convs.", "to_rgbs.", "noises.")


def _convolution(weight: Tensor) -> Tensor:
    """[1,O,I,3,3] -> [O,I,3,3], scaled as the repository does at run time."""
    return weight[0] / math.sqrt(weight.shape[2] * weight.shape[3] * weight.shape[4])


def _first(value: Tensor) -> Tensor:
    return value[0]


def _average(value: Tensor) -> Tensor:
    """Average w: [D], or [R,D] with equal rows in the pSp family."""
    return value[0] if value.ndim == 2 else value


def _styled(ours: str, theirs: str, noise: int) -> list[Entry]:
    return [
        Entry(f"{ours}.style.weight", f"{theirs}.conv.modulation.weight"),
        Entry(f"{ours}.style.bias", f"{theirs}.conv.modulation.bias"),
        Entry(f"{ours}.weight", f"{theirs}.conv.weight", _convolution),
        Entry(f"{ours}.bias", f"{theirs}.activate.bias"),
        Entry(f"{ours}.noise_strength", f"{theirs}.noise.weight"),
        Entry(f"{ours}.noise", f"noises.noise_{noise}", optional=True),
    ]


def _to_rgb(ours: str, theirs: str) -> list[Entry]:
    return [
        Entry(f"{ours}.style.weight", f"{theirs}.conv.modulation.weight"),
        Entry(f"{ours}.style.bias", f"{theirs}.conv.modulation.bias"),
        Entry(f"{ours}.weight", f"{theirs}.conv.weight", _first),
        Entry(f"{ours}.bias", f"{theirs}.bias"),
    ]


def read_rosinality(tensors: Mapping[str, Tensor], average: Tensor | None, source: str) -> Ingredients:
    """Take a generator from its state dict.

    Args:
        tensors: the state dict, by the repository's names.
        average: `latent_avg` of the file, if any.
        source: name of the file.

    Raises:
        WeightsFormatError: the names do not begin as they should.
    """
    if MARK not in tensors:
        raise WeightsFormatError(f"{source}: no {MARK}; expected the generator of rosinality/stylegan2-pytorch")
    ups = counted(tensors, "to_rgbs.", ".conv.weight")
    layers = counted(tensors, "style.", ".weight") - 1
    entries = [Entry("constant", "input.input"), *_styled("blocks.0.second", "conv1", 0)]
    entries += _to_rgb("blocks.0.rgb", "to_rgb1")
    for index in range(ups):
        ours = f"blocks.{index + 1}"
        entries += _styled(f"{ours}.first", f"convs.{2 * index}", 2 * index + 1)
        entries += _styled(f"{ours}.second", f"convs.{2 * index + 1}", 2 * index + 2)
        entries += _to_rgb(f"{ours}.rgb", f"to_rgbs.{index}")
    for index in range(max(1, layers)):
        entries.append(Entry(f"mapping_network.weights.{index}", f"style.{index + 1}.weight"))
        entries.append(Entry(f"mapping_network.biases.{index}", f"style.{index + 1}.bias"))
    entries.append(Entry("mapping_network.mean", "latent_avg", _average, optional=True))
    held = dict(tensors) | ({"latent_avg": average} if average is not None else {})
    return Ingredients("rosinality/stylegan2-pytorch", source, held, entries, _OWN)
