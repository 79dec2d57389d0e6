"""From tensors under a repository's names to a `StyleGAN2`, with a report of what was found.

A layout is a list of `Entry`: our name, the repository's name, and how the numbers differ. What is missing and what is
left over is told in the file's own names.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from engine.errors import ShapeError, WeightsFormatError
from engine.generators.stylegan2 import NoiseMode, StyleGAN2, StyleGAN2Config

SMALLEST: Final = 256
LARGEST: Final = 1024
"""Sizes in pixels that faces are edited at; others are read too, and said to be outside."""
_MEAN_SAMPLES: Final = 10000
_NAMED: Final = 6
_FILTER_TOLERANCE: Final = 1e-4
_PLACES: Final = 1 << 28
"""Most numbers of one network: four times the largest public StyleGAN2."""

Change = Callable[[Tensor], Tensor]
"""Turns a repository's numbers into ours."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor."""

    ours: str
    """Name in `StyleGAN2`."""
    theirs: str
    """Name in the file."""
    change: Change | None = None
    """How the numbers differ."""
    optional: bool = False
    """Whether a generator works without it."""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a reader has taken from a file."""

    form: str
    """The file's format, in words."""
    source: str
    """The file's name."""
    tensors: Mapping[str, Tensor]
    """By the file's names."""
    entries: list[Entry]
    """The layout."""
    own: tuple[str, ...]
    """Beginnings of names that belong to the generator: none of them may be left over."""
    clamp: float | None = None
    """Limit of activations, where the file says it."""
    mapping_rate: float = 0.01
    """Learning rate multiplier of the mapping network."""
    notes: tuple[str, ...] = ()
    """What else was found."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a file holds, for people."""

    form: str
    """The file's format, in words."""
    config: StyleGAN2Config
    """The generator's shape."""
    noise: str
    """What was found of noise."""
    notes: tuple[str, ...] = field(default=())
    """What was missing, left out or unknown."""

    def lines(self) -> list[str]:
        """One line per finding."""
        config = self.config
        clamp = "none" if config.clamp is None else f"{config.clamp:g}"
        return [
            f"format: {self.form}",
            f"resolution: {config.resolution} px, {2 * len(config.channels)} rows of W+",
            f"channels from 4 px up: {', '.join(map(str, config.channels))}",
            f"z: {config.noise_width}, w: {config.width}, mapping layers: {config.mapping_layers}",
            f"noise: {self.noise}; limit of activations: {clamp}",
            *(f"note: {note}" for note in self.notes),
        ]


def assemble(found: Ingredients, noise: NoiseMode = "const") -> tuple[StyleGAN2, Findings]:
    """Build the generator.

    Args:
        found: what the reader has taken from the file.
        noise: "none" takes the noise away for good.

    Returns:
        The generator in evaluation mode without gradients for its weights, and what was found.

    Raises:
        WeightsFormatError: tensors are missing, of unexpected shape, or not finite.
    """
    taken = _taken(found)
    config = _config(found, taken, noise)
    model = StyleGAN2(config)
    state = model.state_dict()
    for name in state:
        if name in taken:
            state[name] = _fitting(found, name, taken[name], state[name])
    with torch.no_grad():
        model.load_state_dict(state)
        notes = [*found.notes, *_left_over(found)]
        if "mapping_network.mean" not in taken:
            model.mapping_network.get_buffer("mean").copy_(_mean(model))
            notes.append(f"no average w in the file: taken over {_MEAN_SAMPLES} samples")
        kept = _noise(model, taken, noise)
    if not SMALLEST <= config.resolution <= LARGEST:
        notes.append(f"{config.resolution} px is outside {SMALLEST}...{LARGEST}: not tried for editing")
    return model.eval().requires_grad_(False), Findings(found.form, config, kept, tuple(notes))


def _taken(found: Ingredients) -> dict[str, Tensor]:
    """Tensors by our names.

    Raises:
        WeightsFormatError: some are missing or hold numbers that are none.
    """
    missing = [e.theirs for e in found.entries if not e.optional and e.theirs not in found.tensors]
    if missing:
        raise WeightsFormatError(
            f"{found.source}: {found.form} without {_named(missing)}; expected a whole StyleGAN2 generator"
        )
    taken: dict[str, Tensor] = {}
    for entry in found.entries:
        if (tensor := found.tensors.get(entry.theirs)) is not None:
            try:
                taken[entry.ours] = entry.change(tensor) if entry.change else tensor
            except (RuntimeError, IndexError) as error:
                raise WeightsFormatError(
                    f"{found.source}: {entry.theirs} is {list(tensor.shape)}, not as usual"
                ) from error
            if not bool(torch.isfinite(taken[entry.ours]).all()):
                raise WeightsFormatError(f"{found.source}: {entry.theirs} holds numbers that are not finite")
    return taken


