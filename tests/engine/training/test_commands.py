"""The commands that train what tells emotions and closing lips: what they read, write and report."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine.errors import BadInputError
from engine.speech.closing import read_closing_net
from engine.speech.mood import read_mood_net
from engine.training import commands, telling
from engine.training.closing import ClosingConfig
from engine.training.corpus import write_voice
from engine.training.emotional import clip_path, write_wave
from engine.training.prosody import LEVELS
from engine.training.telling import MoodConfig
from engine.training.voices import Phone, Utterance
from tests.engine.speech.test_mood import syllables
from tests.engine.training.test_closing import made_pool

pytestmark = pytest.mark.unit


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three made voices, higher when happy; flite-awb is held out."""
    for name, pitch in (("a", 110.0), ("b", 150.0), ("flite-awb", 130.0)):
        samples = syllables(2.5, pitch)
        utterance = Utterance(samples, (Phone("a", 0.0, 2.5),))
        write_voice(tmp_path / f"{name}.npz", [utterance, utterance])
        folder = tmp_path / commands.EMOTIONAL
        write_wave(clip_path(folder, name, "neutral", 1, 1), samples)
        for level in LEVELS:
            write_wave(clip_path(folder, name, "happy", level, 1), syllables(2.5, pitch * (1.0 + 0.3 * level)))
        (folder / name / "phones.json").write_text('{"001": [["a", 0.0, 2.5]]}')
    return tmp_path


def test_what_tells_emotions_is_trained_written_and_measured(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = MoodConfig(streams=1, calm_streams=1, steps=20, batch=64, folds=2, judged=1)
    monkeypatch.setattr(commands, "MoodConfig", lambda: tiny)
    out, told = corpus / "m.safetensors", list[str]()
    report = commands.train_mood(corpus, out, progress=lambda text, _: told.append(text))
    assert told == ["intonation of a", "intonation of b", "intonation of flite-awb"]
    assert report["weights"] == "m.safetensors"
    assert report["certain"] == pytest.approx(read_mood_net(out).certain, abs=1e-4)
    assert list(report["mood"]["false"]) == ["flite-awb"]
    assert [row["spoken"] for row in report["held_out"]][:2] == ["neutral", "angry"]
    assert set(report["mood"]["named"]) == {"level_1", "level_2", "level_3"}


def test_the_shipped_mood_network_is_measured_on_held_out_voices(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "evaluate_mood", lambda net, voices: telling.evaluate_mood(net, voices, 1))
    figures = commands._mood(corpus, ("flite-awb",))
    assert figures is not None
    assert list(figures["false"]) == ["flite-awb"]
    assert np.array(figures["confusion"]).shape == (8, 8)
    assert commands._mood(corpus, ("nobody",)) is None


def test_what_tells_closing_lips_is_trained_on_a_runs_segments(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out voices take no part; the figures are those of a model with the new detector."""
    asked: dict[str, Any] = {}

    def pools(items: Any, emotional: Any, encoder: Any, run: Path, *_: Any) -> tuple[Any, Any]:
        asked.update(voices={item.voice for item in items}, sentences=len(emotional), run=run)
        return made_pool(3, 0), None

    def load(closing: Path) -> str:
        asked["closing"] = closing
        return "model"

    def evaluate(model: str, items: Any) -> list[Any]:
        asked["held_out"] = {item.voice for item in items}
        return [SimpleNamespace(as_dict=lambda: {"voice": "flite-awb", "labials_met": 0.9})]

    monkeypatch.setattr(commands, "_pools", pools)
    monkeypatch.setattr(commands, "load_encoder", lambda _: None)
    monkeypatch.setattr("engine.weights.path", lambda _: None)
    monkeypatch.setattr(commands, "load_speech_model", load)
    monkeypatch.setattr(commands, "evaluate", evaluate)
    monkeypatch.setattr(commands, "ClosingConfig", lambda: ClosingConfig(steps=2, batch=8))
    out = corpus / "c.safetensors"
    report = commands.train_closing(corpus, corpus / "run", out)
    assert asked["voices"] == {"a", "b"}
    assert asked["held_out"] == {"flite-awb"}
    assert (asked["sentences"], asked["run"], asked["closing"]) == (3, corpus / "run", out)
    assert report == {
        "weights": "c.safetensors",
        "steps": 2,
        "held_out": [{"voice": "flite-awb", "labials_met": 0.9}],
    }
    assert read_closing_net(out).scale.shape == (390,)


def test_without_a_corpus_nothing_is_trained(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="build the corpus first"):
        commands.train_mood(tmp_path, tmp_path / "m.safetensors")
    with pytest.raises(BadInputError, match="build the corpus first"):
        commands.train_closing(tmp_path, tmp_path, tmp_path / "c.safetensors")
