"""The emotional corpus: prosody that keeps time, MEAD's layout, pairs that match."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.emotions import EMOTIONS
from engine.speech.whisper import WhisperEncoder
from engine.training import emotional, prosody
from engine.training.augment import AugmentConfig
from engine.training.corpus import Recording, write_voice
from engine.training.emotional import build_emotional, read_emotional, read_wave, renderings, write_wave
from engine.training.pairs import PairSampler, build_pairs
from engine.training.voices import Phone, Utterance

pytestmark = pytest.mark.unit

PHONES = tuple(Phone("a" if index % 2 else "m", index * 0.15, (index + 1) * 0.15) for index in range(10))


def voice(seconds: float = 1.5, pitch: float = 120.0) -> NDArray[np.float32]:
    """A buzz with a formant and syllables."""
    times = np.arange(int(seconds * 16_000)) / 16_000
    buzz = sum(np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 30))
    return (0.05 * (1.1 + np.sin(2 * np.pi * 4 * times)) * buzz).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two speakers, two sentences each, rendered."""
    pytest.importorskip("pyworld", exc_type=ImportError)
    folder = tmp_path_factory.mktemp("corpus")
    for name, pitch in (("anna", 200.0), ("bert", 110.0)):
        write_voice(folder / f"{name}.npz", [Utterance(voice(1.5, pitch + extra), PHONES) for extra in (0.0, 9.0)])
    assert build_emotional(folder, folder / "emotions", 2, ("anna", "bert", "nobody")) == ["nobody"]
    return folder


def pitch_of(samples: NDArray[np.float32]) -> float:
    """Median fundamental by autocorrelation, Hz."""
    found = []
    for begin in range(3_200, len(samples) - 4_000, 1_600):
        piece = samples[begin : begin + 1_600].astype(np.float64)
        spectrum = np.abs(np.fft.rfft(piece, 8_192)) ** 2
        correlation = np.fft.irfft(spectrum)[32:250]
        found.append(16_000 / (32 + int(correlation.argmax())))
    return float(np.median(found))


def test_the_layout_is_that_of_mead(corpus: Path) -> None:
    """speaker/audio/emotion/level_n/NNN; neutral has one level."""
    base = corpus / "emotions" / "anna" / "audio"
    assert sorted(path.name for path in base.iterdir()) == sorted(EMOTIONS)
    assert [path.name for path in (base / "neutral").iterdir()] == ["level_1"]
    for level in (1, 2, 3):
        assert sorted(path.name for path in (base / "angry" / f"level_{level}").iterdir()) == ["001.wav", "002.wav"]
    assert len(renderings()) == 1 + 7 * 3


def test_every_rendering_keeps_the_time(corpus: Path) -> None:
    """Same length, and syllables at the same places."""
    (sentence, *_) = read_emotional(corpus / "emotions")
    plain = read_wave(sentence.clips[("neutral", 1)])
    envelope = np.convolve(np.abs(plain), np.ones(800), mode="same")
    for emotion in EMOTIONS[1:]:
        moved = read_wave(sentence.clips[(emotion, 3)])
        assert len(moved) == len(plain)
        other = np.convolve(np.abs(moved), np.ones(800), mode="same")
        assert np.corrcoef(envelope, other)[0, 1] > 0.8, emotion
    assert [phone.ipa for phone in sentence.phones] == [phone.ipa for phone in PHONES]
    assert sentence.phones[-1].end == pytest.approx(PHONES[-1].end)


def test_emotions_move_the_pitch_by_level(corpus: Path) -> None:
    """Fear rises, disgust falls, each level a third."""
    (sentence, *_) = read_emotional(corpus / "emotions")
    plain = pitch_of(read_wave(sentence.clips[("neutral", 1)]))
    fear = [12 * np.log2(pitch_of(read_wave(sentence.clips[("fear", level)])) / plain) for level in (1, 3)]
    assert fear[0] == pytest.approx(2.0, abs=0.9)
    assert fear[1] == pytest.approx(6.0, abs=1.2)
    assert pitch_of(read_wave(sentence.clips[("disgusted", 3)])) < plain * 0.92


def test_speakers_that_are_there_are_kept(corpus: Path) -> None:
    """A second run renders nothing."""
    table = corpus / "emotions" / "anna" / "phones.json"
    stamp = table.stat().st_mtime_ns
    build_emotional(corpus, corpus / "emotions", 2, ("anna",))
    assert table.stat().st_mtime_ns == stamp


