"""Transcripts: lines are read, and speech of the same words is laid over a recording of another tempo and colour."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError, ShapeError
from engine.training import transcripts
from engine.training.transcripts import Transcripts, laid_over, read_transcripts, warp
from engine.training.voices import SILENCE, Phone, Utterance

pytestmark = pytest.mark.unit

BANDS = {"s": (4000.0, 7500.0), "a": (500.0, 1500.0), "i": (250.0, 3000.0), "m": (150.0, 400.0), "ʃ": (2000.0, 4500.0)}
WORD = ("s", "a", "m", "i", "ʃ", "a", "s", "i", "m", "a")


def said(lengths: list[float], seed: int, tilt: float = 0.0) -> tuple[NDArray[np.float32], tuple[Phone, ...]]:
    """`WORD` as bands of noise of these lengths between two pauses of 0.2 s; `tilt` colours it, dB at 8 kHz."""
    rng = np.random.default_rng(seed)
    pieces = [1e-4 * rng.standard_normal(3200)]
    phones, at = [Phone(SILENCE, 0.0, 0.2)], 0.2
    for sound, length in zip(WORD, lengths, strict=True):
        size = int(length * 16_000)
        spectrum = np.fft.rfft(rng.standard_normal(size))
        frequency = np.fft.rfftfreq(size, 1 / 16_000)
        low, high = BANDS[sound]
        inside = (frequency >= low) & (frequency < high)
        spectrum *= np.where(inside, 1.0, 0.01) * 10 ** (tilt * frequency / 8000 / 20)
        pieces.append(0.1 * np.fft.irfft(spectrum, size))
        phones.append(Phone(sound, at, at + length))
        at += length
    pieces.append(1e-4 * rng.standard_normal(3200))
    return np.concatenate(pieces).astype(np.float32), (*phones, Phone(SILENCE, at, at + 0.2))


def test_transcripts_are_read_from_text_and_gzip(tmp_path: Path) -> None:
    text = (
        "; Sounds\n\nhello: Hé, you: there\nbeep: [a beep]\ndigits/1:  one \nagain: again: Say it\nempty:\nno colon\n"
    )
    wanted = {"hello": "Hé, you: there", "digits/1": "one", "again": "Say it"}
    plain, packed, old = tmp_path / "a.txt", tmp_path / "b.txt.gz", tmp_path / "c.txt"
    plain.write_text(text, encoding="utf-8")
    packed.write_bytes(gzip.compress(text.encode()))
    old.write_bytes(text.encode("latin-1"))
    assert read_transcripts(plain) == read_transcripts(packed) == read_transcripts(old) == wanted


def test_transcripts_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"none.txt cannot be read: .*install the package"):
        read_transcripts(tmp_path / "none.txt")
    (tmp_path / "bad.gz").write_bytes(b"no gzip")
    with pytest.raises(BackendError, match="cannot be read"):
        read_transcripts(tmp_path / "bad.gz")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"a: b" * 100)[:-12])
    with pytest.raises(BackendError, match="cannot be read"):
        read_transcripts(tmp_path / "cut.gz")


@pytest.mark.parametrize("tempo", [0.7, 1.0, 1.5])
def test_phones_come_to_lie_where_the_recording_says_them(tempo: float) -> None:
    rng = np.random.default_rng(5)
    lengths = rng.uniform(0.08, 0.2, len(WORD))
    recording, exact = said((lengths * tempo * rng.uniform(0.8, 1.25, len(WORD))).tolist(), 1, tilt=-12.0)
    spoken, phones = said(lengths.tolist(), 2)
    found, cost = laid_over(recording, spoken, phones)
    assert [phone.ipa for phone in found] == list(WORD), "pauses are left out"
    errors = [one.start - other.start for one, other in zip(found, exact[1:-1], strict=True)]
    assert np.abs(errors).max() < 0.035 and abs(np.median(errors)) < 0.015
    assert cost < 0.75


def test_other_words_cost_more_and_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording, _ = said([0.1] * len(WORD), 1)
    same, phones = said([0.13] * len(WORD), 2)
    rng = np.random.default_rng(3)
    fit = laid_over(recording, same, phones)[1]
    other = laid_over(recording, (0.1 * rng.standard_normal(len(same))).astype(np.float32), phones)[1]
    assert fit < 0.8 * other
    spoken = list[tuple[str, tuple[str, ...]]]()

    class Fake:
        def __init__(self, voice: str, sentences: tuple[str, ...], rate: int) -> None:
            spoken.append((voice, sentences))

        def utterances(self) -> Iterator[Utterance]:
            yield Utterance(same, phones)

    monkeypatch.setattr(transcripts, "EspeakVoice", Fake)
    path = tmp_path / "words.txt"
    path.write_text("a: Sam, I shall\n", encoding="utf-8")
    words = Transcripts(path, "xx")
    assert words.phones("b", recording) is None and words.phones("a", recording[:500]) is None
    assert spoken == [], "nothing is spoken for what is not known or hardly there"
    monkeypatch.setattr(transcripts, "WORST_COST", 1.01 * fit)
    found = words.phones("a", recording)
    assert found is not None and [phone.ipa for phone in found] == list(WORD)
    assert spoken == [("xx", ("Sam, I shall",))]
    monkeypatch.setattr(transcripts, "WORST_COST", 0.99 * fit)
    assert words.phones("a", recording) is None, "words that do not fit are not believed"
    monkeypatch.setattr(Fake, "utterances", lambda self: iter(()))
    assert words.phones("a", recording) is None, "words that cannot be spoken are not known"


def test_sounds_too_short_to_compare_are_refused() -> None:
    recording, phones = said([0.1] * len(WORD), 1)
    with pytest.raises(BadInputError, match="at least 800"):
        laid_over(recording[:700], recording, phones)


def brute(distance: NDArray[np.float32]) -> Any:
    """The cost of the cheapest path by the plain recursion."""
    rows, columns = distance.shape
    detour = 0.15 * float(np.median(distance))
    total = np.full((rows, columns), np.inf)
    for i in range(rows):
        for j in range(columns):
            ways = [0.0] if i == j == 0 else []
            ways += [total[i - 1, j - 1]] if i and j else []
            ways += [total[i - 1, j] + detour] if i else []
            ways += [total[i, j - 1] + detour] if j else []
            total[i, j] = min(ways) + distance[i, j]
    return total[-1, -1] / (rows + columns)


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 999))
def test_the_path_is_the_cheapest_and_without_a_leap(rows: int, columns: int, seed: int) -> None:
    distance = np.random.default_rng(seed).uniform(0.1, 1.0, (rows, columns)).astype(np.float32)
    path, cost = warp(distance)
    assert tuple(path[0]) == (0, 0) and tuple(path[-1]) == (rows - 1, columns - 1)
    steps = np.diff(path, axis=0)
    assert ((steps >= 0) & (steps <= 1)).all() and (steps.sum(axis=1) >= 1).all()
    assert cost == pytest.approx(brute(distance), rel=1e-4)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (4,)])
def test_distances_without_a_path_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        warp(np.zeros(shape, np.float32))
