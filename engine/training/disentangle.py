"""Losses of the audio-to-landmark network, cross-reconstruction among them.

A pair is the same content in two emotions, frame by frame. Content of one and emotion of the other must rebuild the
other's features (four terms: both selves, both crossings), and give the other's landmarks; the content codes of a pair
must be equal; the emotion must be named. The decoder that rebuilds features is needed in training only.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.speech.controls import CONTROLS, FaceBasis
from engine.speech.emotions import EMOTIONS
from engine.speech.network import DELAYS, Answer, Heard, NetworkConfig, SpeechNet
from engine.training.config import TrainConfig
from engine.training.dataset import Batch
from engine.training.expressions import expression_of

_JAW, _CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")
_UNIT = 20.0
_NAMING_FROM = 50


def activations(controls: Tensor) -> Tensor:
    """[..., CONTROLS] controls -> face-unit activations: closing takes back the jaw's own opening."""
    parts = list(controls.unbind(-1))
    parts[_CLOSE] = parts[_CLOSE] * parts[_JAW]
    return torch.stack(parts, dim=-1)


def _mean(errors: Tensor, known: Tensor | None) -> Tensor:
    """Mean of errors [B, T] or [B, T, K] over the frames that are known [B, T]; 0 where none is."""
    if known is None or bool(known.all()):
        return errors.mean()
    chosen = errors[known]
    return chosen.mean() if len(chosen) else errors.sum() * 0.0


@dataclass(frozen=True)
class Losses:
    """The terms of one step, unweighted."""

    landmarks: Tensor
    """Squared error of jaw and mouth points, in units of 0.05 inter-ocular distances."""
    opening: Tensor
    """Squared error of the inner-lip opening."""
    width: Tensor
    """Squared error of the distance between the corners of the mouth: rounding and spreading."""
    velocity: Tensor
    """Squared error of frame-to-frame differences."""
    closure: Tensor
    """Squared opening where lips should close."""
    closing: Tensor
    """Cross-entropy of the share of closing: lips close or do not."""

    def total(self, config: TrainConfig) -> Tensor:
        """The weighted sum."""
        return (
            self.landmarks
            + config.opening_weight * self.opening
            + config.width_weight * self.width
            + config.velocity_weight * self.velocity
            + config.closure_weight * self.closure
            + config.closing_weight * self.closing
        )


class Objective(nn.Module):
    """Errors of landmarks, opening, width, velocity and closures, in units of 0.05 inter-ocular distances."""

    def __init__(self, basis: FaceBasis) -> None:
        """Takes the landmarks that the controls move; only jaw and mouth count, and for expressions all points."""
        super().__init__()
        moving = torch.from_numpy(basis.displacement[:, list(range(4, 13)) + list(range(48, 68))])
        opening = torch.from_numpy(basis.displacement[:, 66] - basis.displacement[:, 62])[:, 1]
        width = torch.from_numpy(basis.displacement[:, 54] - basis.displacement[:, 48])[:, 0]
        self.register_buffer("moving", moving.reshape(len(CONTROLS), -1) * _UNIT)
        self.register_buffer("opening", opening * _UNIT)
        self.register_buffer("width", width * _UNIT)
        self.register_buffer("faces", torch.from_numpy(basis.expression).flatten(1) * _UNIT)
        self.register_buffer("expressions", torch.from_numpy(expression_of(np.eye(len(EMOTIONS), dtype=np.float32))))

    def forward(self, predicted: Tensor, wanted: Tensor, known: Tensor | None = None) -> Losses:
        """predicted, wanted: [B, T, CONTROLS] controls; known: [B, T] frames that count, all unless given."""
        active = activations(predicted)
        difference = active - activations(wanted)
        points = difference @ self.get_buffer("moving")
        gap = difference @ self.get_buffer("opening")
        spread = difference @ self.get_buffer("width")
        closing = wanted[:, :, _CLOSE]
        open_lips = functional.relu(active @ self.get_buffer("opening"))
        told = predicted[:, :, _CLOSE].clamp(1e-4, 1.0 - 1e-4)
        moving = None if known is None else known[:, 1:] & known[:, :-1]
        shut = closing if known is None else closing * known
        return Losses(
            _mean(points.square(), known),
            _mean(gap.square(), known),
            _mean(spread.square(), known),
            _mean((points[:, 1:] - points[:, :-1]).square(), moving),
            (shut * open_lips.square()).sum() / (shut.sum() + 1.0),
            _mean(functional.binary_cross_entropy(told, closing, reduction="none"), known),
        )

    def delayed(
        self, predicted: Tensor, wanted: Tensor, delays: Sequence[int] = DELAYS, known: Tensor | None = None
    ) -> Losses:
        """predicted: [B, T, DELAYS, CONTROLS] answers of all delays; the mean of the losses of `delays`."""
        rows = [self._late(predicted[:, :, DELAYS.index(delay)], wanted, delay, known) for delay in delays]
        parts = zip(*(vars(row).values() for row in rows), strict=True)
        return Losses(*(torch.stack(part).mean() for part in parts))

    def _late(self, predicted: Tensor, wanted: Tensor, delay: int, known: Tensor | None) -> Losses:
        """The answer for frame t is read `delay` frames later."""
        end = wanted.shape[1] - delay
        return cast(Losses, self(predicted[:, delay:], wanted[:, :end], None if known is None else known[:, :end]))

    def expression_error(self, predicted: Tensor, shares: Tensor) -> Tensor:
        """Squared error of the points that expressions move; predicted: [B, T, EXPRESSIONS], shares: [B, EMOTIONS]."""
        wanted = (shares @ self.get_buffer("expressions"))[:, None]
        return ((predicted - wanted) @ self.get_buffer("faces")).square().mean() * 10.0


