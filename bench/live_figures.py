"""What a receiver's notes tell: rates, gaps, damage, and how far sound and pictures are apart."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.receiver import Received
from streaming.live.media import SOUND_RATE

_PLAIN: Final = 6.0
"""Largest standard deviation of a painted band after coding."""


def percentiles(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float] | None:
    """p50, p95, p99 of values; None without any."""
    if len(values) == 0:
        return None
    return {f"p{q}": round(float(np.percentile(values, q)), 1) for q in (50, 95, 99)}


def split_of(stats: Mapping[str, Any], look_ahead_ms: float, beyond: Mapping[str, float] | None) -> dict[str, Any]:
    """Where the time from capture to viewer goes, in ms.

    Args:
        stats: of the session.
        look_ahead_ms: speech after a picture's time that its edit needs: algorithmic delay.
        beyond: percentiles of what came on top of the session's delay: encoding beyond its lead, network, decoding.
    """
    compute = stats["edit_ms_p50"]
    held = None if compute is None else round(stats["delay_ms"] - look_ahead_ms - compute, 1)
    transport = None if beyond is None else beyond["p50"]
    return {"algorithmic": look_ahead_ms, "compute": compute, "held_for_evenness": held, "transport": transport}


def sound_gaps(got: Received) -> int:
    """Pieces of sound that are missing between those that came."""
    times = np.asarray([at for _, at, _ in got.sounds])
    return int(np.rint(np.diff(times) / 0.02 - 1).clip(0).sum())


def is_painted(luma: NDArray[np.uint8]) -> bool:
    """Whether the marking engine's band is there and plain: an edited picture that nothing has damaged."""
    return float(_band(luma).std()) < _PLAIN


def offset_of(got: Received, first: int, last: int) -> float | None:
    """`av_offset_ms` of some of the pictures and all the sound; None for too few.

    Both are put on the sender's clock where its reports have told it, as browsers do it.
    """
    if last - first < 8:
        return None
    shift = got.clocks["video"] - got.clocks["audio"] if {"video", "audio"} <= set(got.clocks) else 0.0
    pictures = [(at + shift, luma) for _, at, luma in got.pictures[first:last]]
    return av_offset_ms(pictures, [(at, samples) for _, at, samples in got.sounds])


def av_offset_ms(
    pictures: Sequence[tuple[float, NDArray[np.uint8]]], sounds: Sequence[tuple[float, NDArray[np.float32]]]
) -> float:
    """How much earlier sound is than its pictures, in ms: + = sound early.

    Pictures that are not painted (they passed through) are left out. The others must be as bright as the voice is loud
    (root mean square over 20 ms) at their time. The offset is the shift within +-150 ms at which brightness and
    loudness agree best.

    Args:
        pictures: (time in s, [H,W] luma) of each picture.
        sounds: (time in s, [N] mono at 48 kHz) of each piece; what is missing counts as silence.
    """
    painted = [(at, float(_band(luma).mean())) for at, luma in pictures if is_painted(luma)]
    times, bright = np.asarray([at for at, _ in painted]), np.asarray([level for _, level in painted])
    begin, end = sounds[0][0], sounds[-1][0]
    sound = np.zeros(round((end - begin) * SOUND_RATE) + len(sounds[-1][1]))
    for at, samples in sounds:
        place = round((at - begin) * SOUND_RATE)
        sound[place : place + len(samples)] = samples[: len(sound) - place]
    power = np.concatenate([[0.0], np.cumsum(np.square(sound))])
    shifts = np.arange(-150.0, 150.5, 0.5)
    errors = [_misfit(times - shift / 1000 - begin, bright, power) for shift in shifts]
    return float(shifts[int(np.argmin(errors))])


def slope_per_minute(minutes: Sequence[float], values: Sequence[float]) -> float | None:
    """Growth of values with time, by least squares; None for fewer than three."""
    if len(minutes) < 3:
        return None
    return round(float(np.polyfit(np.asarray(minutes), np.asarray(values), 1)[0]), 3)


def _band(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return luma[luma.shape[0] // 4 : luma.shape[0] // 2]


def _misfit(places: NDArray[Any], bright: NDArray[Any], power: NDArray[Any]) -> float:
    """Share of the brightness that loudness at these places (s of the sound) does not explain."""
    middle = np.rint(places * SOUND_RATE).astype(int)
    inside = (middle >= 480) & (middle < len(power) - 481)
    middle, seen = middle[inside], bright[inside]
    loud = np.sqrt(np.maximum(0.0, power[middle + 480] - power[middle - 480]) / 960)
    if len(seen) < 8 or seen.std() == 0 or loud.std() == 0:
        return np.inf
    return 1.0 - float(np.corrcoef(loud, seen)[0, 1])
