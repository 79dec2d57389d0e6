"""Writes a generator in the layouts of public repositories, with their names, classes and containers.

NVIDIA's pickles name functions of `torch_utils.persistence` and `dnnlib.util`; stand-ins of those names are put in
place while a file is written, and are gone when it is read.
"""

import collections
import io
import math
import pickle
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engine.generators.stylegan2 import StyledConv, StyleGAN2, ToRgb

SOURCE = "raise SystemExit('source text of a pickle was run')"
"""Stands for the source text that NVIDIA's pickles carry: running it would end the tests."""


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise SystemExit("a persistent object was rebuilt")


class EasyDict(dict[str, Any]):
    """NVIDIA's dictionary with attributes."""


class Persistent:
    """An object as NVIDIA's persistent classes pickle themselves."""

    def __init__(self, class_name: str, state: dict[str, Any]) -> None:
        self.class_name = class_name
        self.state = state

    def __reduce__(self) -> tuple[Any, ...]:
        """A call that rebuilds it from source text."""
        meta = {"type": "class", "version": 6, "module_src": SOURCE, "class_name": self.class_name, "state": self.state}
        return _reconstruct_persistent_obj, (meta,), None


@contextmanager
def nvidia_names() -> Iterator[None]:
    """Lets pickles name the functions and classes of NVIDIA's repositories."""
    persistence, utilities = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")
    persistence._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    utilities.EasyDict = EasyDict  # type: ignore[attr-defined]
    before = (_reconstruct_persistent_obj.__module__, EasyDict.__module__)
    added = {
        "torch_utils": types.ModuleType("torch_utils"),
        "torch_utils.persistence": persistence,
        "dnnlib": types.ModuleType("dnnlib"),
        "dnnlib.util": utilities,
    }
    sys.modules.update(added)
    _reconstruct_persistent_obj.__module__, EasyDict.__module__ = "torch_utils.persistence", "dnnlib.util"
    try:
        yield
    finally:
        _reconstruct_persistent_obj.__module__, EasyDict.__module__ = before
        for name in added:
            del sys.modules[name]


def nvidia_state(model: StyleGAN2) -> dict[str, Tensor]:
    """The state dict of NVIDIA's generator."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    state: dict[str, Tensor] = {"synthesis.b4.const": model.constant[0]}

    def common(layer: StyledConv | ToRgb, name: str) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = layer.weight, layer.bias
        state[f"{name}.affine.weight"], state[f"{name}.affine.bias"] = layer.style.weight, layer.style.bias

    for index, level in enumerate(model.levels()):
        block = f"synthesis.b{4 * 2**index}"
        for name, layer in (("conv0", level.first), ("conv1", level.second)):
            if layer is not None:
                common(layer, f"{block}.{name}")
                state[f"{block}.{name}.noise_const"] = layer.get_buffer("noise")[0, 0]
                state[f"{block}.{name}.noise_strength"] = layer.noise_strength
                state[f"{block}.{name}.resample_filter"] = taps[:, None] * taps / 64
        common(level.rgb, f"{block}.torgb")
    for index, (weight, bias) in enumerate(
        zip(model.mapping_network.weights, model.mapping_network.biases, strict=True)
    ):
        state[f"mapping.fc{index}.weight"], state[f"mapping.fc{index}.bias"] = weight, bias
    state["mapping.w_avg"] = model.mapping_network.get_buffer("mean")
    return {name: value.detach().clone() for name, value in state.items()}


def nvidia_object(state: dict[str, Tensor], **attributes: Any) -> Persistent:
    """The network object of NVIDIA's generator; `attributes` change what its layers say of themselves."""
    buffers = ("noise_const", "resample_filter", "w_avg")

    def build(prefix: str, name: str) -> Persistent:
        inner = {key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)}
        own = {key: value for key, value in inner.items() if "." not in key}
        parts = dict.fromkeys(key.split(".")[0] for key in inner if "." in key)
        attribute: dict[str, Any] = {
            "training": False,
            "_parameters": collections.OrderedDict(
                (key, torch.nn.Parameter(value)) for key, value in own.items() if key not in buffers
            ),
            "_buffers": collections.OrderedDict((key, value) for key, value in own.items() if key in buffers),
            "_non_persistent_buffers_set": set(),
            "_forward_hooks": collections.OrderedDict(),
            "_modules": collections.OrderedDict((part, build(f"{prefix}{part}.", part)) for part in parts),
            "_init_args": (),
            "_init_kwargs": EasyDict(synthesis_kwargs=EasyDict(channel_base=32768)),
        }
        if name == "generator":
            attribute |= {"z_dim": 20, "c_dim": 0, "img_channels": 3, "img_resolution": 32}
        if name in ("conv0", "conv1"):
            attribute |= {"conv_clamp": None, "use_noise": True, "activation": "lrelu", "act_gain": np.sqrt(2)}
        if name.startswith("fc"):
            attribute |= {"bias_gain": 0.01, "weight_gain": 0.01 / np.sqrt(16)}
        attribute |= {key: value for key, value in attributes.items() if key in attribute}
        return Persistent({"generator": "Generator", "synthesis": "SynthesisNetwork"}.get(name, name), attribute)

    return build("", "generator")


