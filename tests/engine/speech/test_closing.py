"""The detector of closing lips: in step with the stream, the same however it is cut, its file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from engine.errors import ShapeError, WeightsError, WeightsFormatError
from engine.speech.closing import (
    INPUTS,
    SHIPPED,
    SPAN,
    ClosingNet,
    ClosingState,
    hold_jaw,
    listen,
    read_closing_net,
    save_closing_net,
    with_closing,
)
from engine.speech.controls import CONTROLS

pytestmark = pytest.mark.unit


def copying(place: int) -> ClosingNet:
    """A detector that tells the first feature of one of its positions."""
    network = ClosingNet().eval().requires_grad_(False)
    for part in network.parameters():
        part.zero_()
    network.inner.weight[0, place * INPUTS] = 1.0
    network.inner.bias[0] = 10.0  # where GELU is the identity
    network.outer.weight[0, 0] = 1.0
    network.outer.bias[0] = -10.0
    return network


def features(frames: int, seed: int = 0) -> torch.Tensor:
    """[1, T, INPUTS] at random."""
    return torch.randn(1, frames, INPUTS, generator=torch.Generator().manual_seed(seed))


def test_the_last_position_is_the_one_after_the_frame() -> None:
    heard = features(12)
    logits = torch.logit(torch.from_numpy(listen(copying(SPAN - 1), heard, ClosingState())))
    np.testing.assert_allclose(logits.numpy(), heard[0, 1:, 0].numpy(), atol=1e-3)
    logits = torch.logit(torch.from_numpy(listen(copying(SPAN - 2), heard, ClosingState())))
    np.testing.assert_allclose(logits.numpy(), heard[0, :-1, 0].numpy(), atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(cuts=st.lists(st.integers(1, 39), unique=True, max_size=6))
def test_the_answers_do_not_depend_on_how_the_stream_is_cut(cuts: list[int]) -> None:
    torch.manual_seed(0)
    network = ClosingNet().eval()
    heard = features(40)
    with torch.inference_mode():
        whole = listen(network, heard, ClosingState())
        state = ClosingState()
        edges = [0, *sorted(cuts), 40]
        parts = [listen(network, heard[:, a:b], state) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    assert len(whole) == 39
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    assert state.tail is not None
    assert state.tail.shape == (1, SPAN - 1, INPUTS)


def test_only_the_closing_is_replaced() -> None:
    controls = np.random.default_rng(0).random((5, len(CONTROLS))).astype(np.float32)
    shares = np.linspace(0, 1, 5, dtype=np.float32)
    closed = with_closing(controls, shares)
    place = CONTROLS.index("close")
    np.testing.assert_array_equal(closed[:, place], shares)
    np.testing.assert_array_equal(np.delete(closed, place, 1), np.delete(controls, place, 1))
    assert closed is not controls


def test_the_jaw_is_held_by_how_likely_lips_close() -> None:
    controls = np.full((3, len(CONTROLS)), 0.4, np.float32)
    held = hold_jaw(controls, np.array([0.0, 0.5, 1.0], np.float32))
    place = CONTROLS.index("jaw")
    np.testing.assert_allclose(held[:, place], [0.4, 0.26, 0.12], atol=1e-6)
    np.testing.assert_array_equal(np.delete(held, place, 1), np.delete(controls, place, 1))
    with pytest.raises(ShapeError, match="shares"):
        hold_jaw(controls, np.zeros(2, np.float32))


def test_wrong_shapes_are_refused() -> None:
    network = ClosingNet()
    for wrong in (torch.zeros(2, 3, INPUTS), torch.zeros(1, 3, 5), torch.zeros(1, 0, INPUTS)):
        with pytest.raises(ShapeError, match="expected"):
            listen(network, wrong, ClosingState())
    with pytest.raises(ShapeError, match="windows"):
        network(torch.zeros(3, INPUTS))
    with pytest.raises(ShapeError, match="shares"):
        with_closing(np.zeros((4, len(CONTROLS)), np.float32), np.zeros(3, np.float32))


def test_weights_survive_the_file_and_damaged_ones_are_named(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network, path = ClosingNet().eval(), tmp_path / "c.safetensors"
    network.mean.normal_()
    save_closing_net(path, network, {"voices": "made"})
    heard = features(9)
    before, after = (
        listen(net, heard, ClosingState()) for net in (network.requires_grad_(False), read_closing_net(path))
    )
    np.testing.assert_allclose(after, before, atol=2e-3)
    with pytest.raises(WeightsError, match="not there"):
        read_closing_net(tmp_path / "none.safetensors")
    save_file({"mean": np.zeros(INPUTS, np.float32)}, path, {"format": "livedub-closing-1"})
    with pytest.raises(WeightsFormatError, match="closing network"):
        read_closing_net(path)
    save_file({"mean": np.zeros(INPUTS, np.float32)}, path, {"format": "other"})
    with pytest.raises(WeightsFormatError, match="'other'"):
        read_closing_net(path)
    path.write_bytes(b"no")
    with pytest.raises(WeightsFormatError, match="train it again"):
        read_closing_net(path)


def test_the_shipped_weights_are_small() -> None:
    assert SHIPPED.stat().st_size < 300_000
    assert read_closing_net().scale.min() > 0
