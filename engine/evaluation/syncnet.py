"""SyncNet (Chung and Zisserman 2016, "Out of time: automated lip sync in the wild"), read from its public weights.

Two networks bring five pictures of a face and the 0.2 s of sound with them to one space of 1024 numbers, in which what
belongs together is near. Layers and names are those of the state dict that its authors published (`syncnet_v2.model`);
the code is ours. Batch normalisation is folded into the convolutions, and the convolution over time, which takes all
five pictures at once, is one over fifteen channels. The file is read without running anything in it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError
from engine.evaluation.mfcc import COEFFICIENTS
from engine.generators.readers.state import read_state

PICTURES: Final = 5
"""Pictures of a window, at 25 a second."""
SIDE: Final = 224
"""Side of a picture in px."""
WINDOWS: Final = 20
"""Windows of sound (`mfcc`) that go with five pictures."""
WIDTH: Final = 1024
"""Numbers of an embedding."""
_EPSILON: Final = 1e-5
"""Of batch normalisation, as in torch's layers."""
_ONE: Final = (1, 1)
_NONE: Final = (0, 0)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A convolution, its normalisation (the next number in the file), ReLU and pooling."""

    at: int
    """Number of the convolution in the file."""
    shape: tuple[int, ...]
    """Of its weight in the file."""
    stride: tuple[int, int] = _ONE
    padding: tuple[int, int] = _ONE
    pool: tuple[int, int] | None = None
    """Stride of the maximum over 3 x 3 places behind it; None: there is none."""
    pool_padding: int = 0


@dataclass(frozen=True, slots=True)
class _Branch:
    """One of the two networks."""

    convolutions: str
    """Beginning of their names in the file."""
    head: str
    """Beginning of the names of the two fully connected layers."""
    layers: tuple[_Layer, ...]


_SOUND: Final = _Branch(
    "netcnnaud", "netfcaud",
    (
        _Layer(0, (64, 1, 3, 3)),
        _Layer(4, (192, 64, 3, 3), pool=(1, 2)),
        _Layer(8, (384, 192, 3, 3)),
        _Layer(11, (256, 384, 3, 3)),
        _Layer(14, (256, 256, 3, 3), pool=(2, 2)),
        _Layer(18, (512, 256, 5, 4), padding=_NONE),
    ),
)  # fmt: skip
_LIPS: Final = _Branch(
    "netcnnlip", "netfclip",
    (
        _Layer(0, (96, 3, 5, 7, 7), (2, 2), _NONE, (2, 2)),
        _Layer(4, (256, 96, 1, 5, 5), (2, 2), pool=(2, 2), pool_padding=1),
        _Layer(8, (256, 256, 1, 3, 3)),
        _Layer(11, (256, 256, 1, 3, 3)),
        _Layer(14, (256, 256, 1, 3, 3), pool=(2, 2)),
        _Layer(18, (512, 256, 1, 6, 6), padding=_NONE),
    ),
)  # fmt: skip
_HEAD: Final = ((0, 1, 512), (3, None, WIDTH))
"""Numbers of the fully connected layers and of the normalisation behind them, and how many values they give."""


class SyncNet:
    """Embeddings of pictures and of sound, each [B,1024]; `name` is the file's, and a digest of the weights.

    Args:
        state: tensors by the names of the public state dict.
        source: name of their file, for messages.

    Raises:
        WeightsFormatError: a tensor is missing, of another shape, or not finite.
    """

    def __init__(self, state: Mapping[str, Tensor], source: str = "SyncNet") -> None:
        """Folds the normalisations into the weights."""
        self.name: Final = f"{source} {_digest(state)}"
        self._sound: Final = _Folded(_SOUND, state, source)
        self._lips: Final = _Folded(_LIPS, state, source)

    @classmethod
    def read(cls, path: Path) -> "SyncNet":
        """From a file of `torch.save`: the public `syncnet_v2.model`.

        Raises:
            BadInputError: there is no such file.
            WeightsFormatError: it is damaged, or holds another network.
        """
        return cls(read_state(path, "SyncNet"), path.name)

    def lips(self, pictures: Tensor) -> Tensor:
        """Embed windows of pictures.

        Args:
            pictures: [B,5,3,224,224] RGB, 0...255, any type.

        Returns:
            [B,1024] float32.

        Raises:
            ShapeError: another shape.
        """
        _check("pictures", pictures, (PICTURES, 3, SIDE, SIDE))
        blue_first = pictures.flip(2).transpose(1, 2).to(torch.float32)
        return self._lips(blue_first.reshape(len(pictures), 3 * PICTURES, SIDE, SIDE))

    def sound(self, coefficients: Tensor) -> Tensor:
        """Embed windows of sound.

        Args:
            coefficients: [B,20,13] float, see `mfcc`.

        Returns:
            [B,1024] float32.

        Raises:
            ShapeError: another shape.
        """
        _check("coefficients", coefficients, (WINDOWS, COEFFICIENTS))
        return self._sound(coefficients.transpose(1, 2)[:, None].to(torch.float32))


class _Folded:
    """One network with its normalisations folded in."""

    def __init__(self, branch: _Branch, state: Mapping[str, Tensor], source: str) -> None:
        self._layers: Final = branch.layers
        self._weights: Final = []
        for layer in branch.layers:
            weight, bias = _folded(state, branch.convolutions, layer.at, layer.at + 1, layer.shape, source)
            if weight.ndim == 5:  # over time, too: all pictures at once, or one by one
                weight = weight.flatten(1, 2)
            self._weights.append((weight.contiguous(), bias))
        incoming, self._head = 512, []
        for at, normalised, values in _HEAD:
            self._head.append(_folded(state, branch.head, at, normalised, (values, incoming), source))
            incoming = values

    def __call__(self, x: Tensor) -> Tensor:
        """x: [B,C,H,W] -> [B,1024]."""
        with torch.no_grad():
            for layer, (weight, bias) in zip(self._layers, self._weights, strict=True):
                x = functional.relu_(functional.conv2d(x, weight, bias, layer.stride, layer.padding))
                if layer.pool is not None:
                    x = functional.max_pool2d(x, 3, layer.pool, layer.pool_padding)
            x = functional.relu_(functional.linear(x.flatten(1), *self._head[0]))
            return functional.linear(x, *self._head[1])


def _folded(
    state: Mapping[str, Tensor], prefix: str, at: int, normalised: int | None, shape: Sequence[int], source: str
) -> tuple[Tensor, Tensor]:
    """Weight and bias of a layer with the normalisation behind it, if there is one, taken in."""
    weight = _taken(state, f"{prefix}.{at}.weight", shape, source)
    bias = _taken(state, f"{prefix}.{at}.bias", shape[:1], source)
    if normalised is None:
        return weight, bias
    names = ("weight", "bias", "running_mean", "running_var")
    gain, shift, mean, variance = (_taken(state, f"{prefix}.{normalised}.{n}", shape[:1], source) for n in names)
    scale = gain / (variance.clamp(min=0) + _EPSILON).sqrt()
    return weight * scale.reshape(-1, *[1] * (len(shape) - 1)), (bias - mean) * scale + shift


def _taken(state: Mapping[str, Tensor], name: str, shape: Sequence[int], source: str) -> Tensor:
    if name not in state:
        raise WeightsFormatError(
            f"{source}: got no {name}, expected the state dict of SyncNet as published (syncnet_v2.model)"
        )
    found = state[name]
    if tuple(found.shape) != tuple(shape) or not bool(torch.isfinite(found).all()):
        raise WeightsFormatError(f"{source}: {name} is {list(found.shape)}; expected {list(shape)} finite numbers")
    return found.to(torch.float32)


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        digest.update(name.encode() + state[name].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _check(name: str, values: Tensor, shape: tuple[int, ...]) -> None:
    if values.ndim != 1 + len(shape) or tuple(values.shape[1:]) != shape or not len(values):
        raise ShapeError(f"{name}: got {list(values.shape)}, expected [B, {', '.join(map(str, shape))}], B at least 1")
