"""Maximum of each 2x2 window, one window per pixel, with a gradient that compilers turn into vector code.

The library's form keeps the place of every maximum; its gradient in compiled code looks each place up, one number at a
time. Here rows of two are compared, then columns of two, and the gradient compares again: no places are kept. Of equal
numbers the first one in reading order gets the gradient, as the library has it.

Letters: B batch, C channels, H and W sizes of the map.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kernels.tracing import is_tracing


def window_maximum(x: Tensor) -> Tensor:
    """Maximum of each 2x2 window: [B,C,H,W] float -> [B,C,H-1,W-1].

    Raises:
        ValueError: x has other axes, or fewer than two rows or columns.
    """
    if x.ndim != 4 or min(x.shape[2:]) < 2 or not x.is_floating_point():
        raise ValueError(f"map is {tuple(x.shape)} {x.dtype}; expected float [B,C,H,W] with H and W of at least 2")
    if not is_tracing():
        return functional.max_pool2d(x, 2, stride=1)
    found: Tensor = _WindowMaximum.apply(x)  # type: ignore[no-untyped-call]
    return found


class _WindowMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """See `window_maximum`."""
        ctx.save_for_backward(x)
        rows = torch.maximum(x[..., :-1], x[..., 1:])
        return torch.maximum(rows[:, :, :-1], rows[:, :, 1:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """gradient: [B,C,H-1,W-1] -> [B,C,H,W]."""
        x: Tensor = ctx.saved_tensors[0]
        left, right = x[..., :-1], x[..., 1:]
        rows = torch.maximum(left, right)
        upper = rows[:, :, :-1] >= rows[:, :, 1:]
        to_rows = _to_first(gradient, upper, (0, 0, 0, 1)) + _to_other(gradient, upper, (0, 0, 1, 0))
        first = left >= right
        return _to_first(to_rows, first, (0, 1, 0, 0)) + _to_other(to_rows, first, (1, 0, 0, 0))


def _to_first(gradient: Tensor, first: Tensor, around: tuple[int, int, int, int]) -> Tensor:
    """The gradient where the first of two was the larger one, with zeros beside it."""
    return functional.pad(torch.where(first, gradient, 0.0), around)


def _to_other(gradient: Tensor, first: Tensor, around: tuple[int, int, int, int]) -> Tensor:
    """The gradient where the second of two was the larger one."""
    return functional.pad(torch.where(first, 0.0, gradient), around)
