"""What sessions need is made ready before anybody asks: networks loaded, compiled packages chosen, edits measured."""

import asyncio
import logging
from collections.abc import Iterable
from typing import Final

from engine.errors import LivedubError
from streaming.engines import Engine
from streaming.live.dub import LiveDub
from streaming.live.learner import Progress
from streaming.live.sources import first_picture
from streaming.live.speakers import Speakers
from streaming.worker import Worker

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

    async def run(self, engine: Engine, compute: Worker, speakers: Speakers, costs: Costs) -> None:
        """Make all of them ready, and note what an edit of each takes at the engine's own effort."""
        try:
            for name, done in self._done.items():
                try:
                    await self._one(name, engine, compute, speakers, costs)
                    self.ready.append(name)
                except LivedubError as error:
                    self.problems[name] = " ".join(str(error).split())
                    log.warning("speaker %s cannot be made ready: %s", name, error)
                finally:
                    done.set()
        finally:
            self.progress = None

    async def _one(self, name: str, engine: Engine, compute: Worker, speakers: Speakers, costs: Costs) -> None:
        def told(steps: int) -> None:
            """So many steps are done; called in the compute thread as well."""
            self.progress = Progress(f"preparing {name}", steps, 1 + TRIAL_EDITS)

        told(0)
        profile = speakers.profile(name)
        opened = await compute.run(lambda: engine.live(engine.load(profile), None))
        dub = LiveDub(opened.session, opened.look_ahead_ms)
        told(1)
        frame = await compute.run(first_picture)
        cost = await compute.run(lambda: dub.warm_up(frame, TRIAL_EDITS, lambda edits: told(1 + edits)))
        costs[name, engine.features().default_effort] = cost
        log.info("speaker %s is ready: %.0f ms an edit", name, cost)
