"""Losses: what is perfect costs nothing, delays are read late, and crossing pulls content apart from emotion."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.speech.controls import CONTROLS, EXPRESSIONS, FaceBasis
from engine.speech.emotions import EMOTIONS, emotion_shares
from engine.speech.network import DELAYS, NetworkConfig, SpeechNet
from engine.training import disentangle
from engine.training.config import TrainConfig
from engine.training.dataset import Batch
from engine.training.disentangle import Decoder, Objective, step_losses
from engine.training.expressions import expression_of

pytestmark = pytest.mark.unit

SIZES = NetworkConfig(content=8, width=8, memory=8, feeling=8, dropout=0.0)
CONFIG = TrainConfig(network=SIZES)
JAW, CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")


@pytest.fixture
def objective() -> Objective:
    rng = np.random.default_rng(0)
    move = np.zeros((len(CONTROLS), 68, 3))
    move[JAW, 66, 1] = 0.4
    move[CLOSE, 66, 1] = -0.4
    expression = 0.1 * rng.standard_normal((len(EXPRESSIONS), 68, 3))
    return Objective(FaceBasis(np.zeros((68, 3), np.float32), move.astype(np.float32), expression.astype(np.float32)))


def batch(pairs: int = 2, frames: int = 60) -> Batch:
    """Pairs only: the emotion lies in other inputs than the content."""
    torch.manual_seed(0)
    content = torch.randn(pairs, frames, 390)
    content[:, :, 200:] = 0.0
    moods = torch.zeros(pairs, frames, 390)
    moods[:, :, 200:384] = 1.0
    controls = torch.rand(pairs, frames, len(CONTROLS))
    shares = torch.from_numpy(np.stack([emotion_shares("neutral")] * pairs + [emotion_shares("angry")] * pairs))
    known = torch.ones(2 * pairs, frames, dtype=torch.bool)
    return Batch(torch.cat([content, content + moods]), torch.cat([controls, controls]), shares, known)


def test_perfect_answers_cost_nothing_when_read_late(objective: Objective) -> None:
    """Each delay is compared with controls that many frames earlier."""
    wanted = torch.rand(2, 40, len(CONTROLS))
    answers = torch.stack([torch.roll(wanted, delay, dims=1) for delay in DELAYS], dim=2)
    losses = objective.delayed(answers, wanted)
    assert losses.landmarks.item() == pytest.approx(0.0, abs=1e-9)
    assert losses.velocity.item() == pytest.approx(0.0, abs=1e-9)
    early = objective.delayed(wanted[:, :, None].expand(-1, -1, len(DELAYS), -1), wanted)
    assert early.landmarks.item() > 0.02


def test_lips_that_stay_open_in_a_closure_cost(objective: Objective) -> None:
    """Only where they should close, and by how far they are open."""

    def closure(predicted_close: float, wanted_close: float) -> float:
        predicted, wanted = torch.zeros(1, 10, len(CONTROLS)), torch.zeros(1, 10, len(CONTROLS))
        predicted[:, :, JAW] = wanted[:, :, JAW] = 0.2
        predicted[:, :, CLOSE], wanted[:, :, CLOSE] = predicted_close, wanted_close
        return float(objective(predicted, wanted).closure)

    assert closure(1.0, 1.0) == pytest.approx(0.0, abs=1e-9)
    assert closure(0.0, 0.0) == 0.0
    assert closure(0.3, 1.0) > closure(0.7, 1.0) > 0.01


def test_expressions_are_compared_with_those_of_the_emotion(objective: Objective) -> None:
    """Points, not numbers: it is the face that counts."""
    shares = torch.from_numpy(np.stack([emotion_shares("happy", 0.5), emotion_shares("sad")]))
    wanted = torch.from_numpy(expression_of(shares.numpy()))[:, None].expand(-1, 5, -1)
    assert objective.expression_error(wanted, shares).item() == pytest.approx(0.0, abs=1e-9)
    assert objective.expression_error(wanted.flip(0), shares).item() > 0.01


def test_ablations_leave_their_terms_out(objective: Objective) -> None:
    """Without pairs, or without the weight, nothing is crossed."""
    network, decoder = SpeechNet(SIZES), Decoder(SIZES)
    crossed = step_losses(network, decoder, objective, batch(), 2, CONFIG)
    assert set(crossed) == {"lips", "expression", "naming", "rebuilt", "content", "crossed"}
    for pairs, config in ((0, CONFIG), (2, replace(CONFIG, cross_weight=0.0))):
        assert set(step_losses(network, decoder, objective, batch(), pairs, config)) == {"lips", "expression", "naming"}


def test_training_pulls_content_apart_from_emotion(objective: Objective) -> None:
    """Content codes of a pair come together, and the crossed reconstruction learns the partner's features."""
    torch.manual_seed(1)
    network, decoder = SpeechNet(SIZES), Decoder(SIZES)
    optimiser = torch.optim.Adam([*network.parameters(), *decoder.parameters()], lr=1e-2)
    history: list[dict[str, Tensor]] = []
    for _ in range(60):
        losses = step_losses(network, decoder, objective, batch(), 2, CONFIG)
        optimiser.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]  # torch's stub
        optimiser.step()
        history.append({name: value.detach() for name, value in losses.items()})
    for name, share in (("content", 0.3), ("rebuilt", 0.8), ("naming", 0.7), ("expression", 0.5)):
        assert history[-1][name] < share * history[0][name], name


