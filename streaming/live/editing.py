"""The stage that edits: chooses which picture the compute thread takes next, so that what comes out is never late."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final

from engine.media import VideoFrame
from streaming.channel import Channel, ChannelClosed, Policy
from streaming.clock import MS, NS
from streaming.live.dub import LiveDub, newest_ready
from streaming.live.media import BLOCK_NS, LivePicture, SessionTime, SoundBlock, media_ns
from streaming.live.stats import LiveStats
from streaming.stage import TaskOwner
from streaming.worker import Worker

_LAST_MOMENT_NS: Final = 25 * MS
"""A picture that nobody took is given up so long before it is due."""
_STARVED_NS: Final = NS
"""When an edit takes so much longer than usual, pictures go through untouched meanwhile."""
_SLIDES_NS: Final = 2 * NS
"""When edits take longer than this, none is shown: pictures go through untouched instead of standing still."""
_PAUSE_NS: Final = NS // 2
"""Of a pause of the source, no more than this counts as waiting for an edit."""
_UNHEARD_BLOCKS: Final = 25
"""Voice that waits at most before it is fed without a picture: half a second."""
_NEXT_LOWER: Final = 0.6
"""Share of an effort's time that the next lower one is expected to take."""
_FORGET: Final = 0.99
_MARGIN: Final = 1.25
"""How much longer than usual an edit may take and still be on time."""


@dataclass(frozen=True)
class EditLimits:
    """Times that an edit has to keep."""

    due_after_ns: int
    """From a picture's media time until it must be finished."""
    first_guess_ns: int
    """Time of one edit before any was measured."""


