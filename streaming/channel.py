"""Bounded queues between stages. Their capacity is a time: what lies in a queue is delay."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from enum import Enum
from typing import Generic, TypeVar

from engine.errors import LivedubError

T = TypeVar("T")


class ChannelClosed(LivedubError):
    """Nothing more comes out of, or may go into, a channel."""


class ChannelFull(LivedubError):
    """A channel that rejects holds as much as it may."""

    retryable = True


class Policy(Enum):
    """What a full channel does with one item more."""

    WAIT = "wait"
    """The producer waits."""
    DROP_OLDEST = "drop oldest"
    """The oldest items leave, counted."""
    REJECT = "reject"
    """`put` raises ChannelFull."""


class Channel(Generic[T]):
    """A closable queue for one event loop, bounded by the time that its items last.

    An item always fits into an empty channel, so that an item longer than the capacity cannot block for ever.

    Args:
        name: for messages.
        capacity_ms: how much may lie in it.
        length_ms: how long one item lasts.
        policy: what happens when it is full.
    """

    def __init__(self, name: str, capacity_ms: float, length_ms: Callable[[T], float], policy: Policy) -> None:
        """Make it empty and open."""
        if capacity_ms <= 0:
            raise ValueError(f"channel {name}: capacity is {capacity_ms} ms; expected more than 0")
        self.name, self.capacity_ms, self.policy = name, capacity_ms, policy
        self.dropped = 0
        """Items that left unread because the channel was full or was cleared."""
        self._length_ms = length_ms
        self._items: deque[T] = deque()
        self._held_ms = 0.0
        self._closed = False
        self._error: Exception | None = None
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._items)

    @property
    def held_ms(self) -> float:
        """Time that the waiting items last."""
        return self._held_ms

    @property
    def closed(self) -> bool:
        """Whether nothing more may be put in."""
        return self._closed

    def put_nowait(self, item: T) -> None:
        """Put an item in without waiting.

        Raises:
            ChannelClosed: the channel is closed.
            ChannelFull: it is full and does not drop.
        """
        if self._closed:
            raise ChannelClosed(f"channel {self.name}: got an item after it was closed; expected none")
        if not self._fits(item):
            if self.policy is not Policy.DROP_OLDEST:
                raise ChannelFull(
                    f"channel {self.name}: holds {self._held_ms:.0f} ms of {self.capacity_ms:.0f} ms. Send later."
                )
            while not self._fits(item):
                self._take()
                self.dropped += 1
        self._items.append(item)
        self._held_ms += self._length_ms(item)
        self._wake()

    async def put(self, item: T) -> None:
        """Put an item in; under `Policy.WAIT` when there is room."""
        while self.policy is Policy.WAIT and not self._closed and not self._fits(item):
            await self._change()
        self.put_nowait(item)

    def get_nowait(self) -> T | None:
        """The oldest item, or None where none waits.

        Raises:
            ChannelClosed: it is empty and closed; an error given at the closing is raised instead.
        """
        if self._items:
            item = self._take()
            self._wake()
            return item
        if self._closed:
            if self._error is not None:
                raise self._error
            raise ChannelClosed(f"channel {self.name}: is closed and empty")
        return None

    def waiting(self) -> list[T]:
        """All items that wait, oldest first; they are taken out."""
        items = list(self._items)
        self._items.clear()
        self._held_ms = 0.0
        self._wake()
        return items

    async def get(self) -> T:
        """The oldest item, waiting for one.

        Raises:
            ChannelClosed: it is empty and closed; an error given at the closing is raised instead.
        """
        while not self._items and not self._closed:
            await self._change()
        item = self.get_nowait()
        assert item is not None
        return item

    def clear(self) -> int:
        """Let all waiting items go, counted as dropped; gives how many."""
        count = len(self._items)
        self._items.clear()
        self._held_ms = 0.0
        self.dropped += count
        self._wake()
        return count

    def close(self, error: Exception | None = None) -> None:
        """Let nothing more in; what waits can still be read, then the reader gets `error` or the end."""
        if not self._closed:
            self._closed, self._error = True, error
            self._wake()

    async def __aiter__(self) -> AsyncIterator[T]:
        """The items until the channel is closed and empty."""
        while True:
            try:
                item = await self.get()
            except ChannelClosed:
                return
            yield item

    def _fits(self, item: T) -> bool:
        return not self._items or self._held_ms + self._length_ms(item) <= self.capacity_ms + 1e-6

    def _take(self) -> T:
        item = self._items.popleft()
        self._held_ms = self._held_ms - self._length_ms(item) if self._items else 0.0
        return item

    async def _change(self) -> None:
        """Wait until something went in or out; every waiter then looks for itself."""
        self._changed.clear()
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
