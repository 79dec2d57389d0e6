"""Where a session's pictures and voice come from, as asked for, and opening them."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import av
import numpy as np
from numpy.typing import NDArray

from engine.media import VideoFrame
from streaming.clock import Clock
from streaming.ingest.file import VideoInfo, probe_video, read_video
from streaming.ingest.paced import endless, play
from streaming.ingest.sound import read_sound
from streaming.live.media import SOUND_RATE
from streaming.worker import Worker

DEMO_DATA: Final = Path(__file__).resolve().parents[1] / "demo_data"
"""The shipped presenter, her profile, and speech."""

PRESENTER_CLIP: Final = DEMO_DATA / "presenter.mp4"
"""The presenter's clip."""

SourceKind = Literal["presenter", "file", "url", "camera", "whip"]
VoiceKind = Literal["none", "presenter", "file", "whip", "source", "url", "stream"]

PAUSE_S: Final = 1.0
"""Silence before a recording begins anew."""


@dataclass(frozen=True)
class SourceSpec:
    """Where the pictures come from."""

    kind: SourceKind
    """presenter: the shipped clip; file: a recording, back and forth; url: RTSP, RTMP, UDP; camera: one of this
    machine; whip: one elsewhere."""
    path: Path | None = None
    """Of a file."""
    url: str | None = None
    """Of a network source; a camera's name."""

    @property
    def is_of_a_person(self) -> bool:
        """Whether consent has to be asked for: the shipped presenter does not exist."""
        return self.kind != "presenter"


@dataclass(frozen=True)
class VoiceSpec:
    """Where the dubbing voice comes from."""

    kind: VoiceKind = "none"
    """none; presenter: the shipped speech; file: a recording; whip: a microphone; source: the sound that comes with
    the pictures of an address; url: the sound of an address; stream: PCM over a WebSocket."""
    path: Path | None = None
    """Of a file."""
    url: str | None = None
    """Of a network voice."""
    repeat: bool = True
    """Whether a recording begins anew at its end."""

    @property
    def is_recorded(self) -> bool:
        """Whether it is read whole before it is played."""
        return self.kind in ("presenter", "file")


async def probe_recording(spec: SourceSpec, worker: Worker) -> VideoInfo:
    """What is known of the presenter's clip or a file before it is played.

    Raises:
        MediaError: the file cannot be read.
    """
    path = PRESENTER_CLIP if spec.path is None else spec.path
    return await worker.run(lambda: probe_video(path))


def played(info: VideoInfo, clock: Clock, worker: Worker) -> AsyncGenerator[VideoFrame, None]:
    """The pictures of a recording, paced, back and forth for ever."""
    return play(endless(info), clock, worker)


def first_picture() -> VideoFrame:
    """The presenter's first picture, to try edits on.

    Raises:
        MediaError: the shipped clip cannot be read.
    """
    return next(read_video(probe_video(PRESENTER_CLIP)))


def read_voice(spec: VoiceSpec) -> NDArray[np.float32]:
    """A recording as the session plays it: [N] mono at 48 kHz.

    Raises:
        MediaError: the file cannot be read or has no sound.
    """
    path = DEMO_DATA / "speech.flac" if spec.path is None else spec.path
    sound = read_sound(path)
    mono = np.ascontiguousarray(sound.track.mean(axis=0, keepdims=True), dtype=np.float32)
    if sound.rate == SOUND_RATE:
        only: NDArray[np.float32] = mono[0]
        return only
    resampler = av.AudioResampler("flt", "mono", SOUND_RATE)
    frame = av.AudioFrame.from_ndarray(mono, "flt", "mono")
    frame.sample_rate = sound.rate
    parts = [*resampler.resample(frame), *resampler.resample(None)]
    return np.concatenate([np.asarray(part.to_ndarray(), np.float32).reshape(-1) for part in parts])
