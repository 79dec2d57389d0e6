"""A filmed corpus as training sees it: MEAD's layout, or HDTF's lists beside its videos, as sound and mouth controls.

Clips are preprocessed once (filming.py); a speaker's landmarks become mouth controls (lips.py). At rest is the face
with closed lips in the emotion and level of the clip: what an emotion does to a silent face is not the controls' doing.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import FRAME_RATE, FaceBasis
from engine.speech.emotions import emotion_shares
from engine.tracking.backends import Tracker
from engine.training.audio import SAMPLE_RATE
from engine.training.filmed import Film, Listing, read_hdtf, read_mead
from engine.training.filming import VIDEO_RATE, preprocess, read_track
from engine.training.lips import controls_of, displacement, known_frames, rest_face, style_scale
from engine.training.prosody import level_intensity
from engine.training.running import Progress

logger = logging.getLogger(__name__)

LEAST_KNOWN_S: Final = 1.0
"""Clips with fewer seconds of known lips than this are left out."""

Style = tuple[str, str, int]
"""Speaker, emotion, level."""


@dataclass(frozen=True)
class FilmedClip:
    """A filmed utterance as training sees it."""

    speaker: str
    emotion: str
    level: int
    sentence: str
    """What is said, by its number; empty where films do not tell."""
    samples: NDArray[np.float32]
    """[N] mono, 16 kHz."""
    controls: NDArray[np.float32]
    """[T, CONTROLS]"""
    known: NDArray[np.bool_]
    """[T] where the controls are known."""

    @property
    def style(self) -> Style:
        """Who speaks, and how."""
        return self.speaker, self.emotion, self.level

    @property
    def shares(self) -> NDArray[np.float32]:
        """[EMOTIONS] of its emotion at its level."""
        return emotion_shares(self.emotion, 1.0 if self.emotion == "neutral" else level_intensity(self.level))


def read_films(folder: Path) -> Listing:
    """All clips of a filmed corpus.

    Args:
        folder: holds MEAD's speakers (`M003/video/front/...`), or HDTF's lists (`*_annotion_time.txt`) and a folder
            `videos`.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder, expected MEAD's speakers, or HDTF's lists and a folder videos")
    if any(folder.glob("*_annotion_time.txt")):
        return read_hdtf(folder, folder / "videos")
    if any(folder.glob("*/video")):
        return read_mead(folder)
    raise BadInputError(
        f"{folder} has no folder SPEAKER/video (MEAD) and no list *_annotion_time.txt (HDTF); name a filmed corpus"
    )


def load_clips(
    folder: Path, cache: Path, tracker: Tracker, basis: FaceBasis, usual: float, progress: Progress | None = None
) -> list[FilmedClip]:
    """Clips of a filmed corpus with their mouth controls; those that cannot be used are warned of.

    Args:
        folder: the corpus.
        cache: folder of preprocessed clips, filled where they are missing.
        tracker: finds the landmarks.
        basis: the landmarks that the controls move.
        usual: opening to which every speaker's style is scaled (`lips.usual_opening`).
        progress: told of every clip.
    """
    listing = read_films(folder).report()
    left_out = preprocess(listing.films, cache, tracker, progress)
    films = [film for film in listing.films if film.name not in left_out]
    by_speaker: dict[str, list[Film]] = {}
    for film in films:
        by_speaker.setdefault(film.speaker, []).append(film)
    clips = [clip for group in by_speaker.values() for clip in _speaker(group, cache, basis, usual)]
    if not clips:
        raise BadInputError(f"{folder} gave no clip to train on, of {len(listing.films)} listed; see the warnings")
    return clips


def _speaker(films: Sequence[Film], cache: Path, basis: FaceBasis, usual: float) -> list[FilmedClip]:
    """The clips of one speaker: at rest as in each emotion, in the usual style."""
    tracks = {film: read_track(cache / f"{film.name}.npz") for film in films}
    seen = {film: float(known_frames(track.head).sum()) / VIDEO_RATE for film, track in tracks.items()}
    for film in films:
        if seen[film] < LEAST_KNOWN_S:
            logger.warning("clip %s left out: lips are known for %.1f s of it", film.name, seen[film])
            del tracks[film]
    faces: dict[tuple[str, int], list[NDArray[np.float32]]] = {}
    for film, track in tracks.items():
        faces.setdefault((film.emotion, film.level), []).append(track.head)
    rest = {style: rest_face(np.concatenate(heads)) for style, heads in faces.items()}
    moved = {film: displacement(track.head, rest[film.emotion, film.level]) for film, track in tracks.items()}
    if not moved:
        return []
    scale = np.float32(style_scale(list(moved.values()), usual))
    clips = []
    for film, rows in moved.items():
        samples = tracks[film].samples
        controls, known = _as_long_as(samples, *controls_of(scale * rows, basis, VIDEO_RATE))
        sentence = film.video.stem if film.end_s is None else ""
        clips.append(FilmedClip(film.speaker, film.emotion, film.level, sentence, samples, controls, known))
    return clips


def _as_long_as(
    samples: NDArray[np.float32], controls: NDArray[np.float32], known: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Controls [T, CONTROLS] and where they are known [T], T as covers all samples [N]; beyond the film nothing is."""
    frames = -(-len(samples) * FRAME_RATE // SAMPLE_RATE)
    more = max(0, frames - len(controls))
    return np.pad(controls[:frames], ((0, more), (0, 0))), np.pad(known[:frames], (0, more))
