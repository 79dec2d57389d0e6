"""Training the detector of closing lips on made features."""

import numpy as np
import pytest
import torch

from engine.errors import BadInputError
from engine.speech.closing import INPUTS, SPAN, ClosingState, listen
from engine.speech.controls import CONTROLS
from engine.training.closing import ClosingConfig, train_closing
from engine.training.dataset import Pool

pytestmark = pytest.mark.unit

CLOSE = CONTROLS.index("close")


def made_pool(segments: int, seed: int) -> Pool:
    """Segments whose first ten features rise where lips close."""
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((segments, 200, INPUTS)).astype(np.float16)
    controls = np.zeros((segments, 200, len(CONTROLS)), np.float16)
    controls[:, :, CLOSE] = np.repeat(rng.random((segments, 20)) < 0.2, 10, axis=1)
    inputs[:, :, :10] += 3.0 * controls[:, :, CLOSE : CLOSE + 1]
    return Pool(inputs, controls)


def test_a_pool_gives_stretches_and_the_closing_before_their_last() -> None:
    pool = made_pool(3, 0)
    inputs, closing = pool.closings(500, SPAN, np.random.default_rng(0))
    assert inputs.shape == (500, SPAN, INPUTS)
    risen = inputs[:, SPAN - 2, :10].mean(dim=1)
    assert float(risen[closing > 0.5].mean() - risen[closing < 0.5].mean()) > 2.5
    again = pool.closings(500, SPAN, np.random.default_rng(0))
    assert torch.equal(again[0], inputs)


def test_it_learns_when_lips_close() -> None:
    told: list[float] = []
    config = ClosingConfig(steps=50, batch=192, lead=0)
    network = train_closing([made_pool(6, 0), made_pool(2, 1)], config, lambda _, done: told.append(done))
    assert told == [1.0]
    rng = np.random.default_rng(5)
    closing = np.repeat(rng.random(40) < 0.3, 10)
    heard = rng.standard_normal((1, 400, INPUTS)).astype(np.float32)
    heard[0, closing, :10] += 3.0
    with torch.inference_mode():
        shares = listen(network, torch.from_numpy(heard), ClosingState())
    assert np.mean((shares > 0.5) == closing[:-1]) > 0.9
    assert not network.training


def test_with_a_lead_lips_close_and_open_earlier() -> None:
    """Sounds that rise two frames before lips close tell of both."""
    closed = {}
    for lead in (0, 2):
        early = made_pool(8, 3)
        early._controls[:, 2:, CLOSE] = early._controls[:, :-2, CLOSE].copy()
        network = train_closing([early], ClosingConfig(steps=200, batch=192, lead=lead))
        heard = np.zeros((1, 60, INPUTS), np.float32)
        heard[0, 20:30, :10] += 3.0
        with torch.inference_mode():
            closed[lead] = np.flatnonzero(listen(network, torch.from_numpy(heard), ClosingState()) > 0.5)
    assert closed[2][0] < closed[0][0] and closed[2][-1] < closed[0][-1]
    assert 8 <= len(closed[0]) <= 13 and 8 <= len(closed[2]) <= 13


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(BadInputError, match="batch is 0"):
        ClosingConfig(batch=0)
    with pytest.raises(BadInputError, match="lead is -1"):
        ClosingConfig(lead=-1)
