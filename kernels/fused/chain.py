"""The elementwise chain behind an up-sampling convolution, in two Triton kernels: forward and backward.

Four-tap filter, demodulation, noise, bias, LeakyReLU and the next layer's style: single kernels move the map through
memory six times, this one once. The backward computes the chain again instead of keeping its parts.

Letters: B batch, C channels, H and W sizes of the result; the input has one row and column more.
Tested by Triton's interpreter on a CPU (`TRITON_INTERPRET=1`); it has not been run on a GPU.
"""

import importlib.util
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional

from kernels.errors import BackendUnavailable

SLOPE: Final = 0.2
"""Of the LeakyReLU."""
_TAPS: Final = (0.25, 0.75, 0.75, 0.25)
_BLOCK: Final = 256

HAS_TRITON: Final = importlib.util.find_spec("triton") is not None
"""Whether the kernels can be made here."""


def chain_reference(x: Tensor, norm: Tensor, added: Tensor, bias: Tensor, style: Tensor) -> Tensor:
    """The chain by single operations: the readable twin.

    Args:
        x: [B,C,H+1,W+1] float32, result of a transposed convolution of stride 2.
        norm: [B,C] demodulation.
        added: [H,W] noise times its strength.
        bias: [C].
        style: [B,C] scales of the next layer's input.

    Returns:
        [B,C,H,W].
    """
    channels = x.shape[1]
    taps = torch.tensor(_TAPS, dtype=x.dtype, device=x.device)
    across = functional.conv2d(x, taps.expand(channels, 1, 1, 4), padding=(0, 1), groups=channels)
    smooth = functional.conv2d(across, taps[:, None].expand(channels, 1, 4, 1), padding=(1, 0), groups=channels)
    before = smooth * norm[:, :, None, None] + added + bias[:, None, None]
    return functional.leaky_relu(before, SLOPE) * style[:, :, None, None]


def chain(x: Tensor, norm: Tensor, added: Tensor, bias: Tensor, style: Tensor) -> Tensor:
    """The same in one kernel each way; gradients for x, norm and style, none for added and bias.

    Raises:
        ValueError: shapes that do not fit, or not float32.
        BackendUnavailable: Triton is not installed.
    """
    b, c, rows, columns = x.shape if x.ndim == 4 else (0, 0, 0, 0)
    fits = tuple(norm.shape) == tuple(style.shape) == (b, c) and tuple(bias.shape) == (c,)
    if not fits or tuple(added.shape) != (rows - 1, columns - 1) or x.dtype != torch.float32:
        shapes = ", ".join(str(tuple(each.shape)) for each in (x, norm, added, bias, style))
        raise ValueError(f"shapes are {shapes} ({x.dtype}); expected [B,C,H+1,W+1], [B,C], [H,W], [C], [B,C] float32")
    if not HAS_TRITON:
        raise BackendUnavailable("the fused chain needs Triton; install triton, or use chain_reference")
    found: Tensor = _Chain.apply(x, norm, added, bias, style)  # type: ignore[no-untyped-call]  # torch's stub
    return found


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Tensor, added: Tensor, bias: Tensor, style: Tensor) -> Tensor:
        """Runs the kernel and keeps its inputs."""
        from kernels.fused.triton_chain import launch_forward

        x, norm, added, bias, style = (each.contiguous() for each in (x, norm, added, bias, style))
        ctx.save_for_backward(x, norm, added, bias, style)
        return launch_forward(x, norm, added, bias, style, _BLOCK)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None, Tensor]:
        """Runs the kernels of the gradient."""
        from kernels.fused.triton_chain import launch_backward

        to_x, to_norm, to_style = launch_backward(gradient.contiguous(), ctx.saved_tensors, _BLOCK)
        return to_x, to_norm, None, None, to_style
