"""The training corpus: one file per voice with its speech and the times of its phones.

Targets are not stored: they follow from phones and loudness (articulation.py), so that they can be improved without
speaking everything again.
"""

import logging
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError
from engine.training.arrays import read_arrays, write_arrays
from engine.training.espeak import EspeakVoice
from engine.training.recordings import HibariVoice, RecordedVoice
from engine.training.running import Progress
from engine.training.timing import lateness
from engine.training.transcripts import Transcripts
from engine.training.voices import SILENCE, FestivalVoice, FliteVoice, Phone, Utterance, Voice

logger = logging.getLogger(__name__)

SHORTEST_PAUSE = 0.1
"""Pauses below this many seconds (gaps between words) are given to the sounds beside them."""

_PROMPTS = Path("/usr/share/asterisk/sounds")
_RECORDED = {
    "human-en-allison": ("en_US_f_Allison", "g722"),
    "human-es-allison": ("es_MX_f_Allison", "g722"),
    "human-fr-june": ("fr_CA_f_June", "g722"),
    "human-it-carlo": ("it_IT_m_Carlo", "g722"),
    "human-ru-ivrvoice": ("ru_RU_f_IvrvoiceRU", "g722"),
    "human-es-colombia": ("es", "gsm"),
    "human-fr-armelle": ("fr", "gsm"),
}
"""Recorded speakers: name -> folder and kind of Debian's asterisk-core-sounds-* and asterisk-prompt-* packages."""
_TRANSCRIBED = {
    "human-en-allison": "en-us",
    "human-es-allison": "es-419",
    "human-fr-june": "fr",
    "human-it-carlo": "it",
    "human-ru-ivrvoice": "ru",
}
"""Speakers whose words stand in the package asterisk-core-sounds-LANGUAGE: name -> voice of espeak-ng."""
_WORDS = Path("/usr/share/doc")
LATEST_S: Final = 0.04
"""Phones that lie later or earlier than this in their sound, over a voice, are warned about."""
_TIMED = 40

_FESTIVAL = (
    ("kal_diphone", "en", "iso-8859-1", "arpa"),
    ("ked_diphone", "en", "iso-8859-1", "arpa"),
    ("cmu_us_slt_arctic_hts", "en", "iso-8859-1", "arpa"),
    ("lp_diphone", "it", "iso-8859-1", "sampa"),
    ("pc_diphone", "it", "iso-8859-1", "sampa"),
    ("hy_fi_mv_diphone", "fi", "iso-8859-1", "sampa"),
    ("suo_fi_lj_diphone", "fi", "iso-8859-1", "sampa"),
    ("czech_dita", "cs", "iso-8859-2", "sampa"),
    ("czech_machac", "cs", "iso-8859-2", "sampa"),
    ("czech_ph", "cs", "iso-8859-2", "sampa"),
    ("msu_ru_nsh_clunits", "ru", "utf-8", "russian"),
    ("upc_ca_ona_hts", "ca", "utf-8", "sampa"),
)
_ESPEAK = ("de", "de+f3", "fr+m3", "es+f2", "pt+m2", "pl+f4", "tr+m4", "cmn", "cmn+f3", "ja+f2", "hi+m3", "en+f1")


@dataclass(frozen=True)
class Recording:
    """An utterance as it lies in the corpus."""

    voice: str
    samples: NDArray[np.float32]
    """[N] mono, 16 kHz."""
    phones: tuple[Phone, ...]
    """Covers the recording without gaps; pauses shorter than 100 ms are gone."""


