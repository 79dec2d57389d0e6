"""Encoders of the pSp and e4e family: from an aligned face to W+ in one pass, as the start of an inversion.

pSp (Richardson et al. 2021, arXiv 2008.00951): an IR-SE-50 (Deng et al. 2019, arXiv 1801.07698; squeeze and excitation
by Hu et al. 2018) with a feature pyramid, and a small network a row that reads the row's code from 16, 32 or 64 px.
e4e (Tov et al. 2021, arXiv 2102.02766): the same network, whose first row is the code of all and whose other rows are
differences from it. Names and shapes are those of the public checkpoints (`state_dict` with `encoder.`, `latent_avg`,
`opts`); the code is ours, and nothing in a file is run. It was tried on made-up weights only.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError
from engine.generators.readers.nvidia import as_dict
from engine.generators.readers.state import named_tensors
from engine.generators.readers.torch_files import open_torch_file

SIDE: Final = 256
"""Side of the picture in px."""
Kind = Literal["e4e", "pSp"]

_KINDS: Final[Mapping[str, Kind]] = {"Encoder4Editing": "e4e", "GradualStyleEncoder": "pSp"}
"""`encoder_type` of the public checkpoints."""
_UNITS: Final = (3, 4, 14, 3)
"""Units of the four stages of IR-SE-50; each stage begins by halving the size."""
_FINE, _MIDDLE, _COARSE = 6, 20, 23
"""Units after which 64, 32 and 16 px are read."""
_FIRST_MIDDLE, _FIRST_FINE = 3, 7
"""Rows from which on 32 and 64 px are read."""
_CONVOLUTIONS: Final = (4, 5, 6)
"""Convolutions of a row's network at 16, 32 and 64 px."""
_SLOPE: Final = 0.01
_EPSILON: Final = 1e-5
_NORM: Final = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Layout:
    """Widths of an encoder."""

    channels: tuple[int, int, int, int] = (64, 128, 256, 512)
    """After each stage; the first layer has as many as the first stage."""
    width: int = 512
    """Numbers of a row."""
    squeeze: int = 16
    """By how much the attention over channels is narrower than they are."""


PUBLIC: Final = Layout()
"""That of the public checkpoints."""


@dataclass(frozen=True, slots=True)
class _Unit:
    """One residual unit."""

    name: str
    before: int
    after: int
    stride: int


def _units(layout: Layout) -> Iterator[_Unit]:
    index = itertools.count()
    before = layout.channels[0]
    for after, count in zip(layout.channels, _UNITS, strict=True):
        for place in range(count):
            yield _Unit(f"body.{next(index)}", before, after, 1 if place else 2)
            before = after


