"""What the commands and live sessions ask of the editing engine, and the engine itself behind it."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.dubber import Dubber, DubConfig, ReadySpeaker, compile_for, enroll
from engine.editing.profile import SpeakerProfile
from engine.errors import BackendError, ProfileError
from engine.generators.library import DEFAULT
from engine.media import VideoFrame
from engine.speech import CHOICES, SpeechModel, load_speech_model
from engine.speech.alignment import ALIGNMENTS
from kernels.backends.choice import BackendName
from streaming.dubbing import Session
from streaming.overlap import computing_with, stage_threads
from streaming.screen import Report

logger = logging.getLogger(__name__)

READY_SPEAKERS: Final = 3
"""Speakers whose networks stay in memory between live sessions, some 50 MB each; the one unused longest goes."""

Quality = Literal["draft", "full", "compact"]
Tracker = Literal["mesh", "fan"]


class Profile(Protocol):
    """What the commands ask of a speaker profile."""

    @property
    def preview(self) -> NDArray[np.uint8]:
        """A picture [H, W, 3] of what the profile can do."""

    @property
    def rest_opening(self) -> float:
        """Inner-lip opening of the resting mouth, inter-ocular distances."""

    @property
    def notes(self) -> Mapping[str, Any]:
        """What its enrolment says of it: `score`, `grade` and `verdicts`, where it says any."""

    def save(self, path: Path) -> None:
        """Write the profile."""


@dataclass(frozen=True)
class Features:
    """What an engine offers to live sessions; the page shows controls for exactly this."""

    default_effort: int
    """Optimisation steps a picture when nothing is asked for."""
    max_effort: int
    """Most steps that may be asked for."""
    emotions: tuple[str, ...] = ()
    """Emotions that may be asked for; empty: none can."""


class LiveSession(Session, Protocol):
    """What a live session asks of the engine's `Dubber`."""

    effort: int
    """Optimisation steps of the next picture."""

    def set_emotion(self, name: str, intensity: float = 1.0) -> None:
        """Change the emotion of the pictures to come, without a jump."""


@dataclass(frozen=True)
class OpenedSession:
    """An engine's session for live work."""

    session: LiveSession
    """The session."""
    look_ahead_ms: float
    """Voice after a picture's time that it needs for it."""


class DubEngine(Protocol):
    """What dubs of files ask of an engine."""

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = DEFAULT
    ) -> Profile:
        """Learn a speaker from pictures, with the generator of that name."""

    def load(self, path: Path) -> Profile:
        """Read a saved profile."""

    def session(
        self, profile: Profile, effort: int | None, tracker: Tracker, emotion: str = "neutral", intensity: float = 1.0
    ) -> Session:
        """Begin a dub in an emotion; effort None is the engine's default."""


class Engine(DubEngine, Protocol):
    """What the commands and live sessions ask of an engine."""

    def features(self) -> Features:
        """What may be asked for."""

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        """Begin a live dub; takes seconds the first time that a profile is used, milliseconds after that."""

    def compile(self, profile: Profile, effort: int, report: Report) -> Mapping[str, Any]:
        """Compile what edits of a profile run on: number of threads -> what came of it."""


@dataclass
class _Kept:
    """A profile that was read, and what its live sessions share."""

    stamp: tuple[int, int]
    """Size and time of its file."""
    profile: SpeakerProfile
    """As it was read."""
    ready: ReadySpeaker | None = None
    """None before its first live session."""


