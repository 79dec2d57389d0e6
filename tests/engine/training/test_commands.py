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
from engine.training.performances import Speaker
from engine.training.telling import MoodConfig, material
from engine.training.voices import Phone, Utterance
from tests.engine.speech.test_mood import syllables
from tests.engine.training.test_closing import made_pool
from tests.engine.training.test_moods import FEW, made

pytestmark = pytest.mark.unit


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three made voices; flite-awb is held out. Acted speech is made, not spoken by a vocoder."""
    for name, pitch in (("a", 110.0), ("b", 150.0), ("flite-awb", 130.0)):
        utterance = Utterance(syllables(2.5, pitch), (Phone("a", 0.0, 2.5),))
        write_voice(tmp_path / f"{name}.npz", [utterance, utterance])
        folder = tmp_path / commands.EMOTIONAL / name
        folder.mkdir(parents=True)
        (folder / "phones.json").write_text('{"001": [["a", 0.0, 2.5]]}')

    def speakers(corpus: Path, folder: Path, wanted: Any, programme: Any, progress: Any = None) -> list[Speaker]:
        names = [path.stem for path in sorted(corpus.glob("*.npz")) if wanted(path.stem)]
        if not names:
            raise BadInputError("build the corpus first")
        own = {"flite-awb": corpus / commands.ACTED / "held_out"}
        assert [own.get(name, corpus / commands.ACTED) for name in names] == [folder] * len(names)
        return [made(name, 110.0 + 10.0 * len(name)) for name in names]

    monkeypatch.setattr(telling, "read_speakers", speakers)
    monkeypatch.setattr(telling, "material", lambda known, seed: material(known, seed, FEW))
    tiny = MoodConfig(members=1, steps=20, groups=2, batch=8, folds=2, judged=1)
    monkeypatch.setattr(commands, "MoodConfig", lambda: tiny)
    return tmp_path


def test_what_tells_emotions_is_trained_written_and_measured(corpus: Path) -> None:
    out = corpus / "m.safetensors"
    report = commands.train_mood(corpus, out)
    assert report["weights"] == "m.safetensors"
    assert report["certain"] == pytest.approx(read_mood_net(out).certain, abs=1e-4)
    assert list(report["mood"]["false"]) == ["flite-awb"]
    assert [row["spoken"] for row in report["held_out"]][:2] == ["neutral", "angry"]
    assert set(report["mood"]["named"]) == {"level_1", "level_2", "level_3"}
    assert set(report["sentences"]["accuracy"]) == {"level_1", "level_2", "level_3", "all"}
    assert set(report["sentences"]["by_voice"]) == {"flite-awb"}
    assert set(report["sentences_in_folds"]["by_voice"]) == {"a", "b"}


def test_the_shipped_mood_network_is_measured_on_held_out_voices(corpus: Path) -> None:
    figures = commands._mood(corpus, ("flite-awb",))
    assert figures is not None
    assert list(figures["false"]) == ["flite-awb"]
    assert np.array(figures["confusion"]).shape == (8, 8)
    assert figures["sentences"]["chance"] == 0.125
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
