"""A scripted engine, clips and speech made on the spot, and judges that read nothing: for benchmarks of whole runs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from engine.evaluation import MeasuredFrame, NotMeasured
from engine.media import AudioChunk, VideoFrame
from engine.tracking.tracker import TrackResult

FRAMES = 12
"""Pictures of a made clip."""


class Echo:
    """A session that gives every frame back one frame late, with a mask and landmarks."""

    def __init__(self) -> None:
        """Nothing heard or seen yet."""
        self.heard = 0
        self.held: list[VideoFrame] = []
        self.done: list[VideoFrame] = []

    def push_audio(self, chunk: AudioChunk) -> None:
        """Counts samples."""
        self.heard += len(chunk.samples)

    def end_audio(self) -> None:
        """Speech has to have come."""
        assert self.heard > 0

    def push_video(self, frame: VideoFrame) -> None:
        """Holds a frame until the next one."""
        self.done, self.held = [*self.done, *self.held], [frame]

    def end_video(self) -> None:
        """Lets the last frame go."""
        self.done, self.held = [*self.done, *self.held], []

    def ready(self) -> Sequence[Any]:
        """The frames that are let go."""
        points = np.full((68, 2), 30, dtype=np.float32)
        points[36], points[45] = (20, 20), (44, 20)
        given, self.done = self.done, []
        mask = np.ones((24, 24), np.float32)
        return [
            MeasuredFrame(
                f, f, effort=2, target=points, tracked=points, mask=mask, mask_origin=(16, 16), stages_ms={"edit": 1.0}
            )
            for f in given
        ]


class Profile:
    """A profile that is a file."""

    preview = np.zeros((4, 4, 3), np.uint8)
    rest_opening = 0.012
    notes: Mapping[str, Any] = {}

    def save(self, path: Path) -> None:
        """Writes something."""
        path.write_bytes(b"profile")


@dataclass
class FakeEngine:
    """Counts what it is asked for."""

    enrolled: int = 0
    sessions: list[int | None] = field(default_factory=list)

    def enroll(
        self, frames: Iterable[VideoFrame], quality: str, tracker: str, report: Callable[..., None], generator: str = ""
    ) -> Profile:
        """Looks at all frames."""
        assert len(list(frames)) == FRAMES
        report("enrolling", 1, 1)
        self.enrolled += 1
        return Profile()

    def load(self, path: Path) -> Profile:
        """Reads something."""
        assert path.read_bytes() == b"profile"
        return Profile()

    def session(
        self, profile: Any, effort: int | None, tracker: str, emotion: str = "neutral", intensity: float = 1.0
    ) -> Echo:
        """A new session."""
        self.sessions.append(effort)
        return Echo()


def make_clip(path: Path) -> Path:
    """A video of `FRAMES` grey pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for index in range(FRAMES):
            noise = np.random.default_rng(index).integers(60, 190, (64, 64, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def make_speech(path: Path) -> Path:
    """Half a second of noise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        samples = np.random.default_rng(0).integers(-9000, 9000, (1, 8000)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


class NoJudge:
    """Stands for the judge where none is needed."""

    name = "none"

    def landmarks(self, rgb: Any, tracked: Any) -> Any:
        """Cannot read anything."""
        raise NotMeasured("no judge in this test")

    def descriptor(self, rgb: Any, landmarks: Any) -> Any:
        """Never asked."""
        raise AssertionError


class Blind:
    """A tracker that sees no face."""

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        """Nothing."""
        return TrackResult(None, "no_face", False)
