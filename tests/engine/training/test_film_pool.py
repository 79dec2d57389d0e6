"""Segments of filmed speech: gaps stay unknown, emotions go along, and pairs say the same at the same place."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.speech.controls import CONTROLS
from engine.speech.emotions import EMOTIONS
from engine.speech.whisper import WhisperEncoder
from engine.training.augment import AugmentConfig
from engine.training.config import TrainConfig
from engine.training.film_clips import FilmedClip
from engine.training.film_pool import FilmSampler, build_filmed, match, meetings, pair_rows
from tests.engine.training.test_transcripts import WORD, said

pytestmark = pytest.mark.unit

CLEAN = AugmentConfig(speed=0.0, filter_db=0.0, room=0.0, noise=0.0, narrow=0.0, compress=0.0)
CONFIG = TrainConfig(
    segment_s=2.2, window_s=1.0, filmed_segments=4, filmed_pairs=2, chunks=(4,), augment=CLEAN, pairs=1
)
LATER_S = 0.3


def encoder() -> WhisperEncoder:
    """A small one with random weights."""
    torch.manual_seed(0)
    return WhisperEncoder(width=384, heads=6, layers=1).eval().requires_grad_(False)


def clip(
    speaker: str = "M003",
    emotion: str = "neutral",
    level: int = 1,
    sentence: str = "001",
    later_s: float = 0.0,
    seed: int = 1,
) -> FilmedClip:
    """`WORD` after a pause; every control tells how far into the word it is, from 0.2 to 0.8."""
    sound, _ = said([0.12] * len(WORD), seed)
    samples = np.concatenate([np.zeros(round(16_000 * later_s), np.float32), sound])
    frames = -(-len(samples) // 320)
    at = np.arange(frames) / 50 - later_s
    controls = np.repeat(np.clip(0.2 + 0.6 * at[:, None] / 1.6, 0.2, 0.8), len(CONTROLS), 1).astype(np.float32)
    return FilmedClip(speaker, emotion, level, sentence, samples, controls, np.ones(frames, bool))


def test_segments_are_of_one_speaker_in_one_emotion_and_know_where_they_know_nothing() -> None:
    """Pauses between clips are unknown, as is what the film did not show."""
    hidden = clip("W009", "angry", 3)
    hidden.known[20:30] = False
    hidden.controls[:] = 0.9
    sampler = FilmSampler([clip(), clip(sentence="002"), hidden], CONFIG, 4)
    frames, controls, shares = sampler.filmed(12)
    assert frames.shape[:2] == (12, 220) and controls.shape == (12, 110, len(CONTROLS) + 1)
    angry = shares[:, EMOTIONS.index("angry")] == 1.0
    assert 0 < angry.sum() < 12 and (shares[~angry, 0] == 1.0).all()
    for row, is_angry in zip(controls, angry, strict=True):
        known = row[:, -1] > 0.99
        assert known.any()
        assert (np.abs(row[known, 0] - 0.9) < 1e-3).all() == is_angry
        edges = np.flatnonzero(np.diff(np.pad((~known).astype(int), 1)))
        assert not is_angry or (edges[1::2] - edges[::2]).max() >= 10


def test_one_clip_is_laid_over_the_other() -> None:
    """The same words 0.3 s later."""
    found = match(clip(), clip(emotion="sad", later_s=LATER_S))
    assert found is not None and found.places.shape == (len(clip().controls),)
    inner = slice(12, -12)
    errors = found.places[inner] - np.arange(len(found.places))[inner] - 50 * LATER_S
    assert np.abs(errors).max() <= 1.5


def test_equal_numbers_of_other_words_do_not_match() -> None:
    noise = (0.1 * np.random.default_rng(0).standard_normal(len(clip().samples))).astype(np.float32)
    assert match(clip(), replace(clip(emotion="sad"), samples=noise)) is None


def test_only_equal_sentences_of_one_speaker_in_two_styles_meet() -> None:
    alone = [clip(), clip("W009", "sad"), clip(sentence="002"), clip("M005", "happy", sentence="")]
    assert meetings(alone, 0) == []
    found = meetings([*alone, clip(emotion="sad", level=2), clip("M003", "sad", 2, "007")], 0)
    assert {(each.one.style, each.other.style) for met in found for each in met} == {
        (("M003", "neutral", 1), ("M003", "sad", 2)),
        (("M003", "sad", 2), ("M003", "neutral", 1)),
    }
    assert all(each.one.sentence == each.other.sentence == "001" for met in found for each in met)
    assert meetings([clip(level=1), clip(emotion="angry", level=1), clip(emotion="angry", level=3)], 1)


def test_rows_of_a_pair_are_at_the_same_place_of_the_same_words() -> None:
    """The second speaks 0.3 s later; its controls come out at the times of the first."""
    found = match(clip(), clip(emotion="sad", level=2, later_s=LATER_S))
    assert found is not None
    inputs, controls, shares = pair_rows([found], encoder(), CONFIG, np.random.default_rng(0), 4)
    assert inputs.shape == (2, 108, 390) and controls.shape == (2, 108, len(CONTROLS) + 1)
    both = (controls[:, :, -1] == 1.0).all(axis=0)
    assert both.mean() > 0.7
    assert np.abs(controls[0, both, 0] - controls[1, both, 0]).max() < 0.04
    assert shares[0, 0] == 1.0 and 0.0 < shares[1, EMOTIONS.index("sad")] < 1.0
    speaking = slice(30, 80)
    apart = np.abs(inputs[0, speaking, :384] - inputs[1, speaking, :384]).mean()
    elsewhere = np.abs(inputs[0, speaking, :384] - np.roll(inputs[1], 15, axis=0)[speaking, :384]).mean()
    assert apart < 0.8 * elsewhere


def test_pools_are_made_once_and_read_again(tmp_path: Path) -> None:
    clips = [clip(), clip(emotion="sad", level=2, later_s=LATER_S), clip("W009", "happy", 3)]
    told: list[str] = []
    pool, pairs = build_filmed(clips, encoder(), tmp_path, CONFIG, lambda text, _: told.append(text))
    assert told == ["films 1 of 1", "film-pairs 1 of 1"]
    assert pairs is not None and pool.seconds == pairs.seconds == pytest.approx(4 * 2.16)
    batch = pairs.pair_batch(3, 80, np.random.default_rng(0))
    assert (batch.shares[:3] != batch.shares[3:]).any(dim=1).all()
    both = batch.known[:3] & batch.known[3:]
    assert both.float().mean() > 0.5
    torch.testing.assert_close(batch.controls[:3][both], batch.controls[3:][both], atol=0.05, rtol=0)
    single = pool.batch(8, 80, np.random.default_rng(0))
    assert not single.known.all() and single.known.any(dim=1).all()
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {path.name for path in stamps} == {"films-0000.npz", "film-pairs-0000.npz"}
    again, _ = build_filmed(clips, encoder(), tmp_path, CONFIG)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == stamps
    torch.testing.assert_close(again.batch(8, 80, np.random.default_rng(0)).controls, single.controls)


def test_without_pairs_there_are_none(tmp_path: Path) -> None:
    """None are said twice, or none are asked for."""
    assert build_filmed([clip(), clip("W009", "sad")], encoder(), tmp_path / "a", CONFIG)[1] is None
    twice = [clip(), clip(emotion="sad")]
    assert build_filmed(twice, encoder(), tmp_path / "b", replace(CONFIG, pairs=0))[1] is None
