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
"""Growth of a limit with each report without loss; these come about once a second."""
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

    def per_second(self, now: int) -> float:
        """Bits a second."""
        while self._sent and self._sent[0][0] <= now - _WINDOW_NS:
            self._bits -= self._sent.popleft()[1]
        return float(self._bits)


class LinkEstimate:
    """One viewer's link.

    There is no limit until something tells of one. An estimate above what is sent tells nothing: links are measured by
    what goes through them, and still pictures need little.
    """

    def __init__(self, full: float) -> None:
        """A link that carries all. full: bits a second that are never exceeded anyway."""
        self.full = full
        """Bits a second above which there is no limit."""
        self.limit: float | None = None
        """Bits a second; None: no limit is known."""
        self.lost = 0.0
        """Share of lost packets, smoothed: of few packets a second, single reports tell little."""

    def estimated(self, bits: float, sending: float) -> None:
        """The viewer estimates that his link carries so many bits a second, while so many are sent."""
        if bits < sending:
            self._lower(bits)

    def reported(self, lost: float, sending: float) -> None:
        """The viewer reports the share of packets lost since his last report, while so many bits a second are sent."""
        self.lost += _FRESH * (lost - self.lost)
        if self.lost > _MUCH_LOST and sending > 0:
            known = sending if self.limit is None else min(self.limit, sending)
            self._lower(known * (1 - self.lost / 2))
        elif self.lost < _LITTLE_LOST and self.limit is not None:
            grown = self.limit * _GROWTH
            self.limit = None if grown >= self.full else grown

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
