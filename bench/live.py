"""Live dubbing measured at a receiver: delay, sync, rates, on the real engine or a scripted one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SOUND_RATE = 48000


def av_offset_ms(
    pictures: Sequence[tuple[float, NDArray[np.uint8]]], sounds: Sequence[tuple[float, NDArray[np.float32]]]
) -> float:
    """How much earlier sound is than its pictures, in ms: + = sound early.

    The pictures must be as bright as the voice is loud (root mean square over 20 ms) at their time. The offset is the
    shift within +-150 ms at which brightness and loudness agree best.

    Args:
        pictures: (time in s, [H,W] luma) of each picture.
        sounds: (time in s, [N] mono at 48 kHz) of each piece, without gaps.
    """
    times = np.asarray([at for at, _ in pictures])
    bright = np.asarray([float(luma[luma.shape[0] // 4 : luma.shape[0] // 2].mean()) for _, luma in pictures])
    sound = np.concatenate([samples for _, samples in sounds]).astype(np.float64)
    power = np.concatenate([[0.0], np.cumsum(np.square(sound))])
    begin = sounds[0][0]
    shifts = np.arange(-150.0, 150.5, 0.5)
    errors = [_misfit(times - shift / 1000 - begin, bright, power) for shift in shifts]
    return float(shifts[int(np.argmin(errors))])


def _misfit(places: NDArray[Any], bright: NDArray[Any], power: NDArray[Any]) -> float:
    """Share of the brightness that loudness at these places (s of the sound) does not explain."""
    middle = np.rint(places * SOUND_RATE).astype(int)
    inside = (middle >= 480) & (middle < len(power) - 481)
    middle, seen = middle[inside], bright[inside]
    loud = np.sqrt(np.maximum(0.0, power[middle + 480] - power[middle - 480]) / 960)
    if len(seen) < 8 or seen.std() == 0 or loud.std() == 0:
        return np.inf
    return 1.0 - float(np.corrcoef(loud, seen)[0, 1])