class EditStage:
    """Pictures and voice in, finished pictures out, in order and each before it is due.

    One picture at a time is with the compute thread. Chosen is the oldest that is sure to be finished in time; those
    that are older are skipped. An effort whose edits do not fit the delay is lowered, and tried again later. Where even
    the lowest does not fit or takes more than two seconds, or an edit hangs, pictures pass through untouched, marked
    "overload"; edits are tried all the while, to see when they fit again. Without a dub all pictures pass through.
    """

    def __init__(self, time: SessionTime, worker: Worker, limits: EditLimits, stats: LiveStats) -> None:
        """Begin without a dub."""
        self.name = "edit"
        self._time, self._worker, self._limits, self._stats = time, worker, limits, stats
        held_ms = limits.due_after_ns / MS + 1000
        self._frames: deque[VideoFrame] = deque()
        self._unheard: deque[SoundBlock] = deque()
        self._heard_until = 0
        self._dub: LiveDub | None = None
        self._pass_reason = "preparing"
        self._holds = False
        self._size: tuple[int, int] | None = None
        self._resized: Callable[[], None] = _nothing
        self._costs: dict[int, deque[float]] = {}
        self._busy = False
        self._last_out = -1
        self._waited_ns = 0
        self._last_push = 0
        self._last_begin = 0
        self._ended = False
        self._changed = asyncio.Event()
        self._out: Channel[LivePicture] = Channel("edited pictures", held_ms, lambda _: 10.0, Policy.DROP_OLDEST)
        self._tasks = TaskOwner(self.name, self._out.close)
        self._tasks.begin("choose", self._run())

    def push(self, item: VideoFrame | SoundBlock) -> None:
        """Take a picture in session time, or the next block of voice.

        Raises:
            ChannelClosed: the input was ended.
        """
        if self._ended:
            raise ChannelClosed("stage edit: got an item after the end of its input; expected none")
        if isinstance(item, SoundBlock):
            self._unheard.append(item)
            self._heard_until = item.media + BLOCK_NS
        else:
            now = self._time.now()
            self._waited_ns += min(_PAUSE_NS, now - self._last_push)
            self._last_push = now
            self._frames.append(item)
        self._changed.set()

    def use(self, dub: LiveDub | None, reason: str, resized: "Callable[[], None] | None" = None) -> None:
        """Edit with another dub from now on; None: pass pictures through for `reason`.

        `resized` is called when a picture has another size than those before it; the dub is let go then.
        """
        if not self._holds:
            self._unheard.clear()
        self._dub, self._pass_reason, self._size, self._holds = dub, reason, None, False
        self._resized = resized or _nothing
        self._waited_ns = -self._limits.due_after_ns
        self._changed.set()

    def hold(self, reason: str) -> None:
        """Keep pictures and their voice for a dub that is on its way; those that fall due pass through for `reason`."""
        self._dub, self._pass_reason, self._holds = None, reason, True
        self._changed.set()

    def expect(self, effort: int, cost_ns: int) -> None:
        """What an edit of this effort takes, measured elsewhere; it counts as one edit where none was made yet."""
        self._costs.setdefault(effort, deque([float(cost_ns)], maxlen=12))

    def end_input(self) -> None:
        """No more pictures and voice; those that wait are passed through or skipped as they fall due."""
        self._ended = True
        self._changed.set()

    async def aclose(self) -> None:
        """End at once; a piece of work in the compute thread is finished there, its result is not used."""
        self._ended = True
        await self._tasks.end()
        self._out.close()

    def __aiter__(self) -> AsyncIterator[LivePicture]:
        """Finished pictures; an error of the engine is raised here."""
        return self._out.__aiter__()

    def usual_ns(self, effort: int) -> float:
        """Time that three of four recent edits of an effort did not exceed; guessed from the next one where unknown."""
        if effort in self._costs:
            costs = sorted(self._costs[effort])
            return costs[min(len(costs) - 1, 3 * len(costs) // 4)]
        more = [known for known in self._costs if known > effort]
        return _NEXT_LOWER * self.usual_ns(min(more)) if more else self._limits.first_guess_ns

    def fitting_effort(self, dub: LiveDub) -> int:
        """The highest effort up to the wanted one whose edits fit between a picture's voice and its being due."""
        most = min(self._budget(dub), _SLIDES_NS)
        efforts = range(dub.wanted_effort, 0, -1)
        return next((effort for effort in efforts if _MARGIN * self.usual_ns(effort) <= most), 0)

    def _budget(self, dub: LiveDub) -> int:
        """Time for an edit between a picture's voice being there and its being due."""
        return self._limits.due_after_ns - dub.look_ahead_ns - _LAST_MOMENT_NS

    async def _run(self) -> None:
        while not (self._ended and not self._frames and not self._busy):
            self._changed.clear()
            if self._dub is None:
                self._pass_all() if not self._holds else self._pass_due()
            else:
                self._give_up(self._dub)
                if not self._busy:
                    self._begin_work(self._dub)
            if self._ended and self._frames:
                await self._time.sleep_until(self._due(self._frames[0]) - _LAST_MOMENT_NS)
            elif not (self._ended and not self._busy):
                await self._changed.wait()
        self._out.close()

    def _due(self, frame: VideoFrame) -> int:
        return media_ns(frame) + self._limits.due_after_ns

    def _pass_all(self) -> None:
        while self._frames:
            self._emit(LivePicture.passed(self._frames.popleft(), self._pass_reason))
        self._unheard.clear()

    def _pass_due(self) -> None:
        """Let pictures go whose dub is late; voice that is older than all that wait is of no use any more."""
        now = self._time.now()
        while self._frames and self._due(self._frames[0]) - _LAST_MOMENT_NS <= now:
            self._emit(LivePicture.passed(self._frames.popleft(), self._pass_reason))
        begin = media_ns(self._frames[0]) if self._frames else self._heard_until
        while self._unheard and self._unheard[0].media + BLOCK_NS <= begin:
            self._unheard.popleft()

    def _is_too_slow(self, dub: LiveDub) -> bool:
        """Whether even the lowest effort does not fit, or would show pictures that stand still."""
        usual = _MARGIN * self.usual_ns(self.fitting_effort(dub))
        return usual > min(self._budget(dub), _SLIDES_NS)

    def _give_up(self, dub: LiveDub) -> None:
        """Skip pictures that fall due unedited, or pass them through when edits are too slow."""
        now = self._time.now()
        usual = self.usual_ns(self.fitting_effort(dub))
        self._stats.overloaded = self._is_too_slow(dub) or self._waited_ns > _STARVED_NS + usual
        while self._frames and self._due(self._frames[0]) - _LAST_MOMENT_NS <= now:
            frame = self._frames.popleft()
            if self._stats.overloaded and self._due(frame) >= now:
                self._emit(LivePicture.passed(frame, "overload"))
            else:
                self._stats.skipped += 1

    def _choose(self, dub: LiveDub) -> VideoFrame | None:
        """The oldest picture that is sure to be finished in time.

        Where there has been none for two seconds, the newest is tried: how long it takes may have changed.
        """
        ready = newest_ready(list(self._frames), self._heard_until, dub.look_ahead_ns)
        if ready == 0:
            return None
        now = self._time.now()
        surely = now + round(_MARGIN * self.usual_ns(self.fitting_effort(dub)))
        index = next((i for i in range(ready) if self._due(self._frames[i]) >= surely), ready)
        if index == ready:
            if now - self._last_begin <= _SLIDES_NS:
                return None
            index = ready - 1
        if self._stats.overloaded:
            frame = self._frames[index]
            del self._frames[index]
            return frame
        for _ in range(index):
            self._frames.popleft()
            self._stats.skipped += 1
        return self._frames.popleft()

    def _begin_work(self, dub: LiveDub) -> None:
        frame = self._choose(dub)
        if frame is None and len(self._unheard) < _UNHEARD_BLOCKS:
            return
        if frame is not None and self._is_resized(frame):
            return
        blocks = tuple(self._unheard)
        self._unheard.clear()
        self._busy = True
        self._tasks.begin("work", self._work(dub, blocks, frame))

    def _is_resized(self, frame: VideoFrame) -> bool:
        """Let the dub go when pictures of another size come: it holds on to places in the picture."""
        size = (frame.width, frame.height)
        if self._size not in (None, size):
            self._frames.appendleft(frame)
            tell = self._resized
            self.use(None, "size_changed")
            tell()
            return True
        self._size = size
        return False

    async def _work(self, dub: LiveDub, blocks: tuple[SoundBlock, ...], frame: VideoFrame | None) -> None:
        """One piece of work in the compute thread."""
        begin, effort = self._time.now(), self.fitting_effort(dub)
        if frame is not None:
            self._last_begin = begin
        try:
            outcome = await self._worker.run(lambda: dub.feed(blocks, frame, effort))
        finally:
            self._busy = False
            self._changed.set()
        now = self._time.now()
        if frame is not None:
            self._learn(effort, now - begin)
            self._stats.computed(now, now - begin, outcome.edit_ms)
        if dub is not self._dub:
            return
        for picture in outcome.pictures:
            late = self._due(picture.frame) < now or picture.media <= self._last_out
            if late or self._is_too_slow(dub):
                self._stats.late += 1
            else:
                self._waited_ns = 0
                self._emit(picture)

    def _learn(self, effort: int, cost_ns: int) -> None:
        """Note what an edit took; what higher efforts took is slowly forgotten, so that they are tried again."""
        self._costs.setdefault(effort, deque(maxlen=12)).append(cost_ns)
        for known, costs in self._costs.items():
            if known > effort:
                self._costs[known] = deque((_FORGET * cost for cost in costs), maxlen=12)

    def _emit(self, picture: LivePicture) -> None:
        """Hand a picture on; a time that is not later than the last one's is not shown again."""
        if picture.media <= self._last_out:
            self._stats.late += 1
            return
        self._last_out = picture.media
        if not self._out.closed:
            self._out.put_nowait(picture)


def _nothing() -> None:
    """Nobody asked to be told."""
