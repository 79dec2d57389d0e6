"""Filmed corpora in their official layouts: what lies where, and what is missing of it.

MEAD: speaker/video/view/emotion/level_n/NNN.mp4 beside speaker/audio/emotion/level_n/NNN.m4a. HDTF: lists
(`*_annotion_time.txt` with the clips of each video, `*_crop_wh.txt` with x, width, y, height of each clip) and a folder
of whole videos; the films themselves are fetched by whoever has the right to. Neither is part of this project.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from engine.errors import BadInputError
from engine.speech.emotions import EMOTIONS

logger = logging.getLogger(__name__)

_SOUNDS: Final = (".m4a", ".wav", ".flac", ".mp3")
_FILMS: Final = (".mp4", ".mkv", ".webm", ".avi")


@dataclass(frozen=True)
class Film:
    """A clip of a filmed speaker."""

    name: str
    """Unique in its corpus, usable as a file name."""
    speaker: str
    video: Path
    sound: Path
    """File with the sound: the video itself where it holds it."""
    emotion: str = "neutral"
    level: int = 1
    start_s: float = 0.0
    end_s: float | None = None
    """Part of the files that counts; None: to the end."""
    crop: tuple[int, int, int, int] | None = None
    """Left, top, width, height of the face in px; None: the whole picture."""


@dataclass(frozen=True)
class Listing:
    """What a corpus holds."""

    films: tuple[Film, ...]
    problems: tuple[str, ...]
    """What is missing or not understood, in words; each has been left out."""

    def report(self) -> "Listing":
        """Warns of every problem; the listing itself."""
        for problem in self.problems:
            logger.warning("left out: %s", problem)
        return self


def read_mead(folder: Path, views: Sequence[str] = ("front",)) -> Listing:
    """All clips of MEAD speakers under `folder` seen from `views`."""
    if not folder.is_dir():
        raise BadInputError(f"{folder} is not a folder, expected MEAD's speakers in it (M003, W009, ...)")
    films: list[Film] = []
    problems: list[str] = []
    speakers = sorted(path for path in folder.iterdir() if path.is_dir())
    for speaker in speakers:
        if not (speaker / "video").is_dir():
            problems.append(f"{speaker} has no folder video")
            continue
        for view in views:
            if not (speaker / "video" / view).is_dir():
                problems.append(f"{speaker}/video has no view {view}")
                continue
            for video in sorted((speaker / "video" / view).glob("*/*/*")):
                found = _mead_film(speaker, view, video)
                films.append(found) if isinstance(found, Film) else problems.append(found)
    if not speakers:
        problems.append(f"{folder} holds no speakers")
    return Listing(tuple(films), tuple(problems))


def _mead_film(speaker: Path, view: str, video: Path) -> Film | str:
    """The clip of a video, or why there is none."""
    emotion, level = video.parent.parent.name, re.fullmatch(r"level_([123])", video.parent.name)
    if video.suffix not in _FILMS:
        return f"{video} is no film, expected one of {', '.join(_FILMS)}"
    if emotion not in EMOTIONS:
        return f"{video} has emotion {emotion!r}, expected one of {', '.join(EMOTIONS)}"
    if level is None:
        return f"{video} has level {video.parent.name!r}, expected level_1, level_2 or level_3"
    place = speaker / "audio" / emotion / video.parent.name
    sounds = [place / (video.stem + suffix) for suffix in _SOUNDS if (place / (video.stem + suffix)).exists()]
    if not sounds:
        return f"{video} has no sound in {place}"
    name = f"{speaker.name}-{view}-{emotion}-{level[1]}-{video.stem}"
    return Film(name, speaker.name, video, sounds[0], emotion, int(level[1]))


def _lines(path: Path) -> Iterator[list[str]]:
    """Fields of the lines that are not empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read: {error}; expected a list of HDTF") from error
    yield from (line.split() for line in text.splitlines() if line.strip())


def _seconds(stamp: str) -> float | None:
    """minutes:seconds or hours:minutes:seconds; None when it is neither."""
    parts = stamp.split(":")
    if len(parts) not in (2, 3) or not all(re.fullmatch(r"\d+(\.\d+)?", part) for part in parts):
        return None
    return sum(float(part) * 60.0**power for power, part in enumerate(reversed(parts)))


def read_hdtf(lists: Path, videos: Path) -> Listing:
    """All clips of the HDTF lists in `lists` whose video lies in `videos`, by its name or with the part in front.

    (`Radio11.mp4` of the part RD may lie as `Radio11.mp4` or as `RD_Radio11.mp4`.) Clips without a crop are left out,
    as the authors do.
    """
    tables = sorted(lists.glob("*_annotion_time.txt"))
    if not tables:
        raise BadInputError(f"{lists} has no *_annotion_time.txt, expected the folder HDTF_dataset")
    films: list[Film] = []
    problems: list[str] = []
    for table in tables:
        part = table.name.removesuffix("_annotion_time.txt")
        crops = _crops(lists / f"{part}_crop_wh.txt", problems)
        for name, *stamps in _lines(table):
            video = _video(videos, part, name)
            if video is None:
                problems.append(f"{name} of {table.name} has no video in {videos}")
                continue
            for index, stamp in enumerate(stamps):
                clip = f"{Path(name).stem}_{index}"
                found = _hdtf_film(part, clip, stamp, video, crops.get(clip))
                films.append(found) if isinstance(found, Film) else problems.append(found)
    return Listing(tuple(films), tuple(problems))


def _crops(path: Path, problems: list[str]) -> dict[str, tuple[int, int, int, int]]:
    crops: dict[str, tuple[int, int, int, int]] = {}
    for name, *numbers in _lines(path):
        if len(numbers) != 4 or not all(number.isdecimal() for number in numbers) or "0" in (numbers[1], numbers[3]):
            problems.append(f"{name} of {path.name} has crop {' '.join(numbers)!r}, expected x width y height")
            continue
        left, width, top, height = map(int, numbers)
        crops[Path(name).stem] = (left, top, width, height)
    return crops


def _video(videos: Path, part: str, name: str) -> Path | None:
    stem = Path(name).stem
    for prefix in ("", f"{part}_"):
        for suffix in _FILMS:
            path = videos / f"{prefix}{stem}{suffix}"
            if path.exists():
                return path
    return None


def _hdtf_film(part: str, clip: str, stamp: str, video: Path, crop: tuple[int, int, int, int] | None) -> Film | str:
    """The clip of a time stamp, or why there is none."""
    start, _, end = stamp.partition("-")
    begin_s, end_s = _seconds(start), _seconds(end)
    if begin_s is None or end_s is None or end_s <= begin_s:
        return f"{clip} of {part} has time {stamp!r}, expected start-end as minutes:seconds"
    if crop is None:
        return f"{clip} of {part} has no crop"
    speaker = f"{part}-{clip.rsplit('_', 1)[0]}"
    return Film(f"{part}-{clip}", speaker, video, video, start_s=begin_s, end_s=end_s, crop=crop)
