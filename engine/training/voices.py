"""Voices of the synthetic corpus: speech whose phones and their times are known.

Every engine here is a training-time tool found on the machine (Debian packages `festival` and its voices, `flite`,
`espeak-ng`; the wheel `hibari-tts`). The shipped product needs none of them.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError
from engine.training.audio import SAMPLE_RATE, read_audio

SILENCE = ""
"""The phone that stands for a pause."""
_PATIENCE_S: Final = 1800
"""How long a synthesiser may take for all that it is given."""

_ARPA = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ə", "ay": "aɪ", "b": "b", "ch": "tʃ",
    "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "l", "em": "m", "en": "n", "er": "ɝ", "ey": "eɪ", "f": "f",
    "g": "ɡ", "hh": "h", "hv": "h", "ih": "ɪ", "ix": "ɪ", "iy": "i", "jh": "dʒ", "k": "k", "l": "l", "m": "m",
    "n": "n", "ng": "ŋ", "nx": "n", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t",
    "th": "θ", "uh": "ʊ", "uw": "u", "v": "v", "w": "w", "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip
_SAMPA = {
    "E": "ɛ", "O": "ɔ", "@": "æ", "SS": "ʃ", "S": "ʃ", "tS": "tʃ", "dZ": "dʒ", "LL": "ʎ", "JJ": "ɲ", "J": "ɲ", "N": "ŋ",
    "ng": "ŋ", "nf": "ɱ", "2": "ø", "|": "ø", "ax": "ə", "rr": "r", "ch": "x", "sh": "ʃ", "zh": "ʒ", "tsh": "tʃ",
    "dzh": "dʒ", "nj": "ɲ", "dj": "d", "tj": "t", "c~": "tʃ", "s~": "ʃ", "z~": "ʒ", "r~": "r", "n~": "ɲ", "d~": "d",
    "t~": "t", "L": "ʎ", "C": "ç", "V": "v", "B": "b", "D": "d", "G": "ɡ", "Z": "ʒ", "7": "ø", "n*": "ŋ", "r~*": "r",
}  # fmt: skip
_RUSSIAN = {
    "aa": "a", "ae": "ə", "ay": "ə", "oo": "o", "uu": "u", "ur": "u", "ee": "e", "ii": "i", "y": "ɨ", "yy": "ɨ",
    "bb": "b", "dd": "d", "ff": "f", "gg": "ɡ", "g": "ɡ", "hh": "x", "h": "x", "kk": "k", "ll": "l", "mm": "m",
    "nn": "n", "pp": "p", "rr": "r", "ss": "s", "tt": "t", "vv": "v", "zz": "z", "sh": "ʃ", "zh": "ʒ", "sch": "ɕ",
    "ch": "tɕ", "c": "ts",
}  # fmt: skip
_PHONE_SETS: Mapping[str, Mapping[str, str]] = {"arpa": _ARPA, "sampa": _SAMPA, "russian": _RUSSIAN}


@dataclass(frozen=True)
class Phone:
    """One speech sound; times in seconds from the start of the utterance."""

    ipa: str
    """IPA symbol; empty for a pause."""
    start: float
    end: float


@dataclass(frozen=True)
class Utterance:
    """A sentence that was spoken."""

    samples: NDArray[np.float32]
    """[N] mono, 16 kHz, in [-1, 1]."""
    phones: tuple[Phone, ...]


class Voice(Protocol):
    """Something that speaks, or recorded speech, with the times of its phones."""

    @property
    def name(self) -> str:
        """Unique name, usable as a file name."""

    def utterances(self) -> Iterator[Utterance]:
        """All utterances, in a fixed order."""


def _phones_from_ends(ends: list[tuple[str, float]], table: Mapping[str, str]) -> tuple[Phone, ...]:
    """Phones from (symbol, end time) pairs of Festival or Flite."""
    phones, start = [], 0.0
    for symbol, end in ends:
        if symbol in {"pau", "#", "_", "h#", "SIL", "sil", "ssil"}:
            ipa = SILENCE
        else:
            bare = symbol if symbol in table else re.sub(r"[0-9:'j]+$", "", symbol) or symbol
            ipa = table.get(bare, table.get(bare.lower(), bare))
        phones.append(Phone(ipa, start, end))
        start = end
    return tuple(phones)


@dataclass(frozen=True)
class FestivalVoice:
    """One voice of the Festival synthesiser (Debian packages `festival`, `festvox-*`)."""

    voice: str
    sentences: tuple[str, ...]
    encoding: str = "iso-8859-1"
    phone_set: str = "arpa"
    """Names of its phones: "arpa" (American English), "sampa" or "russian"."""
    stretches: tuple[float, ...] = (1.0,)
    """Duration factors; every sentence is spoken once with each."""

    @property
    def name(self) -> str:
        """Unique name of the voice."""
        return f"festival-{self.voice}"

    def utterances(self) -> Iterator[Utterance]:
        """Speaks all sentences in one run of Festival."""
        with tempfile.TemporaryDirectory() as folder:
            jobs = [(text, stretch) for stretch in self.stretches for text in self.sentences]
            lines = [f"(voice_{self.voice})"]
            for index, (text, stretch) in enumerate(jobs):
                quoted = text.replace("\\", " ").replace('"', " ").replace("«", " ").replace("»", " ")
                lines.append(f"(Parameter.set 'Duration_Stretch {stretch})")
                lines.append(f'(set! u (SynthText "{quoted}"))')
                lines.append(f'(utt.save.wave u "{folder}/{index}.wav")(utt.save.segs u "{folder}/{index}.lab")')
            script = Path(folder, "speak.scm")
            script.write_bytes("\n".join(lines).encode(self.encoding, errors="replace"))
            run_tool(["festival", "-b", str(script)], accept_failure=True)
            table = _PHONE_SETS[self.phone_set]
            for index in range(len(jobs)):
                wave, labels = Path(folder, f"{index}.wav"), Path(folder, f"{index}.lab")
                if not wave.exists() or not labels.exists():
                    continue
                rows = [line.split() for line in labels.read_text(encoding=self.encoding).splitlines()]
                ends = [(row[2], float(row[0])) for row in rows if len(row) == 3]
                yield Utterance(read_audio(wave), _phones_from_ends(ends, table))


@dataclass(frozen=True)
class FliteVoice:
    """One built-in voice of Flite (Debian package `flite`)."""

    voice: str
    sentences: tuple[str, ...]
    stretches: tuple[float, ...] = (1.0,)

    @property
    def name(self) -> str:
        """Unique name of the voice."""
        return f"flite-{self.voice}"

    def utterances(self) -> Iterator[Utterance]:
        """Speaks the sentences one by one."""
        with tempfile.TemporaryDirectory() as folder:
            wave = Path(folder, "speech.wav")
            for stretch in self.stretches:
                for text in self.sentences:
                    setting = f"duration_stretch={stretch}"
                    command = ["flite", "-voice", self.voice, "-psdur", "-set", setting, "-t", text, "-o", str(wave)]
                    pairs = [item.rsplit(":", 1) for item in run_tool(command).split()]
                    ends = [(symbol, float(end)) for symbol, end in pairs]
                    yield Utterance(read_audio(wave), _phones_from_ends(ends, _ARPA))


def run_tool(command: list[str], accept_failure: bool = False) -> str:
    """Runs a synthesiser and returns its standard output."""
    try:
        done = subprocess.run(command, capture_output=True, check=not accept_failure, timeout=_PATIENCE_S)
    except FileNotFoundError as error:
        raise BackendError(f"{command[0]} is not installed; install it, or leave its voices out") from error
    except subprocess.TimeoutExpired as error:
        raise BackendError(
            f"{command[0]} has not answered for {_PATIENCE_S} s, expected it to end; give it fewer sentences"
        ) from error
    except subprocess.CalledProcessError as error:
        tail = error.stderr.decode(errors="replace")[-300:]
        raise BackendError(f"{command[0]} failed with status {error.returncode}: {tail}") from error
    return done.stdout.decode(errors="replace")


def duration(utterance: Utterance) -> float:
    """Length of an utterance in seconds."""
    return len(utterance.samples) / SAMPLE_RATE
