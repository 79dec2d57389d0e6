"""Targets: labials close, rounding rounds, loudness opens, pauses rest."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, FaceBasis, activations
from engine.speech.model import SHIPPED
from engine.training.articulation import articulate, blend, effort_db, speech_level_db
from engine.training.visemes import UNKNOWN, VISEMES, VOWELS, letters, visemes_of
from engine.training.voices import SILENCE, Phone

pytestmark = pytest.mark.unit

JAW, CLOSE, PUCKER = (CONTROLS.index(name) for name in ("jaw", "close", "pucker"))


def _word(*sounds: str, length: float = 0.1) -> tuple[Phone, ...]:
    return tuple(Phone(sound, index * length, (index + 1) * length) for index, sound in enumerate(sounds))


@pytest.mark.parametrize("labial", ["m", "b", "p"])
@pytest.mark.parametrize("length", [0.07, 0.1, 0.15])
def test_labials_close_between_open_vowels(labial: str, length: float) -> None:
    controls = blend(_word("a", labial, "a", length=length), int(3 * length * 50) + 1)
    middle = round(1.5 * length * 50)
    assert controls[middle - 1 : middle + 2, CLOSE].max() > 0.9
    assert controls[0, CLOSE] < 0.35


def test_open_vowels_open_wider_than_close_ones() -> None:
    jaws = {vowel: blend(_word("t", vowel, "t"), 15)[7, JAW] for vowel in "aɛəiu"}
    assert jaws["a"] > jaws["ɛ"] > jaws["ə"] > jaws["i"]
    assert jaws["a"] > 2 * jaws["u"]


@cache
def shipped_basis() -> FaceBasis:
    """The faces that the shipped weights move."""
    with safe_open(SHIPPED, framework="np") as archive:
        return FaceBasis(*(archive.get_tensor(f"basis.{name}") for name in ("rest", "displacement", "expression")))


def _gap(symbol: str, basis: FaceBasis) -> float:
    """How far a held sound opens the inner lips beyond rest, inter-ocular distances."""
    targets = np.array(VISEMES[symbol].targets(), np.float32)
    moved = basis.move(activations(targets[None]))[0]
    return float(moved[66, 1] - moved[62, 1])


@pytest.mark.parametrize(
    ("round_", "plain"),
    [("ɔ", "a"), ("ɔ", "ɛ"), ("o", "ɛ"), ("ɒ", "ɑ"), ("œ", "ɛ"), ("ø", "e"), ("ʊ", "ɪ"), ("y", "i")],
)
def test_round_vowels_open_the_lips_less_than_plain_ones_of_their_height(round_: str, plain: str) -> None:
    """Funnelled lips come apart by themselves: the jaw must not be as low as without."""
    basis = shipped_basis()
    assert 0.0 < _gap(round_, basis) < 0.95 * _gap(plain, basis)


def test_lips_are_narrow_but_open_at_teeth_and_apart_elsewhere() -> None:
    basis = shipped_basis()
    assert 0.0 < _gap("f", basis) < 0.03
    assert max(_gap(labial, basis) for labial in "mbp") < 0.0
    others = [symbol for symbol in VISEMES if VISEMES[symbol].close < 1.0 and symbol not in "fvɱʋɸβ"]
    assert min(_gap(symbol, basis) for symbol in others) > 0.02


def test_rounding_starts_before_the_round_vowel() -> None:
    round_word, plain_word = blend(_word("s", "t", "u"), 15), blend(_word("s", "t", "i"), 15)
    assert round_word[12, PUCKER] > 0.5
    assert round_word[7, PUCKER] > plain_word[7, PUCKER] + 0.05


def test_a_pause_rests() -> None:
    controls = blend((Phone("a", 0.0, 0.2), Phone(SILENCE, 0.2, 1.5)), 75)
    assert controls[40:, JAW].max() < 0.02


def _sound(gains: NDArray[np.float64]) -> NDArray[np.float32]:
    rng = np.random.default_rng(0)
    return (rng.standard_normal(len(gains)) * gains).astype(np.float32)


def test_louder_syllables_open_wider() -> None:
    gains = np.repeat([0.02, 0.1], 8_000)
    phones = (Phone("a", 0.0, 0.5), Phone("a", 0.5, 1.0))
    controls = articulate(_sound(gains), phones)
    assert controls.shape == (50, len(CONTROLS))
    assert controls[35, JAW] > 1.3 * controls[12, JAW]
    assert controls.max() <= 1.0


def test_level_of_the_recording_does_not_matter() -> None:
    gains = np.repeat([0.02, 0.1, 0.05], 8_000)
    phones = (Phone("a", 0.0, 0.5), Phone("e", 0.5, 1.0), Phone("o", 1.0, 1.5))
    loud, quiet = articulate(_sound(gains), phones), articulate(_sound(gains / 10), phones)
    np.testing.assert_allclose(loud, quiet, atol=0.01)


def test_loudness_counts_frames_and_refuses_stereo() -> None:
    assert effort_db(np.zeros(3_300, np.float32), 11).shape == (11,)
    with pytest.raises(ShapeError, match="mono"):
        effort_db(np.zeros((2, 100), np.float32), 1)


def test_the_level_leaves_pauses_out() -> None:
    level = np.array([-80.0] * 50 + [-20.0] * 50, np.float32)
    phones = (Phone(SILENCE, 0.0, 1.0), Phone("a", 1.0, 2.0))
    assert speech_level_db(level, phones) == pytest.approx(-20.0)


@pytest.mark.parametrize(
    ("symbol", "found"), [("tʃʰ", "tʃ"), ("aɪ", "aɪ"), ("iː", "i"), ("ˈɛ", "ɛ"), ("ã", "a"), ("d͡ʒ", "dʒ"), ("M", "m")]
)
def test_marks_are_stripped_from_symbols(symbol: str, found: str) -> None:
    assert letters(symbol) == found


def test_unknown_symbols_leave_the_word_to_their_neighbours() -> None:
    assert visemes_of("☃") == (UNKNOWN,)
    assert UNKNOWN.jaw_strength < min(viseme.jaw_strength for viseme in VISEMES.values())


def test_every_vowel_has_a_viseme() -> None:
    assert set(VISEMES) >= VOWELS
