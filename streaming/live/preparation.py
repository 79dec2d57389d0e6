"""What sessions need is made ready before anybody asks: networks loaded, compiled packages chosen, edits measured."""

import asyncio
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from engine.errors import LivedubError
from streaming.dubbing import Looking
from streaming.engines import OpenedSession
from streaming.ingest.file import probe_video
from streaming.live.dub import LiveDub
from streaming.live.learner import Progress
from streaming.live.sources import PRESENTER_CLIP, first_picture

if TYPE_CHECKING:
    from streaming.live.config import Surroundings

log = logging.getLogger(__name__)

TRIAL_EDITS: Final = 3
"""Edits that measure this computer; one where it was measured for this speaker."""

Costs = dict[tuple[str, int], float]
"""(Speaker, effort) -> time of one edit in ms, as measured last."""


class Preparation:
    """Makes speakers ready, one after the other; a session of one of them waits until that is done.

    Args:
        names: the speakers, in their order.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        """Nothing has begun."""
        self._done: Final = {name: asyncio.Event() for name in names}
        self.progress: Progress | None = None
        """What is being done; None: nothing is, at present."""
        self.ready: list[str] = []
        """Those whose sessions begin at once."""
        self.problems: dict[str, str] = {}
        """Speaker -> why it cannot be made ready; a session of that speaker will say the same."""

    async def when_done(self, name: str) -> None:
        """Wait until a speaker is ready, or cannot be; at once for one that is not in the list."""
        if name in self._done:
            await self._done[name].wait()

    async def run(self, around: "Surroundings") -> None:
        """Make all of them ready, note what an edit of each takes at the engine's own effort, look at the presenter."""
        try:
            for name, done in self._done.items():
                try:
                    await self._one(name, around)
                    self.ready.append(name)
                except LivedubError as error:
                    self.problems[name] = " ".join(str(error).split())
                    log.warning("speaker %s cannot be made ready: %s", name, error)
                finally:
                    self.progress = None
                    done.set()
            if self.ready:
                await self._look(self.ready[0], around)
        finally:
            self.progress = None

    async def _one(self, name: str, around: "Surroundings") -> None:
        def told(steps: int) -> None:
            """So many steps are done; called in the compute thread as well."""
            self.progress = Progress(f"preparing {name}", steps, 1 + TRIAL_EDITS)

        told(0)
        opened = await self._open(name, around)
        dub = LiveDub(opened.session, opened.look_ahead_ms)
        told(1)
        frame = await around.compute.run(first_picture)
        cost = await around.compute.run(lambda: dub.warm_up(frame, TRIAL_EDITS, lambda edits: told(1 + edits)))
        around.known_cost_ms[name, around.engine.features().default_effort] = cost
        log.info("speaker %s is ready: %.0f ms an edit", name, cost)

    async def _look(self, name: str, around: "Surroundings") -> None:
        """Look for the faces of the presenter's clip, as any speaker's session does."""
        opened = await self._open(name, around)
        worker = around.make_worker("livedub-look")
        try:
            if isinstance(opened.session, Looking):
                self.progress = Progress("looking at the presenter's clip", 0, 0)
                info = await worker.run(lambda: probe_video(PRESENTER_CLIP))
                await around.known.of(info).look_through(opened.session, worker)
        finally:
            await asyncio.to_thread(worker.close)

    async def _open(self, name: str, around: "Surroundings") -> OpenedSession:
        engine, profile = around.engine, around.speakers.profile(name)
        return await around.compute.run(lambda: engine.live(engine.load(profile), None))
