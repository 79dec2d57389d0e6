"""The layout of NVIDIA's PyTorch repositories (stylegan2-ada-pytorch, stylegan3) and of generators tuned from theirs.

Their pickles hold objects with the source text of their classes; PTI saves such an object alone, STIT in a dictionary
under `generator`. The source text is never run: weights are found by walking `_modules`, `_parameters` and `_buffers`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from engine.errors import WeightsFormatError
from engine.generators.readers.layout import Entry, Ingredients, counted
from engine.generators.readers.pickles import PERSISTENT, Made
from engine.generators.readers.torch_files import TorchFile

MARK: Final = "synthesis.b4.const"
"""A name that only this layout has."""
_MOST_MODULES: Final = 400


@dataclass(frozen=True, slots=True)
class Module:
    """Notes of one network object."""

    name: str
    """Name of its class."""
    state: dict[str, Any]
    """Its attributes."""

    def part(self, *path: str) -> "Module | None":
        """A module inside it, if it is there."""
        found: Module | None = self
        for name in path:
            found = module_of(as_dict(found.state.get("_modules")).get(name)) if found else None
        return found

    def number(self, name: str) -> float | None:
        """An attribute, if it is a number."""
        value = self.state.get(name)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def as_dict(value: object) -> dict[str, Any]:
    """A mapping of the notes under plain names; empty when it is none."""
    if isinstance(value, Made):
        if not value.items and len(value.args) == 1:
            value = value.args[0]
        else:
            value = value.items
    if isinstance(value, list) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        value = {pair[0]: pair[1] for pair in value if isinstance(pair[0], str)}
    return {key: item for key, item in value.items() if isinstance(key, str)} if isinstance(value, dict) else {}


def module_of(value: object) -> Module | None:
    """The network object that a note stands for, if it is one."""
    if not isinstance(value, Made):
        return None
    if value.name.name == PERSISTENT:
        meta = as_dict(value.args[0]) if len(value.args) == 1 else {}
        state, name = as_dict(meta.get("state")), str(meta.get("class_name"))
    else:
        state, name = as_dict(value.state), value.name.name
    return Module(name, state) if "_modules" in state and "_parameters" in state else None


def state_of(module: Module, file: TorchFile) -> dict[str, Tensor]:
    """All tensors of a network object by their dotted names.

    Raises:
        WeightsFormatError: there are more networks in one another than any generator has, or a tensor is damaged.
    """
    found: dict[str, Tensor] = {}
    waiting = [("", module)]
    for _ in range(_MOST_MODULES):
        if not waiting:
            return found
        prefix, current = waiting.pop()
        held = as_dict(current.state.get("_parameters")) | as_dict(current.state.get("_buffers"))
        found |= {f"{prefix}{name}": file.tensor(value) for name, value in held.items() if file.is_tensor(value)}
        for name, value in as_dict(current.state.get("_modules")).items():
            if (inner := module_of(value)) is not None:
                waiting.append((f"{prefix}{name}.", inner))
    raise WeightsFormatError(f"{file.source}: more than {_MOST_MODULES} networks in one another; refused")


def read_nvidia_object(module: Module, file: TorchFile, form: str) -> Ingredients:
    """Take a generator from its object.

    Raises:
        WeightsFormatError: it is another network, or one that is steered by class labels.
    """
    tensors = state_of(module, file)
    synthesis = module.part("synthesis")
    if any(name.startswith(("synthesis.input.", "synthesis.L0_")) for name in tensors):
        raise WeightsFormatError(f"{file.source}: a StyleGAN3 generator; only StyleGAN2 (networks_stylegan2) is read")
    if synthesis is None or MARK not in tensors:
        raise WeightsFormatError(f"{file.source}: a {module.name} without {MARK}; expected a StyleGAN2 generator")
    for name, expected in (("c_dim", 0.0), ("img_channels", 3.0)):
        if (value := module.number(name)) is not None and value != expected:
            raise WeightsFormatError(
                f"{file.source}: {name} is {value:g}; only {expected:g} is read (no class labels, RGB)"
            )
    layer = synthesis.part("b4", "conv1")
    first = module.part("mapping", "fc0")
    rate = first.number("bias_gain") if first is not None else None
    notes = () if layer is not None and "conv_clamp" in layer.state else ("no limit of activations in the file",)
    clamp = layer.number("conv_clamp") if layer is not None else None
    return _ingredients(form, file.source, tensors, clamp, 0.01 if rate is None else rate, notes)


def read_nvidia_state(tensors: Mapping[str, Tensor], form: str, source: str) -> Ingredients:
    """Take a generator from its state dict: what that does not say is as the repositories' defaults."""
    notes = ("a state dict: no limit of activations, mapping learning rate 0.01 taken for granted",)
    return _ingredients(form, source, tensors, None, 0.01, notes)


def _ingredients(
    form: str, source: str, tensors: Mapping[str, Tensor], clamp: float | None, rate: float, notes: tuple[str, ...]
) -> Ingredients:
    if not (clamp is None or 0 < clamp < math.inf) or not 0 < rate < math.inf:
        raise WeightsFormatError(f"{source}: limit of activations {clamp}, mapping rate {rate}; expected them positive")
    entries = [Entry("constant", MARK)]
    for index, size in enumerate(_sizes(tensors)):
        if index:
            entries += _layer(f"blocks.{index}.first", f"synthesis.b{size}.conv0")
        entries += _layer(f"blocks.{index}.second", f"synthesis.b{size}.conv1")
        entries += _to_rgb(f"blocks.{index}.rgb", f"synthesis.b{size}.torgb")
    layers = counted(tensors, "mapping.fc", ".weight")
    for index in range(max(1, layers)):
        entries.append(Entry(f"mapping_network.weights.{index}", f"mapping.fc{index}.weight"))
        entries.append(Entry(f"mapping_network.biases.{index}", f"mapping.fc{index}.bias"))
    entries.append(Entry("mapping_network.mean", "mapping.w_avg", optional=True))
    return Ingredients(form, source, tensors, entries, ("synthesis.", "mapping."), clamp, rate, notes)


def _sizes(tensors: Mapping[str, Tensor]) -> list[int]:
    """4, 8 ... up to the largest block that has any tensor."""
    found = [name.split(".")[1][1:] for name in tensors if name.startswith("synthesis.b")]
    largest = max((int(size) for size in found if size.isdigit() and len(size) < 6), default=4)
    return [4 * 2**n for n in range(max(2, largest.bit_length() - 2))]


def _layer(ours: str, theirs: str) -> list[Entry]:
    return [
        *_to_rgb(ours, theirs),
        Entry(f"{ours}.noise_strength", f"{theirs}.noise_strength", optional=True),
        Entry(f"{ours}.noise", f"{theirs}.noise_const", optional=True),
    ]


def _to_rgb(ours: str, theirs: str) -> list[Entry]:
    return [
        Entry(f"{ours}.style.weight", f"{theirs}.affine.weight"),
        Entry(f"{ours}.style.bias", f"{theirs}.affine.bias"),
        Entry(f"{ours}.weight", f"{theirs}.weight"),
        Entry(f"{ours}.bias", f"{theirs}.bias"),
    ]
