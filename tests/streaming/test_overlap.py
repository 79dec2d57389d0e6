"""Work ahead and behind in threads: in order, bounded, errors where they belong, and no thread left."""

import os
import threading
from collections.abc import Iterator

import pytest
import torch

from streaming import overlap
from streaming.overlap import ahead, behind

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def test_items_come_in_order_from_a_thread_of_that_name() -> None:
    made: list[str] = []

    def items() -> Iterator[int]:
        for index in range(50):
            made.append(threading.current_thread().name)
            yield index

    with ahead(items(), "maker") as taken:
        assert list(taken) == list(range(50))
    assert set(made) == {"maker"}


def test_no_more_is_made_ahead_than_there_is_room_for() -> None:
    made: list[int] = []
    full = threading.Event()

    def items() -> Iterator[int]:
        for index in range(20):
            made.append(index)
            if index == 3:
                full.set()
            yield index

    with ahead(items(), "maker", room=3) as taken:
        assert full.wait(10.0)
        assert len(made) == 4, "three wait, the fourth is in the maker's hand"
        assert list(taken) == list(range(20))


def test_an_error_comes_after_what_was_made_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("cut short")

    seen: list[int] = []
    with pytest.raises(ValueError, match="cut short"), ahead(items(), "maker") as taken:
        for item in taken:
            seen.append(item)
    assert seen == [1, 2]


def test_a_maker_is_closed_in_its_thread_when_nobody_takes_any_more() -> None:
    closed: list[str] = []

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    with pytest.raises(KeyboardInterrupt), ahead(items(), "maker") as taken:
        next(taken)
        raise KeyboardInterrupt
    assert closed == ["maker"]


def test_two_makers_in_a_row_end_together() -> None:
    """The second takes from the first; both end when the block does, at whatever item that is."""

    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    with ahead(endless(), "first") as numbers, ahead((n * n for n in numbers), "second") as squares:
        assert [next(squares) for _ in range(5)] == [0, 1, 4, 9, 16]


def test_an_error_of_the_first_maker_passes_through_the_second() -> None:
    def broken() -> Iterator[int]:
        yield 3
        raise OSError("gone")

    seen: list[int] = []
    with (
        pytest.raises(OSError, match="gone"),
        ahead(broken(), "first") as numbers,
        ahead((n + 1 for n in numbers), "second") as more,
    ):
        seen.extend(more)
    assert seen == [4]


def test_work_behind_is_done_in_order_before_the_block_ends() -> None:
    done: list[tuple[int, str]] = []

    def work(item: int) -> None:
        done.append((item, threading.current_thread().name))

    with behind(work, "writer") as give:
        for index in range(50):
            give(index)
    assert done == [(index, "writer") for index in range(50)]


class Held:
    """Work that goes on only when it is let."""

    def __init__(self) -> None:
        self.let, self.begun = threading.Event(), threading.Event()
        self.done: list[int] = []

    def __call__(self, item: int) -> None:
        self.begun.set()
        assert self.let.wait(10.0)
        self.done.append(item)


def test_giving_waits_where_there_is_no_room() -> None:
    work, given = Held(), list[int]()

    def give_all() -> None:
        with behind(work, "writer", room=2) as give:
            for index in range(6):
                give(index)
                given.append(index)

    thread = threading.Thread(target=give_all)
    thread.start()
    assert work.begun.wait(10.0)
    assert len(given) <= 3 and work.done == []
    work.let.set()
    thread.join()
    assert work.done == list(range(6))


def test_an_error_behind_is_raised_at_the_next_item_or_the_end() -> None:
    failed = threading.Event()

    def work(item: int) -> None:
        failed.set()
        raise OSError(f"no space for {item}")

    with pytest.raises(OSError, match="no space for 0"), behind(work, "writer") as give:
        give(0)
        assert failed.wait(10.0)
        for index in range(1, 10):
            give(index)
    with pytest.raises(OSError, match="no space for 7"), behind(work, "writer") as give:
        give(7)


def test_an_error_of_the_block_drops_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The item in hand is finished after the pipe has stopped; the two behind it are never begun."""
    work, stop = Held(), overlap._Pipe.stop

    def stop_and_let(pipe: overlap._Pipe[int], error: BaseException | None = None) -> None:
        stop(pipe, error)
        work.let.set()

    monkeypatch.setattr(overlap._Pipe, "stop", stop_and_let)
    with pytest.raises(KeyboardInterrupt), behind(work, "writer") as give:
        give(0)
        assert work.begun.wait(10.0)
        give(1)
        give(2)
        raise KeyboardInterrupt
    assert work.done == [0]


@pytest.mark.parametrize(
    ("cores", "threads", "each"), [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 2), (8, 3, 1), (8, 1, 1)]
)
def test_stages_share_the_threads_where_there_are_cores_for_several(
    monkeypatch: pytest.MonkeyPatch, cores: int, threads: int, each: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert overlap.cores() == cores
    assert overlap.may_overlap() == (cores > 1)
    assert overlap.stages_may_overlap() == (cores >= 2)
    assert overlap.stage_threads() == each
    assert overlap.stages_may_overlap(effort=2) == (cores >= 4), "one stage of W+ steps wants all cores"
    assert overlap.stage_threads(effort=2) == (each if cores >= 4 else threads)


def test_on_one_core_torch_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may be held to one core and count more: nothing overlaps there, so nothing is shared."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert (overlap.may_overlap(), overlap.stage_threads()) == (False, 4)


def test_threads_that_begin_meanwhile_compute_with_as_many() -> None:
    before, seen = torch.get_num_threads(), []
    with pytest.raises(KeyError), overlap.computing_with(before + 2):
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        seen.append(torch.get_num_threads())
        raise KeyError
    assert seen == [before + 2] * 2
    assert torch.get_num_threads() == before
