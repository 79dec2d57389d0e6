"""`livedub plot`: a speech becomes a picture; what cannot be drawn is said before the model is read."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.speech.track import MouthTrack
from engine.training.emotional import write_wave
from streaming.commands import plot
from tests.streaming.fakes import livedub

pytestmark = pytest.mark.unit


class _Model:
    """Opens the mouth all the time."""

    look_ahead_ms = 93

    class basis:
        """A rest face."""

        rest = np.random.default_rng(0).uniform(-0.7, 1.2, (68, 3)).astype(np.float32)

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def offline(self, samples: NDArray[np.float32], emotion: str, intensity: float) -> MouthTrack:
        self.asked.append((len(samples), emotion, intensity))
        frames = len(samples) // 320 + 20
        return MouthTrack(np.arange(frames) / 50, np.zeros((frames, 68, 3), np.float32), np.ones(frames, np.float32))


@pytest.fixture
def voice(tmp_path: Path) -> Path:
    path = tmp_path / "voice.wav"
    write_wave(path, 0.3 * np.sin(np.arange(32_000) / 7).astype(np.float32))
    return path


def test_a_speech_becomes_a_picture(tmp_path: Path, voice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _Model()
    limits: list[int | None] = []

    def load(limit_ms: int | None) -> _Model:
        limits.append(limit_ms)
        return model

    monkeypatch.setattr(plot, "load_speech_model", load)
    out = tmp_path / "plot.png"
    words = ("--start", 0.5, "--duration", 1, "--emotion", "happy", "--intensity", 0.5, "--look-ahead", 100)
    done = livedub("plot", voice, "-o", out, *words, "--json")
    assert done.status == 0
    assert (done.values["seconds"], done.values["look_ahead_ms"], done.values["speaking_share"]) == (1.0, 93, 1.0)
    assert (model.asked, limits) == ([(16_000, "happy", 0.5)], [100])
    width, height = struct.unpack(">II", out.read_bytes()[16:24])
    assert (width, height > 600) == (1600, True)


def test_what_cannot_be_drawn_is_said(tmp_path: Path, voice: Path) -> None:
    for words, message in (
        ((voice, "-o", tmp_path / "plot.jpg"), "expected .png"),
        ((voice, "-o", tmp_path / "plot.png", "--start", 9), "earlier start"),
        ((tmp_path / "none.wav", "-o", tmp_path / "plot.png"), "none.wav"),
    ):
        done = livedub("plot", *words)
        assert done.status == 2
        assert message in done.err
    assert not (tmp_path / "plot.png").exists()
