"""The live pipeline: pictures in, voice in, both out together after a constant delay.

source -> push_picture -> session time -> EditStage (one compute thread) -> OutputClock -> outputs
voice  -> OutputClock, every 20 ms --------^ heard at once                ^ and released after the delay
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from engine.errors import BadInputError
from engine.media import VideoFrame
from streaming.clock import MS, Clock
from streaming.live.arrival import ArrivalMapper
from streaming.live.dub import LiveDub
from streaming.live.editing import EditLimits, EditStage
from streaming.live.media import SessionTime, at_media, media_ns
from streaming.live.release import Output, OutputClock
from streaming.live.stats import LiveStats
from streaming.live.voice import VoiceSwitch
from streaming.stage import TaskOwner
from streaming.worker import Worker

LEAD_MS: Final = 40
"""Released pictures and sound are encoded in this time; the encoded packets leave at media time + delay."""

DELAYS_MS: Final = range(200, 10_001, 20)
"""Delays that a session may have."""

MAX_MEASURED_MS: Final = 4_000
"""Longest delay that a measurement leads to; longer ones have to be asked for."""


@dataclass(frozen=True)
class PipelineConfig:
    """Times of one live session."""

    delay_ms: int
    """From media time to the packets' leaving; a multiple of 20."""
    edit_ms: float = 300.0
    """What one edit is expected to take before any was measured."""

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            BadInputError: a value is out of range.
        """
        if self.delay_ms not in DELAYS_MS:
            raise BadInputError(
                f"delay is {self.delay_ms} ms; expected {DELAYS_MS[0]} to {DELAYS_MS[-1]}, a multiple of 20"
            )


def fitting_delay_ms(look_ahead_ms: float, edit_ms: float) -> int:
    """A delay that holds three edits in a row beside the voice's look-ahead, the encoder and 200 ms of unevenness.

    Two are needed: a picture waits for the one before it. The third is for a computer that does other things as well.
    """
    wanted = look_ahead_ms + 3 * edit_ms + LEAD_MS + 200
    return int(min(MAX_MEASURED_MS, max(DELAYS_MS[0], -(-wanted // 20) * 20)))


class LivePipeline:
    """Everything between a source and the outputs of one session; runs from its making until `aclose`.

    Args:
        clock: the time that everything keeps.
        worker: the compute thread.
        config: delay and first guesses.
        stats: where it is counted.
    """

    def __init__(self, clock: Clock, worker: Worker, config: PipelineConfig, stats: LiveStats | None = None) -> None:
        """Begin with a silent voice, no pictures, and pictures passing through."""
        self.config = config
        self.stats = stats or LiveStats()
        self.time = SessionTime(clock)
        """Media time of the session."""
        self.voice = VoiceSwitch()
        """The dubbing voice."""
        self.outputs: list[Output] = []
        """Where pictures and sound go; may change at any time."""
        release_ns = (config.delay_ms - LEAD_MS) * MS
        limits = EditLimits(release_ns, round(config.edit_ms * MS))
        self._edit = EditStage(self.time, worker, limits, self.stats)
        self._release = OutputClock(self.time, release_ns, self.voice, self._edit, self.outputs, self.stats)
        self._arrivals = ArrivalMapper()
        self.tasks: Final = TaskOwner("pipeline")
        """The pipeline's tasks; `failed` is set when the engine has failed."""
        self.tasks.begin("sound", self._release.run_sound())
        self.tasks.begin("pictures", self._release.run_pictures(self._edit.__aiter__()))

    def push_picture(self, frame: VideoFrame) -> None:
        """Take a picture, in its source's own time, as it arrives."""
        now = self.time.now()
        self.stats.arrived(now)
        self._edit.push(at_media(frame, self._arrivals.map(media_ns(frame), now)))

    def new_source(self) -> None:
        """What comes from now on has another time of its own."""
        self._arrivals = ArrivalMapper()

    def use(self, dub: LiveDub | None, reason: str = "edited", resized: Callable[[], None] | None = None) -> None:
        """Edit with another dub; None: pass pictures through for `reason`. See `EditStage.use`."""
        self._edit.use(dub, reason, resized)

    def hold(self, reason: str) -> None:
        """Keep pictures until a dub is used; see `EditStage.hold`."""
        self._edit.hold(reason)

    def expect(self, dub: LiveDub, edit_ms: float) -> None:
        """What an edit of this dub takes, as measured before it is used."""
        self._edit.expect(dub.wanted_effort, round(edit_ms * MS))

    def interrupt(self) -> None:
        """Silence the voice now."""
        self._release.interrupt()

    def as_dict(self) -> dict[str, Any]:
        """Delay and statistics as plain JSON values."""
        return {
            "delay_ms": self.config.delay_ms,
            "voice": self.voice.source.kind,
            "voice_held_ms": round(self.voice.source.held_ms, 1),
            "source_restarts": self._arrivals.restarts,
            **self.stats.as_dict(self.time.now()),
        }

    async def aclose(self) -> None:
        """End everything; may be called again."""
        await self._edit.aclose()
        await self.tasks.end()
