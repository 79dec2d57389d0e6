"""Segments of training material: labels lie where the sound is, whatever is done to it; a seed gives both again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import CONTROLS
from engine.training.augment import AugmentConfig
from engine.training.dataset import Item, Pool, Sampler, interpolate, load_items
from engine.training.emotional import Sentence, write_wave
from engine.training.pairs import PairSampler
from engine.training.voices import SILENCE, Phone

pytestmark = pytest.mark.unit

PLAIN = AugmentConfig(room=0.0, noise=0.0, narrow=0.0, compress=0.0)
"""Speed and equaliser only."""


def chirping(seconds: float = 30.0, seed: int = 0) -> Item:
    """Bursts at random times; the jaw is open exactly while one sounds."""
    rng = np.random.default_rng(seed)
    frames = round(50 * seconds)
    controls = np.zeros((frames, len(CONTROLS)), np.float32)
    at = 10
    while at < frames - 20:
        controls[at : at + 8, CONTROLS.index("jaw")] = 1.0
        at += 8 + int(rng.integers(6, 40))
    loud = controls[:, CONTROLS.index("jaw")].repeat(320)
    samples = (0.3 * loud + 1e-4) * rng.standard_normal(320 * frames)
    return Item(f"v{seed}", samples.astype(np.float32), controls)


def lag(frames: NDArray[np.float32], jaw: NDArray[np.float32]) -> int:
    """By how many 20-ms frames the labels come after the sound, from the level of mel frames [2 T, C]."""
    level = frames[:, :60].mean(axis=1)[: 2 * len(jaw)].reshape(-1, 2).mean(axis=1)
    a, b = level - level.mean(), jaw - jaw.mean()
    lags = range(-12, 13)
    return lags[int(np.argmax([float(np.roll(a, step) @ b) for step in lags]))]


def test_labels_lie_where_the_sound_is_from_the_first_second_to_the_last() -> None:
    """Twenty seconds at other speeds: the end of a segment as well as its begin."""
    frames, controls = Sampler([chirping()], 20.0, PLAIN, 5).segments(4)
    for first in (0, 375, 750):
        rows = zip(frames[:, 2 * first : 2 * first + 500], controls[:, first : first + 250, 0], strict=True)
        lags = [lag(mel, wanted) for mel, wanted in rows]
        assert max(map(abs, lags)) <= 1, (first, lags)


def test_every_change_of_the_sound_together_leaves_labels_in_their_place() -> None:
    """Rooms, noise, telephones and compressors included."""
    frames, controls = Sampler([chirping()], 10.0, AugmentConfig(lowest_snr_db=15.0), 1).segments(5)
    lags = [lag(mel, wanted[:, 0]) for mel, wanted in zip(frames, controls, strict=True)]
    assert max(map(abs, lags)) <= 2, lags


def test_a_seed_gives_its_segments_and_another_one_others() -> None:
    items = [chirping(5.0, 0), chirping(5.0, 1)]
    one, two, other = (Sampler(items, 4.0, AugmentConfig(), seed).segments(3) for seed in (7, 7, 8))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("segment_s", [1.2, 4.0])
@pytest.mark.parametrize("length_s", [0.3, 30.0])
def test_segments_are_as_long_as_asked_for_whatever_the_recordings_are(segment_s: float, length_s: float) -> None:
    """Short ones are chained with pauses, long ones are cut."""
    item = replace(chirping(30.0), samples=chirping().samples[: round(16_000 * length_s)])
    item = replace(item, controls=item.controls[: round(50 * length_s)])
    frames, controls = Sampler([item], segment_s, PLAIN, 0).segments(2)
    assert frames.shape[:2] == (2, round(100 * segment_s)) and controls.shape == (2, round(50 * segment_s), 9)
    assert np.isfinite(frames).all() and controls.min() >= 0.0 and controls.max() <= 1.0


def test_long_voices_do_not_drown_short_ones() -> None:
    """A voice with a hundred times as much speech is drawn ten times as often, not a hundred times."""
    long = [replace(chirping(4.0, seed), voice="long") for seed in range(100)]
    sampler = Sampler([*long, replace(chirping(4.0, 0), voice="short")], 1.2, PLAIN, 0)
    assert sampler._weights.tolist() == pytest.approx([10 / 11, 1 / 11])


def test_no_recordings_are_refused_with_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no recordings to train on; check the corpus and the held-out voices"):
        Sampler([], 4.0, PLAIN, 0)
    with pytest.raises(BadInputError, match="holds no voices; build the corpus first"):
        load_items(tmp_path)


@given(at=st.lists(st.floats(0, 6), min_size=1, max_size=20))
def test_interpolation_is_linear_between_rows_and_exact_on_them(at: list[float]) -> None:
    rows = np.random.default_rng(0).standard_normal((7, 3)).astype(np.float32)
    found = interpolate(rows, np.array(at))
    for column in range(3):
        expected = np.interp(at, np.arange(7), rows[:, column])
        np.testing.assert_allclose(found[:, column], expected, atol=1e-6)
    np.testing.assert_array_equal(interpolate(rows, np.arange(7.0)), rows)


def pool(segments: int = 6, frames: int = 40) -> Pool:
    """Inputs and controls that tell their segment and frame."""
    where = 100.0 * np.arange(segments)[:, None] + np.arange(frames)[None]
    inputs = np.repeat(where[:, :, None], 390, axis=2).astype(np.float16)
    controls = np.repeat(where[:, :, None], len(CONTROLS), axis=2).astype(np.float16)
    shares = np.eye(8, dtype=np.float32)[np.arange(segments) % 8]
    return Pool(inputs, controls, shares)


@pytest.mark.parametrize("frames", [1, 13, 40])
def test_windows_hold_inputs_and_labels_of_the_same_moments(frames: int) -> None:
    batch = pool().batch(64, frames, np.random.default_rng(0))
    assert batch.inputs.shape == (64, frames, 390) and batch.controls.shape == (64, frames, len(CONTROLS))
    assert (batch.inputs[:, :, 0] == batch.controls[:, :, 0]).all()
    assert (batch.inputs[:, :, 0].diff(dim=1) == 1).all()
    segment = (batch.inputs[:, 0, 0] // 100).long()
    assert (batch.shares.argmax(dim=1) == segment % 8).all()
    starts = set((batch.inputs[:, 0, 0] % 100).tolist())
    assert max(starts) <= 40 - frames and (frames == 40 or len(starts) > 5)


def test_pairs_are_neighbours_at_the_same_moment() -> None:
    batch = pool().pair_batch(16, 13, np.random.default_rng(1))
    first, second = batch.inputs[:16, :, 0], batch.inputs[16:, :, 0]
    assert (second - first == 100).all()
    assert ((first[:, 0] // 100) % 2 == 0).all()


def test_jitter_moves_the_labels_of_each_window_by_one_time() -> None:
    """The sound stays, closing stays with it, and nothing lies beyond the segment."""
    batch = pool(segments=6, frames=40).batch(256, 24, np.random.default_rng(0), jitter=3)
    heard = batch.inputs[:, :, 0]
    moved = batch.controls - heard[:, :, None]
    close = CONTROLS.index("close")
    assert (moved[:, :, close] == 0.0).all(), "lips close when they are heard to"
    others = moved[:, :, [column for column in range(len(CONTROLS)) if column != close]]
    assert (others == others[:, :1, :1]).all(), "one shift for a window"
    assert set(others[:, 0, 0].tolist()) == {float(shift) for shift in range(-3, 4)}
    assert (heard.diff(dim=1) == 1).all() and (heard[:, 0] // 100 == heard[:, -1] // 100).all()


def test_both_of_a_pair_are_as_early_or_late() -> None:
    pairs = pool().pair_batch(16, 24, np.random.default_rng(1), jitter=3)
    moved = (pairs.controls[:, :, 0] - pairs.inputs[:, :, 0])[:, 0]
    assert (moved[:16] == moved[16:]).all() and len(set(moved.tolist())) > 2


def test_frames_count_where_sound_and_lips_are_both_known() -> None:
    """A gap of five frames is a gap for closing, which is not moved, and for the rest, which is."""
    zeros = np.zeros((1, 40, len(CONTROLS)), np.float16)
    known = np.ones((1, 40), bool)
    known[0, 20:25] = False
    inputs = np.tile(np.arange(40, dtype=np.float16)[None, :, None], (1, 1, 390))
    batch = Pool(inputs, zeros, known=known).batch(64, 34, np.random.default_rng(0), jitter=3)
    missing = {
        tuple((np.flatnonzero(~row.numpy()) + int(start)).tolist())
        for row, start in zip(batch.known, batch.inputs[:, 0, 0], strict=True)
    }
    assert missing == {tuple(range(min(20, 20 - shift), max(25, 25 - shift))) for shift in range(-3, 4)}


@pytest.mark.parametrize("lead", [0, 2])
def test_closings_are_those_of_the_frame_before_the_last_or_of_later_ones(lead: int) -> None:
    inputs, closing = pool().closings(32, 5, np.random.default_rng(2), lead)
    assert inputs.shape == (32, 5, 390)
    assert (closing == inputs[:, 3, 0] + lead).all()


def test_statistics_are_of_the_inputs_and_seconds_of_all() -> None:
    rng = np.random.default_rng(3)
    inputs = (rng.standard_normal((4, 1000, 390)) * 2 + 5).astype(np.float16)
    made = Pool(inputs, np.zeros((4, 1000, len(CONTROLS)), np.float16))
    mean, deviation = made.statistics()
    assert float((mean - 5).abs().max()) < 0.4 and float((deviation - 2).abs().max()) < 0.3
    assert made.seconds == 80.0
    assert (made.batch(3, 10, rng).shares[:, 0] == 1.0).all(), "neutral unless said"


def sentences(folder: Path) -> list[Sentence]:
    """One sentence of bursts, spoken neutrally and in anger, the same in both."""
    item = chirping(6.0, 3)
    jaw = item.controls[:, 0] > 0
    edges = np.flatnonzero(np.diff(np.concatenate([[False], jaw, [False]]).astype(int))) / 50
    phones: list[Phone] = []
    at = 0.0
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        phones += [Phone(SILENCE, at, float(begin)), Phone("ɑ", float(begin), float(end))]
        at = float(end)
    clips = {}
    for key in (("neutral", 1), ("angry", 1), ("angry", 2), ("angry", 3)):
        clips[key] = folder / f"{key[0]}{key[1]}.wav"
        write_wave(clips[key], item.samples)
    return [Sentence("v", tuple(phones), clips)]


def test_pairs_say_the_same_at_the_same_time_and_labels_follow(tmp_path: Path) -> None:
    """Both of a pair, at the end of a segment as at its begin."""
    frames, controls, shares = PairSampler(sentences(tmp_path), 12.0, PLAIN, 4).segments(3)
    assert frames.shape[:2] == (6, 1200) and controls.shape[:2] == (6, 600) and shares.shape == (6, 8)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
    for row in range(6):
        assert abs(lag(frames[row, -600:], controls[row, -300:, 0])) <= 2
    for first in (0, 2, 4):
        one, two = (controls[row, :, 0] for row in (first, first + 1))
        assert np.corrcoef(one, two)[0, 1] > 0.99
        assert not np.allclose(shares[first], shares[first + 1])


def test_pairs_without_neutral_sentences_are_refused(tmp_path: Path) -> None:
    [sentence] = sentences(tmp_path)
    lacking = replace(sentence, clips={("angry", 1): sentence.clips[("angry", 1)]})
    with pytest.raises(BadInputError, match="no emotional sentences to train on"):
        PairSampler([lacking], 4.0, PLAIN, 0)
