"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958; with ADA, arXiv 2006.06676) as a PyTorch module of any size.

Letters: B batch, R rows of W+ (2 log2 S - 2; 18 at 1024 px), D numbers of a row, Z numbers of the noise, C channels,
S output size. Convolutions are modulated and demodulated per picture; the output sums, from 4 px upwards, what every
level adds to the enlarged picture of the level below (the "skip" form, the only one that public generators use).

A region is rendered from feature maps cut to what its pixels depend on: one pixel for a 3x3 convolution; a transposed
convolution and its four-tap filter reach two pixels of the half-size map beyond that.
"""

import math
from dataclasses import dataclass
from typing import Final, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError
from engine.generators.protocol import Region
from kernels.tracing import is_tracing

NoiseMode = Literal["const", "none"]
"""Whether the noise that came with the weights is added, the same in every picture, or none."""

COARSE_SIZE: Final = 256
"""Side of the coarse picture in pixels, for generators that are larger."""
_SLOPE: Final = 0.2
_GAIN: Final = math.sqrt(2.0)
_EPSILON: Final = 1e-8
_REGION_LEVEL: Final = 64
_TAPS: Final = (1.0, 3.0, 3.0, 1.0)

Span = tuple[int, int]
"""First pixel and the one after the last."""
Window = tuple[Span, Span]
"""Rows and columns of a feature map."""


@dataclass(frozen=True, slots=True)
class StyleGAN2Config:
    """The shape of a generator, and what its weights do not say."""

    channels: tuple[int, ...]
    """C of every level, from 4 px upwards."""
    noise_width: int = 512
    """Z."""
    width: int = 512
    """D."""
    mapping_layers: int = 8
    """Dense layers of the mapping network."""
    mapping_rate: float = 0.01
    """Learning rate multiplier that the mapping network was trained with: its weights are stored divided by it."""
    clamp: float | None = None
    """Largest magnitude of any layer's output; None: no limit."""
    noise: NoiseMode = "const"
    """Whether noise is added."""

    def __post_init__(self) -> None:
        """Checks the sizes.

        Raises:
            ShapeError: there are too few levels, or a size is not positive.
        """
        if len(self.channels) < 2 or min(*self.channels, self.noise_width, self.width, self.mapping_layers) < 1:
            raise ShapeError(f"{self}: expected at least two levels and positive sizes")
        if self.noise not in ("const", "none"):
            raise ShapeError(f"noise is {self.noise!r}; expected 'const' or 'none'")

    @classmethod
    def sized(cls, resolution: int, channel_base: int = 32768, channel_max: int = 512) -> "StyleGAN2Config":
        """The usual shape: `channel_base` / size channels a level, at most `channel_max`.

        Raises:
            ShapeError: the resolution is no power of two from 8 up.
        """
        levels = resolution.bit_length() - 2
        if resolution < 8 or resolution != 2 ** (levels + 1):
            raise ShapeError(f"resolution is {resolution}; expected a power of two, 8 or more")
        return cls(tuple(min(channel_max, channel_base // (4 * 2**level)) for level in range(levels)))

    @property
    def resolution(self) -> int:
        """S."""
        return int(4 * 2 ** (len(self.channels) - 1))


class Style(nn.Module):
    """One row of W+ to the scales of a layer's input."""

    def __init__(self, width: int, channels: int, gain: float = 1.0) -> None:
        """Makes an affine map from D numbers to `channels` scales; `gain` multiplies them."""
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels, width))
        self.bias = nn.Parameter(torch.ones(channels))
        self._gain = gain

    def forward(self, w: Tensor) -> Tensor:
        """w: [B,D] -> [B,C]."""
        scales = functional.linear(w * (1 / math.sqrt(w.shape[1])), self.weight, self.bias)
        return scales * self._gain if self._gain != 1 else scales


class StyledConv(nn.Module):
    """Modulated 3x3 convolution (twice the size when `up`), noise, bias, LeakyReLU."""

    def __init__(self, width: int, inputs: int, outputs: int, size: int, *, up: bool) -> None:
        """Makes a layer whose output is `size` pixels."""
        super().__init__()
        self.style = Style(width, inputs)
        self.weight = nn.Parameter(torch.zeros(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.zeros(1, 1, size, size))
        self._up = up

    def forward(self, x: Tensor, w: Tensor, window: Window, clamp: float | None, noise: NoiseMode) -> Tensor:
        """Runs the layer.

        Args:
            x: [B,C,H,W].
            w: [B,D], the layer's row.
            window: place of the result in its whole feature map.
            clamp: largest magnitude of the result.
            noise: whether noise is added.

        Returns:
            [B,C',H,W], or [B,C',2H,2W].
        """
        style = self.style(w)
        energy = self.weight.square().sum((2, 3))
        norm = torch.rsqrt(functional.linear(style.square(), energy) + _EPSILON) * _GAIN
        added = (self.bias * _GAIN)[:, None, None]
        if noise == "const":
            (top, bottom), (left, right) = window
            added = added + cast(Tensor, self.noise)[:, :, top:bottom, left:right] * (self.noise_strength * _GAIN)
        filters = len(x) == 1 and self.weight.numel() < x.numel()  # scale whichever is smaller: the filter or the map
        if filters and not is_tracing():  # a compiled graph scales the map in passing
            weight = self.weight * style.view(1, -1, 1, 1) * norm.view(-1, 1, 1, 1)
            x = self._filtered(x, weight) + added
        else:
            x = self._filtered(x * style[:, :, None, None], self.weight) * norm[:, :, None, None] + added
        x = functional.leaky_relu_(x, _SLOPE)
        return x if clamp is None else x.clamp(-clamp, clamp)

    def _filtered(self, x: Tensor, weight: Tensor) -> Tensor:
        if not self._up:
            return functional.conv2d(x, weight, padding=1)
        return smooth(functional.conv_transpose2d(x, weight.transpose(0, 1), stride=2))


class ToRgb(nn.Module):
    """What a level adds to the picture: a modulated 1x1 convolution to three channels."""

    def __init__(self, width: int, inputs: int) -> None:
        """Makes the layer."""
        super().__init__()
        self.style = Style(width, inputs, 1 / math.sqrt(inputs))
        self.weight = nn.Parameter(torch.zeros(3, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor, clamp: float | None) -> Tensor:
        """x: [B,C,H,W], w: [B,D] -> [B,3,H,W]."""
        if len(x) == 1 and not is_tracing():
            weight = self.weight * self.style(w).view(1, -1, 1, 1)
            x = functional.conv2d(x, weight, self.bias)
        else:
            x = functional.conv2d(x * self.style(w)[:, :, None, None], self.weight, self.bias)
        return x if clamp is None else x.clamp(-clamp, clamp)


class Level(nn.Module):
    """One size: an up-sampling convolution (absent at 4 px), a convolution, and what they add to the picture."""

    def __init__(self, width: int, inputs: int, outputs: int, size: int) -> None:
        """Makes the level whose output is `size` pixels."""
        super().__init__()
        self.first = StyledConv(width, inputs, outputs, size, up=True) if size > 4 else None
        self.second = StyledConv(width, outputs, outputs, size, up=False)
        self.rgb = ToRgb(width, outputs)


class Mapping(nn.Module):
    """z to w: normalisation, then dense layers with LeakyReLU."""

    def __init__(self, config: StyleGAN2Config) -> None:
        """Makes the network with weights to be loaded."""
        super().__init__()
        widths = [config.noise_width] + [config.width] * config.mapping_layers
        pairs = list(zip(widths[:-1], widths[1:], strict=True))
        self.weights = nn.ParameterList([nn.Parameter(torch.zeros(outputs, inputs)) for inputs, outputs in pairs])
        self.biases = nn.ParameterList([nn.Parameter(torch.zeros(outputs)) for _, outputs in pairs])
        self.register_buffer("mean", torch.zeros(config.width))
        self._rate = config.mapping_rate

    def forward(self, z: Tensor) -> Tensor:
        """z: [B,Z] standard normal -> w [B,D]."""
        x = z * torch.rsqrt(z.square().mean(1, keepdim=True) + _EPSILON)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            gain = self._rate / math.sqrt(weight.shape[1])
            x = functional.leaky_relu(functional.linear(x * gain, weight, bias * self._rate), _SLOPE) * _GAIN
        return x


class StyleGAN2(nn.Module):
    """The synthesis network with its mapping network.

    Args:
        config: its shape; weights are loaded afterwards.
    """

    def __init__(self, config: StyleGAN2Config) -> None:
        """Makes the network with weights to be loaded."""
        super().__init__()
        self.config: Final = config
        self.width = config.width
        self.noise_width = config.noise_width
        self.resolution = config.resolution
        self.rows = 2 * len(config.channels)
        self.region_step = max(1, self.resolution // _REGION_LEVEL)
        self.coarse_resolution = min(COARSE_SIZE, self.resolution)
        self.constant = nn.Parameter(torch.zeros(1, config.channels[0], 4, 4))
        inputs = (config.channels[0], *config.channels[:-1])
        pairs = zip(inputs, config.channels, strict=True)
        self.blocks = nn.ModuleList([Level(config.width, i, o, 4 * 2**n) for n, (i, o) in enumerate(pairs)])
        self.mapping_network = Mapping(config)
        level = self.coarse_resolution.bit_length() - 3
        columns = 2 * config.channels[level] + 4 if self.coarse_resolution < self.resolution else 0
        self.coarse_weight = nn.Parameter(torch.zeros(3, columns, 1, 1)) if columns else None

    def levels(self) -> list[Level]:
        """The levels from 4 px upwards."""
        return [cast(Level, block) for block in self.blocks]

    def _check(self, w: Tensor) -> None:
        if w.ndim != 3 or w.shape[1:] != (self.rows, self.width) or not w.is_floating_point():
            raise ShapeError(f"w is {tuple(w.shape)} {w.dtype}; expected float [B,{self.rows},{self.width}] (W+)")

    def _render(self, w: Tensor, windows: list[Window]) -> tuple[Tensor, Tensor]:
        """Features and picture of the last of `windows`, one a level from 4 px upwards."""
        clamp, noise = self.config.clamp, self.config.noise
        x, picture = self.constant.expand(len(w), -1, -1, -1), None
        held: Window = ((0, 4), (0, 4))
        for index, (level, window) in enumerate(zip(self.levels(), windows, strict=False)):
            size = 4 * 2**index
            row = max(0, 2 * index - 1)
            if level.first is not None:
                doubled: Window = ((2 * held[0][0], 2 * held[0][1]), (2 * held[1][0], 2 * held[1][1]))
                x = level.first(x, w[:, row], doubled, clamp, noise)
                held = (_wider(window[0], size), _wider(window[1], size))
                x, row = _cut(x, doubled, held), row + 1
                picture = None if picture is None else _cut(enlarge(picture), doubled, window)
            x = _cut(level.second(x, w[:, row], held, clamp, noise), held, window)
            added = level.rgb(x, w[:, row + 1], clamp)
            picture = added if picture is None else picture + added
            held = window
        assert picture is not None  # there are at least two levels
        return x, picture

    def _whole(self, size: int) -> list[Window]:
        sizes = [4 * 2**n for n in range(size.bit_length() - 2)]
        return [((0, side), (0, side)) for side in sizes]

    def synthesis(self, w: Tensor) -> Tensor:
        """Full picture: w [B,R,D] float -> [B,3,S,S], about -1...1.

        Raises:
            ShapeError: w has another shape or type.
        """
        self._check(w)
        return self._render(w, self._whole(self.resolution))[1]

    def region(self, w: Tensor, region: Region) -> Tensor:
        """The pixels of `synthesis` inside `region` alone: w [B,R,D] -> [B,3,h,w].

        Raises:
            ShapeError: w has another shape, or the region is misaligned.
        """
        self._check(w)
        region.check(self.region_step, self.resolution)
        rows, columns = (region.top, region.top + region.height), (region.left, region.left + region.width)
        windows: list[Window] = [(rows, columns)]
        size = self.resolution
        while size > 4:
            size //= 2
            windows.append((_needed(windows[-1][0], size), _needed(windows[-1][1], size)))
        return self._render(w, windows[::-1])[1]

    def coarse(self, w: Tensor) -> Tensor:
        """Small picture: w [B,R,D] -> [B,3,Q,Q], Q = `coarse_resolution`.

        Generators of that size or less give the picture itself, larger ones a linear read-out of inner features
        (see `engine.generators.coarse`).

        Raises:
            ShapeError: w has another shape or type.
        """
        if self.coarse_weight is None:
            return self.synthesis(w)
        return functional.conv2d(self.coarse_inputs(w), self.coarse_weight)

    def coarse_inputs(self, w: Tensor) -> Tensor:
        """Regressors of the coarse read-out: w [B,R,D] -> [B,2C+4,Q,Q].

        They are the features, their rectified part, the picture as far as it is summed at that level, and one.

        Raises:
            ShapeError: w has another shape or type.
        """
        self._check(w)
        x, picture = self._render(w, self._whole(self.coarse_resolution))
        return torch.cat([x, functional.relu(x), picture, torch.ones_like(x[:, :1])], 1)

    def mapping(self, z: Tensor) -> Tensor:
        """Noise to W: z [B,Z] standard normal -> [B,D].

        Raises:
            ShapeError: z has another shape.
        """
        if z.ndim != 2 or z.shape[1] != self.noise_width:
            raise ShapeError(f"z is {tuple(z.shape)}; expected [B,{self.noise_width}]")
        return cast(Tensor, self.mapping_network(z))

    def truncated(self, w: Tensor, psi: float) -> Tensor:
        """The truncation trick: w [...,D] drawn towards the average face; psi 1 leaves it, 0 gives the average."""
        mean = cast(Tensor, self.mapping_network.mean)
        return mean + psi * (w - mean)

    def module(self) -> nn.Module:
        """The network that tuning may change."""
        return self


def smooth(x: Tensor) -> Tensor:
    """Four-tap filter after a transposed convolution: x [B,C,H+1,W+1] -> [B,C,H,W], gain 2 an axis."""
    return functional.conv2d(x, _kernel(x), padding=1, groups=x.shape[1])


def enlarge(picture: Tensor) -> Tensor:
    """Twice the size by the same filter: [B,3,H,W] -> [B,3,2H,2W]."""
    return functional.conv_transpose2d(picture, _kernel(picture), stride=2, padding=1, groups=picture.shape[1])


def _kernel(x: Tensor) -> Tensor:
    """The filter for every channel of x [B,C,H,W]: [C,1,4,4]."""
    taps = torch.tensor(_TAPS, dtype=x.dtype, device=x.device) / 4
    return (taps[:, None] * taps).expand(x.shape[1], 1, 4, 4).contiguous()  # expanded filters are three times slower


def _needed(span: Span, size: int) -> Span:
    """Pixels of the map of `size` that the next level needs for `span`."""
    return max(0, (span[0] - 3) // 2), min(size, (span[1] + 2) // 2 + 1)


def _wider(span: Span, size: int) -> Span:
    return max(0, span[0] - 1), min(size, span[1] + 1)


def _cut(x: Tensor, held: Window, wanted: Window) -> Tensor:
    """The part `wanted` of a map of which `held` is there."""
    (top, bottom), (left, right) = wanted
    return x[:, :, top - held[0][0] : bottom - held[0][0], left - held[1][0] : right - held[1][0]]
