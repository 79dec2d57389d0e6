"""All sessions of a server, and the files that were sent to it."""

import logging
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final

from engine.errors import BadInputError
from streaming.live.config import Refused, SessionConfig, Surroundings
from streaming.live.session import LiveDubSession
from streaming.server.settings import ServerSettings

log = logging.getLogger(__name__)


class UnknownSession(BadInputError):
    """There is no session of this name."""


class Sessions:
    """The sessions of a server, as many as its settings allow."""

    def __init__(self, settings: ServerSettings, around: Surroundings) -> None:
        """None yet."""
        self.settings, self.around = settings, around
        self.started = 0
        """Sessions begun since the server's start."""
        self._sessions: dict[str, LiveDubSession] = {}
        self._starting = 0
        self._closing = False

    def all(self) -> tuple[LiveDubSession, ...]:
        """The sessions, oldest first."""
        return tuple(self._sessions.values())

    def get(self, name: str) -> LiveDubSession:
        """A session by its name.

        Raises:
            UnknownSession: there is none.
        """
        if name not in self._sessions:
            raise UnknownSession("there is no session of this name; it may have ended. Begin a new one.")
        return self._sessions[name]

    async def begin(self, config: SessionConfig) -> LiveDubSession:
        """Begin a session.

        Raises:
            Refused: there are as many as may be.
            MediaError: its source or voice cannot be read.
        """
        if self._closing:
            raise Refused("this server is ending; it begins no more sessions")
        if len(self._sessions) + self._starting >= self.settings.max_sessions:
            raise Refused(
                f"this server runs {len(self._sessions)} sessions, as many as are allowed. End one, or try later."
            )
        if config.enrol is not None and any(session.is_enrolling for session in self.all()):
            raise Refused("another session is learning a face; one is learnt at a time. Try when that is done.")
        self._starting += 1
        session = LiveDubSession(config, self.around)
        try:
            async with AsyncExitStack() as undo:
                undo.push_async_callback(session.aclose)
                await session.start()
                undo.pop_all()
        finally:
            self._starting -= 1
        self._sessions[session.id] = session
        self.started += 1
        log.info("session %s begun: %s, voice %s", session.id[:4], config.source.kind, config.voice.kind)
        return session

    async def end(self, name: str) -> None:
        """End a session.

        Raises:
            UnknownSession: there is none.
        """
        session = self.get(name)
        del self._sessions[name]
        await session.aclose()
        log.info("session %s ended", name[:4])

    async def aclose(self) -> None:
        """End all, and begin no more."""
        self._closing = True
        for session in self.all():
            await self.end(session.id)


class Uploads:
    """Files that were sent, in a folder of their own that is removed in the end."""

    def __init__(self, limit: int) -> None:
        """Make the folder."""
        self._folder = tempfile.TemporaryDirectory(prefix="livedub-")
        self._limit = limit
        self._files: dict[str, Path] = {}
        self._root: Final = Path(self._folder.name)

    @contextmanager
    def receiving(self) -> Iterator[tuple[str, Path]]:
        """A name and a place for a file, kept when the block ends well; the oldest goes when there are too many."""
        name = secrets.token_urlsafe(12)
        path = self._root / name
        try:
            yield name, path
            self._files[name] = path
        finally:
            if name not in self._files:
                path.unlink(missing_ok=True)
        while len(self._files) > self._limit:
            oldest = next(iter(self._files))
            self._files.pop(oldest).unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """The place of a file.

        Raises:
            BadInputError: there is none of this name.
        """
        if name not in self._files:
            raise BadInputError("upload: there is no file of this name; send it again")
        return self._files[name]

    def without_places(self, text: str) -> str:
        """A message as callers may read it: files that were sent go by no path of this machine."""
        for path in (*self._files.values(), self._root):
            text = text.replace(str(path), "the file that was sent")
        return text

    def close(self) -> None:
        """Remove all files."""
        self._files.clear()
        self._folder.cleanup()