def _config(found: Ingredients, taken: Mapping[str, Tensor], noise: NoiseMode) -> StyleGAN2Config:
    """The shape, read off the tensors."""
    channels: list[int] = []
    while (name := f"blocks.{len(channels)}.second.weight") in taken:
        channels.append(_size(found, taken[name], 4, 0))
    layers = sum(1 for name in taken if name.startswith("mapping_network.weights."))
    try:
        config = StyleGAN2Config(
            channels=tuple(channels),
            noise_width=_size(found, taken["mapping_network.weights.0"], 2, 1) if layers else 0,
            width=_size(found, taken["blocks.0.second.style.weight"], 2, 1) if channels else 0,
            mapping_layers=layers,
            mapping_rate=found.mapping_rate,
            clamp=found.clamp,
            noise=noise,
        )
    except ShapeError as error:
        raise WeightsFormatError(f"{found.source}: {error}") from error
    if sum(value.numel() for value in taken.values()) > _PLACES or len(channels) > LARGEST.bit_length():
        raise WeightsFormatError(f"{found.source}: far larger than any StyleGAN2 ({config}); refused")
    return config


def _size(found: Ingredients, tensor: Tensor, dimensions: int, dimension: int) -> int:
    if tensor.ndim != dimensions:
        raise WeightsFormatError(f"{found.source}: a weight is {list(tensor.shape)}; expected {dimensions} dimensions")
    return int(tensor.shape[dimension])


def _fitting(found: Ingredients, name: str, tensor: Tensor, place: Tensor) -> Tensor:
    """The tensor in the shape of its place.

    Raises:
        WeightsFormatError: it has another one.
    """
    theirs = next(entry.theirs for entry in found.entries if entry.ours == name)
    if [n for n in tensor.shape if n != 1] != [n for n in place.shape if n != 1]:
        raise WeightsFormatError(
            f"{found.source}: {theirs} is {list(tensor.shape)}; expected {list(place.shape)} beside its other tensors"
        )
    return tensor.reshape(place.shape).to(torch.float32)


def _left_over(found: Ingredients) -> list[str]:
    """Notes about tensors that no entry asks for.

    Raises:
        WeightsFormatError: they are parts of the generator, so that it is another network; or its filter is another.
    """
    asked = {entry.theirs for entry in found.entries}
    rest = [name for name in found.tensors if name not in asked]
    for name in rest:
        if name.endswith(("resample_filter", "upsample.kernel", "blur.kernel")):
            _check_filter(found, name)
    rest = [name for name in rest if not name.endswith(("resample_filter", ".kernel"))]
    if unknown := [name for name in rest if name.startswith(found.own)]:
        raise WeightsFormatError(
            f"{found.source}: {found.form} with {_named(unknown)}, which a StyleGAN2 without class labels does not have"
        )
    return [f"not used: {_named(rest)}"] if rest else []


def _check_filter(found: Ingredients, name: str) -> None:
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    usual = taps[:, None] * taps if found.tensors[name].ndim == 2 else taps
    given = found.tensors[name].float()
    if given.shape != usual.shape or (given / given.sum() - usual / usual.sum()).abs().max() > _FILTER_TOLERANCE:
        raise WeightsFormatError(f"{found.source}: {name} is {list(given.shape)}; only the filter 1 3 3 1 is known")


def _mean(model: StyleGAN2) -> Tensor:
    z = torch.randn(_MEAN_SAMPLES, model.noise_width, generator=torch.Generator().manual_seed(0))
    return model.mapping(z).mean(0)


def _noise(model: StyleGAN2, taken: Mapping[str, Tensor], noise: NoiseMode) -> str:
    """What was found of noise; where there is none to add, its strengths become zero."""
    layers = [part for level in model.levels() for part in (level.first, level.second) if part is not None]
    there = sum(1 for name in taken if name.endswith(".noise"))
    if noise == "none" or there == 0:
        for layer in layers:
            layer.noise_strength.zero_()
        return "taken away, as asked" if there else "no constant noise in the file: none is added"
    return f"constant, in {there} of {len(layers)} layers"


def counted(names: Iterable[str], prefix: str, suffix: str) -> int:
    """One more than the largest N of the names `prefix` N `suffix`, at least 0 and at most 64."""
    inner = [name[len(prefix) : -len(suffix)] for name in names if name.startswith(prefix) and name.endswith(suffix)]
    return min(64, max((int(text) + 1 for text in inner if text.isdecimal() and len(text) < 4), default=0))


def _named(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _NAMED} more" if len(every) > _NAMED else ""
    return ", ".join(every[:_NAMED]) + more
