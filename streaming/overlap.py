"""Work in threads of its own, in order, a few items ahead or behind: stages of a dub that go on at the same time.

Both forms are context managers. When their block ends, however it ends, the thread has ended, too; an error in a thread
is raised in the block, where the next item is asked for or given, and at the end.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Final, Generic, TypeVar

import torch

T = TypeVar("T")

ROOM: Final = 3
"""Items that wait between two threads; with pictures of 1080 lines 10 MB each."""
STAGES_FROM_CORES: Final = 2
"""Fewer cores than this are busy with one stage of the edit at a time."""
SEARCH_FROM_CORES: Final = 4
"""The same for dubs with W+ steps: nearly all their work is one stage, which is faster with all cores."""
_SEARCHES_FROM_EFFORT: Final = 2


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def may_overlap() -> bool:
    """Whether decoding and encoding go on beside the edit; on one core they would get in each other's way."""
    return cores() > 1


def stages_may_overlap(effort: int = 0) -> bool:
    """Whether the stages of the edit itself, which compute, have threads of their own, at this effort.

    Compiled, a trial dub on two cores ran at 22 pictures a second with all of them at once, each with one thread, at 17
    with decoding and encoding alone beside them. It pays only because compiled code runs without Python's lock
    (`kernels.backends.unlocked`): before, all stages waited for every render. At effort 2 a trial gave 3.6 for 5.3.
    """
    return cores() >= (STAGES_FROM_CORES if effort < _SEARCHES_FROM_EFFORT else SEARCH_FROM_CORES)


def stage_threads(effort: int = 0) -> int:
    """Threads that torch computes with in each stage of a dub of this effort: half of all, one at least, in parallel.

    A stage that asks for all cores waits for the slowest of its threads after every operation; where the others' stages
    keep a core busy that costs more than the second core brings.
    """
    threads = torch.get_num_threads()
    return max(1, threads // 2) if stages_may_overlap(effort) else threads


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """While it lasts, torch computes with so many threads: in the caller, and in threads that begin meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Pipe(Generic[T]):
    """Items from one thread to another one, at most `room` of them waiting."""

    def __init__(self, room: int) -> None:
        self._items: deque[T] = deque()
        self._room: Final = room
        self._changed: Final = threading.Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None

    def put(self, item: T) -> bool:
        """Add an item as soon as there is room; False when nobody takes any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or len(self._items) < self._room)
            if not self._stopped:
                self._items.append(item)
                self._changed.notify_all()
            return not self._stopped

    def end(self, error: BaseException | None = None) -> None:
        """Nothing more comes; what waits is still taken, then the error, if there is one, is raised."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def stop(self, error: BaseException | None = None) -> None:
        """Nothing more is taken; what waits is dropped."""
        with self._changed:
            self._stopped, self._error = True, self._error or error
            self._items.clear()
            self._changed.notify_all()

    def check(self) -> None:
        """Raise the error, if there is one."""
        if self._error is not None:
            raise self._error

    def __iter__(self) -> Iterator[T]:
        """Items until the end."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or self._ended or self._stopped)
                if not self._items:
                    break
                item = self._items.popleft()
                self._changed.notify_all()
            yield item
        self.check()


@contextmanager
def ahead(items: Iterable[T], name: str, room: int = ROOM) -> Iterator[Iterator[T]]:
    """Make items in a thread, up to `room` ahead of who takes them.

    Args:
        items: iterated in the thread, and closed there where it can be closed.
        name: of the thread.
        room: items that wait at most.
    """
    pipe: _Pipe[T] = _Pipe(room)

    def work() -> None:
        """The thread."""
        try:
            source = iter(items)
            try:
                for item in source:
                    if not pipe.put(item):
                        break
            finally:
                close = getattr(source, "close", None)
                if close is not None:
                    close()
        except BaseException as error:  # the thread's boundary: whoever takes the items raises it
            pipe.end(error)
        else:
            pipe.end()

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    try:
        yield iter(pipe)
    finally:
        pipe.stop()
        thread.join()


@contextmanager
def behind(work: Callable[[T], None], name: str, room: int = ROOM) -> Iterator[Callable[[T], None]]:
    """Do work on items in a thread, up to `room` behind who gives them.

    A block that ends well waits for the last item; one that ends with an error drops those that wait.

    Args:
        work: called with each item, in order.
        name: of the thread.
        room: items that wait at most.
    """
    pipe: _Pipe[T] = _Pipe(room)

    def run() -> None:
        """The thread."""
        try:
            for item in pipe:
                work(item)
        except BaseException as error:  # the thread's boundary: whoever gives the items raises it
            pipe.stop(error)

    def give(item: T) -> None:
        """Hand an item on."""
        if not pipe.put(item):
            pipe.check()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    try:
        yield give
    except BaseException:
        pipe.stop()
        thread.join()
        raise
    pipe.end()
    thread.join()
    pipe.check()
