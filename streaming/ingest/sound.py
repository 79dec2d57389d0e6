"""Reading the sound of any file: once as the engine wants it, once as it was for the output."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from numpy.typing import NDArray

from engine.errors import MediaError
from engine.media import AudioChunk
from streaming.ingest.file import open_media

ENGINE_RATE = 16000
"""Samples per second of the sound that the engine hears."""

MAX_RATE = 48000
"""Highest rate that is kept for the output; higher ones are resampled to it."""

_NO_GAIN = {"rematrix_maxval": "1.0"}
"""Mixing channels down never makes them louder (left alone, FFmpeg does so for float samples)."""


@dataclass(frozen=True, eq=False)
class Sound:
    """All the sound of a file, starting with the file's own start."""

    speech: NDArray[np.float32]
    """[N] mono at `ENGINE_RATE`, in [-1, 1]: the mean of the channels."""
    track: NDArray[np.float32]
    """[C, M] at `rate`, in [-1, 1]: one or two channels as recorded; more are mixed to two."""
    rate: int
    """Samples per second of `track`: the file's own, at most `MAX_RATE`."""

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return float(self.track.shape[1] / self.rate)

    def chunks(self, length: float = 0.1, until: float | None = None) -> Iterator[AudioChunk]:
        """The engine's sound in pieces of `length` seconds, up to `until` seconds."""
        step = max(1, round(length * ENGINE_RATE))
        end = len(self.speech) if until is None else min(len(self.speech), round(until * ENGINE_RATE))
        for first in range(0, end, step):
            samples = self.speech[first : min(first + step, end)]
            yield AudioChunk(samples, ENGINE_RATE, first, Fraction(1, ENGINE_RATE))

    def fitted(self, seconds: float) -> NDArray[np.float32]:
        """`track` cut or filled with silence to `seconds`: [C, round(seconds * rate)]."""
        wanted = round(seconds * self.rate)
        have = self.track[:, :wanted]
        return np.pad(have, ((0, 0), (0, wanted - have.shape[1])))


def read_sound(path: Path) -> Sound:
    """Decode the first sound stream of a file, of any sample format, rate and number of channels."""
    with open_media(path) as container:
        stream = _audio_stream(container, path)
        rate = min(stream.codec_context.sample_rate, MAX_RATE)
        layout = "mono" if stream.codec_context.channels == 1 else "stereo"
        for_engine = av.AudioResampler("fltp", layout, ENGINE_RATE, options=_NO_GAIN)
        for_output = av.AudioResampler("fltp", layout, rate, options=_NO_GAIN)
        speech: list[NDArray[np.float32]] = []
        track: list[NDArray[np.float32]] = []
        late: float | None = None
        for frame in container.decode(stream):
            if late is None:
                late = 0.0 if frame.time is None else frame.time - (container.start_time or 0) / av.time_base
            frame.pts = None
            speech += _samples(for_engine, frame)
            track += _samples(for_output, frame)
        speech += _samples(for_engine, None)
        track += _samples(for_output, None)
    if not track or late is None or sum(part.shape[1] for part in track) == 0:
        raise MediaError(f"{path}: its sound stream holds no samples. Expected speech; record or convert it again.")
    mono = _joined(speech, late, ENGINE_RATE).mean(axis=0)
    return Sound(mono, _joined(track, late, rate), rate)


def _audio_stream(container: InputContainer, path: Path) -> AudioStream:
    for stream in container.streams.audio:
        if stream.codec_context is not None and stream.codec_context.sample_rate > 0:
            return stream
    kinds = ", ".join(sorted({s.type for s in container.streams})) or "nothing"
    raise MediaError(f"{path}: no sound in it (found: {kinds}). Give a file with speech as --audio.")


def _samples(resampler: av.AudioResampler, frame: av.AudioFrame | None) -> list[NDArray[np.float32]]:
    return [np.asarray(part.to_ndarray(), np.float32) for part in resampler.resample(frame)]


def _joined(parts: list[NDArray[np.float32]], late: float, rate: int) -> NDArray[np.float32]:
    """Parts [C, n] in a row, silence before them for a stream that starts `late` seconds, values within [-1, 1]."""
    whole = np.concatenate(parts, axis=1)
    whole = np.clip(np.nan_to_num(whole, nan=0.0, posinf=1.0, neginf=-1.0), -1.0, 1.0)
    start = round(late * rate)
    return np.pad(whole, ((0, 0), (start, 0))) if start >= 0 else whole[:, -start:]
