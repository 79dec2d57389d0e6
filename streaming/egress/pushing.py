"""A push in a process of its own: whatever the other end does, it holds up this push and nothing else."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Final

from engine.errors import MediaError
from streaming.clock import NS
from streaming.egress import container
from streaming.egress.container import HEAD, KEY, PICTURE, PICTURE_BASE, SOUND
from streaming.egress.file import EDITED_TAGS
from streaming.encoder import Encoded
from streaming.ingest.network import TIMEOUT_S, without_credentials
from streaming.live.media import BLOCK, SOUND_RATE, SoundBlock


class PushMuxer:
    """`FfmpegMuxer` for addresses: opens and writes elsewhere, and gives up what is not taken in time.

    Args:
        target: address; it goes by the process's input, where others cannot read its password.
        kind: container.
        width: columns of the pictures.
        height: rows of the pictures.
        timeout_s: longest time that opening or a piece may take.

    Raises:
        MediaError: it cannot be opened.
    """

    def __init__(self, target: str, kind: str, width: int, height: int, timeout_s: float = TIMEOUT_S) -> None:
        """Open it."""
        self._shown, self._zero, self._timeout_s = without_credentials(target), 0, timeout_s
        program = [sys.executable, "-I", str(Path(container.__file__))]
        pipe, none = subprocess.PIPE, subprocess.DEVNULL
        self._process: Final = subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=none)
        self._changed: Final = threading.Condition()
        self._due: float | None = None
        self._gave_up = self._closed = False
        self._watch = threading.Thread(target=self._end_when_late, name="livedub-push-watch", daemon=True)
        self._watch.start()
        asked = {"target": target, "kind": kind, "width": width, "height": height, "tags": dict(EDITED_TAGS)}
        try:
            self._send(json.dumps(asked).encode() + b"\n", "cannot be opened for writing")
        except MediaError:
            self.close()
            raise

    def begin(self, media: int) -> None:
        """Count times from the first picture's."""
        self._zero = media

    def picture(self, packet: Encoded) -> None:
        """Write a picture."""
        pts = packet.pts - round(Fraction(self._zero, NS) / PICTURE_BASE)
        self._send(HEAD.pack(KEY if packet.key else PICTURE, pts, len(packet.data)) + packet.data, "lost")

    def sound(self, block: SoundBlock) -> None:
        """Write sound; what came before the first picture is left out."""
        pts = block.index * BLOCK - self._zero * SOUND_RATE // NS
        if pts >= 0:
            data = block.samples.tobytes()
            self._send(HEAD.pack(SOUND, pts, len(data)) + data, "lost")

    def close(self) -> None:
        """Complete it, in the time that any piece has; may be called again."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with self._in_time():
            with suppress(OSError):
                self._process.stdin.close()
            self._process.wait()
        self._process.stdout.close()
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._watch.join()

    def _send(self, data: bytes, failed: str) -> None:
        """Have something written, and wait until it is."""
        assert self._process.stdin is not None and self._process.stdout is not None
        answer = b""
        with self._in_time(), suppress(OSError):
            self._process.stdin.write(data)
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        if answer != b"\n":
            said = answer.decode(errors="replace").strip() or "the process that pushes has ended"
            said = f"no answer for {self._timeout_s:g} s" if self._gave_up else said
            raise MediaError(f"{self._shown}: {failed}: {said}")

    @contextmanager
    def _in_time(self) -> Iterator[None]:
        """What is done inside ends with the process where it takes too long."""
        self._allow(time.monotonic() + self._timeout_s)
        try:
            yield
        finally:
            self._allow(None)

    def _allow(self, due: float | None) -> None:
        with self._changed:
            self._due = due
            self._changed.notify()

    def _end_when_late(self) -> None:
        """End the process when it is late; in a thread of its own."""
        with self._changed:
            while not self._closed:
                if self._due is not None and time.monotonic() >= self._due:
                    self._gave_up = True
                    self._process.kill()
                    self._due = None
                self._changed.wait(None if self._due is None else self._due - time.monotonic())
