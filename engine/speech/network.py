"""The audio-to-landmark network: content encoder, LSTM and MLP, one causal `forward` for offline and live.

Letters: B batch, F mel frames (100 Hz, even), T control frames (50 Hz, T = F / 2), C channels. The network is causal
over its input; look-ahead comes from reading its answer late: answer i, which has heard mel frames up to 2 i + 1, is
for the time of control frame i - delay.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError
from engine.speech.features import CHANNELS


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network; ours throughout (the paper gives none)."""

    width: int = 192
    """Channels of the content encoder."""
    content: int = 128
    """Size of the content code."""
    memory: int = 192
    """Units of the LSTM."""
    dilations: tuple[int, ...] = (1, 2, 4, 8, 1, 2)
    """Dilation of each residual block of the encoder, in control frames."""
    controls: int = 9
    """Mouth controls predicted."""
    delay: int = 5
    """Control frames (20 ms) by which the answer is read late."""

    def to_metadata(self) -> dict[str, str]:
        """As strings, for the header of a weight file."""
        return {
            name: ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_metadata(cls, header: Mapping[str, str]) -> "NetworkConfig":
        """The inverse of `to_metadata`."""
        return cls(
            width=int(header["width"]),
            content=int(header["content"]),
            memory=int(header["memory"]),
            dilations=tuple(int(value) for value in header["dilations"].split(",")),
            controls=int(header["controls"]),
            delay=int(header["delay"]),
        )


@dataclass
class NetworkState:
    """What the network carries from call to call: the left context of every convolution and the LSTM's memory."""

    contexts: list[Tensor] = field(default_factory=list)
    """One [B, C, context] per convolution, in order of use."""
    hidden: Tensor | None = None
    """[1, B, memory]"""
    cell: Tensor | None = None
    """[1, B, memory]"""


class CausalConv1d(nn.Conv1d):
    """A convolution that sees the past only; its left context is handed in and out."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> None:
        """As `nn.Conv1d`, without padding."""
        super().__init__(inputs, outputs, kernel, stride, dilation=dilation)
        self.context = (kernel - 1) * dilation + 1 - stride

    def step(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """x: [B, C, L], L a multiple of the stride -> ([B, outputs, L / stride], next context)."""
        joined = torch.cat([context, x], dim=2)
        return self.forward(joined), joined[:, :, joined.shape[2] - self.context :]


class _Block(nn.Module):
    """Residual block: norm, dilated causal convolution, gate, pointwise convolution."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.conv = CausalConv1d(width, width, 3, dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)

    def step(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """x: [B, C, T] -> ([B, C, T], next context)."""
        normed = self.norm(x.transpose(1, 2)).transpose(1, 2)
        wide, context = self.conv.step(normed, context)
        return x + cast(Tensor, self.mix(functional.gelu(wide))), context


class SpeechNet(nn.Module):
    """Speech features to mouth controls."""

    def __init__(self, config: NetworkConfig) -> None:
        """Random weights of the configured sizes."""
        super().__init__()
        self.config = config
        width = config.width
        self.stem = CausalConv1d(CHANNELS, width, 3)
        self.down = CausalConv1d(width, width, 4, stride=2)
        self.blocks = nn.ModuleList(_Block(width, dilation) for dilation in config.dilations)
        self.content_norm = nn.LayerNorm(width)
        self.content = nn.Linear(width, config.content)
        self.memory = nn.LSTM(config.content, config.memory, batch_first=True)
        self.readout = nn.Sequential(
            nn.Linear(config.memory + config.content, 128), nn.GELU(), nn.Linear(128, config.controls)
        )

    def initial_state(self, batch: int = 1) -> NetworkState:
        """The state before the first sound."""
        weight = self.stem.weight
        convolutions = [self.stem, self.down, *(cast(_Block, block).conv for block in self.blocks)]
        contexts = [weight.new_zeros(batch, conv.in_channels, conv.context) for conv in convolutions]
        memory = weight.new_zeros(1, batch, self.config.memory)
        return NetworkState(contexts, memory, memory.clone())

    def encode(self, features: Tensor, state: NetworkState) -> Tensor:
        """features: [B, F, CHANNELS], F even -> content code [B, F / 2, content]; advances `state`."""
        if features.ndim != 3 or features.shape[1] % 2 or features.shape[2] != CHANNELS:
            raise ShapeError(f"features are {tuple(features.shape)}, expected [B, F, {CHANNELS}] with F even")
        x = features.transpose(1, 2)
        x, state.contexts[0] = self.stem.step(x, state.contexts[0])
        x, state.contexts[1] = self.down.step(functional.gelu(x), state.contexts[1])
        for index, block in enumerate(self.blocks, start=2):
            x, state.contexts[index] = cast(_Block, block).step(x, state.contexts[index])
        return cast(Tensor, self.content(self.content_norm(x.transpose(1, 2))))

    def predict(self, content: Tensor, state: NetworkState) -> Tensor:
        """content: [B, T, content] -> controls [B, T, controls] in 0 ... 1; advances `state`."""
        if state.hidden is None or state.cell is None:
            raise ShapeError("the state has no LSTM memory, expected one from initial_state(); begin with that")
        remembered, (state.hidden, state.cell) = self.memory(content, (state.hidden, state.cell))
        return torch.sigmoid(cast(Tensor, self.readout(torch.cat([remembered, content], dim=2))))

    def forward(self, features: Tensor, state: NetworkState) -> Tensor:
        """features: [B, F, CHANNELS], F even -> controls [B, F / 2, controls] in 0 ... 1; advances `state`."""
        return self.predict(self.encode(features, state), state)
