"""What the commands and live sessions ask of the editing engine, and the engine itself behind it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.dubber import Dubber, DubConfig, enroll
from engine.editing.profile import SpeakerProfile
from engine.errors import ProfileError
from engine.generators.library import DEFAULT
from engine.media import VideoFrame
from engine.speech import EMOTIONS, load_speech_model
from streaming.dubbing import Session
from streaming.screen import Report

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
        """Begin a live dub; takes seconds the first time."""


class LocalEngine:
    """The engine of this package, on this machine."""

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = DEFAULT
    ) -> Profile:
        """Learn a speaker from pictures, with the generator of that name."""
        return enroll(frames, quality=quality, tracker=tracker, progress=report, generator=generator)

    def load(self, path: Path) -> Profile:
        """Read a saved profile."""
        return SpeakerProfile.load(path)

    def session(
        self, profile: Profile, effort: int | None, tracker: Tracker, emotion: str = "neutral", intensity: float = 1.0
    ) -> Session:
        """Begin a dub in an emotion; effort None is the engine's default."""
        config = DubConfig(tracker=tracker, emotion=emotion, intensity=intensity)
        return Dubber(_own(profile), config if effort is None else replace(config, effort=effort))

    def features(self) -> Features:
        """What may be asked for."""
        return Features(default_effort=DubConfig().effort, max_effort=8, emotions=EMOTIONS)

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        """Begin a live dub."""
        speech = load_speech_model()
        config = DubConfig() if effort is None else DubConfig(effort=effort)
        return OpenedSession(Dubber(_own(profile), config, speech), speech.look_ahead_ms)


def _own(profile: Profile) -> SpeakerProfile:
    if not isinstance(profile, SpeakerProfile):
        raise ProfileError(f"got a {type(profile).__name__}, expected a profile that this engine has made or read")
    return profile
