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
_LATE_NS: Final = 100 * MS
_LONGER_NS: Final = 2 * NS
"""Where everything is later than that for so long, the way from the source has become longer for good."""


class ArrivalMapper:
    """Maps a source's times to session time: evenly, never into the future, never backwards.

    The fastest arrivals show the true offset between the clocks; later ones were held up on the way. A lower offset is
    taken at once (a burst at the start), a higher one is approached slowly, which follows drifting clocks; one that
    stays much higher is taken after two seconds.
    """

    def __init__(self) -> None:
        """Nothing has arrived yet."""
        self.restarts = 0
        """How often the source's times jumped."""
        self._offset: int | None = None
        self._late: tuple[int, int] | None = None
        self._recent: deque[tuple[int, int]] = deque()
        self._last_arrival = 0
        self._last_media = -MS

    def map(self, stamp: int, arrival: int) -> int:
        """Session time in ns of something with the source's time `stamp`, which is here at session time `arrival`."""
        raw = arrival - stamp
        if self._offset is not None and (begun := self._begun_anew(raw, arrival)) is not None:
            self.restarts += 1
            self._offset, self._late = begun, None
            self._recent.clear()
        if self._offset is None:
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

    def _begun_anew(self, raw: int, arrival: int) -> int | None:
        """The offset to begin anew with: the source jumped, or everything has been late for long; None: it has not."""
        assert self._offset is not None
        if raw - self._offset > _LOST_NS:
            return raw
        if raw - self._offset <= _LATE_NS:
            self._late = None
            return None
        since, least = self._late or (arrival, raw)
        self._late = since, min(least, raw)
        return self._late[1] if arrival - since >= _LONGER_NS else None