def test_a_damaged_corpus_says_so(tmp_path: Path) -> None:
    """Tables and clips."""
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "phones.json").write_text("[1")
    with pytest.raises(BadInputError, match="not a table of phones"):
        list(read_emotional(tmp_path))
    (tmp_path / "bad.wav").write_bytes(b"nonsense")
    with pytest.raises(BadInputError, match="not a clip"):
        read_wave(tmp_path / "bad.wav")


def test_a_sentence_that_cannot_be_taken_apart_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are rendered."""
    pytest.importorskip("pyworld", exc_type=ImportError)
    write_voice(tmp_path / "anna.npz", [Utterance(voice(), PHONES), Utterance(voice(), PHONES)])
    calls: list[int] = []

    def analyse(samples: NDArray[np.float32]) -> prosody.Analysis:
        calls.append(1)
        if len(calls) == 1:
            raise BadInputError("too short")
        return prosody.analyse(samples)

    monkeypatch.setattr(emotional, "analyse", analyse)
    with caplog.at_level(logging.WARNING):
        build_emotional(tmp_path, tmp_path / "e", 2, ("anna",))
    assert "sentence 1 of anna left out: too short" in caplog.text
    assert list(json.loads((tmp_path / "e" / "anna" / "phones.json").read_text())) == ["002"]


def test_what_cannot_be_rendered_is_refused() -> None:
    """Levels, emotions, lengths."""
    pytest.importorskip("pyworld", exc_type=ImportError)
    with pytest.raises(BadInputError, match="level is 4"):
        prosody.level_intensity(4)
    with pytest.raises(BadInputError, match="expected"):
        prosody.analyse(np.zeros(10, np.float32))
    with pytest.raises(BadInputError, match="bored"):
        prosody.render(prosody.analyse(voice()), "bored", 1.0)


def test_sentences_are_spread_over_a_voice() -> None:
    """Too short, too long and nearly silent ones are not taken."""
    good = [Recording("v", voice(1.5), PHONES) for _ in range(9)]
    bad = [Recording("v", voice(0.5), PHONES), Recording("v", voice(1.5), PHONES[:3])]
    chosen = emotional.chosen_sentences([*bad, *good], 3)
    assert [id(one) for one in chosen] == [id(good[index]) for index in (0, 4, 8)]
    assert emotional.chosen_sentences(bad, 3) == []


def test_waves_come_back(tmp_path: Path) -> None:
    """Within a step of 16 bits."""
    sound = voice(0.3)
    write_wave(tmp_path / "deep" / "a.wav", sound)
    np.testing.assert_allclose(read_wave(tmp_path / "deep" / "a.wav"), sound, atol=1e-4)


def test_pairs_match_and_can_be_repeated(corpus: Path) -> None:
    """Two emotions, the same sentences: lips move at the same times, features differ."""
    sentences = list(read_emotional(corpus / "emotions"))
    frames, controls, shares = PairSampler(sentences, 1.2, AugmentConfig(), 3).segments(2)
    again = PairSampler(sentences, 1.2, AugmentConfig(), 3).segments(2)
    np.testing.assert_array_equal(frames, again[0])
    assert frames.shape[:2] == (4, 120)
    assert controls.shape[:2] == (4, 60)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-6)
    for one, other in ((0, 1), (2, 3)):
        assert shares[one].argmax() != shares[other].argmax() or not np.array_equal(shares[one], shares[other])
        np.testing.assert_allclose(controls[one, :, 1], controls[other, :, 1], atol=1e-6)
        assert np.abs(frames[one] - frames[other]).max() > 0.1


def test_a_pool_of_pairs_is_kept_on_disk(corpus: Path, tmp_path: Path) -> None:
    """The second time no sentence is needed."""
    torch.manual_seed(0)
    encoder = WhisperEncoder(layers=1).eval().requires_grad_(False)
    sentences = list(read_emotional(corpus / "emotions"))
    pool = build_pairs(sentences, encoder, tmp_path, 16, 1.0, AugmentConfig(), 0)
    again = build_pairs([], encoder, tmp_path, 16, 1.0, AugmentConfig(), 0)
    assert pool.seconds == again.seconds == pytest.approx(16 * 0.96, abs=0.5)
    with pytest.raises(BadInputError, match="no emotional sentences"):
        PairSampler([], 1.0, AugmentConfig(), 0)
