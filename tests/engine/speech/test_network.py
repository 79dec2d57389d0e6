"""The network: causal, and streaming equals offline."""

import numpy as np
import pytest
import torch

from engine.errors import ShapeError
from engine.speech.network import CausalConv1d, NetworkConfig, SpeechNet

pytestmark = pytest.mark.unit

CONFIG = NetworkConfig(content=16, width=24, memory=20)


@pytest.fixture
def network() -> SpeechNet:
    torch.manual_seed(0)
    return SpeechNet(CONFIG).eval()


@torch.inference_mode()
def test_the_future_changes_nothing(network: SpeechNet) -> None:
    features = torch.randn(1, 60, 390)
    changed = features.clone()
    changed[:, 40:] += 5.0
    before = network(features, network.initial_state())
    after = network(changed, network.initial_state())
    torch.testing.assert_close(before[:, :40], after[:, :40])
    assert (before[:, 40:] - after[:, 40:]).abs().max() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize("seed", range(5))
def test_streaming_equals_offline(network: SpeechNet, seed: int) -> None:
    features = torch.randn(2, 64, 390)
    whole = network(features, network.initial_state(2))
    cuts = np.sort(np.random.default_rng(seed).integers(0, 64, 9))
    state = network.initial_state(2)
    pieces = [network(piece, state) for piece in features.tensor_split(cuts.tolist(), dim=1) if piece.shape[1]]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_rows_of_a_batch_do_not_mix(network: SpeechNet) -> None:
    features = torch.randn(3, 20, 390)
    together = network(features, network.initial_state(3))
    alone = network(features[1:2], network.initial_state())
    torch.testing.assert_close(together[1:2], alone, atol=1e-6, rtol=0)


def test_a_strided_convolution_takes_steps_of_its_stride() -> None:
    conv = CausalConv1d(3, 5, 4, stride=2)
    context = torch.zeros(1, 3, conv.context)
    out, context = conv.step(torch.randn(1, 3, 6), context)
    assert out.shape == (1, 5, 3)
    assert context.shape == (1, 3, 2)


def test_sizes_survive_the_header() -> None:
    assert NetworkConfig.from_metadata(CONFIG.to_metadata()) == CONFIG


def test_wrong_features_are_refused(network: SpeechNet) -> None:
    with pytest.raises(ShapeError, match="390"):
        network(torch.zeros(1, 10, 80), network.initial_state())


def test_normalisation_is_part_of_the_network(network: SpeechNet) -> None:
    network.set_statistics(torch.full((390,), 2.0), torch.full((390,), 4.0))
    raw = torch.full((1, 5, 390), 2.0)
    centred = network(raw, network.initial_state())
    plain = SpeechNet(CONFIG).eval()
    plain.load_state_dict(network.state_dict())
    plain.set_statistics(torch.zeros(390), torch.ones(390))
    torch.testing.assert_close(centred, plain(torch.zeros(1, 5, 390), plain.initial_state()))
