"""Shift-tolerant LPIPS (Ghildyal and Liu 2022, arXiv 2207.13686) on VGG16 as a loss.

VGG16 (Simonyan and Zisserman 2015) whose max pools have stride 1 and are followed by a blur of stride 2
(Zhang 2019, arXiv 1904.11486); distances of unit-length features per position, weighted per channel by learnt heads
(Zhang et al. 2018, arXiv 1801.03924).
"""

import copy
from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError
from kernels.pooling import window_maximum
from kernels.unit_distance import unit_distance

_LAYERS: Final = ((0, 2), (6, 8), (12, 14, 16), (20, 22, 24), (28, 30, 32))
"""Numbers of the convolutions of each stage in the weight file."""
_EPSILON: Final = 1e-10


def has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 numbers itself; elsewhere they are slower than float32."""
    asks = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return asks is not None and bool(asks())


class PerceptualLoss(nn.Module):
    """Distance of two pictures in the features of the first stages of a shift-tolerant VGG16.

    Args:
        file: `vgg_shift_tolerant.pth` of the public weights.
        stages: how many of the five stages to use; the published distance uses all.
        half: whether convolutions run in bfloat16: 1.5 times as fast where the processor has it (`has_bfloat16`), with
            gradients that differ by half a percent.

    Raises:
        WeightsFormatError: the file holds other weights.
    """

    def __init__(self, file: Path, stages: int = 5, *, half: bool = False) -> None:
        """Reads the weights."""
        super().__init__()
        self._half = half
        if not 1 <= stages <= len(_LAYERS):
            raise ShapeError(f"{stages} stages asked for; expected 1 to {len(_LAYERS)}")
        state = torch.load(file, map_location="cpu", weights_only=True)
        try:
            self.register_buffer("shift", state["scaling_layer.shift"])
            self.register_buffer("scale", state["scaling_layer.scale"])
            for stage in range(stages):
                for index in _LAYERS[stage]:
                    key = f"net.slice{stage + 1}.{index}"
                    self.register_buffer(f"weight_{index}", state[f"{key}.weight"])
                    self.register_buffer(f"bias_{index}", state[f"{key}.bias"])
                if stage:
                    self.register_buffer(f"blur_{stage}", state[f"net.slice{stage + 1}.{_LAYERS[stage][0] - 1}.filt"])
                self.register_buffer(f"head_{stage}", state[f"lin{stage}.model.1.weight"])
        except KeyError as error:
            raise WeightsFormatError(f"{file.name} lacks {error}; expected shift-tolerant VGG16 LPIPS") from error
        self._stages = stages

    def in_float32(self) -> "PerceptualLoss":
        """The same network, its weights shared, with convolutions in float32."""
        found = copy.copy(self)
        found._half = False
        return found

    def _named(self, name: str) -> Tensor:
        return self.get_buffer(name)

    def goal(self, x: Tensor, stages: int | None = None) -> list[Tensor]:
        """Unit-length features of each stage, without gradient: what a picture is compared with.

        Args:
            x: [B,3,H,W] float in -1...1, H and W at least 16.
            stages: cuts the network shorter than it was made.

        Returns:
            One [B,C,h,w] a stage, channels side by side in memory; bfloat16 where convolutions run in it, else float32.

        Raises:
            ShapeError: x has another shape.
        """
        with torch.no_grad():
            return [functional.normalize(f, dim=1, eps=_EPSILON) for f in self._features(x, stages or self._stages)]

    def distance(self, x: Tensor, goal: list[Tensor], mask: Tensor | None = None) -> Tensor:
        """Distance of a picture from what `goal` gave for another one, in as many stages.

        Args:
            x: [B,3,H,W] float in -1...1.
            goal: features of one picture or of B.
            mask: [B or 1,1,H,W] float weights in 0...1 at any size, shrunk to each stage; None weighs all alike.

        Returns:
            [B] float32, 0 for equal pictures.

        Raises:
            ShapeError: x has another shape, or `goal` is of another size of picture.
        """
        total = torch.zeros(x.shape[0], device=x.device)
        for stage, (found, wanted) in enumerate(zip(self._features(x, len(goal)), goal, strict=True)):
            if found.shape[1:] != wanted.shape[1:]:
                raise ShapeError(f"picture is {tuple(x.shape)}; expected the size of the picture it is compared with")
            weight = torch.ones(1, 1, *found.shape[2:], device=x.device)
            if mask is not None:
                weight = functional.adaptive_avg_pool2d(mask, (found.shape[2], found.shape[3]))
            weight = weight / weight.sum((1, 2, 3), keepdim=True).clamp(min=1e-6 * weight[0].numel())
            total = total + unit_distance(found, wanted, self._named(f"head_{stage}").flatten(), weight)
        return total

    def forward(self, x: Tensor, y: Tensor, mask: Tensor | None = None) -> Tensor:
        """Distance of pictures x and y, [B,3,H,W] float in -1...1 -> [B]; y takes no gradient."""
        return self.distance(x, self.goal(y), mask)

    def _features(self, x: Tensor, stages: int) -> list[Tensor]:
        """Feature maps of each stage: x [B,3,H,W]."""
        if x.ndim != 4 or x.shape[1] != 3 or min(x.shape[2:]) < 16:
            raise ShapeError(f"picture is {tuple(x.shape)}; expected [B,3,H,W] with H and W of at least 16 px")
        x = ((x - self._named("shift")) / self._named("scale")).contiguous(memory_format=torch.channels_last)
        found = []
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self._half):
            for stage in range(min(self._stages, stages)):
                if stage:
                    x = window_maximum(x)
                    x = functional.pad(x, (2, 2, 2, 2), mode="reflect")
                    x = functional.conv2d(x, self._named(f"blur_{stage}"), stride=2, groups=x.shape[1])
                for index in _LAYERS[stage]:
                    x = functional.conv2d(x, self._named(f"weight_{index}"), self._named(f"bias_{index}"), padding=1)
                    x = functional.relu_(x)
                found.append(x)
        return found
