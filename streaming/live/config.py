"""What a live session is asked to do, what it needs around it, and what it can be."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.errors import LivedubError
from streaming.clock import Clock
from streaming.engines import DubEngine, Engine, Quality
from streaming.live.enrolment import EnrolSpec
from streaming.live.known import KnownRecordings
from streaming.live.learner import Learner, ProcessLearner
from streaming.live.preparation import Costs, Preparation
from streaming.live.sources import SourceSpec, VoiceSpec
from streaming.live.speakers import Speakers
from streaming.rtc import IceServer
from streaming.worker import Worker

State = Literal["waiting", "loading", "running", "ended", "failed", "closed"]
"""loading: the engine; waiting: for the first picture; ended: the source has, the rest goes on."""


class NotReady(LivedubError):
    """The session is not running yet."""

    retryable = True


class Refused(LivedubError):
    """A limit is reached."""

    retryable = True


@dataclass(frozen=True)
class SessionConfig:
    """What a session is asked to do."""

    source: SourceSpec
    """The pictures."""
    voice: VoiceSpec
    """The dubbing voice."""
    profile: Path
    """The speaker's profile."""
    speaker: str
    """Its name."""
    effort: int | None = None
    """Optimisation steps a picture; None: the engine's default."""
    emotion: str | None = None
    """Emotion of the dub; None: the engine's neutral."""
    intensity: float = 1.0
    """How strong the emotion is, 0 to 1."""
    delay_ms: int | None = None
    """From media time to the viewers; None: measured on the first picture."""
    enrol: EnrolSpec | None = None
    """A new face to learn while pictures pass through; `profile` then only serves to measure the delay."""
    looks_ahead: bool = True
    """Whether the faces of a recording are looked for ahead and kept."""


@dataclass(frozen=True)
class Surroundings:
    """What all sessions of a server share."""

    engine: Engine
    """What edits."""
    compute: Worker
    """The compute thread."""
    make_worker: Callable[[str], Worker]
    """Makes a thread for a codec."""
    clock: Clock
    """The time that all keep."""
    speakers: Speakers
    """Who may be edited; faces learnt live are added."""
    ice_servers: Sequence[IceServer] = ()
    """STUN and TURN servers."""
    max_viewers: int = 8
    """Viewers of one session."""
    known_cost_ms: Costs = field(default_factory=dict)
    """Time of one edit, as measured before."""
    known: KnownRecordings = field(default_factory=KnownRecordings)
    """Faces of recordings."""
    preparation: Preparation = field(default_factory=Preparation)
    """Speakers that are made ready before anybody asks for them."""
    make_learner: Callable[[DubEngine, Quality, Path], Learner] = ProcessLearner
    """Makes what learns a face."""
