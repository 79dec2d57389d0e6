"""Acted speech on disk: which texts are for what, what speakers are made of a voice, and what is kept."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import BadInputError
from engine.speech.emotions import EMOTIONS
from engine.speech.intonation import COLUMNS
from engine.training import performances
from engine.training.corpus import Recording, read_voice, write_voice
from engine.training.performances import (
    KNOWN,
    OWN,
    SNR_DB,
    UNSEEN,
    Programme,
    Speaker,
    Spoken,
    heard,
    read_speaker,
    read_speakers,
    texts,
    write_speaker,
)
from engine.training.voices import Phone, Utterance
from tests.engine.speech.test_mood import syllables

pytestmark = pytest.mark.unit

SMALL = Programme(speakers=3, known=2, unseen=2, unseen_by=1, calm=2)


def utterance(number: int, pitch: float = 120.0, seconds: float = 1.6) -> Utterance:
    """A sentence of its own words."""
    return Utterance(syllables(seconds, pitch + number), (Phone(f"a{number}", 0.0, seconds),))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A voice with ten texts at two tempos, and one with too few."""
    write_voice(tmp_path / "anna.npz", [utterance(n) for n in range(10)] + [utterance(n) for n in range(10)])
    write_voice(tmp_path / "bert.npz", [utterance(0)])
    return tmp_path


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Sentences are not spoken anew; what was asked for is noted."""
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(performances, "analyse", lambda samples: samples)

    def spoken(analysis: Any, manner: Any, rng: Any) -> Any:
        asked.append((analysis, manner))
        return analysis

    monkeypatch.setattr(performances, "perform", spoken)
    return asked


def test_a_text_stands_where_it_stands_at_any_tempo() -> None:
    recordings = [
        Recording("v", np.zeros(9, np.float32), (Phone(name, 0.0, length), Phone("", length, 1.0)))
        for length in (0.5, 0.7)
        for name in "abcd"
    ]
    assert texts(recordings) == [0.0, 0.25, 0.5, 0.75] * 2


def test_nobody_says_an_unseen_text_in_training(corpus: Path) -> None:
    recordings = list(read_voice(corpus / "anna.npz"))
    calm, known, unseen = performances.parted(recordings, Programme())
    early = {each.phones[0].ipa for each in (*calm, *known)}
    late = {each.phones[0].ipa for each in unseen}
    assert early and late and not early & late
    assert early <= {f"a{n}" for n in range(10) if n / 10 < KNOWN}
    assert late <= {f"a{n}" for n in range(10) if n / 10 >= UNSEEN}


def test_speakers_of_a_voice_are_it_and_others_and_all_renderings_are_there(
    corpus: Path, plain: list[tuple[Any, ...]]
) -> None:
    speakers = performances.speakers_of(corpus / "anna.npz", SMALL)
    assert [each.own for each in speakers] == [True] * OWN + [False]
    assert [each.snr_db for each in speakers[:OWN]] == [SNR_DB[0], SNR_DB[-1]]
    keys = {(0, 0)} | {(emotion, level) for emotion in range(1, len(EMOTIONS)) for level in (1, 2, 3)}
    for each in speakers:
        assert {(row.emotion, row.level) for row in each.known} == keys
        assert len(each.known) == 2 * len(keys)
        assert {row.emotion for row in each.calm} == {0}
    assert [len(each.unseen) for each in speakers] == [2 * len(keys), 0, 0]
    tracts = {round(manner.formants_log, 6) for _, manner in plain}
    assert len(tracts) > len(plain) // 2, "no two sentences are spoken alike"


def test_acted_speech_is_kept_and_comes_back(
    corpus: Path, plain: list[tuple[Any, ...]], caplog: pytest.LogCaptureFixture
) -> None:
    folder = corpus / "acted"
    with caplog.at_level(logging.WARNING):
        first = read_speakers(corpus, folder, lambda name: True, SMALL)
    assert "voice bert left out" in caplog.text
    count = len(plain)
    again = read_speakers(corpus, folder, lambda name: name == "anna", SMALL)
    assert len(plain) == count > 0
    assert [each.voice for each in first] == [each.voice for each in again] == ["anna"] * 3
    np.testing.assert_array_equal(first[1].known[3].frames, again[1].known[3].frames)


def test_files_of_another_version_are_named(tmp_path: Path) -> None:
    speaker = Speaker("v", True, 28.0, (Spoken(np.ones((4, COLUMNS), np.float32), 0, 0, 1),), (), ())
    write_speaker(tmp_path / "v.npz", speaker)
    again = read_speaker(tmp_path / "v.npz", "v")
    assert (again.own, again.snr_db, again.calm[0].sentence, again.known) == (True, 28.0, 1, ())
    np.testing.assert_array_equal(again.calm[0].frames, speaker.calm[0].frames)
    short = Speaker("v", True, 28.0, (Spoken(np.ones((4, COLUMNS - 1), np.float32), 0, 0),), (), ())
    write_speaker(tmp_path / "v.npz", short)
    with pytest.raises(BadInputError, match="another version; remove it"):
        read_speaker(tmp_path / "v.npz", "v")
    with pytest.raises(BadInputError, match="build the corpus first"):
        read_speakers(tmp_path / "none", tmp_path, lambda name: True, SMALL)


def test_noise_has_the_level_of_the_voice_not_of_the_sentence() -> None:
    """A sentence spoken softly is nearer to the noise."""
    loud = syllables(1.0, 120.0)
    rows = [heard(loud * np.float32(gain), 16.0, np.random.default_rng(0)) for gain in (1.0, 0.05)]
    assert np.median(rows[0][:, 0]) > np.median(rows[1][:, 0]) + 0.1
