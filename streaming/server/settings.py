"""What a server is started with."""

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from engine.errors import BadInputError
from streaming.live.sources import DEMO_DATA
from streaming.rtc import IceServer

PRESENTER: Final = "presenter"
"""Name of the shipped speaker."""


@dataclass(frozen=True)
class ServerSettings:
    """Address, who may use it, and limits."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8080
    """Port to listen on; 0: any."""
    token: str | None = field(default=None, repr=False)
    """Bearer token of the API; needed beyond loopback."""
    speakers: dict[str, Path] = field(default_factory=lambda: {PRESENTER: DEMO_DATA / "presenter.safetensors"})
    """Name -> profile of those who may be edited."""
    ready: tuple[str, ...] = ()
    """Of these: whose sessions shall begin at once; they are made ready when the server starts, in this order."""
    profiles: Path | None = None
    """Folder of more profiles; faces learnt live are kept there. None: they go when the server ends."""
    cameras: tuple[str, ...] = ()
    """Cameras of this machine that sessions may use."""
    ice_servers: tuple[IceServer, ...] = ()
    """STUN and TURN servers."""
    ice_hosts: tuple[str, ...] = ()
    """Addresses to offer to those who connect; none: all of this machine but loopback."""
    max_sessions: int = 2
    """Sessions at a time."""
    max_viewers: int = 8
    """Viewers of one session."""
    max_upload_mb: int = 200
    """Largest file that may be sent."""
    max_uploads: int = 8
    """Files that are kept at a time; the oldest unused one goes."""
    calls_per_minute: int = 240
    """Calls of the API by one address."""

    def __post_init__(self) -> None:
        """Check what can be checked.

        Raises:
            BadInputError: a value cannot be.
        """
        if not 0 <= self.port <= 65535:
            raise BadInputError(f"port is {self.port}; expected 0 to 65535")
        if min(self.max_sessions, self.max_viewers, self.max_upload_mb, self.max_uploads, self.calls_per_minute) < 1:
            raise BadInputError("a limit is less than 1; expected at least 1 session, viewer, upload and call")
        if self.token is not None and len(self.token) < 16:
            raise BadInputError(f"the token has {len(self.token)} characters; expected at least 16")
        if self.token is None and not self.is_loopback:
            raise BadInputError(
                f"the server would listen on {self.host} without a token; whoever reaches it could make videos of "
                "people. Set LIVEDUB_TOKEN (16 characters or more) or listen on 127.0.0.1."
            )
        if unknown := set(self.ready) - set(self.speakers):
            raise BadInputError(f"speakers to make ready: got {', '.join(sorted(unknown))}; expected names of speakers")
        for name, path in self.speakers.items():
            if not path.is_file():
                raise BadInputError(f"speaker {name}: {path}: no such file. Make it with `livedub enroll`.")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"
