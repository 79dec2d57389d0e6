"""Putting a source's own times onto the session's time, whatever the source's clock and the way to here do."""

from collections import deque
from typing import Final

from streaming.clock import MS, NS

_WINDOW_NS: Final = 5 * NS
"""The fastest arrival of this time decides."""
_SLEW: Final = 1e-3
"""Largest change of the mapping: a thousandth of the time that passes, five times what bad crystals need."""
_LOST_NS: Final = NS
"""A source that is later than this has stopped, jumped or begun anew."""


class ArrivalMapper:
    """Maps a source's times to session time: evenly, never into the future, never backwards.

    The fastest arrivals show the true offset between the clocks; later ones were held up on the way. A lower offset is
    taken at once (a burst at the start), a higher one is approached slowly, which follows drifting clocks.
    """

    def __init__(self) -> None:
        """Nothing has arrived yet."""
        self.restarts = 0
        """How often the source's times jumped."""
        self._offset: int | None = None
        self._recent: deque[tuple[int, int]] = deque()
        self._last_arrival = 0
        self._last_media = -MS

    def map(self, stamp: int, arrival: int) -> int:
        """Session time in ns of something with the source's time `stamp`, which is here at session time `arrival`."""
        raw = arrival - stamp
        if self._offset is not None and raw - self._offset > _LOST_NS:
            self.restarts += 1
            self._offset = None
        if self._offset is None:
            self._recent.clear()
            self._offset = raw
        while self._recent and (self._recent[0][0] < arrival - _WINDOW_NS or self._recent[0][1] >= raw):
            self._recent.popleft()
        while self._recent and self._recent[-1][1] >= raw:
            self._recent.pop()
        self._recent.append((arrival, raw))
        best = self._recent[0][1]
        step = round(_SLEW * max(0, arrival - self._last_arrival))
        self._offset = min(best, self._offset + step) if best > self._offset else best
        self._last_arrival = arrival
        self._last_media = max(stamp + self._offset, self._last_media + MS)
        return self._last_media
