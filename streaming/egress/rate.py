"""How many bits a second a viewer's link carries, as far as his reports tell, and what many viewers share."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from streaming.clock import NS

_MUCH_LOST: Final = 0.10
"""More than this share of lost packets: the link is too full, send less."""
_LITTLE_LOST: Final = 0.02
"""Less than this: there may be room for more."""
_FRESH: Final = 0.3
"""Weight of the newest report."""
_GROWTH: Final = 1.08
"""Growth of a limit in each second without loss."""
_QUEUE_S: Final = 0.1
"""Packets that are on their way for so much longer than at best wait in a queue: the link is full."""
_RECENT_NS: Final = NS
"""A queue is one when every report of so long tells of it: single ones are late where a machine is busy."""
_MEMORY_NS: Final = 30 * NS
"""The best time there and back is that of so long: ways change."""
_EASE: Final = 0.85
"""Share of what is sent that a full link gets, of whose rate there is no estimate."""
_FLOOR: Final = 12
"""The twelfth part of a sharp picture's bits is always sent."""
_LEAST: Final = 250_000
_WINDOW_NS: Final = NS


class SentRate:
    """Bits a second that were sent in the last second."""

    def __init__(self) -> None:
        """Nothing sent."""
        self._sent: deque[tuple[int, int]] = deque()
        self._bits = 0

    def add(self, now: int, size: int) -> None:
        """So many bytes were sent."""
        self._sent.append((now, 8 * size))
        self._bits += 8 * size
        self._forget(now)

    def per_second(self, now: int) -> float:
        """Bits a second."""
        self._forget(now)
        return float(self._bits)

    def _forget(self, now: int) -> None:
        """Let go what is older; nobody may ever ask, where there are only recordings."""
        while self._sent and self._sent[0][0] <= now - _WINDOW_NS:
            self._bits -= self._sent.popleft()[1]


class Queue:
    """How long packets wait on a viewer's link: time there and back, over the best of the last half minute."""

    def __init__(self) -> None:
        """No report yet."""
        self._trips: deque[tuple[int, float]] = deque()

    def add(self, now: int, seconds: float) -> None:
        """A report tells that it took so long there and back."""
        self._trips.append((now, seconds))
        while self._trips[0][0] <= now - _MEMORY_NS:
            self._trips.popleft()

    @property
    def seconds(self) -> float:
        """What the last second's reports, at least two of them, have in common."""
        if len(self._trips) < 2:
            return 0.0
        since = min(self._trips[-1][0] - _RECENT_NS, self._trips[-2][0])
        return min(s for at, s in self._trips if at >= since) - min(s for _, s in self._trips)


class LinkEstimate:
    """One viewer's link.

    There is no limit until something tells of one: lost packets, or an estimate of the viewer's. Two kinds of estimates
    tell nothing. One above what is sent: links are measured by what goes through them, and still pictures need little.
    And one below it while nothing is lost and nothing waits in a queue: browsers estimate by how evenly packets arrive,
    and take a busy machine, the viewer's or this one, for a full link.
    """

    def __init__(self, full: float) -> None:
        """A link that carries all. full: bits a second that are never exceeded anyway."""
        self.full = full
        """Bits a second above which there is no limit."""
        self.limit: float | None = None
        """Bits a second; None: no limit is known."""
        self.lost = 0.0
        """Share of lost packets, smoothed: of few packets a second, single reports tell little."""
        self.queue: Final = Queue()
        """How long packets wait on the way."""
        self._estimates = False
        self._at: int | None = None
        self._eased = 0

    def estimated(self, bits: float, sending: float) -> None:
        """The viewer estimates that his link carries so many bits a second, while so many are sent."""
        self._estimates = True
        if bits < sending and (self.lost > _LITTLE_LOST or self._queues):
            self._lower(bits)

    def reported(self, now: int, lost: float, sending: float, round_trip_s: float | None = None) -> None:
        """The viewer reports about the time since his last report.

        Args:
            now: any clock, in ns.
            lost: share of the packets that were lost.
            sending: bits a second that are sent.
            round_trip_s: time there and back; None: not known.
        """
        since = NS if self._at is None else min(NS, now - self._at)
        self._at = now
        self.lost += _FRESH * (lost - self.lost)
        if round_trip_s is not None:
            self.queue.add(now, round_trip_s)
        if self.lost > _MUCH_LOST and sending > 0:
            self._lower(self._known(sending) * (1 - self.lost / 2))
        elif self._queues:
            if not self._estimates and sending > 0 and now - self._eased >= NS:
                self._eased = now
                self._lower(self._known(sending) * _EASE)
        elif self.lost < _LITTLE_LOST and self.limit is not None:
            grown = self.limit * _GROWTH ** (since / NS)
            self.limit = None if grown >= self.full else grown

    @property
    def _queues(self) -> bool:
        return self.queue.seconds > _QUEUE_S

    def _known(self, sending: float) -> float:
        return sending if self.limit is None else min(self.limit, sending)

    def _lower(self, bits: float) -> None:
        self.limit = max(least_rate(self.full), bits if self.limit is None else min(self.limit, bits))


def least_rate(full: float) -> float:
    """Bits a second that are always sent; a link that does not carry them loses pictures."""
    return max(float(_LEAST), full / _FLOOR)


def shared_rate(limits: Sequence[float | None], full: float) -> float:
    """Bits a second of one encoder for viewers with these limits.

    The slowest link decides among up to three viewers; of more, the lowest quarter may fall behind, so that one bad
    link of many does not blur the picture for all.
    """
    known = sorted(full if limit is None else min(full, limit) for limit in limits)
    return known[len(known) // 4] if known else full
