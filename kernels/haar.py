"""Inverse Haar transform of feature maps: one pass over memory each way, with a gradient of its own.

Written with reshapes and a pixel shuffle the transform takes longer than the convolutions around it: each of its sums
is a pass over memory, and its result has to be put back into the convolutions' memory format. Here every band is read
once and every pixel is written once to its place, in the format of the input.

Letters: B batch, C channels, H and W sizes of the bands.
"""

from typing import Any, cast

import torch
from torch import Tensor

from kernels.tracing import is_tracing


def inverse_haar(bands: Tensor) -> Tensor:
    """Inverse Haar transform: [B,4C,H,W], LL (C) then C x (LH, HL, HH) -> [B,C,2H,2W], in the memory format given.

    The transform is orthonormal, so its gradient is the forward transform.

    Raises:
        ValueError: another number of dimensions, or channels that are not a multiple of four.
    """
    if bands.ndim != 4 or bands.shape[1] % 4:
        raise ValueError(f"bands are {tuple(bands.shape)}; expected [B,4C,H,W]")
    return cast(Tensor, _InverseHaar.apply(bands))  # type: ignore[no-untyped-call]  # torch's stub lacks it


class _InverseHaar(torch.autograd.Function):
    @staticmethod
    def forward(bands: Tensor) -> Tensor:
        """bands: [B,4C,H,W] -> [B,C,2H,2W]."""
        if is_tracing():
            return inverse_haar_composed(bands)
        low, lh, hl, hh = _split(bands)
        b, c, h, w = low.shape
        pixels = _empty((b, c, 2 * h, 2 * w), bands)
        top = torch.lerp(low, lh, 0.5)
        bottom = low - top
        across = torch.lerp(hl, hh, 0.5)
        diagonal = hl - across
        torch.add(top, across, out=pixels[:, :, ::2, ::2])
        torch.sub(top, across, out=pixels[:, :, ::2, 1::2])
        torch.add(bottom, diagonal, out=pixels[:, :, 1::2, ::2])
        torch.sub(bottom, diagonal, out=pixels[:, :, 1::2, 1::2])
        return pixels

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        """Nothing is kept: the transform is linear."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """gradient: [B,C,2H,2W] -> [B,4C,H,W]: the forward transform."""
        return forward_haar(gradient)


def forward_haar(pixels: Tensor) -> Tensor:
    """Haar transform, the inverse and the transpose of `inverse_haar`: [B,C,2H,2W] -> [B,4C,H,W].

    Raises:
        ValueError: another number of dimensions, or odd sizes.
    """
    if pixels.ndim != 4 or pixels.shape[2] % 2 or pixels.shape[3] % 2:
        raise ValueError(f"pixels are {tuple(pixels.shape)}; expected [B,C,2H,2W]")
    if is_tracing():
        return forward_haar_composed(pixels)
    b, c, h, w = pixels.shape
    bands = _empty((b, 4 * c, h // 2, w // 2), pixels)
    low, lh, hl, hh = _split(bands)
    top = torch.lerp(pixels[:, :, ::2, ::2], pixels[:, :, ::2, 1::2], 0.5)
    across = pixels[:, :, ::2, ::2] - top
    bottom = torch.lerp(pixels[:, :, 1::2, ::2], pixels[:, :, 1::2, 1::2], 0.5)
    diagonal = pixels[:, :, 1::2, ::2] - bottom
    torch.add(top, bottom, out=low)
    torch.sub(top, bottom, out=lh)
    torch.add(across, diagonal, out=hl)
    torch.sub(across, diagonal, out=hh)
    return bands


def inverse_haar_composed(bands: Tensor) -> Tensor:
    """The same as `inverse_haar` by single operations: the readable twin, and what a traced graph holds.

    Bands are brought side by side first, [LL | LH | HL | HH]: a compiler then reads each in one run, and can move the
    order into the weights of the layer before (`kernels.lowering`). The four pixels of a block are stacked once, and
    whoever reads the map finds them by their place: stacking rows of stacked pixels is two more passes over memory.
    """
    c = bands.shape[1] // 4
    ordered = bands.index_select(1, band_order(c, bands.device)).permute(0, 2, 3, 1)
    low, lh, hl, hh = torch.split(ordered, c, 3)
    top, bottom, across, diagonal = low + lh, low - lh, hl + hh, hl - hh
    blocks = torch.stack([top + across, top - across, bottom + diagonal, bottom - diagonal], 3) * 0.5
    b, h, w, _ = low.shape
    return blocks.reshape(b, h, w, 2, 2, c).permute(0, 1, 3, 2, 4, 5).reshape(b, 2 * h, 2 * w, c).permute(0, 3, 1, 2)


def forward_haar_composed(pixels: Tensor) -> Tensor:
    """The same as `forward_haar` by single operations."""
    b, c, h, w = pixels.shape
    blocks = pixels.permute(0, 2, 3, 1).reshape(b, h // 2, 2, w // 2, 2, c)
    first, second, third, fourth = (blocks[:, :, y, :, x] for y in (0, 1) for x in (0, 1))
    top, bottom, across, diagonal = first + second, third + fourth, first - second, third - fourth
    bands = torch.cat([top + bottom, top - bottom, across + diagonal, across - diagonal], 3) * 0.5
    return bands.permute(0, 3, 1, 2).index_select(1, torch.argsort(band_order(c, pixels.device)))


def band_order(channels: int, device: torch.device) -> Tensor:
    """[4C]: where [LL | LH | HL | HH], C channels each, are among LL (C) then C x (LH, HL, HH)."""
    rest = channels + 3 * torch.arange(channels, device=device)
    return torch.cat([torch.arange(channels, device=device), rest, rest + 1, rest + 2])


def _split(bands: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views of the four bands, [B,C,H,W] each."""
    channels = bands.shape[1] // 4
    rest = bands[:, channels:].unflatten(1, (channels, 3))  # type: ignore[no-untyped-call]  # torch's stub
    return bands[:, :channels], rest[:, :, 0], rest[:, :, 1], rest[:, :, 2]


def _empty(shape: tuple[int, int, int, int], like: Tensor) -> Tensor:
    """A map in the memory format of `like`: channels side by side, also where it is cut out of a larger one, or not."""
    beside = like.stride(1) == 1 and like.shape[1] > 1
    layout = torch.channels_last if beside else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
