"""From phones to lips: what every speech sound asks of the mouth, by its IPA symbol.

Controls are activations of ARKit-style face units (faces.py). The targets are our own, written from articulatory
descriptions (vowel height opens the jaw, roundness funnels and puckers, sibilants bring the teeth together, labials
close the lips) and scaled by the mesh's geometry: full `jawOpen` opens the inner lips by 0.37 inter-ocular distances,
so an open vowel at 0.42 gives 0.16, within the 0.05-0.25 of ordinary talk. Funnelled lips come apart by themselves
(0.16 at full `funnel`), so round vowels are rounded by `pucker` for the most part and have a higher jaw: their opening
on the midline is smaller than that of plain vowels of their height (Fromkin 1964; Abry and Boe 1986).
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Viseme:
    """Targets of one sound and how strongly it insists on them (dominance, alpha of Cohen and Massaro)."""

    jaw: float
    close: float = 0.0
    funnel: float = 0.0
    pucker: float = 0.0
    stretch: float = 0.0
    lower_down: float = 0.0
    upper_up: float = 0.0
    roll_lower: float = 0.0
    press: float = 0.0
    jaw_strength: float = 0.6
    lip_strength: float = 0.5
    close_strength: float = 1.0

    def targets(self) -> tuple[float, ...]:
        """Control targets in the order of `CONTROLS`."""
        return (
            self.jaw, self.close, self.funnel, self.pucker, self.stretch,
            self.lower_down, self.upper_up, self.roll_lower, self.press,
        )  # fmt: skip

    def strengths(self) -> tuple[float, ...]:
        """Dominance per control in the order of `CONTROLS`."""
        lips, close = self.lip_strength, self.close_strength
        return (self.jaw_strength, close, lips, lips, lips, lips, lips, close, close)


REST: Final = Viseme(0.0, jaw_strength=1.0, lip_strength=0.8, close_strength=0.5)
"""A pause: the mouth of the rest face."""


def _vowel(jaw: float, funnel: float = 0.0, pucker: float = 0.0, stretch: float = 0.0) -> Viseme:
    lower = 0.15 + 0.3 * stretch
    return Viseme(jaw, 0.0, funnel, pucker, stretch, lower, 0.1, jaw_strength=1.0, lip_strength=1.0)


_LABIAL = Viseme(0.08, 1.0, press=0.25, jaw_strength=0.8, lip_strength=0.25, close_strength=9.0)
_LABIODENTAL = Viseme(0.09, upper_up=0.3, roll_lower=0.8, jaw_strength=1.1, lip_strength=0.5, close_strength=6.0)
_ROUND_GLIDE = Viseme(0.05, funnel=0.1, pucker=0.8, jaw_strength=1.0, lip_strength=1.8)
_SIBILANT = Viseme(0.04, stretch=0.15, lower_down=0.35, upper_up=0.1, jaw_strength=1.5, lip_strength=0.6)
_HUSHING = Viseme(0.05, funnel=0.2, pucker=0.3, lower_down=0.15, jaw_strength=1.5, lip_strength=1.2)
_STOP = Viseme(0.08, lower_down=0.15, jaw_strength=0.7, lip_strength=0.25)
_DENTAL = Viseme(0.12, lower_down=0.2, jaw_strength=0.7, lip_strength=0.35)
_LIQUID = Viseme(0.13, lower_down=0.15, jaw_strength=0.5, lip_strength=0.25)
_RHOTIC = Viseme(0.09, funnel=0.05, pucker=0.3, jaw_strength=0.6, lip_strength=0.7)
_TRILL = Viseme(0.12, lower_down=0.1, jaw_strength=0.5, lip_strength=0.2)
_PALATAL = Viseme(0.09, stretch=0.25, lower_down=0.2, jaw_strength=0.7, lip_strength=0.6)
_VELAR = Viseme(0.14, jaw_strength=0.35, lip_strength=0.15)
_BREATH = Viseme(0.15, jaw_strength=0.2, lip_strength=0.1)

_GROUPS: tuple[tuple[str, Viseme], ...] = (
    ("pbmɓ", _LABIAL), ("fvɱʋɸβ", _LABIODENTAL), ("wɥʍ", _ROUND_GLIDE), ("szɕʑ", _SIBILANT), ("ʃʒʂʐ", _HUSHING),
    ("tdnʈɖɳ", _STOP), ("θð", _DENTAL), ("lɫɭɬ", _LIQUID), ("ɹɻɚ", _RHOTIC), ("rɾɽʀʁ", _TRILL), ("jɲʎcɟçʝ", _PALATAL),
    ("kɡgŋxɣqχɴɢ", _VELAR), ("hɦħʔ", _BREATH),
    ("a", _vowel(0.42, stretch=0.1)), ("ɑ", _vowel(0.42)), ("ɐ", _vowel(0.34)), ("æ", _vowel(0.39, stretch=0.25)),
    ("ʌ", _vowel(0.32)), ("ɒ", _vowel(0.32, funnel=0.1, pucker=0.1)), ("ɛ", _vowel(0.28, stretch=0.18)),
    ("e", _vowel(0.21, stretch=0.25)), ("ɪ", _vowel(0.15, stretch=0.2)), ("i", _vowel(0.11, stretch=0.35)),
    ("ɨɯɿʅ", _vowel(0.12, stretch=0.1)), ("əɘ", _vowel(0.18)), ("ɜɝɞ", _vowel(0.17, funnel=0.05, pucker=0.15)),
    ("ɔ", _vowel(0.20, funnel=0.15, pucker=0.3)), ("oɵ", _vowel(0.14, funnel=0.15, pucker=0.5)),
    ("ɤ", _vowel(0.2)), ("ʊ", _vowel(0.11, funnel=0.1, pucker=0.4)), ("uʉ", _vowel(0.07, funnel=0.12, pucker=0.75)),
    ("yʏ", _vowel(0.07, funnel=0.1, pucker=0.7)), ("ø", _vowel(0.13, funnel=0.1, pucker=0.5)),
    ("œ", _vowel(0.20, funnel=0.15, pucker=0.3)),
)  # fmt: skip

VISEMES: Final[Mapping[str, Viseme]] = MappingProxyType(
    {symbol: viseme for group, viseme in _GROUPS for symbol in group}
)
"""IPA letter -> viseme."""

VOWELS: Final = frozenset("aɑɐæʌɒɛeɪiɨɯɿʅəɘɜɝɞɔoɵɤʊuʉyʏøœ")
"""IPA letters of vowels."""

UNKNOWN: Final = Viseme(0.14, jaw_strength=0.15, lip_strength=0.05, close_strength=0.3)
"""A symbol that we do not know: its neighbours decide."""


def letters(ipa: str) -> str:
    """The letters of an IPA symbol that have a viseme, without tone, stress, length and diacritics."""
    plain = unicodedata.normalize("NFD", ipa.replace("ɝ", "ɜ").replace("g", "ɡ"))
    found = "".join(letter for letter in plain if letter in VISEMES)
    return found or "".join(letter for letter in plain.lower() if letter in VISEMES)


def visemes_of(ipa: str) -> tuple[Viseme, ...]:
    """Visemes of a phone, in order: one for a simple sound, two for a diphthong or an affricate."""
    known = letters(ipa)[:3]
    return tuple(VISEMES[letter] for letter in known) or (UNKNOWN,)
