"""One dub from file to file: the timeline through a session of the engine into an MP4."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from engine.evaluation import EditedFrameLike
from engine.media import AudioChunk, VideoFrame
from streaming.egress.file import mp4_writer
from streaming.ingest.sound import Sound
from streaming.screen import Report
from streaming.timeline import Timeline


@runtime_checkable
class Chosen(Protocol):
    """A session that chose how it renders, and tells how it follows the speech."""

    backend: Mapping[str, Any]
    """What renders, under "backend", and why, under "reason"; further plain JSON values."""

    @property
    def speech_notes(self) -> Mapping[str, Any]:
        """Look-ahead, alignment, emotion asked and emotions shown: plain JSON values."""


class Session(Protocol):
    """What a dub asks of the engine's `Dubber`."""

    def push_audio(self, chunk: AudioChunk) -> None:
        """Take the next piece of speech."""

    def end_audio(self) -> None:
        """No more speech comes."""

    def push_video(self, frame: VideoFrame) -> None:
        """Take the next picture."""

    def end_video(self) -> None:
        """No more pictures come."""

    def ready(self) -> Sequence[EditedFrameLike]:
        """The finished pictures so far, in order, each once."""


@dataclass
class Tally:
    """What became of the pictures of one dub."""

    frames: int = 0
    """Pictures written."""
    edited: int = 0
    """Pictures that were edited."""
    passed_through: Counter[str] = field(default_factory=Counter)
    """Reason -> pictures that went through untouched."""
    effort: Counter[int] = field(default_factory=Counter)
    """Optimisation steps -> pictures that got so many."""

    def add(self, edited: EditedFrameLike) -> None:
        """Count one picture."""
        self.frames += 1
        if edited.edited:
            self.edited += 1
            self.effort[edited.effort] += 1
        else:
            self.passed_through[edited.reason] += 1

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain JSON values."""
        return {
            "frames": self.frames,
            "edited": self.edited,
            "passed_through": dict(self.passed_through),
            "effort": {str(steps): count for steps, count in sorted(self.effort.items())},
        }

    def __str__(self) -> str:
        """The counts in words."""
        passed = ", ".join(f"{reason} {count}" for reason, count in self.passed_through.most_common())
        untouched = self.frames - self.edited
        return f"{self.frames} pictures, {self.edited} edited, {untouched} untouched{f' ({passed})' if passed else ''}"


def dub_to_file(
    session: Session,
    timeline: Timeline,
    sound: Sound,
    out: Path,
    report: Report,
    watch: Callable[[EditedFrameLike], None] | None = None,
) -> Tally:
    """Run a whole video through a session and write it with its new sound; the file appears only when all is done.

    `watch` sees every finished picture in order, before it is encoded.
    """
    tally = Tally()
    total = len(timeline.pts)
    for chunk in sound.chunks(until=timeline.seconds):
        session.push_audio(chunk)
    session.end_audio()
    with mp4_writer(out, timeline.info, sound.fitted(timeline.seconds), sound.rate) as writer:

        def drain() -> None:
            """Write what is finished."""
            for edited in session.ready():
                if watch is not None:
                    watch(edited)
                writer.write(edited.frame)
                tally.add(edited)
                report("editing", tally.frames, total)

        report("editing", 0, total)
        for frame in timeline.frames():
            session.push_video(frame)
            drain()
        session.end_video()
        drain()
    return tally
