"""Faces of recordings that are played again and again: found once in every picture, ahead, and used from then on.

The tracker's answer belongs to the picture, not to the speaker or the speech. What is looked for ahead is every picture
in order, so that the crop is smoothed at the recording's full rate; an edit that finds an answer only renders.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from engine.tracking.tracker import TrackResult
from streaming.dubbing import Looking
from streaming.ingest.file import VideoInfo, read_video
from streaming.worker import Worker

MOST_PICTURES: Final = 4500
"""Pictures whose faces are kept, of all recordings together: three minutes, 40 MB; others are looked at in passing."""


class KnownFaces:
    """The faces of one recording, as far as they have been looked for.

    Args:
        info: the recording.
        most: pictures to keep; what comes after them is not looked at.
    """

    def __init__(self, info: VideoInfo, most: int = MOST_PICTURES) -> None:
        """None is known."""
        self.info: Final = info
        self.total: Final = min(most, len(info.ticks))
        """Pictures that will be known."""
        self._wanted: Final = frozenset(info.ticks[: self.total])
        self._found: Final[dict[int, TrackResult]] = {}
        self._shots: Final[dict[int, int]] = {}
        self._shot = 0
        self._looking: Final = asyncio.Lock()

    def __len__(self) -> int:
        """Pictures that are known."""
        return len(self._found)

    def of(self, tick: int, before: int | None) -> TrackResult | None:
        """What the tracker says of a picture that is shown after another one; None: it is not known yet.

        Args:
            tick: its time in the recording.
            before: that of the picture that was shown last; None: there was none, or it was of somewhere else.
        """
        found = self._found.get(tick)
        if found is None:
            return None
        cut = before is None or self._shots.get(before, self._shots[tick]) != self._shots[tick]
        return found if found.cut == cut else _with_cut(found, cut)

    async def look_through(self, session: Looking, worker: Worker) -> None:
        """Look for the face in every picture, in order; goes on where an earlier call was ended.

        Args:
            session: looks; it is used for nothing else.
            worker: the thread where it looks.

        Raises:
            MediaError: the recording is damaged.
        """
        async with self._looking:
            if len(self) >= self.total:
                return
            looked = self._look(session)
            while (each := await worker.run(lambda: next(looked, None))) is not None:
                tick, result = each
                self._shot += result.cut
                self._shots[tick] = self._shot
                self._found[tick] = result

    def _look(self, session: Looking) -> Iterator[tuple[int, TrackResult]]:
        """Every picture's time in the recording, and what the tracker says of it."""
        wanted = self._wanted - set(self._found)
        for frame in read_video(self.info):
            if not wanted:
                return
            if frame.pts in wanted:
                wanted -= {frame.pts}
                yield frame.pts, session.look(frame).result


def _with_cut(found: TrackResult, cut: bool) -> TrackResult:
    """The same, for another picture before it."""
    if found.reason in ("cut", "no_face"):
        return replace(found, cut=cut, reason="cut" if cut else "no_face")
    return replace(found, cut=cut)


class KnownRecordings:
    """The faces of the recordings that were played last; those unused longest are forgotten where there are too many.

    Args:
        most: pictures in all.
    """

    def __init__(self, most: int = MOST_PICTURES) -> None:
        """None is known."""
        self._most: Final = most
        self._known: Final[dict[tuple[Path, int, int], KnownFaces]] = {}

    def of(self, info: VideoInfo) -> KnownFaces:
        """The faces of a recording; those of a file that was written again are looked for again."""
        stat = info.path.stat()
        key = (info.path, stat.st_size, stat.st_mtime_ns)
        faces = self._known.pop(key, None)
        self._known[key] = faces = KnownFaces(info, self._most) if faces is None else faces
        while sum(each.total for each in self._known.values()) > self._most and len(self._known) > 1:
            del self._known[next(iter(self._known))]
        return faces

    def __len__(self) -> int:
        """Pictures that may be known, of all recordings."""
        return sum(each.total for each in self._known.values())
