"""Layers with 8-bit weights are close to what they replace and do not care what stands beside a row."""

import pytest
import torch
from torch import nn

from engine.errors import ShapeError
from engine.speech.int8 import Int8Linear, quantise
from engine.speech.whisper import MEL_BANDS, MEL_CONTEXT, EncoderState, WhisperEncoder

pytestmark = pytest.mark.unit


@pytest.fixture
def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(96, 64).requires_grad_(False)


@pytest.mark.parametrize("shape", [(96,), (5, 96), (2, 3, 96)])
def test_answers_are_close(linear: nn.Linear, shape: tuple[int, ...]) -> None:
    """Within two percent of the spread, in the same shape."""
    x = torch.randn(shape)
    expected = linear(x)
    got = Int8Linear(linear)(x)
    assert got.shape == expected.shape
    assert got.dtype == torch.float32
    assert float((got - expected).abs().max()) < 0.05 * float(linear(torch.randn(500, 96)).std())


def test_a_row_is_computed_alone(linear: nn.Linear) -> None:
    """Loud neighbours change nothing."""
    x = torch.randn(4, 96)
    layer = Int8Linear(linear)
    torch.testing.assert_close(layer(torch.cat([x, 100.0 * torch.randn(4, 96)]))[:4], layer(x), rtol=0, atol=1e-6)


def test_layers_without_bias_and_rows_of_zeros(linear: nn.Linear) -> None:
    """No scale of zero divides anything."""
    bare = nn.Linear(96, 3, bias=False).requires_grad_(False)
    bare.weight[0] = 0.0
    out = Int8Linear(bare)(torch.ones(1, 96))
    assert out[0, 0] == 0.0
    assert out[0, 1:] == pytest.approx(bare(torch.ones(1, 96))[0, 1:], abs=0.02)


def test_wrong_width_is_refused(linear: nn.Linear) -> None:
    """As any tensor entry point does."""
    with pytest.raises(ShapeError, match="96"):
        Int8Linear(linear)(torch.zeros(2, 95))


def test_every_linear_layer_is_replaced_and_the_encoder_stays_close() -> None:
    """Four in each block and the two that stand for convolutions."""
    torch.manual_seed(1)
    encoder = WhisperEncoder(width=64, heads=2, layers=2).eval().requires_grad_(False)
    mel = torch.randn(1, MEL_CONTEXT, MEL_BANDS)
    before = encoder(mel, EncoderState())
    assert quantise(encoder) == 10
    assert not any(isinstance(module, nn.Linear) for module in encoder.modules())
    after = encoder(mel, EncoderState())
    assert float((after - before).square().mean().sqrt()) < 0.03 * float(before.std())
