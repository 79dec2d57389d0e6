"""The corpus: voices are written whole, read back, kept, and left out when they cannot be had."""

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine.errors import BackendError, BadInputError
from engine.training.corpus import build_corpus, default_voices, read_sentences, read_voice, tidy, write_voice
from engine.training.recordings import RecordedVoice, pauses, with_pauses
from engine.training.voices import SILENCE, FestivalVoice, Phone, Utterance, run_tool
from tests.engine.training.test_timing import spoken

pytestmark = pytest.mark.unit


def _utterance(seconds: float = 1.0) -> Utterance:
    samples = (0.1 * np.sin(np.arange(int(seconds * 16_000)) / 9)).astype(np.float32)
    return Utterance(samples, (Phone("m", 0.0, 0.3), Phone("a", 0.3, seconds)))


@dataclass(frozen=True)
class _Fake:
    name: str
    works: bool = True

    def utterances(self) -> Iterator[Utterance]:
        if not self.works:
            raise BackendError("not here")
        yield _utterance()
        yield _utterance(0.5)


def test_a_voice_comes_back_as_written(tmp_path: Path) -> None:
    write_voice(tmp_path / "anna.npz", [_utterance(), _utterance(0.5)])
    recordings = list(read_voice(tmp_path / "anna.npz"))
    assert [len(recording.samples) for recording in recordings] == [16_000, 8_000]
    np.testing.assert_allclose(recordings[0].samples, _utterance().samples, atol=1e-4)
    assert [phone.ipa for phone in recordings[1].phones] == ["m", "a"]
    assert recordings[0].voice == "anna"


def test_missing_voices_are_named_and_present_ones_kept(tmp_path: Path) -> None:
    seen: list[str] = []
    missing = build_corpus(tmp_path, [_Fake("a"), _Fake("b", works=False)], lambda text, share: seen.append(text))
    assert missing == ["b"]
    assert seen == ["a", "b"] or seen == ["a"]
    before = (tmp_path / "a.npz").stat().st_mtime_ns
    build_corpus(tmp_path, [_Fake("a")])
    assert (tmp_path / "a.npz").stat().st_mtime_ns == before
    assert not list(tmp_path.glob("*.part*"))


@dataclass(frozen=True)
class _Late:
    late: float
    name: str = "late"

    def utterances(self) -> Iterator[Utterance]:
        samples, phones = spoken(late=self.late)
        yield Utterance(samples, tuple(phones))


@pytest.mark.parametrize(
    ("late", "words"),
    [(0.07, r"phones of voice late lie (60|70|80) ms late"), (-0.08, r"lie -(70|80|90) ms late"), (0.0, "")],
)
def test_phones_that_lie_late_in_a_voice_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, late: float, words: str
) -> None:
    assert build_corpus(tmp_path, [_Late(late)]) == []
    assert bool(re.search(words, caplog.text)) if words else not caplog.records
    assert (tmp_path / "late.npz").exists(), "told, not left out"


def test_words_of_recordings_are_taken_where_their_package_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "asterisk-core-sounds-ru"
    folder.mkdir()
    (folder / "core-sounds-ru.txt.gz").write_bytes(gzip.compress("hello: привет".encode()))
    recorded = {each.name: each for each in default_voices(words=tmp_path) if isinstance(each, RecordedVoice)}
    russian = recorded["human-ru-ivrvoice"].transcripts
    assert russian is not None and russian.voice == "ru" and russian.words == {"hello": "привет"}
    assert recorded["human-it-carlo"].transcripts is None
    assert "phones of human-it-carlo are recognised; install asterisk-core-sounds-it" in caplog.text
    assert recorded["human-es-colombia"].transcripts is None and "colombia" not in caplog.text


def test_no_voice_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="none of the 1 voices"):
        build_corpus(tmp_path, [_Fake("b", works=False)])


def test_a_damaged_voice_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_voice(path, [_utterance()])
    whole = path.read_bytes()
    for broken in (b"nothing", b"", whole[:-40], whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(BadInputError, match="is not a voice of the corpus: .*; build it again"):
            list(read_voice(path))


def test_gaps_between_words_go_to_their_neighbours_and_pauses_stay() -> None:
    phones = (
        Phone("m", 0.0, 0.1), Phone(SILENCE, 0.1, 0.14), Phone("a", 0.14, 0.3),
        Phone(SILENCE, 0.3, 0.4), Phone(SILENCE, 0.4, 0.6), Phone("o", 0.6, 1.0),
    )  # fmt: skip
    kept = tidy(Utterance(np.zeros(16_000, np.float32), phones))
    assert [phone.ipa for phone in kept] == ["m", "a", SILENCE, "o"]
    assert kept[0].end == pytest.approx(0.12) and kept[1].start == pytest.approx(0.12)
    assert (kept[2].start, kept[2].end) == (0.3, 0.6)


def test_recognised_phones_are_cut_by_pauses() -> None:
    sound = np.concatenate([np.full(8_000, 0.1), np.zeros(8_000), np.full(8_000, 0.1)]).astype(np.float32)
    quiet = pauses(sound)
    assert np.allclose(quiet, [(0.5, 1.0)])
    phones = with_pauses([Phone("m", 0.1, 0.2), Phone("a", 0.2, 0.9), Phone("o", 0.95, 1.4)], quiet, 1.5)
    assert [(phone.ipa, round(phone.start, 2), round(phone.end, 2)) for phone in phones] == [
        (SILENCE, 0.0, 0.1), ("m", 0.1, 0.2), ("a", 0.2, 0.5), (SILENCE, 0.5, 1.0), ("o", 1.0, 1.4),
        (SILENCE, 1.4, 1.5),
    ]  # fmt: skip


def test_a_missing_tool_is_named() -> None:
    with pytest.raises(BackendError, match="no-such-synthesiser is not installed"):
        run_tool(["no-such-synthesiser"])


def test_sentences_and_voices_fit_together() -> None:
    sentences = read_sentences()
    assert len(sentences["en"]) >= 60
    names = [voice.name for voice in default_voices()]
    assert len(names) == len(set(names)) >= 30
    festival = [voice for voice in default_voices() if isinstance(voice, FestivalVoice)]
    assert all(voice.sentences for voice in festival)
