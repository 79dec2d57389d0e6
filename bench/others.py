"""Results of other systems (Wav2Lip, VideoReTalking, StyleHEAT, MuseTalk ...), scored by the same figures.

A folder holds one video a clip, `CLIP__SPEECH.mp4` for a clip dubbed with another speech or `CLIP.mp4` for one dubbed
with its own sound, each beginning where the clip begins. Every picture of the clip is compared with the result's
nearest in time.

What a file cannot tell is said to be not measured: encoded files differ from their source everywhere, nobody knows
where a mouth was pasted in, and the lips that another system aimed at are known only where a clip was dubbed with its
own sound: the filmed ones, as the tracker sees them. (Ours are held against what speech asked for instead; LMD holds
both against the filmed ones.) A re-encoded copy of a clip scores 0.016 and 0.88 by that, lip error and opening r: the
judge's own noise.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError, MediaError
from engine.evaluation import Collector, Judge, MeasuredFrame
from engine.evaluation.lse import LSE, LipSync, without
from engine.evaluation.reconstruction import Distance, Reconstruction
from engine.evaluation.strips import StripMaker, resized
from engine.media import VideoFrame
from engine.tracking.tracker import TrackResult
from streaming.ingest.file import VideoInfo, probe_video, read_video
from streaming.ingest.sound import read_sound

VIDEOS: Final = (".mp4", ".avi", ".mov", ".mkv", ".webm")
OWN: Final = "own"
"""Stands for a clip's own sound where a speech is named."""
ENCODED: Final = "the result is an encoded file: its pixels differ from the clip's everywhere"
UNKNOWN_MASK: Final = "where the other system laid its mouth into the picture is not known"
UNKNOWN_LIPS: Final = "the lips that the other system aimed at are not known; dub the clip with its own sound"
NO_ACTIVITY: Final = "needs the speech's pauses, which a result file does not tell"
_LIPS: Final = ("lip_target_error", "lip_opening_r", "sync_offset_ms")
_JAW: Final = np.r_[3:14, 31, 35]
"""Landmarks whose hull is the lower face: jaw, and the nose's wings."""
_SOFT: Final = 0.05
"""Width of that mask's edge in inter-ocular distances."""
_ASPECT: Final = 0.01
"""Largest relative difference of aspect at which a result is still the whole picture at another size."""


class Tracker(Protocol):
    """What finds the face in the clip's own pictures."""

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        """The face of the next picture."""


@dataclass(frozen=True)
class System:
    """Another system's results."""

    name: str
    """As it is called in tables."""
    folder: Path
    """Its videos."""

    @classmethod
    def parse(cls, text: str) -> "System":
        """From NAME=FOLDER.

        Raises:
            BadInputError: it is none, or there is no such folder.
        """
        name, _, folder = text.partition("=")
        if not name or not folder or not Path(folder).is_dir():
            raise BadInputError(f"--results {text}: expected NAME=FOLDER with a folder of videos named by clip")
        return cls(name, Path(folder))

    def result(self, clip: Path, speech: Path | None) -> Path | None:
        """The video of a clip with a speech (None: its own sound), if it is there.

        Raises:
            BadInputError: there are several.
        """
        stem = clip.stem if speech is None else f"{clip.stem}__{speech.stem}"
        found = sorted(
            self.folder / f"{stem}{suffix}" for suffix in VIDEOS if (self.folder / f"{stem}{suffix}").is_file()
        )
        if len(found) > 1:
            raise BadInputError(f"{self.folder}: got {', '.join(p.name for p in found)}, expected one video of {stem}")
        return found[0] if found else None


