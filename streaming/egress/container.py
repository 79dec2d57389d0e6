"""One container of FFmpeg for packets that come live; as a program, it is told what to write on its standard input.

Pushes run in a process of their own: PyAV opens an output without letting other threads run, for as long as the other
end takes to answer, if it ever does. So this file imports nothing of the package, and the process starts at once.
"""

import json
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from fractions import Fraction
from typing import IO, Any, Final

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from numpy.typing import NDArray

PICTURE_BASE: Final = Fraction(1, 90000)
SOUND_RATE: Final = 48000
ERRORS: Final = (av.FFmpegError, OSError, ValueError)
"""What opening and writing may raise."""

HEAD: Final = struct.Struct("!cqI")
"""Before each piece: what it is (`PICTURE`, `KEY`, `SOUND`), its time, its length in bytes."""
PICTURE: Final = b"p"
KEY: Final = b"k"
SOUND: Final = b"s"

_FRAGMENTED: Final = "frag_keyframe+delay_moov+default_base_moof+use_metadata_tags"


class Container:
    """H.264 as it comes, sound as AAC.

    Args:
        target: path or address.
        kind: FFmpeg's name of the container.
        width: columns of the pictures.
        height: rows of the pictures.
        tags: metadata.

    Raises:
        av.FFmpegError, OSError, ValueError: it cannot be opened; the same where it cannot be written to.
    """

    def __init__(self, target: str, kind: str, width: int, height: int, tags: Mapping[str, str]) -> None:
        """Open it."""
        options = {"movflags": _FRAGMENTED} if kind == "mp4" else {}
        self._container: OutputContainer = av.open(target, "w", format=kind, options=options, timeout=5.0)
        self._container.metadata.update(tags)
        self._video = self._container.add_mux_stream("h264", rate=25, width=width, height=height)
        self._video.time_base = PICTURE_BASE
        self._audio: AudioStream = self._container.add_stream("aac", rate=SOUND_RATE, layout="mono")
        self._audio.bit_rate = 128_000
        self._container.start_encoding()

    def picture(self, data: bytes, pts: int, key: bool) -> None:
        """Write a picture at a time in 1/90000 s."""
        packet: av.Packet[Any] = av.Packet(data)
        packet.time_base, packet.is_keyframe, packet.stream = PICTURE_BASE, key, self._video
        packet.pts = packet.dts = pts
        self._container.mux(packet)

    def sound(self, samples: NDArray[np.float32], pts: int) -> None:
        """Write sound [N] at a time in samples."""
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.reshape(1, -1)), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, pts, Fraction(1, SOUND_RATE)
        self._container.mux(self._audio.encode(frame))

    def close(self) -> None:
        """Complete it; a lost connection has nothing left to complete."""
        with suppress(*ERRORS):
            self._container.mux(self._audio.encode(None))
        with suppress(*ERRORS):
            self._container.close()


def reason_of(error: Exception) -> str:
    """What an error says, in a line."""
    return " ".join((getattr(error, "strerror", None) or str(error)).split()) or type(error).__name__


def serve(given: IO[bytes], told: IO[bytes]) -> int:
    """Write what is given: the arguments of `Container` as a line of JSON, then pieces; gives the exit status.

    Each of them is answered by a line: empty, or what went wrong, which is the last one then.
    """
    container: Container | None = None
    try:
        container = Container(**json.loads(given.readline()))
        _tell(told, "")
        while len(head := given.read(HEAD.size)) == HEAD.size:
            what, pts, length = HEAD.unpack(head)
            data = given.read(length)
            if what == SOUND:
                container.sound(np.frombuffer(data, np.float32), pts)
            else:
                container.picture(data, pts, what == KEY)
            _tell(told, "")
    except ERRORS as error:
        _tell(told, reason_of(error))
        return 1
    finally:
        if container is not None:
            container.close()
    return 0


def _tell(told: IO[bytes], text: str) -> None:
    told.write(f"{text}\n".encode())
    told.flush()


if __name__ == "__main__":
    sys.exit(serve(sys.stdin.buffer, sys.stdout.buffer))
