"""From phones to lips: every symbol of every voice has its place, marks change nothing, vowels are in order."""

import dataclasses
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.speech.controls import CONTROLS
from engine.training import recordings, voices
from engine.training.visemes import REST, UNKNOWN, VISEMES, VOWELS, Viseme, letters, visemes_of

pytestmark = pytest.mark.unit

MARKS = "ˈˌːˑ˥˩̥̩̃̚ʰʲˠˤ͡"
IPA = [*voices._ARPA.values(), *voices._SAMPA.values(), *voices._RUSSIAN.values(), *recordings._KOKORO.values()]
CLOSE, JAW, PUCKER, STRETCH = (CONTROLS.index(name) for name in ("close", "jaw", "pucker", "stretch"))


@pytest.mark.parametrize("symbol", sorted(set(IPA)))
def test_every_symbol_that_a_voice_names_is_known(symbol: str) -> None:
    """All of it: a diphthong or an affricate has as many visemes as letters."""
    assert UNKNOWN not in visemes_of(symbol)
    plain = symbol.replace("g", "ɡ")
    assert len(visemes_of(symbol)) == len(plain) == len(letters(symbol))


@pytest.mark.parametrize("letter", sorted(VISEMES))
def test_targets_and_strengths_are_in_the_order_of_the_controls(letter: str) -> None:
    viseme = VISEMES[letter]
    assert len(viseme.targets()) == len(viseme.strengths()) == len(CONTROLS)
    assert all(0.0 <= target <= 1.0 for target in viseme.targets())
    assert all(strength > 0.0 for strength in viseme.strengths())
    for control, target in zip(CONTROLS, viseme.targets(), strict=True):
        assert target == getattr(viseme, control)


def test_every_control_is_asked_for_by_some_sound() -> None:
    """A control that no sound uses would be learnt as never there."""
    targets = np.array([viseme.targets() for viseme in VISEMES.values()])
    assert (targets.max(axis=0) > 0.1).all()
    assert {item.name for item in dataclasses.fields(Viseme)} >= set(CONTROLS)


@given(symbol=st.sampled_from(sorted(set(IPA))), marks=st.lists(st.sampled_from(MARKS), max_size=4), seed=st.integers())
def test_marks_anywhere_change_nothing(symbol: str, marks: list[str], seed: int) -> None:
    """Stress, length, tone, diacritics; before, between and behind the letters."""
    rng = np.random.default_rng(abs(seed))
    marked = list(symbol)
    for mark in marks:
        marked.insert(int(rng.integers(0, len(marked) + 1)), mark)
    assert visemes_of("".join(marked)) == visemes_of(symbol)


@given(st.text(max_size=12))
def test_any_text_has_one_to_three_visemes(text: str) -> None:
    found = visemes_of(text)
    assert 1 <= len(found) <= 3
    assert found == (UNKNOWN,) or all(viseme in VISEMES.values() for viseme in found)


@pytest.mark.parametrize("symbol", sorted(VISEMES))
def test_composed_and_decomposed_forms_are_the_same_sound(symbol: str) -> None:
    for form in ("NFC", "NFD"):
        assert visemes_of(unicodedata.normalize(form, symbol)) == visemes_of(symbol)


@pytest.mark.parametrize(("capital", "small"), [("A", "a"), ("P", "p"), ("T", "t")])
def test_a_capital_stands_for_its_letter_only_where_nothing_else_is_known(capital: str, small: str) -> None:
    assert visemes_of(capital) == visemes_of(small)
    assert visemes_of(capital + "ʃ") == visemes_of("ʃ")


@pytest.mark.parametrize("symbol", ["", "1", "?", "†", "ǃ"])
def test_what_is_no_sound_leaves_the_word_to_its_neighbours(symbol: str) -> None:
    assert visemes_of(symbol) == (UNKNOWN,) and letters(symbol) == ""
    assert max(UNKNOWN.strengths()) < min(max(viseme.strengths()) for viseme in VISEMES.values())


def test_only_lips_that_touch_close() -> None:
    closed = {letter for letter, viseme in VISEMES.items() if viseme.targets()[CLOSE] > 0}
    assert closed == set("pbmɓ")
    strongest = max(VISEMES.values(), key=lambda viseme: viseme.strengths()[CLOSE])
    assert strongest.close == 1.0


def test_vowels_are_ordered_by_height_and_rounding() -> None:
    def heights(row: str) -> list[float]:
        return [visemes_of(vowel)[0].jaw for vowel in row]

    for row in ("ieɛæ", "uoɔɒ", "yøœ", "ɪəʌɑ"):
        assert heights(row) == sorted(heights(row))
    for plain, round_ in (("i", "y"), ("e", "ø"), ("ɛ", "œ"), ("ɤ", "o"), ("ɨ", "ʉ")):
        assert visemes_of(round_)[0].targets()[PUCKER] > visemes_of(plain)[0].targets()[PUCKER]
        assert visemes_of(round_)[0].targets()[STRETCH] <= visemes_of(plain)[0].targets()[STRETCH]
        assert visemes_of(round_)[0].targets()[JAW] < visemes_of(plain)[0].targets()[JAW]


def test_a_vowel_moves_the_jaw_and_a_consonant_seldom_further() -> None:
    assert set(VISEMES) >= VOWELS
    open_vowels = [VISEMES[letter].jaw for letter in "aɑɐæʌɒɛ"]
    consonants = [viseme.jaw for letter, viseme in VISEMES.items() if letter not in VOWELS]
    assert max(consonants) < min(open_vowels)
    assert set(REST.targets()) == {0.0}


def test_a_table_of_visemes_cannot_be_changed_by_who_reads_it() -> None:
    with pytest.raises(TypeError):
        VISEMES["x"] = REST  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        REST.jaw = 1.0  # type: ignore[misc]
