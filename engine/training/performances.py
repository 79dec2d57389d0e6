"""What the mood network hears of the voices of a corpus: acted sentences as frames of intonation, kept on disk.

Every voice is several speakers: itself (clean, then under noise), and voices made of it with another tract, pitch,
range, colour and tempo. Texts are parted by where they stand in a voice's list, the same for all voices that share a
list: those of the first part are for training and reference, those of the last part are spoken by nobody in training.
Letters: T frames of 20 ms.
"""

import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError
from engine.speech.emotions import EMOTIONS
from engine.speech.intonation import COLUMNS, IntonationState, listen
from engine.training.acting import Person, draw_manner, draw_person, perform
from engine.training.arrays import read_arrays, write_arrays
from engine.training.audio import SAMPLE_RATE
from engine.training.augment import coloured_noise
from engine.training.corpus import Recording, read_voice
from engine.training.emotional import renderings
from engine.training.prosody import Analysis, analyse, level_intensity
from engine.training.running import Progress
from engine.training.voices import SILENCE

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
SNR_DB: Final = (60.0, 28.0, 16.0)
"""Ratios of a voice's usual level to the noise; the first is clean."""
KNOWN: Final = 0.65
"""Texts up to this share of a voice's list are for training and reference."""
UNSEEN: Final = 0.7
"""Texts from this share on are for figures. What lies between is left out: lists are cut a little differently."""
OWN: Final = 2
"""Speakers of a voice that keep its sound: the first clean, the second under the most noise."""

_SHORTEST_S, _LONGEST_S = 1.4, 6.0
_LEVEL: Final = 0.05
_ROLES: Final = ("calm", "known", "unseen")


@dataclass(frozen=True)
class Spoken:
    """A sentence in one emotion, as frames."""

    frames: Floats
    """[T, COLUMNS]"""
    emotion: int
    """Place in `EMOTIONS`."""
    level: int
    """1 ... 3; 0 when neutral."""
    sentence: int = 0
    """Number of the sentence within its speaker."""


@dataclass(frozen=True)
class Speaker:
    """All that one speaker says, of one kind of sound."""

    voice: str
    """The voice of the corpus that speaker is made of."""
    own: bool
    """Whether the voice keeps its sound."""
    snr_db: float
    """Over the noise."""
    calm: tuple[Spoken, ...]
    """Neutral sentences for reference, some as they were recorded."""
    known: tuple[Spoken, ...]
    """Sentences of the known texts in all renderings."""
    unseen: tuple[Spoken, ...]
    """The same of the unseen texts."""


@dataclass(frozen=True)
class Programme:
    """How much is spoken."""

    speakers: int = 4
    """Speakers of every voice, `OWN` of them with its own sound."""
    known: int = 6
    """Known sentences of every speaker, in all renderings."""
    unseen: int = 3
    """Unseen sentences of a speaker, in all renderings."""
    unseen_by: int = 1
    """Speakers of every voice that say them."""
    calm: int = 8
    """Further neutral sentences of every speaker, which are what it is known by."""
    seed: int = 1
    """Seed of speakers and manners."""


def texts(recordings: Sequence[Recording]) -> list[float]:
    """Where the text of each recording stands in its voice's list, 0 ... 1; the same text at another tempo is equal."""
    order: dict[tuple[str, ...], int] = {}
    places = []
    for recording in recordings:
        said = tuple(phone.ipa for phone in recording.phones if phone.ipa != SILENCE)
        places.append(order.setdefault(said, len(order)))
    return [place / max(1, len(order)) for place in places]


def _spread(recordings: Sequence[Recording], count: int) -> list[Recording]:
    """`count` of them, evenly over the list."""
    if not recordings:
        return []
    places = np.unique(np.linspace(0, len(recordings) - 1, min(count, len(recordings))).round().astype(int))
    return [recordings[place] for place in places.tolist()]


Parts = tuple[list[Recording], list[Recording], list[Recording]]


def parted(recordings: Sequence[Recording], programme: Programme) -> Parts:
    """Recordings for (calm, known, unseen) sentences."""
    fit = [
        (each, place)
        for each, place in zip(recordings, texts(recordings), strict=True)
        if _SHORTEST_S <= len(each.samples) / SAMPLE_RATE <= _LONGEST_S
    ]
    early = [each for each, place in fit if place < KNOWN]
    known = _spread(early, programme.known)
    chosen = {id(each) for each in known}
    calm = _spread([each for each in early if id(each) not in chosen], programme.calm) or known
    return calm, known, _spread([each for each, place in fit if place >= UNSEEN], programme.unseen)


def heard(samples: Floats, snr_db: float, rng: np.random.Generator) -> Floats:
    """Frames of a sentence at the level `_LEVEL` of its voice under noise."""
    noise = coloured_noise(len(samples), rng) * np.float32(_LEVEL * 10.0 ** (-snr_db / 20.0))
    return listen(np.clip(samples + noise, -1.0, 1.0).astype(np.float32), IntonationState())


