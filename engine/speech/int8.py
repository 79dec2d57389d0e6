"""Linear layers with 8-bit weights: a live encoder of few rows is limited by reading its weights, not by arithmetic.

Weights are rounded per output row; activations pass as bfloat16. Every row of x is computed alone, so that a stream and
an offline pass agree.
"""

import torch
from torch import Tensor, nn

from engine.errors import ShapeError


class Int8Linear(nn.Module):
    """A frozen linear layer with 8-bit weights. x: [..., inputs] float32 -> [..., outputs] float32."""

    weight: Tensor
    """[outputs, inputs] int8"""
    scale: Tensor
    """[outputs] bfloat16"""
    bias: Tensor
    """[outputs] float32"""

    def __init__(self, linear: nn.Linear) -> None:
        """Takes over weights and bias."""
        super().__init__()
        weight = linear.weight.detach().float()
        scale = weight.abs().amax(dim=1).clamp(min=1e-8) / 127.0
        rounded = torch.round(weight / scale[:, None]).to(torch.int8)
        self.register_buffer("weight", rounded.contiguous())
        self.register_buffer("scale", scale.to(torch.bfloat16))
        bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias.detach().float()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: [..., inputs] -> [..., outputs]."""
        weight, scale = self.weight, self.scale
        if x.shape[-1] != weight.shape[1]:
            raise ShapeError(f"x is {tuple(x.shape)}, expected [..., {weight.shape[1]}]")
        rows = x.reshape(-1, x.shape[-1]).to(torch.bfloat16)
        out = torch._weight_int8pack_mm(rows, weight, scale).float().reshape(*x.shape[:-1], len(weight))
        return out + self.bias


def quantise(module: nn.Module) -> int:
    """Replaces every linear layer inside `module` by one with 8-bit weights; returns how many."""
    count = 0
    for name, child in module.named_children():
        if isinstance(child, nn.Linear):
            setattr(module, name, Int8Linear(child))
            count += 1
        else:
            count += quantise(child)
    return count
