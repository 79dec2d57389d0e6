"""Pictures of a clip for measurements that need no more than them: times and RGB, in order."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.errors import MediaError
from streaming.ingest.file import open_media


def pictures(path: Path, most: int | None = None) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Times in seconds and pictures [H,W,3] of a clip, as they are coded (not turned upright).

    Args:
        path: of the clip.
        most: pictures at the most; None: all.

    Raises:
        MediaError: there is no such file, or it holds no pictures.
    """
    with open_media(path) as container:
        if not container.streams.video:
            raise MediaError(f"{path}: got a file without pictures, expected a video; name another clip")
        for index, frame in enumerate(container.decode(video=0)):
            if index == most:
                return
            yield float(frame.time or 0.0), np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8)
