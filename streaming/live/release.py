"""The output clock: a picture and the sound of its time leave together, at media time + a constant delay."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Final, Protocol

from streaming.clock import MS, NS
from streaming.live.media import BLOCK_NS, LivePicture, SessionTime, SoundBlock
from streaming.live.stats import LiveStats
from streaming.live.voice import VoiceSwitch, fade_to_silence

_TOLERANCE_NS: Final = 20 * MS
"""A picture that is later than this is not sent; up to it the encoder's lead still takes it out on time."""
_STALL_NS: Final = NS
"""When the clock was held up for longer, the lost time is left out instead of caught up."""


class Output(Protocol):
    """Where released pictures and sound go. Called on the event loop: takes references, never computes or waits."""

    def picture(self, picture: LivePicture) -> None:
        """Take a picture."""

    def sound(self, block: SoundBlock) -> None:
        """Take 20 ms of sound."""


class Listener(Protocol):
    """Who hears the voice as it comes, before the delay."""

    def push(self, item: SoundBlock) -> None:
        """Take 20 ms of voice."""


class OutputClock:
    """Releases pictures and sound of a session.

    Args:
        time: the session's time.
        delay_ns: from media time to release; a multiple of 20 ms.
        voice: asked for 20 ms every 20 ms; the listener hears it at once, the outputs after the delay.
        listener: who follows the voice.
        outputs: where all goes; may change while it runs.
        stats: where it is counted.
    """

    def __init__(
        self,
        time: SessionTime,
        delay_ns: int,
        voice: VoiceSwitch,
        listener: Listener,
        outputs: Sequence[Output],
        stats: LiveStats,
    ) -> None:
        """Nothing waits."""
        if delay_ns <= 0 or delay_ns % BLOCK_NS:
            raise ValueError(f"delay is {delay_ns} ns; expected a positive multiple of {BLOCK_NS}")
        self.delay_ns = delay_ns
        self._time, self._voice, self._listener, self._outputs, self._stats = time, voice, listener, outputs, stats
        self._line: deque[SoundBlock] = deque()

    async def run_sound(self) -> None:
        """Take the voice and release the sound, for ever: silence is sent as well, a gap never."""
        index = self._time.now() // BLOCK_NS
        while True:
            await self._time.sleep_until((index + 1) * BLOCK_NS)
            now = self._time.now()
            behind = now - (index + 1) * BLOCK_NS
            if behind > _STALL_NS:
                index += behind // BLOCK_NS
                self._stats.stalls += 1
                self._stats.stalled_ms += behind / MS
            block = SoundBlock(self._voice.pull(), index)
            self._listener.push(block)
            self._line.append(block)
            self._release_sound()
            index += 1

    async def run_pictures(self, pictures: AsyncIterator[LivePicture]) -> None:
        """Release pictures, in order, until there are no more; one that is too late is not sent."""
        async for picture in pictures:
            due = picture.media + self.delay_ns
            if self._time.now() > due + _TOLERANCE_NS:
                self._stats.late += 1
                continue
            await self._time.sleep_until(due)
            now = self._time.now()
            if now > due + _STALL_NS:
                self._stats.late += 1
                continue
            self._stats.picture_released(now, due, picture)
            for output in self._outputs:
                output.picture(picture)

    def interrupt(self) -> None:
        """Silence the voice now: what waits at its source and what is on its way."""
        self._voice.source.interrupt()
        quiet = fade_to_silence([block.samples for block in self._line])
        self._line = deque(SoundBlock(q, block.index) for q, block in zip(quiet, self._line, strict=True))

    def _release_sound(self) -> None:
        now = self._time.now()
        while self._line and self._line[0].media + self.delay_ns <= now:
            block = self._line.popleft()
            due = block.media + self.delay_ns
            if now - due > _STALL_NS:
                continue
            self._stats.sound_released(now, due)
            for output in self._outputs:
                output.sound(block)
