"""A camera and a microphone for measurements: pictures that tell when they were taken, a voice that swells.

The timecode is two rows of 32 blocks of 16 x 16 px: 32 bits of milliseconds, 16 bits of a counter, 16 bits of check. It
survives H.264 and VP8 at low rates.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle
from typing import Final

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from numpy.typing import NDArray

from streaming.clock import MS, NS, Clock
from streaming.live.media import SOUND_RATE

_SIDE: Final = 16
_COLUMNS: Final = 32
_SALT: Final = 0x5A3C


def stamp(luma: NDArray[np.uint8], milliseconds: int, counter: int) -> None:
    """Write a timecode into the first 32 rows of a luma plane [H, W], W >= 512, in place."""
    bits = _bits(milliseconds & 0xFFFFFFFF, counter & 0xFFFF)
    blocks = np.where(bits.reshape(2, _COLUMNS), 220, 30).astype(np.uint8)
    luma[: 2 * _SIDE, : _COLUMNS * _SIDE] = blocks.repeat(_SIDE, axis=0).repeat(_SIDE, axis=1)


def read_stamp(luma: NDArray[np.uint8]) -> tuple[int, int] | None:
    """Milliseconds and counter of a timecode; None where there is none or it is damaged."""
    if luma.shape[0] < 2 * _SIDE or luma.shape[1] < _COLUMNS * _SIDE:
        return None
    area = luma[: 2 * _SIDE, : _COLUMNS * _SIDE].reshape(2, _SIDE, _COLUMNS, _SIDE)
    bits = (area[:, 4:12, :, 4:12].mean(axis=(1, 3)) > 125).reshape(-1)
    number = int("".join("1" if bit else "0" for bit in bits), 2)
    milliseconds, counter = number >> 32, (number >> 16) & 0xFFFF
    return (milliseconds, counter) if np.array_equal(_bits(milliseconds, counter), bits) else None


def swelling(seconds: float) -> NDArray[np.float32]:
    """A tone that swells and fades a little more than once a second, never the same twice within ten seconds."""
    at = np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE
    level = 0.5 - 0.25 * np.cos(2 * np.pi * 1.3 * at) - 0.25 * np.cos(2 * np.pi * 0.9 * at)
    return (0.5 * level * np.sin(2 * np.pi * 1000 * at)).astype(np.float32)


class StampingCamera(MediaStreamTrack):
    """A camera that repeats pictures and stamps each with the clock's milliseconds.

    Args:
        clock: paces and stamps.
        pictures: what it films, [H, W] luma each; taken one after the other, again and again.
        rate: pictures a second.
    """

    kind = "video"

    def __init__(self, clock: Clock, pictures: list[NDArray[np.uint8]], rate: int = 25) -> None:
        """Begin now."""
        super().__init__()
        self._clock, self._pictures, self._rate = clock, pictures, rate
        self._count, self._start = 0, clock.now()

    def film(self, pictures: list[NDArray[np.uint8]]) -> None:
        """Film something else from now on, of another size if need be."""
        self._pictures = pictures

    async def recv(self) -> av.VideoFrame:
        """The next picture, at its time."""
        if self.readyState != "live":
            raise MediaStreamError
        await self._clock.sleep_until(self._start + self._count * NS // self._rate)
        luma = self._pictures[self._count % len(self._pictures)].copy()
        if luma.shape[1] >= _COLUMNS * _SIDE:
            stamp(luma, self._clock.now() // MS, self._count)
        height, width = luma.shape
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        planes[:height] = luma
        frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
        frame.pts, frame.time_base = self._count * 90000 // self._rate, Fraction(1, 90000)
        self._count += 1
        return frame


class RecordedMicrophone(MediaStreamTrack):
    """A microphone that hears a recording, and silence after it, or the recording again and again.

    Args:
        clock: paces it.
        samples: [N] mono at 48 kHz.
        again: whether the recording begins anew at its end.
    """

    kind = "audio"

    def __init__(self, clock: Clock, samples: NDArray[np.float32], again: bool = False) -> None:
        """Begin now."""
        super().__init__()
        self._clock, self._start, self._sent = clock, clock.now(), 0
        blocks = [samples[i : i + 960] for i in range(0, len(samples), 960)]
        self._blocks: Iterator[NDArray[np.float32]] = cycle(blocks) if again else iter(blocks)

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms, at their time."""
        if self.readyState != "live":
            raise MediaStreamError
        await self._clock.sleep_until(self._start + self._sent * NS // SOUND_RATE)
        block = np.zeros(960, np.float32)
        heard = next(self._blocks, block)
        block[: len(heard)] = heard
        frame = av.AudioFrame.from_ndarray((block * 32767).astype(np.int16).reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, self._sent, Fraction(1, SOUND_RATE)
        self._sent += 960
        return frame


def _bits(milliseconds: int, counter: int) -> NDArray[np.bool_]:
    check = (milliseconds ^ (milliseconds >> 16) ^ counter ^ _SALT) & 0xFFFF
    number = milliseconds << 32 | counter << 16 | check
    return np.array([(number >> shift) & 1 for shift in range(63, -1, -1)], np.bool_)
