"""The Triton kernels of `kernels.fused.chain`; imported only where Triton is installed.

One program handles a block of pixels of one channel of one picture. Sums over pixels (gradients of norm and style) are
added up by atomics, so their last digits may differ from run to run.
"""
# mypy: disable-error-code="untyped-decorator, misc, no-any-unimported, import-not-found, import-untyped"
# Triton compiles these functions itself: pointers and numbers are its tensors, where there is no such package untyped.

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _filtered(
    plane: tl.tensor, row: tl.tensor, column: tl.tensor, rows: tl.tensor, columns: tl.tensor, first: tl.tensor,
    sign: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Four taps each way from a [rows,columns] plane, zeros outside; sign -1 gives the transposed filter."""
    total = row * 0.0
    for down in tl.static_range(4):
        for across in tl.static_range(4):
            y = row + sign * (down - 1)
            x = column + sign * (across - 1)
            weight: tl.constexpr = (0.75 if (down == 1 or down == 2) else 0.25) * (
                0.75 if (across == 1 or across == 2) else 0.25
            )
            inside = first & (y >= 0) & (y < rows) & (x >= 0) & (x < columns)
            total += weight * tl.load(plane + y * columns + x, mask=inside, other=0.0)
    return total


@triton.jit
def _forward(
    x: tl.tensor, norm: tl.tensor, added: tl.tensor, bias: tl.tensor, style: tl.tensor, out: tl.tensor,
    channels: tl.tensor, height: tl.tensor, width: tl.tensor, slope: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    plane = tl.program_id(0)
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    first = pixel < height * width
    row, column = pixel // width, pixel % width
    smooth = _filtered(x + plane * (height + 1) * (width + 1), row, column, height + 1, width + 1, first, 1)
    noise = tl.load(added + pixel, mask=first, other=0.0)
    before = smooth * tl.load(norm + plane) + noise + tl.load(bias + plane % channels)
    after = tl.where(before > 0, before, before * slope) * tl.load(style + plane)
    tl.store(out + plane * height * width + pixel, after, mask=first)


@triton.jit
def _backward_pixels(
    gradient: tl.tensor, x: tl.tensor, norm: tl.tensor, added: tl.tensor, bias: tl.tensor, style: tl.tensor,
    inner: tl.tensor, to_norm: tl.tensor, to_style: tl.tensor,
    channels: tl.tensor, height: tl.tensor, width: tl.tensor, slope: tl.constexpr, block: tl.constexpr,
) -> None:  # fmt: skip
    plane = tl.program_id(0)
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    first = pixel < height * width
    row, column = pixel // width, pixel % width
    smooth = _filtered(x + plane * (height + 1) * (width + 1), row, column, height + 1, width + 1, first, 1)
    noise = tl.load(added + pixel, mask=first, other=0.0)
    scale = tl.load(norm + plane)
    before = smooth * scale + noise + tl.load(bias + plane % channels)
    incoming = tl.load(gradient + plane * height * width + pixel, mask=first, other=0.0)
    active = tl.where(before > 0, before, before * slope)
    through = incoming * tl.load(style + plane) * tl.where(before > 0, 1.0, slope)
    tl.store(inner + plane * height * width + pixel, through * scale, mask=first)
    tl.atomic_add(to_norm + plane, tl.sum(tl.where(first, through * smooth, 0.0)))
    tl.atomic_add(to_style + plane, tl.sum(tl.where(first, incoming * active, 0.0)))


@triton.jit
def _backward_filter(
    inner: tl.tensor, to_x: tl.tensor, height: tl.tensor, width: tl.tensor, block: tl.constexpr
) -> None:
    plane = tl.program_id(0)
    pixel = tl.program_id(1) * block + tl.arange(0, block)
    first = pixel < (height + 1) * (width + 1)
    row, column = pixel // (width + 1), pixel % (width + 1)
    found = _filtered(inner + plane * height * width, row, column, height, width, first, -1)
    tl.store(to_x + plane * (height + 1) * (width + 1) + pixel, found, mask=first)


def launch_forward(x: Tensor, norm: Tensor, added: Tensor, bias: Tensor, style: Tensor, block: int) -> Tensor:
    """[B,C,H+1,W+1] and its companions, all contiguous -> [B,C,H,W]."""
    from kernels.fused.chain import SLOPE

    b, c, rows, columns = x.shape
    height, width = rows - 1, columns - 1
    out = torch.empty(b, c, height, width, device=x.device)
    grid = (b * c, triton.cdiv(height * width, block))
    _forward[grid](x, norm, added, bias, style, out, c, height, width, SLOPE, block)
    return out


def launch_backward(gradient: Tensor, saved: tuple[Tensor, ...], block: int) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, norm and style for the gradient [B,C,H,W] of the result; `saved` is what the forward took."""
    from kernels.fused.chain import SLOPE

    x, norm, added, bias, style = saved
    b, c, rows, columns = x.shape
    height, width = rows - 1, columns - 1
    inner, to_x = torch.empty_like(gradient), torch.empty_like(x)
    to_norm, to_style = torch.zeros_like(norm), torch.zeros_like(style)
    parts: tuple[Any, ...] = (gradient, x, norm, added, bias, style, inner, to_norm, to_style)
    _backward_pixels[(b * c, triton.cdiv(height * width, block))](*parts, c, height, width, SLOPE, block)
    _backward_filter[(b * c, triton.cdiv(rows * columns, block))](inner, to_x, height, width, block)
    return to_x, to_norm, to_style
