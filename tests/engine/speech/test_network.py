"""The network: causal, streaming equals offline, and the emotion enters by its code only."""

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.errors import BadInputError, ShapeError
from engine.speech.emotions import EMOTIONS, emotion_shares
from engine.speech.network import DELAYS, Answer, CausalConv1d, NetworkConfig, NetworkState, SpeechNet

pytestmark = pytest.mark.unit

CONFIG = NetworkConfig(content=16, width=24, memory=20, feeling=12)


@pytest.fixture
def network() -> SpeechNet:
    torch.manual_seed(0)
    return SpeechNet(CONFIG).eval()


def shares(name: str, frames: int, batch: int = 1, intensity: float = 1.0) -> Tensor:
    """The same emotion throughout."""
    return torch.from_numpy(emotion_shares(name, intensity)).expand(batch, frames, -1)


def run(network: SpeechNet, features: Tensor, emotion: Tensor | None = None) -> Answer:
    """All frames at once, from a fresh state; neutral unless an emotion is given."""
    told = shares("neutral", features.shape[1], len(features)) if emotion is None else emotion
    answer: Answer = network(features, network.initial_state(len(features)), told)
    return answer


@torch.inference_mode()
@pytest.mark.parametrize("emotion", ["neutral", "happy"])
def test_the_future_changes_nothing(network: SpeechNet, emotion: str) -> None:
    """Neither in the mouth nor in the emotion that is heard."""
    features = torch.randn(1, 60, 390)
    changed = features.clone()
    changed[:, 40:] += 5.0
    before, after = (run(network, each, shares(emotion, 60)) for each in (features, changed))
    torch.testing.assert_close(before.controls[:, :40], after.controls[:, :40])
    assert (before.controls[:, 40:] - after.controls[:, 40:]).abs().max() > 1e-3
    felt = [network.feel(each, network.initial_state()) for each in (features, changed)]
    torch.testing.assert_close(felt[0][:, :40], felt[1][:, :40])


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(5))
def test_streaming_equals_offline(network: SpeechNet, seed: int) -> None:
    """Whatever the cuts, with an emotion that changes all the time as the hardest case."""
    features = torch.randn(2, 64, 390)
    told = torch.softmax(torch.randn(2, 64, len(EMOTIONS)), dim=2)
    whole, felt = run(network, features, told), network.feel(features, network.initial_state(2))
    cuts = np.sort(np.random.default_rng(seed).integers(1, 64, 9)).tolist()
    pieces = list(zip(features.tensor_split(cuts, dim=1), told.tensor_split(cuts, dim=1), strict=True))
    with network.initial_state(2) as state:
        parts = [network(heard, state, shown) for heard, shown in pieces if heard.shape[1]]
        moods = [network.feel(heard, state) for heard, _ in pieces if heard.shape[1]]
    torch.testing.assert_close(torch.cat([p.controls for p in parts], dim=1), whole.controls, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.cat([p.expression for p in parts], dim=1), whole.expression, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.cat(moods, dim=1), felt, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_rows_of_a_batch_do_not_mix(network: SpeechNet) -> None:
    """A batch is many streams side by side."""
    features = torch.randn(3, 20, 390)
    together, alone = run(network, features), run(network, features[1:2])
    torch.testing.assert_close(together.controls[1:2], alone.controls, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_neutral_has_no_expression_and_intensity_scales_it(network: SpeechNet) -> None:
    """Expression is linear in the intensity, and exactly zero at none."""
    features = torch.randn(1, 9, 390)
    full = run(network, features, shares("sad", 9)).expression
    half = run(network, features, shares("sad", 9, intensity=0.5)).expression
    assert run(network, features, shares("neutral", 9)).expression.abs().max() == 0.0
    torch.testing.assert_close(half, 0.5 * full, atol=1e-6, rtol=1e-5)
    assert full.abs().max() > 1e-3


@torch.inference_mode()
def test_every_delay_has_its_own_answer(network: SpeechNet) -> None:
    """One by one they are what all of them together are."""
    features = torch.randn(1, 12, 390)

    def answer(delay: int | None) -> Tensor:
        state = network.initial_state()
        return network.predict(network.hear(features), network.emotion_code(shares("fear", 12)), state, delay).controls

    every = answer(None)
    assert every.shape == (1, 12, len(DELAYS), CONFIG.controls)
    for index, delay in enumerate(DELAYS):
        torch.testing.assert_close(answer(delay), every[:, :, index], atol=1e-6, rtol=0)


@torch.inference_mode()
def test_shares_that_are_heard_add_up(network: SpeechNet) -> None:
    """They are given as logarithms."""
    felt = network.feel(torch.randn(2, 7, 390), network.initial_state(2))
    assert felt.shape == (2, 7, len(EMOTIONS))
    torch.testing.assert_close(felt.exp().sum(dim=2), torch.ones(2, 7))


def test_a_closed_state_is_refused(network: SpeechNet) -> None:
    """`with` ends it."""
    with network.initial_state() as state:
        network(torch.zeros(1, 3, 390), state, shares("sad", 3))
    assert state == NetworkState()
    with pytest.raises(ShapeError, match="closed"):
        network(torch.zeros(1, 3, 390), state, shares("sad", 3))
    with pytest.raises(ShapeError, match="closed"):
        network.feel(torch.zeros(1, 3, 390), state)


@pytest.mark.parametrize("dilation", [1, 2])
def test_a_convolution_sees_three_frames_of_the_past(dilation: int) -> None:
    """It equals torch's, padded on the left."""
    conv = CausalConv1d(3, 5, dilation)
    x = torch.randn(2, 11, 3)
    out, context = conv.step(x, torch.zeros(2, conv.context, 3))
    taps = conv.weight.view(5, 3, 3).transpose(1, 2)
    padded = torch.nn.functional.pad(x.transpose(1, 2), (2 * dilation, 0))
    expected = torch.nn.functional.conv1d(padded, taps, conv.bias, dilation=dilation).transpose(1, 2)
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(context, x[:, -2 * dilation :])


def test_sizes_survive_the_header() -> None:
    """All of them are in the weight file."""
    assert NetworkConfig.from_metadata(CONFIG.to_metadata()) == CONFIG
    with pytest.raises(BadInputError, match="delay"):
        NetworkConfig(delay=9)


def test_wrong_features_and_shares_are_refused(network: SpeechNet) -> None:
    """Shapes are said."""
    with pytest.raises(ShapeError, match="390"):
        network(torch.zeros(1, 10, 80), network.initial_state(), shares("sad", 10))
    with pytest.raises(ShapeError, match="shares"):
        network(torch.zeros(1, 10, 390), network.initial_state(), torch.zeros(1, 10, 3))


@torch.inference_mode()
def test_normalisation_is_part_of_the_network(network: SpeechNet) -> None:
    """Raw features with their own statistics are as centred ones."""
    network.set_statistics(torch.full((390,), 2.0), torch.full((390,), 4.0))
    centred = run(network, torch.full((1, 5, 390), 2.0))
    network.set_statistics(torch.zeros(390), torch.ones(390))
    torch.testing.assert_close(centred.controls, run(network, torch.zeros(1, 5, 390)).controls)