class Decoder(nn.Module):
    """Content code and emotion code back to the normalised features; in training only."""

    def __init__(self, config: NetworkConfig, width: int = 192) -> None:
        """Random weights."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.content + config.emotion, width), nn.GELU(), nn.Linear(width, config.inputs)
        )

    def forward(self, content: Tensor, code: Tensor) -> Tensor:
        """content: [B, T, content], code: [B, T, emotion] -> features [B, T, inputs]."""
        return cast(Tensor, self.layers(torch.cat([content, code], dim=2)))


def _products(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Products of the networks in bfloat16 where the configuration asks for mixed precision."""
    return torch.autocast(device.type, torch.bfloat16) if config.mixed else nullcontext()


def _precise(answer: Answer) -> Answer:
    """An answer in float32, for the losses."""
    return Answer(*(part.float() for part in answer))


def _swap(rows: Tensor, pairs: int) -> Tensor:
    """Rows of 2 P matching pairs, each in its partner's place."""
    return torch.cat([rows[pairs:], rows[:pairs]])


def step_losses(
    network: SpeechNet,
    decoder: Decoder,
    objective: Objective,
    batch: Batch,
    pairs: int,
    config: TrainConfig,
    step: int = 0,
) -> dict[str, Tensor]:
    """Weighted losses of a batch whose last 2 `pairs` rows are pairs; their sum is minimised.

    The predictor is given the heard emotion in every fourth row and the true one in the others. The default delay
    counts in every step, the others by turns.
    """
    delays = sorted({config.network.delay, DELAYS[step % len(DELAYS)]})
    size, frames = batch.inputs.shape[:2]
    state = network.initial_state(size)
    true = batch.shares[:, None].expand(-1, frames, -1)
    told = (torch.arange(size, device=true.device) % 4 != 0)[:, None, None]
    with _products(config, true.device):
        heard, felt = network.hear(batch.inputs), network.feel(batch.inputs, state).float()
        code = network.emotion_code(torch.where(told, true, felt.exp()))
        answer = _precise(network.predict(heard, code, state))
    naming = -(true * felt)[:, min(_NAMING_FROM, frames // 2) :].sum(dim=2).mean()
    losses = {
        "lips": objective.delayed(answer.controls, batch.controls, delays, batch.known).total(config),
        "expression": config.expression_weight * objective.expression_error(answer.expression, batch.shares),
        "naming": config.naming_weight * naming,
    }
    if pairs and config.cross_weight > 0:
        losses |= _pair_losses(network, decoder, objective, (heard, felt), batch, pairs, config, delays)
    return losses


def _pair_losses(
    network: SpeechNet,
    decoder: Decoder,
    objective: Objective,
    listened: tuple[Heard, Tensor],
    batch: Batch,
    pairs: int,
    config: TrainConfig,
    delays: Sequence[int],
) -> dict[str, Tensor]:
    rows = slice(len(batch.inputs) - 2 * pairs, None)
    heard, felt = listened
    content, side = heard.content[rows], heard.side[rows]
    features = network.normal(batch.inputs[rows]).detach()
    true = _swap(batch.shares[rows], pairs)
    with _products(config, true.device):
        own = network.emotion_code(felt[rows].exp())
        selves, crossings = decoder(content, own).float(), decoder(content, _swap(own, pairs)).float()
        told = network.emotion_code(true[:, None].expand(-1, content.shape[1], -1))
        crossed = _precise(network.predict(Heard(content, side), told, network.initial_state(2 * pairs)))
    rebuilt = [(selves, features), (crossings, _swap(features, pairs))]
    content = content.float()
    spread = content.detach().var().clamp(min=1e-4)
    wanted, known = _swap(batch.controls[rows], pairs), _swap(batch.known[rows], pairs)
    return {
        "rebuilt": config.cross_weight * torch.stack([(a - b).square().mean() for a, b in rebuilt]).mean(),
        "content": config.content_weight * (content - _swap(content, pairs)).square().mean() / spread,
        "crossed": 0.5 * objective.delayed(crossed.controls, wanted, delays, known).total(config),
    }