def test_the_wanted_expression_is_that_of_the_shares(objective: Objective) -> None:
    """A perfect expression costs nothing whatever the mixture of emotions."""
    shares = torch.softmax(torch.randn(3, len(EMOTIONS), generator=torch.Generator().manual_seed(0)), dim=1)
    wanted = torch.from_numpy(expression_of(shares.numpy()))[:, None].expand(-1, 5, -1)
    assert objective.expression_error(wanted, shares).item() == pytest.approx(0.0, abs=1e-9)
    assert objective.expression_error(wanted.roll(1, 0), shares).item() > 1e-3


def test_losses_stay_on_the_device_of_their_batch(objective: Objective, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a step lies in the processor's memory: tensors without data refuse to meet one that does.

    Stands in for a GPU, with gradients.
    """
    monkeypatch.setattr(disentangle, "_mean", lambda errors, known: errors.mean())  # which frames are known is data
    device = torch.device("meta")
    network, decoder = SpeechNet(SIZES).to(device), Decoder(SIZES).to(device)
    losses = step_losses(network, decoder, objective.to(device), batch().on(device), 2, CONFIG)
    assert set(losses) == {"lips", "expression", "naming", "rebuilt", "content", "crossed"}
    assert {value.device for value in losses.values()} == {device}
    sum(losses.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]  # torch's stub
    assert all(p.grad is not None and p.grad.device == device for p in [*network.parameters(), *decoder.parameters()])


def test_a_batch_moves_whole() -> None:
    moved = batch().on(torch.device("meta"))
    for name, tensor in vars(batch()).items():
        there = vars(moved)[name]
        assert (there.device.type, there.shape, there.dtype) == ("meta", tensor.shape, tensor.dtype)


def test_mixed_precision_rounds_products_and_nothing_else(objective: Objective) -> None:
    """Losses are float32 and near those without it, but not the same; so are the gradients, of weights in float32."""
    grown: list[dict[str, float]] = []
    gradients: list[Tensor] = []
    for mixed in (False, True):
        torch.manual_seed(1)
        network, decoder = SpeechNet(SIZES), Decoder(SIZES)
        losses = step_losses(network, decoder, objective, batch(), 2, replace(CONFIG, mixed=mixed))
        assert {value.dtype for value in losses.values()} == {torch.float32}
        sum(losses.values(), torch.zeros(())).backward()  # type: ignore[no-untyped-call]  # torch's stub
        parameters = [*network.parameters(), *decoder.parameters()]
        gradients.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))
        grown.append({name: value.item() for name, value in losses.items()})
    plain, rounded = grown
    for name, value in plain.items():
        assert rounded[name] == pytest.approx(value, rel=0.02), name
    assert rounded["rebuilt"] != plain["rebuilt"]
    assert rounded["lips"] != plain["lips"]
    assert gradients[1].dtype == torch.float32
    assert torch.cosine_similarity(gradients[0], gradients[1], dim=0).item() > 0.999
