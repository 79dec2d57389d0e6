"""Figures of emotions: what counts as told, and a corpus of one sentence through all of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech import SpeechModel
from engine.speech.controls import CONTROLS, EXPRESSIONS, FaceBasis
from engine.speech.emotions import EMOTIONS, emotion_shares
from engine.speech.network import NetworkConfig, SpeechNet
from engine.speech.whisper import WhisperEncoder
from engine.training.emotion_evaluation import emotion_figures, heard_shares, told
from engine.training.emotional import Sentence, renderings, write_wave

pytestmark = pytest.mark.unit


def voice() -> NDArray[np.float32]:
    """A buzz with syllables."""
    times = np.arange(24_000) / 16_000
    buzz = sum(np.sin(2 * np.pi * 140 * k * times) / k for k in range(1, 20))
    return (0.05 * (1.1 + np.sin(2 * np.pi * 4 * times)) * buzz).astype(np.float32)


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    shapes = ((68, 3), (len(CONTROLS), 68, 3), (len(EXPRESSIONS), 68, 3))
    basis = FaceBasis(*(0.1 * rng.standard_normal(shape).astype(np.float32) for shape in shapes))
    network = SpeechNet(NetworkConfig(content=16, width=24, memory=16, feeling=12))
    return SpeechModel(WhisperEncoder(width=384, heads=6, layers=1), network, basis)


@pytest.mark.parametrize("name", EMOTIONS)
@pytest.mark.parametrize("intensity", [1 / 3, 1.0])
def test_the_strongest_emotion_is_told_from_the_first_level_on(name: str, intensity: float) -> None:
    """Half of the first level is still neutral."""
    assert told(emotion_shares(name, intensity)) == name
    assert told(emotion_shares(name, 0.1)) == "neutral"


def test_shares_of_a_recording_add_up(model: SpeechModel) -> None:
    """They are a mean over time."""
    shares = heard_shares(model, voice())
    assert shares.shape == (len(EMOTIONS),)
    assert shares.sum() == pytest.approx(1.0, abs=1e-4)


def test_figures_of_a_sentence_whose_renderings_are_all_alike(model: SpeechModel, tmp_path: Path) -> None:
    """Content is kept fully; one emotion is named whatever is played, so that one in 22, or three, is right."""
    clips = {key: tmp_path / f"{key[0]}-{key[1]}.wav" for key in renderings()}
    for path in clips.values():
        write_wave(path, voice())
    figures = emotion_figures(model, [Sentence("a", (), clips)])
    assert figures.clips == 22
    assert figures.content_kept_r == pytest.approx(1.0, abs=1e-6)
    assert round(figures.named * 22) in (1, 3)
    assert set(figures.named_by_level) == {"neutral", "level_1", "level_2", "level_3"}
    assert -1.0 <= figures.swap_kept_r <= 1.0
    assert figures.swap_moved > 0.0
    assert figures.as_dict()["clips"] == 22


def test_nothing_to_measure_is_said(model: SpeechModel) -> None:
    """No sentences."""
    with pytest.raises(BadInputError, match="no emotional sentences"):
        emotion_figures(model, [])
