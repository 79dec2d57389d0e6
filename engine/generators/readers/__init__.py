"""Readers of public StyleGAN2 checkpoints. No reader runs code from a file, whatever the file asks for."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from torch import Tensor

from engine.errors import WeightsFormatError
from engine.generators.readers import nvidia, rosinality
from engine.generators.readers.layout import Findings, Ingredients, assemble
from engine.generators.readers.pickles import Made
from engine.generators.readers.torch_files import TorchFile, open_torch_file
from engine.generators.stylegan2 import NoiseMode, StyleGAN2

__all__ = ["Findings", "read_generator"]

_OBJECTS: Final = {
    "G_ema": "NVIDIA pickle (stylegan2-ada-pytorch, stylegan3), G_ema",
    "generator": "tuned generator (STIT)",
    "G": "NVIDIA pickle without G_ema: G, not averaged",
    "g_ema": "rosinality/stylegan2-pytorch, g_ema",
}
"""Keys under which a generator may lie, the best first."""
_ENCODER: Final = "decoder."
"""Where encoders of the pSp and e4e family keep their generator."""


def read_generator(path: Path, noise: NoiseMode = "const") -> tuple[StyleGAN2, Findings]:
    """Read a generator from a `.pkl`, `.pt` or `.pth` file of a public repository.

    Args:
        path: NVIDIA's pickles, `torch.save`d tuned generators (PTI, STIT), rosinality's checkpoints, state dicts.
        noise: "none" takes the noise away for good.

    Returns:
        The generator in evaluation mode, and what was found.

    Raises:
        BadInputError: there is no such file.
        WeightsFormatError: it holds no StyleGAN2, is damaged, or asks for calls that no generator needs.
    """
    file = open_torch_file(path)
    return assemble(_ingredients(file), noise)


def _ingredients(file: TorchFile) -> Ingredients:
    if (module := nvidia.module_of(file.root)) is not None:
        return _from_object(module, file, "tuned generator (PTI), one saved network", None)
    root = nvidia.as_dict(file.root)
    average = file.tensor(root["latent_avg"]) if file.is_tensor(root.get("latent_avg")) else None
    for key, form in _OBJECTS.items():
        if (module := nvidia.module_of(root.get(key))) is not None:
            return _from_object(module, file, form, average)
    places: tuple[str | None, ...] = ("g_ema", "state_dict", "generator", "G_ema", "g", None)
    for place in places:
        state = _state(file, root if place is None else nvidia.as_dict(root.get(place)))
        if rosinality.MARK in state:
            return rosinality.read_rosinality(state, average, file.source)
        if nvidia.MARK in state:
            return nvidia.read_nvidia_state(state, "state dict of NVIDIA's generator", file.source)
    raise WeightsFormatError(f"{file.source}: no StyleGAN2 generator in it; it holds {_described(file.root, root)}")


def _from_object(module: nvidia.Module, file: TorchFile, form: str, average: Tensor | None) -> Ingredients:
    names = nvidia.as_dict(module.state.get("_modules"))
    if "to_rgb1" in names:  # a whole network of rosinality's repository, saved as an object
        return rosinality.read_rosinality(nvidia.state_of(module, file), average, file.source)
    return nvidia.read_nvidia_object(module, file, form)


def _state(file: TorchFile, items: dict[str, object]) -> dict[str, Tensor]:
    """The generator's tensors of a state dict; those of an encoder beside it are left out unread."""
    inside = any(name == _ENCODER + rosinality.MARK for name in items)
    strip: Callable[[str], str] = (lambda name: name.removeprefix(_ENCODER)) if inside else str
    kept = {name: value for name, value in items.items() if not inside or name.startswith(_ENCODER)}
    if not {rosinality.MARK, nvidia.MARK} & {strip(name) for name in kept}:
        return {}
    return {strip(name): file.tensor(value) for name, value in kept.items() if file.is_tensor(value)}


def _described(root: object, items: dict[str, object]) -> str:
    parts = root if isinstance(root, list | tuple) else []
    if any(isinstance(part, Made) and part.name.name == "Network" for part in parts):
        return "networks of the original TensorFlow repository: convert it first, for example by NVIDIA's legacy.py"
    kind = str(root.name) if isinstance(root, Made) else type(root).__name__
    return f"a {kind} with {', '.join(list(items)[:8]) or 'nothing named'}"