class FaceEncoder:
    """From aligned faces to W+.

    Args:
        state: tensors by the public names, without `encoder.`.
        average: [R,512] or [512], what the encoder's codes are differences from.
        kind: how the rows' codes are put together.
        source: name of their file, for messages.
        layout: widths, those of the public checkpoints by default.

    Raises:
        WeightsFormatError: tensors are missing, left over, of another shape, or not finite.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        average: Tensor,
        kind: Kind,
        source: str = "encoder",
        layout: Layout = PUBLIC,
    ) -> None:
        """Checks every tensor."""
        self.rows: Final = sum(1 for name in state if name.startswith("styles.") and name.endswith(".linear.weight"))
        self.kind: Final = kind
        self.source: Final = source
        self.width: Final = layout.width
        shapes = dict(tensor_shapes(self.rows, layout))
        held = {name for name in state if not name.endswith("num_batches_tracked")}
        if self.rows < _FIRST_FINE or held != set(shapes):
            wrong = ", ".join(sorted(set(shapes) ^ held)[:3]) or f"{self.rows} rows"
            raise WeightsFormatError(
                f"{source}: got an encoder that differs in {wrong}; expected IR-SE-50 of pSp or e4e, for RGB pictures"
            )
        for name, shape in shapes.items():
            if tuple(state[name].shape) != shape or not bool(torch.isfinite(state[name]).all()):
                got = list(state[name].shape)
                raise WeightsFormatError(f"{source}: {name} is {got}; expected {list(shape)} finite numbers")
        whole = (self.rows, layout.width)
        if tuple(average.shape) not in (whole[1:], whole) or not bool(torch.isfinite(average).all()):
            raise WeightsFormatError(
                f"{source}: latent_avg is {list(average.shape)}; expected {list(whole)} or {list(whole[1:])} numbers"
            )
        self.average: Final = average.to(torch.float32).expand(whole)
        self._units: Final = tuple(_units(layout))
        self._state: Final = {name: state[name].to(torch.float32) for name in shapes}

    @classmethod
    def read(cls, path: Path, layout: Layout = PUBLIC) -> "FaceEncoder":
        """From a public checkpoint, which may hold a generator beside it.

        Raises:
            BadInputError: there is no such file.
            WeightsFormatError: it is damaged, or holds no encoder of this family.
        """
        file = open_torch_file(path)
        root = as_dict(file.root)
        options = as_dict(root.get("opts"))
        state = named_tensors(file, root.get("state_dict"), "encoder.")
        if not state:
            held = ", ".join(list(root)[:8]) or "nothing named"
            raise WeightsFormatError(f"{file.source}: got {held}, expected a state_dict with an encoder (e4e, pSp)")
        if (kind := _KINDS.get(str(options.get("encoder_type")))) is None:
            raise WeightsFormatError(
                f"{file.source}: encoder_type is {options.get('encoder_type')}; expected one of {', '.join(_KINDS)}"
            )
        average = torch.zeros(layout.width)
        if options.get("start_from_latent_avg", True):
            if not file.is_tensor(root.get("latent_avg")):
                raise WeightsFormatError(f"{file.source}: got no latent_avg, which its codes are differences from")
            average = file.tensor(root["latent_avg"])
        return cls(state, average, kind, file.source, layout)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Codes of aligned faces.

        Args:
            pictures: [B,3,256,256] float RGB, -1...1, aligned as FFHQ is.

        Returns:
            [B,R,512] float32.

        Raises:
            ShapeError: another shape.
        """
        if pictures.ndim != 4 or pictures.shape[1:] != (3, SIDE, SIDE):
            raise ShapeError(f"pictures are {list(pictures.shape)}; expected [B,3,{SIDE},{SIDE}] in -1...1")
        with torch.no_grad():
            coarse, middle, fine = self._pyramid(pictures.to(torch.float32))
            levels = (coarse, middle, fine)
            read = [self._row(row, levels[_level(row)]) for row in range(self.rows)]
            codes = torch.stack(read, 1)
            if self.kind == "e4e":
                codes[:, 1:] += codes[:, :1]
            return codes + self.average

    def _pyramid(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of 16, 32 and 64 px, 512 channels each."""
        x = self._norm("input_layer.1", functional.conv2d(x, self._state["input_layer.0.weight"], padding=1))
        x = functional.prelu(x, self._state["input_layer.2.weight"])
        kept: list[Tensor] = []
        for index, unit in enumerate(self._units):
            x = self._unit(unit, x)
            if index in (_FINE, _MIDDLE, _COARSE):
                kept.append(x)
        fine, middle, coarse = kept
        middle = self._beside("latlayer1", middle, coarse)
        return coarse, middle, self._beside("latlayer2", fine, middle)

    def _beside(self, name: str, features: Tensor, above: Tensor) -> Tensor:
        """Features brought to 512 channels, with those of the level above, enlarged, added."""
        found = functional.conv2d(features, self._state[f"{name}.weight"], self._state[f"{name}.bias"])
        size = (features.shape[2], features.shape[3])
        return found + functional.interpolate(above, size, mode="bilinear", align_corners=True)

    def _unit(self, unit: _Unit, x: Tensor) -> Tensor:
        state, name = self._state, f"{unit.name}.res_layer"
        if unit.before == unit.after:
            short = x[:, :, :: unit.stride, :: unit.stride]
        else:
            short = functional.conv2d(x, state[f"{unit.name}.shortcut_layer.0.weight"], stride=unit.stride)
            short = self._norm(f"{unit.name}.shortcut_layer.1", short)
        x = functional.conv2d(self._norm(f"{name}.0", x), state[f"{name}.1.weight"], padding=1)
        x = functional.prelu(x, state[f"{name}.2.weight"])
        x = functional.conv2d(x, state[f"{name}.3.weight"], stride=unit.stride, padding=1)
        x = self._norm(f"{name}.4", x)
        squeezed = functional.relu(functional.conv2d(x.mean((2, 3), keepdim=True), state[f"{name}.5.fc1.weight"]))
        return x * torch.sigmoid(functional.conv2d(squeezed, state[f"{name}.5.fc2.weight"])) + short

    def _norm(self, name: str, x: Tensor) -> Tensor:
        weight, bias, mean, variance = (self._state[f"{name}.{part}"] for part in _NORM)
        return functional.batch_norm(x, mean, variance, weight, bias, eps=_EPSILON)

    def _row(self, row: int, features: Tensor) -> Tensor:
        """Code of one row: [B,512]."""
        for number in range(_CONVOLUTIONS[_level(row)]):
            name = f"styles.{row}.convs.{2 * number}"
            weight, bias = self._state[f"{name}.weight"], self._state[f"{name}.bias"]
            features = functional.leaky_relu(functional.conv2d(features, weight, bias, 2, 1), _SLOPE)
        weight, bias = self._state[f"styles.{row}.linear.weight"], self._state[f"styles.{row}.linear.bias"]
        return functional.linear(features.flatten(1), weight / self.width**0.5, bias)


def _level(row: int) -> int:
    """0, 1 or 2: the row is read at 16, 32 or 64 px."""
    return (row >= _FIRST_MIDDLE) + (row >= _FIRST_FINE)


def tensor_shapes(rows: int, layout: Layout = PUBLIC) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Name (without `encoder.`) and shape of every tensor of an encoder of so many rows."""
    stem, width = layout.channels[0], layout.width

    def norm(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        """Those of a normalisation."""
        return ((f"{name}.{part}", (channels,)) for part in _NORM)

    yield "input_layer.0.weight", (stem, 3, 3, 3)
    yield from norm("input_layer.1", stem)
    yield "input_layer.2.weight", (stem,)
    for unit in _units(layout):
        name = f"{unit.name}.res_layer"
        if unit.before != unit.after:
            yield f"{unit.name}.shortcut_layer.0.weight", (unit.after, unit.before, 1, 1)
            yield from norm(f"{unit.name}.shortcut_layer.1", unit.after)
        yield from norm(f"{name}.0", unit.before)
        yield f"{name}.1.weight", (unit.after, unit.before, 3, 3)
        yield f"{name}.2.weight", (unit.after,)
        yield f"{name}.3.weight", (unit.after, unit.after, 3, 3)
        yield from norm(f"{name}.4", unit.after)
        yield f"{name}.5.fc1.weight", (unit.after // layout.squeeze, unit.after, 1, 1)
        yield f"{name}.5.fc2.weight", (unit.after, unit.after // layout.squeeze, 1, 1)
    for row in range(rows):
        for number in range(_CONVOLUTIONS[_level(row)]):
            yield f"styles.{row}.convs.{2 * number}.weight", (width, width, 3, 3)
            yield f"styles.{row}.convs.{2 * number}.bias", (width,)
        yield f"styles.{row}.linear.weight", (width, width)
        yield f"styles.{row}.linear.bias", (width,)
    for name, channels in (("latlayer1", layout.channels[2]), ("latlayer2", layout.channels[1])):
        yield f"{name}.weight", (width, channels, 1, 1)
        yield f"{name}.bias", (width,)
