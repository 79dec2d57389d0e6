"""The audio-to-landmark network on Whisper features: one causal `forward` for offline and live.

Letters: B batch, T control frames (50 Hz), C channels. A content encoder and an emotion encoder hear the features; the
predictor (convolutions, LSTM, MLP) turns content and an emotion code into mouth controls and expressions. The emotion
is a row of shares (emotions.py). The network is causal over its input; look-ahead comes from reading
its answer late: answer i, which has heard features up to i, is for the time of control frame i - delay. Each delay that
it was trained for has its own last layer.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import TracebackType
from typing import Final, NamedTuple, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import BadInputError, ShapeError
from engine.speech.controls import EXPRESSIONS
from engine.speech.emotions import EMOTIONS

FEATURE_WIDTH: Final = 384
"""Width of the Whisper features (tiny model)."""
DELAYS: Final = (0, 1, 2, 3, 4, 5)
"""Control frames (20 ms) by which the answer may be read late."""


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network; ours throughout (the paper gives none)."""

    inputs: int = 390
    """Whisper features (384) and the loudness channels of two mel frames (6)."""
    content: int = 128
    """Size of the content code."""
    feeling: int = 48
    """Units of the emotion encoder."""
    emotion: int = 16
    """Size of the emotion code."""
    width: int = 160
    """Channels of the convolutions."""
    memory: int = 160
    """Units of the LSTM."""
    controls: int = 9
    """Mouth controls predicted."""
    delay: int = 1
    """Delay in control frames that is read unless another is asked for, one of `DELAYS`."""
    dropout: float = 0.2
    """Dropout of content code and memory, in training."""

    def __post_init__(self) -> None:
        """Checks the delay."""
        if self.delay not in DELAYS:
            raise BadInputError(f"network.delay is {self.delay}, expected one of {DELAYS}")

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
    """What the network carries from call to call; opened by `with`, which forgets it at the end."""

    contexts: list[Tensor] = field(default_factory=list)
    """One [B, context, C] per convolution, in order of use."""
    hidden: Tensor | None = None
    """[1, B, memory] of the predictor"""
    cell: Tensor | None = None
    """[1, B, memory] of the predictor"""
    mood: Tensor | None = None
    """[1, B, feeling] of the emotion encoder"""

    def __enter__(self) -> Self:
        """The state itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Forgets everything; a network refuses it from now on."""
        self.contexts.clear()
        self.hidden = self.cell = self.mood = None


class Heard(NamedTuple):
    """What the content encoder says of T control frames."""

    content: Tensor
    """[B, T, content] which sounds."""
    side: Tensor
    """[B, T, inputs - 384] normalised loudness."""


class Answer(NamedTuple):
    """What the predictor says of T control frames."""

    controls: Tensor
    """[B, T, controls] in 0 ... 1; with all delays [B, T, DELAYS, controls]."""
    expression: Tensor
    """[B, T, EXPRESSIONS]; exactly zero when neutral."""


