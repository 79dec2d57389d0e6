"""The audio-to-landmark network on Whisper features: one causal `forward` for offline and live.

Letters: B batch, T control frames (50 Hz), C channels. The network is causal over its input; look-ahead comes from
reading its answer late: answer i, which has heard features up to i, is for the time of control frame i - delay.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError

FEATURE_WIDTH: Final = 384
"""Width of the Whisper features (tiny model)."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network; ours throughout (the paper gives none)."""

    inputs: int = 390
    """Whisper features (384) and the loudness channels of two mel frames (6)."""
    content: int = 96
    """Size of the content code."""
    width: int = 128
    """Channels of the convolutions."""
    memory: int = 128
    """Units of the LSTM."""
    controls: int = 9
    """Mouth controls predicted."""
    delay: int = 3
    """Control frames (20 ms) by which the answer is read late."""
    dropout: float = 0.2
    """Dropout of content code and memory, in training."""

    def to_metadata(self) -> dict[str, str]:
        """As strings, for the header of a weight file."""
        return {name: str(value) for name, value in asdict(self).items()}

    @classmethod
    def from_metadata(cls, header: Mapping[str, str]) -> "NetworkConfig":
        """The inverse of `to_metadata`."""
        sizes = {entry.name: int(header[entry.name]) for entry in fields(cls) if entry.name != "dropout"}
        return cls(**sizes, dropout=float(header["dropout"]))


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


class SpeechNet(nn.Module):
    """Speech features to mouth controls: content code, two causal convolutions, LSTM, MLP."""

    def __init__(self, config: NetworkConfig) -> None:
        """Random weights of the configured sizes; `set_statistics` before training."""
        super().__init__()
        self.config = config
        side = config.inputs - FEATURE_WIDTH
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("scale", torch.ones(config.inputs))
        self.content = nn.Linear(FEATURE_WIDTH, config.content)
        self.first = CausalConv1d(config.content + side, config.width, 3)
        self.second = CausalConv1d(config.width, config.width, 3, dilation=2)
        self.memory = nn.LSTM(config.width, config.memory, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Sequential(
            nn.Linear(config.memory + config.width, 96), nn.GELU(), nn.Linear(96, config.controls)
        )

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Takes the mean and standard deviation [inputs] of the features, by which they are normalised."""
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("scale").copy_(1.0 / deviation.clamp(min=1e-3))

    def initial_state(self, batch: int = 1) -> NetworkState:
        """The state before the first sound."""
        weight = self.content.weight
        contexts = [weight.new_zeros(batch, conv.in_channels, conv.context) for conv in (self.first, self.second)]
        memory = weight.new_zeros(1, batch, self.config.memory)
        return NetworkState(contexts, memory, memory.clone())

    def forward(self, features: Tensor, state: NetworkState) -> Tensor:
        """features: [B, T, inputs] -> controls [B, T, controls] in 0 ... 1; advances `state`."""
        if features.ndim != 3 or features.shape[2] != self.config.inputs:
            raise ShapeError(f"features are {tuple(features.shape)}, expected [B, T, {self.config.inputs}]")
        if state.hidden is None or state.cell is None:
            raise ShapeError("the state has no LSTM memory, expected one from initial_state(); begin with that")
        normal = (features - self.get_buffer("mean")) * self.get_buffer("scale")
        code = self.dropout(self.content(normal[:, :, :FEATURE_WIDTH]))
        x = torch.cat([code, normal[:, :, FEATURE_WIDTH:]], dim=2).transpose(1, 2)
        x, state.contexts[0] = self.first.step(x, state.contexts[0])
        x = functional.gelu(x)
        wide, state.contexts[1] = self.second.step(x, state.contexts[1])
        x = (x + functional.gelu(wide)).transpose(1, 2)
        remembered, (state.hidden, state.cell) = self.memory(x, (state.hidden, state.cell))
        return torch.sigmoid(cast(Tensor, self.readout(self.dropout(torch.cat([remembered, x], dim=2)))))
