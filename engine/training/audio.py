"""Reading sound files for the corpus and for evaluation: anything FFmpeg reads, as 16 kHz mono."""

from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from engine.errors import MediaError

SAMPLE_RATE = 16_000
"""Rate of all audio inside the engine, Hz."""


def read_audio(path: Path, container: str | None = None) -> NDArray[np.float32]:
    """The first audio stream of a file: [N] float32 at 16 kHz in [-1, 1], the mean of its channels.

    `container` names the FFmpeg demuxer for raw files without a header (for example "g722").
    """
    resampler = av.AudioResampler(format="fltp", rate=SAMPLE_RATE)
    pieces: list[NDArray[np.float32]] = []
    try:
        with av.open(str(path), format=container) as source:
            if not source.streams.audio:
                raise MediaError(f"{path} has no audio stream; give a file with sound")
            for frame in source.decode(audio=0):
                frame.pts = None
                pieces.extend(piece.to_ndarray().mean(axis=0) for piece in resampler.resample(frame))
            pieces.extend(piece.to_ndarray().mean(axis=0) for piece in resampler.resample(None))
    except av.FFmpegError as error:
        raise MediaError(f"{path} cannot be read as sound: {error}; give a WAV, FLAC, MP3 or video file") from error
    if not pieces:
        raise MediaError(f"{path} holds no sound; give a file that is not empty")
    return np.concatenate(pieces).astype(np.float32, copy=False)