class LocalEngine:
    """The engine of this package, on this machine. Live sessions are begun and used by one thread.

    Args:
        backend: what renders; "auto" measures what is compiled on this machine.
        encoder: checkpoint of an encoder (e4e, pSp), where enrolments start.
        unfinished: where an enrolment is kept while it runs, and taken up when it was broken off.
        look_ahead_ms: most speech beyond a picture that dubs may wait for; None: the engine's default.
        alignment: how dubs place the mouth, one of `engine.speech.alignment.ALIGNMENTS`.

    Raises:
        BadInputError: look-ahead or alignment are out of range.
    """

    def __init__(
        self,
        backend: BackendName = "auto",
        encoder: Path | None = None,
        unfinished: Path | None = None,
        look_ahead_ms: int | None = None,
        alignment: str = ALIGNMENTS[0],
    ) -> None:
        """Loads nothing yet."""
        self._dub: Final = DubConfig(backend=backend, look_ahead_ms=look_ahead_ms, alignment=alignment)
        self._backend: Final[BackendName] = backend
        self._encoder: Final = encoder
        self._unfinished: Final = unfinished
        self._kept: dict[Path, _Kept] = {}
        self._speech: SpeechModel | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What goes with it into another process: networks are loaded there when they are needed."""
        return {**vars(self), "_kept": {}, "_speech": None}

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = DEFAULT
    ) -> Profile:
        """Learn a speaker from pictures, with the generator of that name."""
        profile = enroll(frames, quality, tracker, report, generator, self._encoder, self._unfinished)
        if self._backend in ("auto", "aoti"):
            report("compiling for this machine", 0, 0)
            self._compile(profile)
        return profile

    def _compile(self, profile: SpeakerProfile) -> None:
        """Make the package that dubs of this profile will look for; where that cannot be, dubs render eagerly."""
        try:
            effort = DubConfig().effort
            with computing_with(stage_threads(effort)):
                compile_for(profile, effort)
        except BackendError as error:
            if self._backend != "auto":
                raise
            logger.warning("dubs of this profile will render eagerly: %s", error)

    def compile(self, profile: Profile, effort: int, report: Report) -> Mapping[str, Any]:
        """Compile what edits of a profile run on, for `dub`'s stages and for `serve`, which leaves one thread free."""
        made = {}
        counts = sorted({stage_threads(effort), max(1, torch.get_num_threads() - 1)}, reverse=True)
        for done, threads in enumerate(counts):
            report("compiling", done, len(counts))
            with computing_with(threads):
                made[str(threads)] = compile_for(_own(profile), effort)
        report("compiling", len(counts), len(counts))
        return made

    def load(self, path: Path) -> Profile:
        """Read a saved profile; one that was read already is not read again while its file stays as it is."""
        kept = self._kept.pop(path, None)
        stamp = _stamp(path)
        if kept is None or kept.stamp != stamp:
            kept = _Kept(stamp, SpeakerProfile.load(path))
        self._kept[path] = kept
        while len(self._kept) > READY_SPEAKERS:
            del self._kept[next(iter(self._kept))]
        return kept.profile

    def session(
        self, profile: Profile, effort: int | None, tracker: Tracker, emotion: str = "neutral", intensity: float = 1.0
    ) -> Session:
        """Begin a dub in an emotion; effort None is the engine's default."""
        config = replace(self._dub, tracker=tracker, emotion=emotion, intensity=intensity)
        return Dubber(_own(profile), config if effort is None else replace(config, effort=effort))

    def features(self) -> Features:
        """What may be asked for."""
        return Features(default_effort=DubConfig().effort, max_effort=8, emotions=CHOICES)

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        """Begin a live dub; what a profile that `load` has read needs is kept for the next one."""
        config = self._dub if effort is None else replace(self._dub, effort=effort)
        dubber = Dubber(self._ready(_own(profile)), config)
        return OpenedSession(dubber, dubber.look_ahead_ms)

    def _ready(self, profile: SpeakerProfile) -> ReadySpeaker:
        self._speech = self._speech or load_speech_model(limit_ms=self._dub.look_ahead_ms)
        kept = next((kept for kept in self._kept.values() if kept.profile is profile), None)
        if kept is None:
            return ReadySpeaker(profile, self._dub, self._speech)
        kept.ready = kept.ready or ReadySpeaker(profile, self._dub, self._speech)
        return kept.ready


def _stamp(path: Path) -> tuple[int, int]:
    """Size and time of a file; nothing in particular where there is none."""
    try:
        found = path.stat()
    except OSError:
        return (-1, -1)
    return found.st_size, found.st_mtime_ns


def _own(profile: Profile) -> SpeakerProfile:
    if not isinstance(profile, SpeakerProfile):
        raise ProfileError(f"got a {type(profile).__name__}, expected a profile that this engine has made or read")
    return profile
