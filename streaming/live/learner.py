"""Learning a face in a process of its own, so that the live session keeps its rate: pictures in, a profile out.

The process reads pictures as fast as it can look at them. It ends with its profile saved, with a sentence why not, or
when its session goes away.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final, Protocol

import torch

from engine.errors import BackendError, LivedubError
from engine.evaluation.strips import png
from engine.files import write_atomically
from engine.media import VideoFrame
from streaming.engines import DubEngine, Quality


@dataclass(frozen=True)
class Progress:
    """What is being done, how much of it is done, and how much there is (0: unknown)."""

    what: str
    """In words."""
    done: int
    """Steps done."""
    total: int
    """Steps in all."""


@dataclass(frozen=True)
class Learnt:
    """The profile is saved."""


@dataclass(frozen=True)
class NotLearnt:
    """There is no profile."""

    reason: str
    """Why, in a sentence."""


Message = Progress | Learnt | NotLearnt


class Learner(Protocol):
    """Learns one face. `picture` and `end` are called by one thread, `receive` by another one; both may block."""

    def start(self) -> None:
        """Begin."""

    def picture(self, frame: VideoFrame) -> None:
        """Hand a picture over; returns when there is room for it.

        Raises:
            BackendError: the learner has ended.
        """

    def end(self) -> None:
        """No more pictures."""

    def receive(self) -> Message:
        """The next message.

        Raises:
            BackendError: the learner has ended without a last word.
        """

    def close(self) -> None:
        """End it at once; may be called from any thread, and again."""


class ProcessLearner:
    """A learner in a process of its own.

    Args:
        engine: what learns; it is copied into the process.
        quality: how much work.
        place: where the profile is saved; its preview goes beside it, as PNG.
    """

    def __init__(self, engine: DubEngine, quality: Quality, place: Path) -> None:
        """Nothing runs yet."""
        context = multiprocessing.get_context("spawn")
        self._ours, self._theirs = context.Pipe()
        self._process: Final = context.Process(
            target=learn, args=(self._theirs, engine, quality, place), name="livedub-learner", daemon=True
        )

    def start(self) -> None:
        """Start the process; takes a moment."""
        self._process.start()
        self._theirs.close()

    def picture(self, frame: VideoFrame) -> None:
        """Hand a picture over."""
        self._send(frame)

    def end(self) -> None:
        """No more pictures."""
        self._send(None)

    def receive(self) -> Message:
        """The next message."""
        try:
            message: Message = self._ours.recv()
        except (EOFError, OSError) as error:
            raise BackendError("the process that learnt the face has ended; the server's log may say why") from error
        return message

    def close(self) -> None:
        """End the process."""
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(5.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._ours.close()

    def _send(self, item: VideoFrame | None) -> None:
        try:
            self._ours.send(item)
        except OSError as error:
            raise BackendError("the process that learns the face has ended; the server's log may say why") from error


def learn(connection: Connection, engine: DubEngine, quality: Quality, place: Path) -> None:
    """The process: learn from the pictures of a connection, save the profile, say how it goes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))

    def report(what: str, done: int, total: int) -> None:
        """Tell the session; without one there is nobody to learn for."""
        try:
            connection.send(Progress(what, done, total))
        except BrokenPipeError:
            raise SystemExit(0) from None

    try:
        profile = engine.enroll(received(connection), quality, "mesh", report)
        write_atomically(place.with_suffix(".png"), png(profile.preview))
        profile.save(place)
    except LivedubError as error:
        connection.send(NotLearnt(" ".join(str(error).split())))
    else:
        connection.send(Learnt())
    connection.close()


def received(connection: Connection) -> Iterator[VideoFrame]:
    """Pictures of a connection until None comes; the process ends when the session is gone."""
    while True:
        try:
            frame: VideoFrame | None = connection.recv()
        except EOFError:
            raise SystemExit(0) from None
        if frame is None:
            return
        yield frame
