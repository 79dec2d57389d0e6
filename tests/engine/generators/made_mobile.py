"""Small generators of the default kind with random weights."""

import math

import torch

from engine.generators.mobile import MobileStyleGAN


def random_mobile(
    channels: tuple[int, ...],
    seed: int,
    quiet: tuple[str, ...] = ("noise",),
    scales: tuple[float, ...] | None = None,
) -> MobileStyleGAN:
    """A generator of 8 px times two for each level, whose pictures move with w.

    Args:
        channels: of each level.
        seed: of the weights.
        quiet: endings of the names of tensors that are a fifth of the usual size.
        scales: constant scale of every row; None: one.
    """
    model = MobileStyleGAN(channels, scales or (1.0,) * (2 + 3 * len(channels)))
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            fan_in = math.prod(tensor.shape[1:]) if tensor.ndim > 1 else 16
            tensor.copy_(torch.randn(tensor.shape, generator=noise) / math.sqrt(fan_in))
            if name.endswith(("style.bias", "up.bias")):
                tensor.add_(1.0)
            if name.endswith(quiet):
                tensor.mul_(0.2)
    return model.eval().requires_grad_(False)
