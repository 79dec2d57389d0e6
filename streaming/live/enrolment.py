"""A new face learnt while it is on air: pictures of the session go to a learner, what they gave becomes the profile."""

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from engine.errors import LivedubError
from engine.files import write_atomically
from engine.media import VideoFrame
from streaming.channel import Channel, Policy
from streaming.clock import NS, Clock
from streaming.consent import Consent
from streaming.engines import Quality
from streaming.live.learner import Learner, Learnt, Message, NotLearnt, Progress
from streaming.stage import TaskOwner
from streaming.worker import Worker

log = logging.getLogger(__name__)

Phase = Literal["looking", "learning", "done", "failed"]
"""looking: pictures are taken; learning: there are enough of them."""

SECONDS: Final = 15.0
"""How long pictures are taken when nothing else is asked for."""

_ENOUGH: Final = 60
"""Where the learner takes fewer pictures in that time (a busy machine), it is given longer."""
_LONGER: Final = 4.0
"""So many times as long at most."""


class NotEnrolled(LivedubError):
    """A face could not be learnt."""


@dataclass(frozen=True)
class EnrolSpec:
    """A face to learn."""

    name: str
    """Of the speaker."""
    consent: Consent | None = None
    """None: of nobody real."""
    quality: Quality = "draft"
    """How much work."""
    seconds: float = SECONDS
    """How long pictures are taken, from the first one on; longer where they are few by then."""


class LiveEnrolment:
    """Learns one face; `run` ends when it is learnt.

    Args:
        spec: whom.
        place: where the profile is saved; a preview (.png) and a record with the consent (.json) go beside it.
        learner: what learns.
        make_worker: makes threads, whose end is the caller's; the learner blocks in both directions.
        clock: measures the time of taking.
    """

    def __init__(
        self, spec: EnrolSpec, place: Path, learner: Learner, make_worker: Callable[[str], Worker], clock: Clock
    ) -> None:
        """Nothing runs yet."""
        self.spec, self.place = spec, place
        self.phase: Phase = "looking"
        """Where it is."""
        self.progress = Progress("looking at the speaker", 0, round(spec.seconds))
        """How far that is; seconds of pictures at first."""
        self.pictures = 0
        """Pictures that the learner took."""
        self.problem: str | None = None
        """Why it failed."""
        self._learner, self._clock = learner, clock
        self._frames: Channel[VideoFrame] = Channel("pictures to learn from", 2, lambda _: 1, Policy.DROP_OLDEST)
        self._speak, self._hear, self._end = (make_worker(f"learn-{way}") for way in ("out", "in", "end"))
        self._first = asyncio.Event()

    def push(self, frame: VideoFrame) -> None:
        """A picture of the session; while the learner is busy, newer ones replace older ones."""
        if self._frames.closed:
            return
        self._frames.put_nowait(frame)

    async def run(self) -> None:
        """Learn.

        Raises:
            NotEnrolled: it could not be learnt; the message says why.
        """
        try:
            await self._speak.run(self._learner.start)
            async with TaskOwner(f"enrol {self.spec.name}") as tasks:
                tasks.begin("limit", self._limit())
                tasks.begin("pictures", self._hand_over())
                await self._listen()
        except LivedubError as error:
            self.phase, self.problem = "failed", str(error)
            raise NotEnrolled(f"{self.spec.name} was not learnt: {error}") from error
        finally:
            self._frames.close()
            await asyncio.shield(self._end.run(self._learner.close))
        await self._end.run(self._record)
        self.phase = "done"

    def as_dict(self) -> dict[str, Any]:
        """How it goes, as plain JSON values."""
        return {
            "name": self.spec.name,
            "quality": self.spec.quality,
            "phase": self.phase,
            **asdict(self.progress),
            "pictures": self.pictures,
            "problem": self.problem,
        }

    async def _limit(self) -> None:
        """Take pictures for the time asked for or until there are enough, also when the source stops meanwhile.

        It begins with the first picture that the learner takes: to start it takes seconds.
        """
        await self._first.wait()
        begin, seconds = self._clock.now(), self.spec.seconds
        while (now := (self._clock.now() - begin) / NS) < seconds or (
            self.pictures < _ENOUGH and now < _LONGER * seconds
        ):
            self.progress = Progress("looking at the speaker", int(min(now, seconds)), round(seconds))
            await self._clock.sleep_until(self._clock.now() + NS // 2)
        self._frames.close()

    async def _hand_over(self) -> None:
        async for frame in self._frames:
            await self._speak.run(lambda: self._learner.picture(frame))  # noqa: B023
            self.pictures += 1
            self._first.set()
        self.phase = "learning"
        await self._speak.run(self._learner.end)

    async def _listen(self) -> None:
        while True:
            message: Message = await self._hear.run(self._learner.receive)
            if isinstance(message, NotLearnt):
                raise NotEnrolled(message.reason)
            if isinstance(message, Learnt):
                return
            if self.phase == "learning":
                self.progress = message

    def _record(self) -> None:
        """Write down who was learnt from what, and what was stated about it."""
        consent = None if self.spec.consent is None else asdict(self.spec.consent)
        values = {"name": self.spec.name, "quality": self.spec.quality, "pictures": self.pictures, "consent": consent}
        write_atomically(self.place.with_suffix(".json"), (json.dumps(values, indent=2) + "\n").encode())