def lower_face(points: NDArray[np.float32], height: int, width: int) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Soft mask of the filmed lower face, the same for every system: [h,w] 0...1 and its top left corner.

    Args:
        points: [68,2] px of the picture.
        height: rows of the picture.
        width: columns of the picture.
    """
    soft = max(1.0, _SOFT * float(np.linalg.norm(points[45] - points[36])))
    low = np.floor(points[_JAW].min(0) - 3 * soft).astype(int).clip(0, [width - 1, height - 1])
    high = np.ceil(points[_JAW].max(0) + 3 * soft).astype(int).clip(low + 1, [width, height])
    hull = cv2.convexHull((points[_JAW] - low).round().astype(np.int32))
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.float32)
    cv2.fillConvexPoly(mask, hull, 1.0)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), soft), np.float32), (int(low[1]), int(low[0]))


def paired(
    result: VideoInfo, clip: VideoInfo, start: float, duration: float | None
) -> Iterator[tuple[VideoFrame, VideoFrame]]:
    """Every picture of a clip with the result's nearest in time; those that the result has nothing for are left out.

    Raises:
        BadInputError: the result shows another part of the picture.
    """
    if abs(result.width * clip.height / (result.height * clip.width) - 1) > _ASPECT:
        raise BadInputError(
            f"{result.path}: {result.width}x{result.height}, the clip is {clip.width}x{clip.height}; expected the "
            "whole picture, at any size: cropped results cannot be laid beside the clip"
        )
    shown = read_video(result)
    nearest, following = next(shown), next(shown, None)
    far = max(part.typical_step * float(part.time_base) for part in (result, clip)) / 2 + 1e-6
    for source in read_video(clip, start, duration):
        while following is not None and abs(following.seconds - source.seconds) < abs(nearest.seconds - source.seconds):
            nearest, following = following, next(shown, None)
        if abs(nearest.seconds - source.seconds) <= far:
            yield _same_form(nearest, source), source


def _same_form(frame: VideoFrame, source: VideoFrame) -> VideoFrame:
    """The result's picture at the size, time and in the planes of the clip's."""
    rgb = frame.rgb()
    if rgb.shape[:2] != (source.height, source.width):
        rgb = resized(rgb, source.height, source.width)
    return VideoFrame.from_rgb(
        rgb, source.pts, source.time_base, source.subsampling, source.bit_depth, source.matrix, source.full_range
    )


def score(
    result: Path,
    clip: Path,
    own_sound: bool,
    parts: tuple[Tracker, Judge | None, Distance | None],
    span: tuple[float, float | None] = (0.0, None),
    strip: StripMaker | None = None,
    collector: Collector | None = None,
    sync: LipSync | None = None,
) -> dict[str, Any]:
    """Measure one video of another system.

    Args:
        result: the video.
        clip: what was dubbed.
        own_sound: whether it was dubbed with its own sound, so that the filmed lips are the target.
        parts: tracker, judge and learnt distance.
        span: start and length in seconds of the part of the clip that was dubbed.
        strip: takes pictures, if any are wanted.
        collector: takes the readings; one of its own by default.
        sync: measures lips against the result's own sound, if SyncNet's weights are there.

    Returns:
        The report, in the form of our own runs.

    Raises:
        BadInputError: the result shows another part of the picture.
    """
    tracker, judge, distance = parts
    collector, likeness = collector or Collector(judge), Reconstruction(judge, distance)
    for frame, source in paired(probe_video(result), probe_video(clip), *span):
        found = tracker.track(source.rgb(), source.seconds)
        shown = _shown(frame, source, found)
        collector.add(shown)
        if sync is not None:
            sync.add(shown.frame, shown.tracked)
        if own_sound:
            likeness.add(frame, source, shown.tracked)
        if strip is not None:
            strip.add(shown)
    report = collector.finish().as_dict()
    unknown = {"outside": ENCODED, "seam": UNKNOWN_MASK, "closed_in_silence": NO_ACTIVITY}
    unknown |= {} if own_sound else dict.fromkeys(_LIPS, UNKNOWN_LIPS)
    for key, reason in unknown.items():
        report["figures"][key] = None
        report["not_measured"][key] = reason
        report["counted"].pop(key, None)
    report["details"] = {} if not own_sound else report["details"]
    if sync is not None:
        add_lse(report, _heard(result, sync))
    return report | {"reconstruction": likeness.finish() if own_sound else None}


def _heard(result: Path, sync: LipSync) -> dict[str, Any]:
    try:
        return sync.finish(read_sound(result).speech)
    except MediaError:
        return without("the result has no sound")


def add_lse(report: dict[str, Any], found: dict[str, Any]) -> None:
    """Puts what SyncNet measured into a report, in place of "not measured"."""
    report["lse"] = found
    report["not_measured"] = {k: v for k, v in report["not_measured"].items() if k not in LSE} | found["not_measured"]


def _shown(frame: VideoFrame, source: VideoFrame, found: TrackResult) -> MeasuredFrame:
    """A picture of a result; its target are the filmed lips, which a dub with the clip's own sound aims at."""
    if found.face is None:
        return MeasuredFrame(frame, source, False, found.reason)
    points = np.ascontiguousarray(found.face.points[:, :2], dtype=np.float32)
    mask, origin = lower_face(points, source.height, source.width)
    return MeasuredFrame(frame, source, target=points, tracked=points, mask=mask, mask_origin=origin)


Scorer = Callable[[Path, Path, bool], dict[str, Any]]
"""Result, clip, whether it was dubbed with its own sound -> report."""


def score_all(systems: list[System], pairs: list[tuple[Path, Path | None]], scorer: Scorer) -> list[dict[str, Any]]:
    """Reports of every result that is there; those that are not are told in a report without figures.

    Args:
        systems: the folders.
        pairs: clips and speeches (None: the clip's own sound).
        scorer: measures one.
    """
    reports = []
    for system in systems:
        for clip, speech in pairs:
            run = {"system": system.name, "clip": clip.stem, "speech": OWN if speech is None else speech.stem}
            result = system.result(clip, speech)
            if result is None:
                reports.append({"run": run, "missing": f"no video of it in {system.name}'s folder"})
                continue
            reports.append({"run": run, **scorer(result, clip, speech is None)})
    return reports