class CausalConv1d(nn.Linear):
    """A convolution of three taps that sees the past only; its left context is handed in and out."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        """`dilation` frames lie between taps."""
        super().__init__(3 * inputs, outputs)
        self.channels, self.dilation, self.context = inputs, dilation, 2 * dilation

    def step(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """x: [B, T, C] -> ([B, T, outputs], next context)."""
        joined = torch.cat([context, x], dim=1)
        taps = [joined[:, tap * self.dilation : tap * self.dilation + x.shape[1]] for tap in range(3)]
        return self.forward(torch.cat(taps, dim=2)), joined[:, joined.shape[1] - self.context :]


class SpeechNet(nn.Module):
    """Speech features to mouth controls and expressions."""

    mean: Tensor
    """[inputs] of the features."""
    scale: Tensor
    """[inputs] one over their standard deviations."""

    def __init__(self, config: NetworkConfig) -> None:
        """Random weights of the configured sizes; `set_statistics` before training."""
        super().__init__()
        self.config = config
        side = config.inputs - FEATURE_WIDTH
        self.register_buffer("mean", torch.zeros(config.inputs))
        self.register_buffer("scale", torch.ones(config.inputs))
        self.content = nn.Linear(FEATURE_WIDTH, config.content)
        self.impression = nn.Linear(config.inputs, config.feeling)
        self.feeling = nn.GRU(config.feeling, config.feeling, batch_first=True)
        self.naming = nn.Linear(config.feeling, len(EMOTIONS))
        self.code = nn.Linear(len(EMOTIONS) - 1, config.emotion, bias=False)
        self.first = CausalConv1d(config.content + side, config.width)
        self.second = CausalConv1d(config.width, config.width, dilation=2)
        self.memory = nn.LSTM(config.width + config.emotion, config.memory, batch_first=True)
        self.dropout = nn.Dropout(config.dropout)
        self.readout = nn.Linear(config.memory + config.width + config.emotion, 96)
        self.heads = nn.Linear(96, len(DELAYS) * config.controls)
        self.expression = nn.Linear(config.emotion, len(EXPRESSIONS), bias=False)

    def set_statistics(self, mean: Tensor, deviation: Tensor) -> None:
        """Takes the mean and standard deviation [inputs] of the features, by which they are normalised."""
        self.mean.copy_(mean)
        self.scale.copy_(1.0 / deviation.clamp(min=1e-3))

    def initial_state(self, batch: int = 1) -> NetworkState:
        """The state before the first sound."""
        weight = self.content.weight
        contexts = [weight.new_zeros(batch, conv.context, conv.channels) for conv in (self.first, self.second)]
        memory = weight.new_zeros(1, batch, self.config.memory)
        return NetworkState(contexts, memory, memory.clone(), weight.new_zeros(1, batch, self.config.feeling))

    def normal(self, features: Tensor) -> Tensor:
        """[B, T, inputs] features, normalised."""
        if features.ndim != 3 or features.shape[2] != self.config.inputs:
            raise ShapeError(f"features are {tuple(features.shape)}, expected [B, T, {self.config.inputs}]")
        return (features - self.mean) * self.scale

    def hear(self, features: Tensor) -> Heard:
        """features: [B, T, inputs] -> what is said, and how loud."""
        normal = self.normal(features)
        return Heard(self.dropout(self.content(normal[:, :, :FEATURE_WIDTH])), normal[:, :, FEATURE_WIDTH:])

    def feel(self, features: Tensor, state: NetworkState) -> Tensor:
        """features: [B, T, inputs] -> logarithms [B, T, EMOTIONS] of the shares heard; advances the mood of `state`."""
        if state.mood is None:
            raise ShapeError("the state is closed or not of this network, expected one from initial_state()")
        impression = functional.gelu(self.impression(self.dropout(self.normal(features))))
        felt, state.mood = self.feeling(impression, state.mood)
        return functional.log_softmax(self.naming(self.dropout(felt)), dim=2)

    def emotion_code(self, shares: Tensor) -> Tensor:
        """shares: [B, T, EMOTIONS] adding up to 1 -> code [B, T, emotion]; neutral is zero."""
        if shares.ndim != 3 or shares.shape[2] != len(EMOTIONS):
            raise ShapeError(f"shares are {tuple(shares.shape)}, expected [B, T, {len(EMOTIONS)}]")
        return cast(Tensor, self.code(shares[:, :, 1:]))

    def predict(self, heard: Heard, code: Tensor, state: NetworkState, delay: int | None = None) -> Answer:
        """What `heard` looks like in the emotion of `code` [B, T, emotion]; advances the rest of `state`.

        `delay` is one of `DELAYS`; None gives the answers for all of them.
        """
        if state.hidden is None or state.cell is None:
            raise ShapeError("the state is closed or not of this network, expected one from initial_state()")
        x, state.contexts[0] = self.first.step(torch.cat([heard.content, heard.side], dim=2), state.contexts[0])
        x = functional.gelu(x)
        wide, state.contexts[1] = self.second.step(x, state.contexts[1])
        x = x + functional.gelu(wide)
        remembered, (state.hidden, state.cell) = self.memory(torch.cat([x, code], dim=2), (state.hidden, state.cell))
        hidden = functional.gelu(self.readout(self.dropout(torch.cat([remembered, x, code], dim=2))))
        return Answer(self._read(hidden, delay), self.expression(code))

    def _read(self, hidden: Tensor, delay: int | None) -> Tensor:
        """The last layer of one delay, or of all."""
        controls = self.config.controls
        if delay is None:
            every = torch.sigmoid(self.heads(hidden))
            return every.view(*every.shape[:2], len(DELAYS), controls)
        rows = slice(DELAYS.index(delay) * controls, (DELAYS.index(delay) + 1) * controls)
        return torch.sigmoid(functional.linear(hidden, self.heads.weight[rows], self.heads.bias[rows]))

    def forward(self, features: Tensor, state: NetworkState, shares: Tensor) -> Answer:
        """features: [B, T, inputs], shares: [B, T, EMOTIONS] -> answers of the default delay."""
        return self.predict(self.hear(features), self.emotion_code(shares), state, self.config.delay)
