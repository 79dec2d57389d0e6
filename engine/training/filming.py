"""Preprocessing of filmed corpora: sound at 16 kHz and landmarks at 25 fps, kept on disk.

A clip is decoded once; its face is tracked, its points are taken to the head frame and resampled. Clips that are broken
or show no face are reported and left out.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import BadInputError, MediaError
from engine.speech.emotions import EMOTIONS
from engine.tracking.backends import Tracker
from engine.tracking.pose import to_head
from engine.training.arrays import read_arrays, write_arrays
from engine.training.audio import SAMPLE_RATE, read_audio
from engine.training.filmed import Film

logger = logging.getLogger(__name__)

VIDEO_RATE: Final = 25
"""Landmark frames per second."""
MOST_WITHOUT_FACE: Final = 0.2
"""Share of frames without a face at which a clip is left out."""
LONGEST_GAP_S: Final = 0.25
"""Gaps of the track up to this length are bridged; frames in longer ones stay unknown."""

_HAIR: Final = 1e-6
"""Rounding of times, seconds: a frame that lies this near to an edge lies on it."""


@dataclass(frozen=True)
class FilmTrack:
    """A preprocessed clip."""

    samples: NDArray[np.float32]
    """[N] mono, 16 kHz."""
    head: NDArray[np.float32]
    """[T, 68, 3] landmarks in the head frame, inter-ocular distances, at 25 fps; NaN where unknown."""
    emotion: str
    level: int


def _frames(film: Film, tracker: Tracker) -> tuple[list[float], list[NDArray[np.float64] | None]]:
    """Times within the clip, and landmarks in the head frame."""
    times: list[float] = []
    heads: list[NDArray[np.float64] | None] = []
    tracker.reset()
    try:
        with av.open(str(film.video)) as source:
            if not source.streams.video:
                raise MediaError(f"{film.video} has no picture; the file is broken")
            if film.start_s > 2.0:
                source.seek(int((film.start_s - 1.0) * av.time_base))
            for frame in source.decode(video=0):
                seconds = float(frame.time or 0.0) - film.start_s
                if seconds < 0.0:
                    continue
                if film.end_s is not None and seconds >= film.end_s - film.start_s:
                    break
                rgb = np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                found = tracker.track(_cropped(rgb, film), seconds).face
                times.append(seconds)
                heads.append(None if found is None else to_head(found.points, found.pose))
    except av.FFmpegError as error:
        raise MediaError(f"{film.video} cannot be decoded: {error}; fetch it again") from error
    return times, heads


def _cropped(rgb: NDArray[np.uint8], film: Film) -> NDArray[np.uint8]:
    if film.crop is None:
        return rgb
    left, top, width, height = film.crop
    if left + width > rgb.shape[1] or top + height > rgb.shape[0]:
        raise MediaError(
            f"{film.video} is {rgb.shape[1]}x{rgb.shape[0]}, smaller than its crop {film.crop}; "
            "expected the resolution of the list"
        )
    return np.ascontiguousarray(rgb[top : top + height, left : left + width])


def resample_track(
    times: Sequence[float], heads: Sequence[NDArray[np.float64] | None], seconds: float
) -> NDArray[np.float32]:
    """Landmarks [T, 68, 3] at 25 fps over `seconds`, linear between known frames, NaN in gaps and beyond the ends.

    Up to one step beyond them the last known face stands.

    Args:
        times: [K] seconds, rising; of frames with one and the same time the last counts.
        heads: [K] landmarks [68, 3], None where there is no face.
        seconds: length of the track.
    """
    wanted = np.arange(int(seconds * VIDEO_RATE + _HAIR)) / VIDEO_RATE
    out = np.full((len(wanted), 68, 3), np.nan, np.float32)
    known = {time: head for time, head in zip(times, heads, strict=True) if head is not None}
    if len(known) < 2:
        return out
    at, rows = np.array(list(known)), np.stack(list(known.values()))
    upper = np.clip(np.searchsorted(at, wanted), 1, len(at) - 1)
    span = at[upper] - at[upper - 1]
    share = np.clip((wanted - at[upper - 1]) / span, 0.0, 1.0)
    near = 1 / VIDEO_RATE + _HAIR
    inside = (span <= LONGEST_GAP_S + _HAIR) & (wanted >= at[0] - near) & (wanted <= at[-1] + near)
    blended = rows[upper - 1] * (1.0 - share)[:, None, None] + rows[upper] * share[:, None, None]
    out[inside] = blended[inside]
    return out


def track_film(film: Film, tracker: Tracker) -> FilmTrack:
    """Decodes, tracks and resamples a clip. Raises `MediaError` when it cannot be used, and says why."""
    times, heads = _frames(film, tracker)
    if not times:
        raise MediaError(f"{film.name} has no frames from {film.start_s} s on; the film is shorter than its list says")
    lost = sum(head is None for head in heads) / len(heads)
    if lost > MOST_WITHOUT_FACE:
        raise MediaError(
            f"{film.name} shows no face in {lost:.0%} of its frames, at most {MOST_WITHOUT_FACE:.0%} count"
        )
    begin = round(film.start_s * SAMPLE_RATE)
    end = None if film.end_s is None else round(film.end_s * SAMPLE_RATE)
    samples = read_audio(film.sound)[begin:end]
    seconds = min(len(samples) / SAMPLE_RATE, times[-1] + 1 / VIDEO_RATE)
    return FilmTrack(samples, resample_track(times, heads, seconds), film.emotion, film.level)


def preprocess(
    films: Sequence[Film], folder: Path, tracker: Tracker, progress: Callable[[str, float], None] | None = None
) -> dict[str, str]:
    """Writes folder/NAME.npz of every clip that is not there yet; returns name -> reason of those left out."""
    folder.mkdir(parents=True, exist_ok=True)
    left_out: dict[str, str] = {}
    for index, film in enumerate(films):
        path = folder / f"{film.name}.npz"
        if not path.exists():
            try:
                track = track_film(film, tracker)
            except MediaError as error:
                logger.warning("clip %s left out: %s", film.name, error)
                left_out[film.name] = str(error)
                continue
            samples = np.round(np.clip(track.samples, -1.0, 1.0) * 32767.0).astype(np.int16)
            parts: dict[str, ArrayLike] = {"samples": samples, "head": track.head}
            write_arrays(path, parts | {"emotion": film.emotion, "level": film.level}, compressed=True)
        if progress is not None:
            progress(film.name, (index + 1) / len(films))
    return left_out


def read_track(path: Path) -> FilmTrack:
    """Reads what `preprocess` wrote."""
    names = ("samples", "head", "emotion", "level")
    samples, head, told, strength = read_arrays(path, names, "a preprocessed clip", "preprocess it again")
    emotion, level = str(told), int(strength)
    if head.ndim != 3 or head.shape[1:] != (68, 3) or emotion not in EMOTIONS:
        raise BadInputError(f"{path} holds {head.shape} landmarks in emotion {emotion!r}, expected [T, 68, 3]")
    return FilmTrack(samples.astype(np.float32) / 32767.0, head, emotion, level)
