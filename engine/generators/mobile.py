"""MobileStyleGAN (Belousov 2021, arXiv 2104.04767) as a PyTorch module: the default 1024-px generator.

Letters: B batch, R = 23 rows of W+, D = 512, C channels, H and W feature sizes.
Every layer multiplies its input by a style; demodulation is baked into the constant weights, so that a gradient
with respect to w alone never touches a weight. Up-sampling and output are inverse Haar transforms.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError
from engine.generators.protocol import Region
from kernels.haar import inverse_haar
from kernels.tracing import is_tracing

WIDTH = 512
_SLOPE = 0.2
_REGION_LEVEL = 64  # regions are aligned to the pixels of this size
_HALOS = {2: 0, 4: 1}  # pixels around the region by how much smaller the map is than the picture; 2 from 8 times on
_WHOLE_LEVEL = 16  # features up to this size are computed whole; cutting them would save next to nothing


class Style(nn.Module):
    """One row of W+ to the scales of a layer's input: s = (w A + b) c."""

    def __init__(self, channels: int, scale: float) -> None:
        """Makes an affine map from D numbers to `channels` scales, times the constant `scale`."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, WIDTH))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.scale = scale

    def forward(self, w: Tensor) -> Tensor:
        """w: [B,D] -> [B,C,1,1]."""
        return (functional.linear(w, self.weight, self.bias) * self.scale)[:, :, None, None]


class StyledConv(nn.Module):
    """Style, depthwise 3x3 (absent in the first layer, which is dense), pointwise 1x1, noise, bias, LeakyReLU."""

    def __init__(self, inputs: int, outputs: int, size: int, scale: float, *, dense: bool = False) -> None:
        """Makes a layer for pictures of `size` pixels."""
        super().__init__()
        self.style = Style(inputs, scale)
        self.depthwise = None if dense else nn.Parameter(torch.zeros(inputs, 1, 3, 3))
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3 if dense else 1, 3 if dense else 1))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.zeros(1, 1, size, size))

    def forward(self, x: Tensor, w: Tensor, window: tuple[slice, slice]) -> Tensor:
        """x: [B,C,H,W], w: [B,D], window: place of x in the whole feature map -> [B,C',H,W]."""
        x = self._filtered(x, self.style(w))
        x = functional.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)
        noise = cast(Tensor, self.noise)[:, :, window[0], window[1]]
        return functional.leaky_relu_(x.add_(noise), _SLOPE)  # in place: each pass over memory saved is felt

    def _filtered(self, x: Tensor, style: Tensor) -> Tensor:
        """Style and depthwise filter; for one picture the style scales the filter, not the larger map.

        A compiled graph scales the map while it writes it, and needs no gradient of the filter.
        """
        if self.depthwise is None:
            return x * style
        if len(style) > 1 or is_tracing():
            return functional.conv2d(x * style, self.depthwise, padding=1, groups=x.shape[1])
        return functional.conv2d(x, self.depthwise * style.view(-1, 1, 1, 1), padding=1, groups=x.shape[1])