def write_nvidia_pickle(path: Path, generator: Persistent, protocol: int = 4) -> None:
    """A snapshot as NVIDIA's training writes it: G, D and G_ema, the tensors in torch's old form inside."""
    other = Persistent("Discriminator", {"_parameters": {}, "_buffers": {}, "_modules": {}, "c_dim": 0})
    with nvidia_names(), path.open("wb") as file:
        data = {"G": other, "D": other, "G_ema": generator, "training_set_kwargs": EasyDict(path="/data")}
        pickle.dump(data, file, protocol=protocol)


def write_torch(path: Path, root: object, *, old: bool = False) -> None:
    """What `torch.save` writes today, or wrote before 1.6."""
    with nvidia_names():
        torch.save(root, path, _use_new_zipfile_serialization=not old)


def rosinality_state(model: StyleGAN2) -> dict[str, Tensor]:
    """The state dict of rosinality's generator."""
    state: dict[str, Tensor] = {"input.input": model.constant}

    def common(layer: StyledConv | ToRgb, name: str, scale: float) -> None:
        state[f"{name}.conv.weight"] = layer.weight[None] * scale
        state[f"{name}.conv.modulation.weight"] = layer.style.weight
        state[f"{name}.conv.modulation.bias"] = layer.style.bias

    def styled(layer: StyledConv, name: str, index: int) -> None:
        common(layer, name, math.sqrt(layer.weight[0].numel()))
        state[f"{name}.noise.weight"] = layer.noise_strength[None]
        state[f"{name}.activate.bias"] = layer.bias
        state[f"noises.noise_{index}"] = layer.get_buffer("noise")

    for index, level in enumerate(model.levels()):
        if level.first is None:
            styled(level.second, "conv1", 0)
        else:
            styled(level.first, f"convs.{2 * index - 2}", 2 * index - 1)
            styled(level.second, f"convs.{2 * index - 1}", 2 * index)
            state[f"convs.{2 * index - 2}.conv.blur.kernel"] = torch.tensor([[1.0, 3, 3, 1]]).T * torch.tensor(
                [1.0, 3, 3, 1]
            )
        name = f"to_rgbs.{index - 1}" if index else "to_rgb1"
        common(level.rgb, name, 1.0)
        state[f"{name}.bias"] = level.rgb.bias.reshape(1, 3, 1, 1)
    for index, (weight, bias) in enumerate(
        zip(model.mapping_network.weights, model.mapping_network.biases, strict=True)
    ):
        state[f"style.{index + 1}.weight"], state[f"style.{index + 1}.bias"] = weight, bias
    return {name: value.detach().clone() for name, value in state.items()}


class Generator(nn.Module):
    """A network object whose tensors have the names of a state dict, for files that hold whole networks."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        """Makes a module for every part of a name."""
        super().__init__()
        parts = dict.fromkeys(name.split(".")[0] for name in state if "." in name)
        for name, value in state.items():
            if "." not in name:
                self.register_buffer(name, value)
        for part in parts:
            inner = {key.removeprefix(f"{part}."): value for key, value in state.items() if key.startswith(f"{part}.")}
            self.add_module(part, Generator(inner))


def pickled(root: object, protocol: int = 4) -> io.BytesIO:
    """A pickle as a stream."""
    return io.BytesIO(pickle.dumps(root, protocol=protocol))
