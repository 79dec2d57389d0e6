"""Copying decoded pictures of a live stream, whose format and size may change at any time."""

from typing import Any

import av

from engine.media import VideoFrame
from streaming.orientation import Orientation
from streaming.pictures import Colour, PictureFormat, from_av


class PictureReader:
    """Copies decoded pictures of one stream."""

    def __init__(self) -> None:
        """Nothing read yet."""
        self._seen: tuple[Any, ...] = ()
        self._format: PictureFormat | None = None

    def read(self, frame: av.VideoFrame) -> VideoFrame:
        """A picture upright in its own planes; it must have a time."""
        seen = (frame.format.name, frame.width, frame.height, int(frame.color_range), int(frame.colorspace))
        if self._format is None or seen != self._seen:
            tags = (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
            self._format, self._seen = PictureFormat.of(frame, Colour(*(int(tag) for tag in tags))), seen
        assert frame.pts is not None
        assert frame.time_base is not None
        picture = from_av(frame, self._format, frame.pts, frame.time_base)
        return Orientation.of(frame).upright_frame(picture)
