"""Distance of feature maps whose vectors are scaled to unit length, and its gradient in one go.

Written with single operations the distance of a large map costs as much as the convolutions that made the map: each of
some forty passes over memory, forward and back, is a fifth of a convolution. Here the gradient is found with the value.

Letters: B batch, C channels, H and W sizes of the map.
"""

from typing import Any, Final

import torch
from torch import Tensor

_EPSILON: Final = 1e-10
_SMALL: Final = 1e-8
"""Length of a vector that has no direction, and so no gradient."""


def unit_distance(found: Tensor, goal: Tensor, head: Tensor, weight: Tensor) -> Tensor:
    """Weighted squared distance of unit vectors: sum over pixels of weight x sum over channels of head (u - goal)^2.

    Args:
        found: [B,C,H,W] float feature map; u is each of its vectors over its length.
        goal: [B or 1,C,H,W] unit vectors of any float type; takes no gradient.
        head: [C] weight of each channel; takes no gradient.
        weight: [B or 1,1,H,W] weight of each pixel; takes no gradient.

    Returns:
        [B] float32.

    Raises:
        ValueError: shapes that do not fit.
    """
    shape = tuple(found.shape)
    fits = found.ndim == 4 and tuple(head.shape) == shape[1:2]
    fits = fits and tuple(goal.shape[1:]) == shape[1:] and tuple(weight.shape[1:]) == (1, *shape[2:])
    if not fits or not {len(goal), len(weight)} <= {1, shape[0]}:
        raise ValueError(
            f"found {shape}, goal {tuple(goal.shape)}, head {tuple(head.shape)}, weight {tuple(weight.shape)}; "
            "expected [B,C,H,W], [B or 1,C,H,W], [C], [B or 1,1,H,W]"
        )
    distance: Tensor = _UnitDistance.apply(found, goal, head, weight)  # type: ignore[no-untyped-call]
    return distance


def unit_distance_reference(found: Tensor, goal: Tensor, head: Tensor, weight: Tensor) -> Tensor:
    """The same by single operations: the readable twin that tests compare with."""
    unit = found / (found.square().sum(1, keepdim=True).sqrt() + _EPSILON)
    squared = (unit - goal).square() * head[None, :, None, None]
    return (squared.sum(1, keepdim=True) * weight).sum((1, 2, 3))


class _UnitDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, found: Tensor, goal: Tensor, head: Tensor, weight: Tensor) -> Tensor:
        """See `unit_distance`; what its gradient needs is found on the way and kept."""
        found = found.to(torch.float32)
        length = torch.linalg.vector_norm(found, dim=1, keepdim=True) + _EPSILON
        unit = found / length
        difference = unit - goal
        weighted = difference * head[None, :, None, None]
        value: Tensor = (difference.mul_(weighted).sum(1, keepdim=True) * weight).sum((1, 2, 3))
        if ctx.needs_input_grad[0]:
            along = torch.mul(weighted, unit, out=difference).sum(1, keepdim=True)
            scale = torch.where(length > _SMALL, 2.0 * weight / length, 0.0)
            weighted.addcmul_(unit, along, value=-1.0).mul_(scale)
            ctx.save_for_backward(weighted)
        return value

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """gradient: [B] -> of the features alone."""
        slope: Tensor = ctx.saved_tensors[0]
        return slope.mul(gradient[:, None, None, None]), None, None, None
