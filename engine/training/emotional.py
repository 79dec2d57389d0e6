"""The emotional corpus in the shape of MEAD: speakers x emotions x three levels x sentences.

Files lie as MEAD's do (speaker/audio/emotion/level_n/NNN, here .wav); speaker/phones.json has the phone times of every
sentence, the same in all its renderings. Sentences are taken from the voices of the corpus, rendered by `prosody.py`.
"""

import json
import logging
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError
from engine.files import write_atomically
from engine.speech.emotions import EMOTIONS
from engine.training.audio import SAMPLE_RATE
from engine.training.corpus import Recording, read_voice
from engine.training.prosody import LEVELS, analyse, level_intensity, render, world
from engine.training.running import Progress
from engine.training.voices import SILENCE, Phone

logger = logging.getLogger(__name__)

SPEAKERS: Final = (
    "hibari-heart", "festival-cmu_us_slt_arctic_hts", "festival-kal_diphone", "festival-ked_diphone", "flite-rms",
    "flite-slt", "festival-upc_ca_ona_hts", "festival-czech_dita", "festival-lp_diphone", "festival-suo_fi_lj_diphone",
    "human-en-allison", "human-es-allison", "human-fr-june", "human-it-carlo", "espeak-de", "espeak-cmn",
    "flite-awb", "festival-pc_diphone", "human-ru-ivrvoice",
)  # fmt: skip
"""Voices of the corpus that speak in emotions; those held out from training are held out here as well."""

_SHORTEST_S, _LONGEST_S = 1.2, 6.0


def renderings() -> tuple[tuple[str, int], ...]:
    """(emotion, level) of all renderings of a sentence: neutral once, the others in three levels."""
    return (("neutral", 1), *((emotion, level) for emotion in EMOTIONS[1:] for level in LEVELS))


def chosen_sentences(recordings: Sequence[Recording], count: int) -> list[Recording]:
    """`count` recordings of 1.2-6 s with at least eight sounds, spread evenly over the voice."""
    fit = [
        recording
        for recording in recordings
        if _SHORTEST_S <= len(recording.samples) / SAMPLE_RATE <= _LONGEST_S
        and sum(phone.ipa != SILENCE for phone in recording.phones) >= 8
    ]
    if not fit:
        return []
    places = np.unique(np.linspace(0, len(fit) - 1, min(count, len(fit))).round().astype(int))
    return [fit[place] for place in places.tolist()]


def clip_path(folder: Path, speaker: str, emotion: str, level: int, sentence: int) -> Path:
    """Where a clip lies; sentences count from 1, as in MEAD."""
    return folder / speaker / "audio" / emotion / f"level_{level}" / f"{sentence:03d}.wav"


def write_wave(path: Path, samples: NDArray[np.float32]) -> None:
    """Writes [N] samples in [-1, 1] as 16-bit mono, 16 kHz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as target:
        target.setnchannels(1)
        target.setsampwidth(2)
        target.setframerate(SAMPLE_RATE)
        target.writeframes(np.round(np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes())


def read_wave(path: Path) -> NDArray[np.float32]:
    """Reads what `write_wave` wrote: [N]."""
    try:
        with wave.open(str(path), "rb") as source:
            shape = (source.getnchannels(), source.getsampwidth(), source.getframerate())
            data = source.readframes(source.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise BadInputError(f"{path} is not a clip of the corpus: {error}; build it again") from error
    if shape != (1, 2, SAMPLE_RATE):
        raise BadInputError(f"{path} has channels, bytes, rate {shape}, expected (1, 2, {SAMPLE_RATE}); build it again")
    return np.frombuffer(data, "<i2").astype(np.float32) / 32767.0


def build_emotional(
    corpus: Path, folder: Path, sentences: int, speakers: Sequence[str] = SPEAKERS, progress: Progress | None = None
) -> list[str]:
    """Renders `sentences` of every speaker that the corpus has; speakers that are complete are kept.

    Returns the speakers that are missing. A sentence that WORLD cannot take apart is reported and left out.
    """
    world()
    missing: list[str] = []
    for index, speaker in enumerate(speakers):
        source = corpus / f"{speaker}.npz"
        if not source.exists():
            logger.warning("emotional speaker %s left out: the corpus has no such voice", speaker)
            missing.append(speaker)
        elif not (folder / speaker / "phones.json").exists():
            _render_speaker(folder, speaker, chosen_sentences(list(read_voice(source)), sentences))
        if progress is not None:
            progress(f"emotions of {speaker}", (index + 1) / len(speakers))
    return missing


def _render_speaker(folder: Path, speaker: str, recordings: Sequence[Recording]) -> None:
    phones: dict[str, list[tuple[str, float, float]]] = {}
    for number, recording in enumerate(recordings, start=1):
        try:
            analysis = analyse(recording.samples)
            clips = [(key, render(analysis, key[0], level_intensity(key[1]))) for key in renderings()]
        except (BackendError, BadInputError) as error:
            logger.warning("sentence %d of %s left out: %s", number, speaker, error)
            continue
        for (emotion, level), samples in clips:
            write_wave(clip_path(folder, speaker, emotion, level, number), samples)
        phones[f"{number:03d}"] = [(phone.ipa, phone.start, phone.end) for phone in recording.phones]
    path = folder / speaker / "phones.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(phones).encode())


@dataclass(frozen=True)
class Sentence:
    """A sentence of a speaker in all its renderings."""

    speaker: str
    phones: tuple[Phone, ...]
    clips: dict[tuple[str, int], Path]
    """(emotion, level) -> file."""


def read_emotional(folder: Path) -> Iterator[Sentence]:
    """All sentences of the corpus. A damaged phone table raises `BadInputError`."""
    for table in sorted(folder.glob("*/phones.json")):
        speaker = table.parent.name
        try:
            entries = json.loads(table.read_text(encoding="utf-8"))
            sentences = {int(number): tuple(Phone(*row) for row in rows) for number, rows in entries.items()}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise BadInputError(f"{table} is not a table of phones: {error}; build the corpus again") from error
        for number, phones in sorted(sentences.items()):
            clips = {key: clip_path(folder, speaker, *key, number) for key in renderings()}
            yield Sentence(speaker, phones, {key: path for key, path in clips.items() if path.exists()})