class UpBlock(nn.Module):
    """Style, inverse Haar to twice the size, then two styled convolutions."""

    def __init__(self, inputs: int, outputs: int, size: int, scales: tuple[float, float, float]) -> None:
        """Makes the block whose output is `size` pixels."""
        super().__init__()
        self.up = Style(inputs, scales[0])
        self.first = StyledConv(inputs // 4, outputs, size, scales[1])
        self.second = StyledConv(outputs, outputs, size, scales[2])

    def forward(self, x: Tensor, w: Tensor, window: tuple[slice, slice]) -> Tensor:
        """x: [B,C,H,W], w: [B,3,D], window: place of the result in its whole feature map -> [B,C',2H,2W]."""
        x = inverse_haar(x * self.up(w[:, 0]))
        return cast(Tensor, self.second(self.first(x, w[:, 1], window), w[:, 2], window))


class Mapping(nn.Module):
    """z to w: normalisation, then dense layers with LeakyReLU and a gain."""

    def __init__(self, layers: int = 8, gain: float = math.sqrt(2.0)) -> None:
        """Makes the network with weights to be loaded."""
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(WIDTH, WIDTH)) for _ in range(layers)])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(WIDTH)) for _ in range(layers)])
        self.gain = gain

    def forward(self, z: Tensor) -> Tensor:
        """z: [B,D] standard normal -> w [B,D]."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            x = functional.leaky_relu(functional.linear(x, weight, bias), _SLOPE) * self.gain
        return x


def _whole(size: int) -> tuple[slice, slice]:
    return slice(0, size), slice(0, size)


class MobileStyleGAN(nn.Module):
    """The synthesis network with its mapping network.

    Args:
        channels: output channels of the up-blocks, from 8 px upwards.
        scales: constant style scale of every row, in order of the rows.
    """

    width = WIDTH
    noise_width = WIDTH

    def __init__(self, channels: tuple[int, ...], scales: tuple[float, ...]) -> None:
        """Makes the network with weights to be loaded."""
        super().__init__()
        self.rows = 2 + 3 * len(channels)
        if len(scales) != self.rows:
            raise ShapeError(f"{len(scales)} style scales for {len(channels)} blocks; expected {self.rows}, one a row")
        self.channels = channels
        self.resolution = 8 * 2 ** len(channels)
        self.coarse_resolution = min(256, self.resolution // 4)
        self.region_step = max(4, self.resolution // _REGION_LEVEL)
        self.constant = nn.Parameter(torch.zeros(1, WIDTH, 4, 4))
        self.first = StyledConv(WIDTH, WIDTH, 4, scales[0], dense=True)
        inputs, blocks = WIDTH, []
        for index, outputs in enumerate(channels):
            row = 1 + 3 * index
            blocks.append(UpBlock(inputs, outputs, 8 * 2**index, (scales[row], scales[row + 1], scales[row + 2])))
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        self.out_style = Style(inputs, scales[-1])
        self.out_weight = nn.Parameter(torch.zeros(12, inputs, 1, 1))
        self.out_bias = nn.Parameter(torch.zeros(12))
        level = int(math.log2(self.coarse_resolution)) - 3
        self.coarse_weight = nn.Parameter(torch.zeros(3, channels[level] * 2 + 1, 1, 1))
        self.mapping_network = Mapping()

    def _check(self, w: Tensor) -> None:
        if w.ndim != 3 or w.shape[1:] != (self.rows, WIDTH) or not w.is_floating_point():
            raise ShapeError(f"w is {tuple(w.shape)} {w.dtype}; expected float [B,{self.rows},{WIDTH}] (W+)")

    def up_blocks(self) -> list[UpBlock]:
        """The blocks from 8 px upwards."""
        return [cast(UpBlock, block) for block in self.blocks]

    def features(self, w: Tensor, size: int) -> Tensor:
        """Whole feature map after the block of `size` pixels: w [B,R,D] -> [B,C,size,size]."""
        x: Tensor = self.first(self.constant.expand(w.shape[0], -1, -1, -1), w[:, 0], _whole(4))
        for index, block in enumerate(self.up_blocks()):
            if 4 * 2**index >= size:
                break
            x = block(x, w[:, 1 + 3 * index : 4 + 3 * index], _whole(8 * 2**index))
        return x

    def _output(self, x: Tensor, w: Tensor) -> Tensor:
        x = functional.conv2d(x * self.out_style(w), self.out_weight, self.out_bias)
        return inverse_haar(x)

    def synthesis(self, w: Tensor) -> Tensor:
        """Full picture: w [B,R,D] float -> [B,3,S,S], about -1...1.

        Raises:
            ShapeError: w has another shape or type.
        """
        self._check(w)
        return self._output(self.features(w, self.resolution // 2), w[:, -1])

    def region(self, w: Tensor, region: Region) -> Tensor:
        """The pixels of `synthesis` inside `region` alone: w [B,R,D] -> [B,3,h,w].

        Feature maps are computed whole up to 16 px, then cut to the region with a halo that the 3x3 filters use up.

        Raises:
            ShapeError: w has another shape, or the region is misaligned.
        """
        self._check(w)
        region.check(self.region_step, self.resolution)
        start = min(_WHOLE_LEVEL, self.resolution // 4)
        x = self.features(w, start)
        place = self._place(region, start, halo=2)
        x = x[:, :, place[0], place[1]]
        size = start
        blocks = self.up_blocks()
        for index in range(int(math.log2(start)) - 2, len(blocks)):
            size *= 2
            place = (slice(place[0].start * 2, place[0].stop * 2), slice(place[1].start * 2, place[1].stop * 2))
            x = blocks[index](x, w[:, 1 + 3 * index : 4 + 3 * index], place)
            wanted = self._place(region, size, halo=_HALOS.get(self.resolution // size, 2))
            x = x[
                :,
                :,
                wanted[0].start - place[0].start : wanted[0].stop - place[0].start,
                wanted[1].start - place[1].start : wanted[1].stop - place[1].start,
            ]
            place = wanted
        return self._output(x, w[:, -1])

    def _place(self, region: Region, size: int, halo: int) -> tuple[slice, slice]:
        factor = self.resolution // size

        def cut(start: int, length: int) -> slice:
            """Rows or columns of a level that hold the region and its halo."""
            return slice(max(0, start // factor - halo), min(size, -(-(start + length) // factor) + halo))

        return cut(region.top, region.height), cut(region.left, region.width)

    def coarse(self, w: Tensor) -> Tensor:
        """Small picture from inner features: w [B,R,D] -> [B,3,Q,Q], Q = `coarse_resolution`.

        A linear read-out of the features (see `engine.generators.coarse`), not the output layer.

        Raises:
            ShapeError: w has another shape or type.
        """
        self._check(w)
        return functional.conv2d(self.coarse_inputs(w), self.coarse_weight)

    def coarse_inputs(self, w: Tensor) -> Tensor:
        """Regressors of the coarse read-out: w [B,R,D] -> [B,2C+1,Q,Q] (features, their rectified part, one)."""
        x = self.features(w, self.coarse_resolution)
        return torch.cat([x, functional.relu(x), torch.ones_like(x[:, :1])], 1)

    def mapping(self, z: Tensor) -> Tensor:
        """Noise to W: z [B,D] standard normal -> [B,D].

        Raises:
            ShapeError: z has another shape.
        """
        if z.ndim != 2 or z.shape[1] != WIDTH:
            raise ShapeError(f"z is {tuple(z.shape)}; expected [B,{WIDTH}]")
        return cast(Tensor, self.mapping_network(z))

    def module(self) -> nn.Module:
        """The network that tuning may change."""
        return self
