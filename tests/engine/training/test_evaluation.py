"""Figures come from the whole model; constants of effort from speaking frames of every voice."""

from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech import MouthTrack, SpeechModel
from engine.speech.controls import CONTROLS, FaceBasis, activations
from engine.speech.network import NetworkConfig, SpeechNet
from engine.speech.whisper import WhisperEncoder
from engine.training.dataset import Item
from engine.training.evaluation import effort_constants, evaluate

pytestmark = pytest.mark.unit


def _voice(seconds: float, level: float) -> NDArray[np.float32]:
    times = np.arange(int(seconds * 16_000)) / 16_000
    harmonics = sum(np.sin(2 * np.pi * 130 * k * times) / k for k in range(1, 20))
    return (level * (0.55 + 0.45 * np.sin(2 * np.pi * 3 * times)) * harmonics).astype(np.float32)


def _item(voice: str, seconds: float, level: float = 0.1) -> Item:
    frames = int(seconds * 50)
    controls = np.zeros((frames, len(CONTROLS)), np.float32)
    controls[:, 0] = 0.2 + 0.2 * np.sin(np.arange(frames) / 3)
    return Item(voice, _voice(seconds, level), controls)


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    move = 0.05 * rng.standard_normal((len(CONTROLS), 68, 3))
    basis = FaceBasis(rng.standard_normal((68, 3)).astype(np.float32), move.astype(np.float32))
    encoder = WhisperEncoder(width=384, heads=6, layers=1)
    return SpeechModel(encoder, SpeechNet(NetworkConfig(content=16, width=24, memory=16, feeling=12)), basis)


def test_figures_are_of_the_model_as_it_dubs(model: SpeechModel) -> None:
    """A recording of silence gives a resting mouth, so that its error is that of resting."""
    silent = Item("quiet", np.zeros(32_000, np.float32), _item("x", 2.0).controls)
    figures = {entry.voice: entry for entry in evaluate(model, [silent, _item("loud", 2.0)])}
    assert figures["quiet"].seconds == pytest.approx(2.0)
    active = np.tensordot(silent.controls, model.basis.displacement, 1)[:, 48:]
    assert figures["quiet"].mouth_error == pytest.approx(float(np.linalg.norm(active, axis=2).mean()), rel=1e-4)
    assert figures["quiet"].opening_r == 0.0
    assert np.isfinite(figures["loud"].opening_r)


class _Told:
    """Stands for a model that predicts what it was told."""

    def __init__(self, basis: FaceBasis, predicted: NDArray[np.float32]) -> None:
        self.basis, self._predicted = basis, predicted

    def offline(self, samples: NDArray[np.float32]) -> MouthTrack:
        moved = self.basis.move(activations(self._predicted))
        return MouthTrack(np.arange(len(moved)) / 50, moved, np.ones(len(moved), np.float32))


def _talk() -> NDArray[np.float32]:
    """An open jaw, two labials, a rounded stretch and a spread one."""
    controls = np.zeros((200, len(CONTROLS)), np.float32)
    controls[:, CONTROLS.index("jaw")] = 0.3
    for begin in (40, 100):
        controls[begin : begin + 5, CONTROLS.index("close")] = 1.0
    controls[120:150, CONTROLS.index("pucker")] = 0.8
    controls[160:190, CONTROLS.index("stretch")] = 0.5
    return controls


def _mouth() -> FaceBasis:
    """A jaw that lowers the lip, lips that take it back, corners that move."""
    rest, move = np.zeros((68, 3), np.float32), np.zeros((len(CONTROLS), 68, 3), np.float32)
    rest[66, 1] = 0.02
    move[CONTROLS.index("jaw"), 66, 1], move[CONTROLS.index("close"), 66, 1] = 0.4, -0.4
    for name, way in (("pucker", 0.05), ("stretch", -0.06)):
        move[CONTROLS.index(name), 48, 0], move[CONTROLS.index(name), 54, 0] = way, -way
    return FaceBasis(rest, move)


@pytest.mark.parametrize(("closed", "rounded"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)])
def test_labials_and_rounding_are_counted_one_by_one(closed: float, rounded: float) -> None:
    """Half of the labials and half of the rounding are shown as halves."""
    wanted = _talk()
    shown = wanted.copy()
    shown[40 + int(2 * closed) * 60 :, CONTROLS.index("close")] = 0.0
    shown[:, CONTROLS.index("pucker")] *= rounded
    told = cast(SpeechModel, _Told(_mouth(), shown))
    (figures,) = evaluate(told, [Item("a", np.zeros(64_000, np.float32), wanted)])
    assert figures.labials_met == closed
    assert figures.rounding == pytest.approx(rounded)
    assert figures.width_r > 0.6
    assert (figures.width_r == pytest.approx(1.0)) == (rounded == 1.0)


def test_constants_take_the_same_length_of_every_voice_and_only_speech(model: SpeechModel) -> None:
    """A second of silence and what lies beyond the length asked for do not count."""
    quiet = Item("a", np.zeros(16_000, np.float32), np.zeros((50, len(CONTROLS)), np.float32))
    items = [quiet, _item("a", 1.0), _item("a", 3.0), _item("b", 4.0)]
    constants = effort_constants(model, items, seconds_each=2.0)
    assert constants["voices"] == 2
    assert 2.0 < constants["speaking_s"] <= 3.1
    assert 0.0 < constants["jaw_mean"] < 1.0
    assert constants["effort_spread"] > 0.0


def test_nothing_to_measure_is_said(model: SpeechModel) -> None:
    """No voices."""
    with pytest.raises(BadInputError, match="no held-out"):
        evaluate(model, [])
    with pytest.raises(BadInputError, match="all voices"):
        effort_constants(model, [])