def _analysed(recordings: Sequence[Recording], gain: float) -> list[tuple[Floats, Analysis]]:
    """Sentences at the voice's usual level, taken apart; those that WORLD cannot take apart are left out."""
    rows = []
    for recording in recordings:
        samples = np.asarray(recording.samples * np.float32(gain), np.float32)
        try:
            rows.append((samples, analyse(samples)))
        except (BackendError, BadInputError) as error:
            logger.warning("a sentence of %s left out: %s", recording.voice, error)
    return rows


def _in_all(number: int, analysis: Analysis, person: Person, snr_db: float, rng: np.random.Generator) -> list[Spoken]:
    """A sentence in all renderings."""
    rows = []
    for emotion, level in renderings():
        place = EMOTIONS.index(emotion)
        manner = draw_manner(person, emotion, level_intensity(level), rng)
        frames = heard(perform(analysis, manner, rng), snr_db, rng)
        rows.append(Spoken(frames, place, level if place else 0, number))
    return rows


def _speaker(
    voice: str, index: int, parts: Sequence[Sequence[tuple[Floats, Analysis]]], programme: Programme
) -> Speaker:
    """One speaker made of the sentences of a voice; half of the calm ones of its own sound are as recorded."""
    rng = np.random.default_rng([programme.seed, zlib.crc32(voice.encode()), index])
    own = index < OWN
    snr = (SNR_DB[0], SNR_DB[-1])[index] if own else SNR_DB[int(rng.integers(len(SNR_DB)))]
    person = draw_person(rng, not own)
    calm = []
    for number, (samples, analysis) in enumerate(parts[0]):
        as_it_was = own and number % 2 == 0
        spoken = samples if as_it_was else perform(analysis, draw_manner(person, EMOTIONS[0], 0.0, rng), rng)
        calm.append(Spoken(heard(spoken, snr, rng), 0, 0, number))
    known, unseen = (
        tuple(row for number, (_, analysis) in enumerate(part) for row in _in_all(number, analysis, person, snr, rng))
        for part in (parts[1], parts[2] if index < programme.unseen_by else ())
    )
    return Speaker(voice, own, snr, tuple(calm), known, unseen)


def speakers_of(path: Path, programme: Programme) -> list[Speaker]:
    """The speakers of a voice of the corpus; none where it has too few sentences."""
    chosen = parted(list(read_voice(path)), programme)
    if min(len(chosen[0]), len(chosen[1])) < 2:
        logger.warning("voice %s left out: too few sentences of %g to %g s", path.stem, _SHORTEST_S, _LONGEST_S)
        return []
    levels = [float(np.sqrt(np.mean(np.square(each.samples)))) for part in chosen for each in part]
    parts = [_analysed(part, _LEVEL / (float(np.median(levels)) + 1e-6)) for part in chosen]
    return [_speaker(path.stem, index, parts, programme) for index in range(programme.speakers)]


def write_speaker(path: Path, speaker: Speaker) -> None:
    """Writes one speaker to an `.npz` file, whole or not at all."""
    rows = [(role, row) for role, name in enumerate(_ROLES) for row in getattr(speaker, name)]
    write_arrays(
        path,
        {
            "frames": np.concatenate([row.frames for _, row in rows]).astype(np.float16),
            "table": np.array(
                [(r, row.emotion, row.level, row.sentence, len(row.frames)) for r, row in rows], np.int32
            ),
            "kind": np.array([float(speaker.own), speaker.snr_db]),
        },
    )


def read_speaker(path: Path, voice: str) -> Speaker:
    """Reads what `write_speaker` wrote."""
    names = ("frames", "table", "kind")
    frames, table, kind = read_arrays(path, names, "a speaker", "remove it, and train again")
    if frames.ndim != 2 or frames.shape[1] != COLUMNS or int(table[:, 4].sum()) != len(frames):
        raise BadInputError(f"{path} holds frames {frames.shape} of another version; remove it, and train again")
    ends = np.cumsum(table[:, 4])
    parts: tuple[list[Spoken], ...] = ([], [], [])
    for (role, emotion, level, sentence, length), end in zip(table.tolist(), ends.tolist(), strict=True):
        parts[role].append(Spoken(frames[end - length : end].astype(np.float32), emotion, level, sentence))
    return Speaker(voice, bool(kind[0]), float(kind[1]), *map(tuple, parts))


def read_speakers(
    corpus: Path,
    folder: Path,
    wanted: Callable[[str], bool],
    programme: Programme,
    progress: Progress | None = None,
) -> list[Speaker]:
    """Speakers of the voices of a corpus whose names are `wanted`; what `folder` lacks is made and kept there."""
    paths = [path for path in sorted(corpus.glob("*.npz")) if wanted(path.stem)]
    if not paths:
        raise BadInputError(f"{corpus} holds none of the voices; build the corpus first (`livedub train corpus`)")
    speakers = []
    folder.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(paths):
        files = [folder / f"{path.stem}.{number}.npz" for number in range(programme.speakers)]
        if not all(file.exists() for file in files):
            for file, speaker in zip(files, speakers_of(path, programme), strict=False):
                write_speaker(file, speaker)
        speakers += [read_speaker(file, path.stem) for file in files if file.exists()]
        if progress is not None:
            progress(f"acted speech of {path.stem}", (index + 1) / len(paths))
    return speakers