def read_sentences(path: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Sentences by language, the project's own unless another TOML file is given."""
    source = path or Path(__file__).with_name("sentences.toml")
    table = tomllib.loads(source.read_text(encoding="utf-8"))
    return {language: tuple(map(str, sentences)) for language, sentences in table.items()}


def default_voices(prompts: Path = _PROMPTS, words: Path = _WORDS) -> list[Voice]:
    """Every voice that the corpus knows of; `words` holds the documents of the packages with transcripts."""
    sentences = read_sentences()
    voices: list[Voice] = [HibariVoice(sentences["en"], (0.8, 1.0, 1.25))]
    for voice, language, encoding, phones in _FESTIVAL:
        stretches = (0.9, 1.15) if language == "en" else (0.85, 1.0, 1.25)
        voices.append(FestivalVoice(voice, sentences[language], encoding, phones, stretches))
    voices.extend(FliteVoice(voice, sentences["en"], (0.9, 1.2)) for voice in ("rms", "awb", "slt"))
    voices.extend(EspeakVoice(voice, sentences[voice.split("+")[0]]) for voice in _ESPEAK)
    for name, (folder, kind) in _RECORDED.items():
        known = _transcripts(name, words)
        voices.append(RecordedVoice(name, prompts / folder, f"*.{kind}", kind, transcripts=known))
    return voices


def _transcripts(name: str, words: Path) -> Transcripts | None:
    """What a recorded speaker says; None where that is not known, with a warning where it could be."""
    if name not in _TRANSCRIBED:
        return None
    package = f"asterisk-core-sounds-{name.split('-')[1]}"
    path = words / package / f"{package.removeprefix('asterisk-')}.txt.gz"
    if not path.is_file():
        logger.warning("%s is not there: phones of %s are recognised; install %s for its words", path, name, package)
        return None
    return Transcripts(path, _TRANSCRIBED[name])


def tidy(utterance: Utterance) -> tuple[Phone, ...]:
    """Phones without gaps: neighbouring pauses joined, short ones given half to each side."""
    length = len(utterance.samples) / 16_000
    merged: list[Phone] = []
    for phone in utterance.phones:
        start, end = max(0.0, phone.start), min(length, phone.end)
        if end - start <= 1e-4:
            continue
        if merged and merged[-1].ipa == SILENCE == phone.ipa:
            merged[-1] = Phone(SILENCE, merged[-1].start, end)
        else:
            merged.append(Phone(phone.ipa, start, end))
    kept: list[Phone] = []
    for index, phone in enumerate(merged):
        inner = 0 < index < len(merged) - 1
        if phone.ipa == SILENCE and inner and phone.end - phone.start < SHORTEST_PAUSE:
            middle = (phone.start + phone.end) / 2
            kept[-1] = Phone(kept[-1].ipa, kept[-1].start, middle)
            following = merged[index + 1]
            merged[index + 1] = Phone(following.ipa, middle, following.end)
        else:
            kept.append(phone)
    return tuple(kept)


def write_voice(path: Path, utterances: Sequence[Utterance]) -> None:
    """Writes one voice's utterances to an `.npz` file, whole or not at all."""
    bounds = np.cumsum([0] + [len(utterance.samples) for utterance in utterances])
    rows = [(index, phone) for index, utterance in enumerate(utterances) for phone in tidy(utterance)]
    joined = np.concatenate([utterance.samples for utterance in utterances])
    arrays = {
        "samples": np.round(np.clip(joined, -1.0, 1.0) * 32767.0).astype(np.int16),
        "bounds": bounds.astype(np.int64),
        "phone_utterance": np.array([index for index, _ in rows], np.int32),
        "phone_start": np.array([phone.start for _, phone in rows], np.float32),
        "phone_end": np.array([phone.end for _, phone in rows], np.float32),
        "phone": np.array([phone.ipa for _, phone in rows]),
    }
    write_arrays(path, arrays, compressed=True)


def read_voice(path: Path) -> Iterator[Recording]:
    """The recordings of one voice file."""
    parts = ("samples", "bounds", "phone_utterance", "phone", "phone_start", "phone_end")
    found = read_arrays(path, parts, "a voice of the corpus", "build it again")
    samples, bounds, owner, names, starts, ends = found
    for index, (begin, end) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
        rows = np.flatnonzero(owner == index)
        phones = tuple(Phone(str(names[row]), float(starts[row]), float(ends[row])) for row in rows)
        if phones:
            yield Recording(path.stem, samples[begin:end].astype(np.float32) / 32767.0, phones)


def build_corpus(folder: Path, voices: Sequence[Voice] | None = None, progress: Progress | None = None) -> list[str]:
    """Speaks and writes every voice that is not there yet; returns the names of those that could not be had."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = default_voices() if voices is None else list(voices)
    missing: list[str] = []
    for index, voice in enumerate(chosen):
        path = folder / f"{voice.name}.npz"
        if not path.exists():
            try:
                utterances = list(voice.utterances())
            except BackendError as error:
                logger.warning("voice %s left out: %s", voice.name, error)
                missing.append(voice.name)
                continue
            if utterances:
                late = lateness((each.samples, each.phones) for each in utterances[:_TIMED])
                if abs(late) > LATEST_S:
                    logger.warning("phones of voice %s lie %.0f ms late in its sound", voice.name, 1000 * late)
                write_voice(path, utterances)
            else:
                missing.append(voice.name)
        if progress is not None:
            progress(voice.name, (index + 1) / len(chosen))
    if len(missing) == len(chosen):
        raise BackendError(f"none of the {len(chosen)} voices can be had here; install a synthesiser (see MODEL_CARD)")
    return missing
