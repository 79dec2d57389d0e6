"""A small StyleGAN2 with random weights, and NVIDIA's vectors."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.generators.stylegan2 import StyleGAN2, StyleGAN2Config

SMALL = StyleGAN2Config((12, 10, 8, 6), noise_width=20, width=16, mapping_layers=3)
"""32 px, every level of another width, z and w of different length."""


def randomised(config: StyleGAN2Config, seed: int = 3) -> StyleGAN2:
    """A generator with weights as at the start of training, but noise and biases that show."""
    model = StyleGAN2(config)
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            tensor.copy_(torch.randn(tensor.shape, generator=noise))
            if name.endswith("style.bias"):
                tensor.mul_(0.1).add_(1.0)
            elif name.endswith(("bias", "noise_strength", "mean")):
                tensor.mul_(0.3)
            elif name.startswith("mapping_network.weights"):
                tensor.div_(config.mapping_rate)
    return model.eval().requires_grad_(False)


def code(model: StyleGAN2, seed: int, batch: int = 1) -> Tensor:
    """W+ codes with different rows (a row mixed up with its neighbour would show)."""
    z = torch.randn(batch * model.rows, model.noise_width, generator=torch.Generator().manual_seed(seed))
    return model.mapping(z).reshape(batch, model.rows, model.width)


def reference(data_dir: Path, size: int) -> dict[str, Tensor]:
    """What NVIDIA's implementation gives, with the weights it was given."""
    with np.load(data_dir / "reference" / f"stylegan2_r{size}.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def weights_of(vectors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The generator's own tensors under NVIDIA's names."""
    return {name.removeprefix("state/"): value for name, value in vectors.items() if name.startswith("state/")}
