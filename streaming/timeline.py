"""Which pictures a dub has, and when: the video as it is, cut out, or back and forth as long as the speech lasts."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

from engine.errors import MediaError
from engine.media import VideoFrame
from streaming.ingest.file import VideoInfo, read_video, read_video_backwards


@dataclass(frozen=True)
class Timeline:
    """The pictures of one dub; times count from `start`."""

    info: VideoInfo
    """The video."""
    start: float
    """Seconds of the video that are left out at its beginning."""
    duration: float | None
    """Seconds of the video that are used; None: all."""
    pts: tuple[int, ...]
    """Time of every picture of the dub in ticks of the video's time base."""
    seconds: float
    """End of the last picture."""

    @classmethod
    def plan(cls, info: VideoInfo, start: float, duration: float | None, speech_s: float, loop: bool) -> "Timeline":
        """Lay out the pictures; with `loop` they go back and forth until `speech_s` seconds are filled."""
        if start < 0 or (duration is not None and duration <= 0):
            raise MediaError(f"got --start {start:g}, --duration {duration}; expected a start >= 0 and a length > 0.")
        zero = round(start / info.time_base)
        once = tuple(tick - zero for tick in info.ticks_between(start, duration))
        step = info.typical_step
        end = float((once[-1] + step) * info.time_base)
        if not loop or speech_s <= end:
            return cls(info, start, duration, once, end)
        if len(once) < 2:
            raise MediaError(f"{info.path}: --loop got one picture, expected at least two. Choose a longer part.")
        pts = list(once)
        for index in _bouncing(len(once)):
            pts.append(pts[-1] + abs(once[index[1]] - once[index[0]]))
            if float(pts[-1] * info.time_base) >= speech_s:
                pts.pop()
                break
        return cls(info, start, duration, tuple(pts), float((pts[-1] + step) * info.time_base))

    def frames(self) -> Iterator[VideoFrame]:
        """The pictures in order, decoded as they are asked for."""
        pictures = self._passes()
        for pts in self.pts:
            yield replace(next(pictures), pts=pts)

    def _passes(self) -> Iterator[VideoFrame]:
        """Forwards, backwards, forwards ... without showing the turning pictures twice."""
        yield from read_video(self.info, self.start, self.duration)
        for turn in count():
            read = read_video if turn % 2 else read_video_backwards
            again = read(self.info, self.start, self.duration)
            next(again)
            yield from again


def _bouncing(length: int) -> Iterator[tuple[int, int]]:
    """Endless pairs (from, to) of neighbouring indices, starting backwards from the last one."""
    while True:
        for index in range(length - 1, 0, -1):
            yield index, index - 1
        for index in range(length - 1):
            yield index, index + 1
