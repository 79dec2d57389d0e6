"""The perceptual network with made-up weights."""

from pathlib import Path

import torch

from engine.editing.perceptual import PerceptualLoss


def tiny_perceptual(folder: Path) -> PerceptualLoss:
    """A network with a few random channels, read from a file in `folder` as the real one is."""
    noise = torch.Generator().manual_seed(1)
    layers = ((0, 2), (6, 8), (12, 14, 16), (20, 22, 24), (28, 30, 32))
    state = {"scaling_layer.shift": torch.zeros(1, 3, 1, 1), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}
    channels = 3
    kernel = torch.tensor([1.0, 2.0, 1.0])
    for stage, numbers in enumerate(layers):
        if stage:
            blur = (kernel[:, None] * kernel / 16).repeat(channels, 1, 1, 1)
            state[f"net.slice{stage + 1}.{numbers[0] - 1}.filt"] = blur
        for number in numbers:
            state[f"net.slice{stage + 1}.{number}.weight"] = torch.randn(6, channels, 3, 3, generator=noise) / 3
            state[f"net.slice{stage + 1}.{number}.bias"] = torch.zeros(6)
            channels = 6
        state[f"lin{stage}.model.1.weight"] = torch.full((1, 6, 1, 1), 0.2)
    file = folder / "tiny_vgg.pth"
    torch.save(state, file)
    return PerceptualLoss(file, stages=4)
