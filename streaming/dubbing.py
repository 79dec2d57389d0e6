"""One dub from file to file: the timeline through a session of the engine into an MP4."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from engine.dubber import Looked
from engine.evaluation import EditedFrameLike
from engine.media import AudioChunk, VideoFrame
from engine.tracking.tracker import TrackResult
from streaming.egress.file import mp4_writer
from streaming.ingest.sound import Sound
from streaming.overlap import ahead, behind, stages_may_overlap
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


@runtime_checkable
class Looking(Protocol):
    """A session that can look at pictures before it edits them, in another thread."""

    def look(self, frame: VideoFrame, known: TrackResult | None = None) -> Looked:
        """Find the face in the next picture; in order, each once. `known`: what was found in it before."""

    def push_looked(self, looked: Looked) -> None:
        """Take the next picture, already looked at."""


@runtime_checkable
class Parted(Protocol):
    """A session whose edits can be corrected, and laid over their pictures, in other threads."""

    def started(self) -> Iterator[Any]:
        """`ready`, but for what `correct` and `finish` do."""

    def correct(self, begun: Any) -> Any:
        """Correct the edit of a picture of `started`; in order, each once."""

    def finish(self, begun: Any) -> EditedFrameLike:
        """Finish a picture that `correct` gave; in order, each once."""


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
    overlap: bool = True,
    effort: int = 0,
) -> Tally:
    """Run a whole video through a session and write it with its new sound; the file appears only when all is done.

    Decoding, the edit and encoding go on at the same time, and where there are cores enough (`stages_may_overlap`)
    looking for the face, predicting the edit, correcting it and laying it over the picture, too; each in order,
    prediction in the thread that calls; an error in any of them ends all.

    Args:
        session: what edits.
        timeline: the pictures.
        sound: the speech.
        out: the MP4 to write.
        report: progress.
        watch: sees every finished picture in order, before it is encoded.
        overlap: False does one thing after the other; the file is the same.
        effort: the session's; which stages go on at the same time hangs on it.
    """
    tally = Tally()
    total = len(timeline.pts)
    for chunk in sound.chunks(until=timeline.seconds):
        session.push_audio(chunk)
    session.end_audio()
    with mp4_writer(out, timeline.info, sound.fitted(timeline.seconds), sound.rate) as writer, ExitStack() as stack:
        write = stack.enter_context(behind(writer.write, "livedub-encode")) if overlap else writer.write

        def put(edited: EditedFrameLike) -> None:
            """Hand on a finished picture."""
            if watch is not None:
                watch(edited)
            write(edited.frame)
            tally.add(edited)
            report("editing", tally.frames, total)

        stages = overlap and stages_may_overlap(effort)
        drain = _draining(session, put, effort if stages else None, stack)
        report("editing", 0, total)
        for _ in _pushed(session, timeline, overlap, stages, stack):
            drain()
        session.end_video()
        drain()
    return tally


def _draining(
    session: Session, put: Callable[[EditedFrameLike], None], effort: int | None, stack: ExitStack
) -> Callable[[], None]:
    """What hands on the pictures that are ready.

    Where the session allows it, they are finished in a thread, and where the effort asks for corrections, corrected in
    another one; not without an effort.
    """
    if effort is None or not isinstance(session, Parted):

        def drain() -> None:
            """Edit what is ready."""
            for edited in session.ready():
                put(edited)

        return drain
    parted = session
    finish = stack.enter_context(behind(lambda begun: put(parted.finish(begun)), "livedub-composite"))

    def correct(begun: Any) -> None:
        """Correct an edit and have it finished."""
        finish(parted.correct(begun))

    give = stack.enter_context(behind(correct, "livedub-correct")) if effort > 0 else correct

    def start() -> None:
        """Begin the edit of what is ready."""
        for begun in parted.started():
            give(begun)

    return start


def _pushed(session: Session, timeline: Timeline, overlap: bool, stages: bool, stack: ExitStack) -> Iterator[None]:
    """Push the pictures into the session; comes back after each."""
    frames = timeline.frames()
    if overlap:
        frames = stack.enter_context(ahead(frames, "livedub-decode"))
    if stages and isinstance(session, Looking):
        for looked in stack.enter_context(ahead(map(session.look, frames), "livedub-look")):
            session.push_looked(looked)
            yield
    else:
        for frame in frames:
            session.push_video(frame)
            yield
