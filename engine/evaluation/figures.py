"""Figures on series: lips against their target, sound against picture, identity over time.

Pure functions on numpy arrays. Letters: T frames, N points, D descriptor length. Rows that hold NaN are frames without
a reading and are left out pairwise; a figure that cannot be measured raises `NotMeasured`, whose message is the reason.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import LivedubError, ShapeError

Series = NDArray[np.float64]

MIN_FRAMES: Final = 10
"""Fewest frames from which a correlation is taken."""
MIN_SPREAD: Final = 1e-6
"""Standard deviation below which a series counts as constant."""
MAX_LAG_S: Final = 0.32
"""Largest lag that is looked for, in seconds either way."""
MIN_LAG_R: Final = 0.3
"""Best correlation below which a lag is noise and is not stated."""
SILENT_BELOW: Final = 0.1
"""Smoothed voice activity under which a frame can count as silent."""
ENDED_BELOW: Final = 0.5
"""Smoothed voice activity under which speech has ended."""
SILENCE_AFTER_S: Final = 0.3
"""Time that the mouth is given to close after speech ends, in seconds."""

RIGHT_EYE, LEFT_EYE, UPPER_LIP, LOWER_LIP = 36, 45, 62, 66
"""Rows of the outer eye corners and of the inner lips' middles in the 68 iBUG points."""
MOUTH: Final = slice(48, 68)
"""Rows of the 20 mouth points."""


class NotMeasured(LivedubError):
    """A figure cannot be measured on this material; the message says why."""


def require_shape(name: str, array: NDArray[np.generic], *shape: int | None) -> None:
    """Raises `ShapeError` unless `array` has `shape`; None stands for any length."""
    fits = array.ndim == len(shape) and all(want in (None, got) for want, got in zip(shape, array.shape, strict=False))
    if not fits:
        raise ShapeError(f"{name}: got shape {array.shape}, expected {shape} (None: any length)")


def eye_frame(points: NDArray[np.floating]) -> NDArray[np.complex128]:
    """The eye frame of a face: origin midway between the outer eye corners, unit and x axis from corner to corner.

    Args:
        points: [68,2] landmarks in frame pixels.

    Returns:
        [2] complex: origin and axis, so that pixels = origin + axis * (x + iy) in the eye frame.
    """
    require_shape("points", points, 68, 2)
    right, left = (complex(*points[row]) for row in (RIGHT_EYE, LEFT_EYE))
    if right == left:
        raise ShapeError("points: both outer eye corners lie on one spot, expected a face with two eyes")
    return np.array([(right + left) / 2, left - right])


def to_eye_frame(points: NDArray[np.floating], frame: NDArray[np.complex128]) -> Series:
    """Pixels [N,2] in the given eye frame, in inter-ocular distances [N,2]."""
    require_shape("points", points, None, 2)
    aligned = (points[:, 0] + 1j * points[:, 1] - frame[0]) / frame[1]
    return np.stack([aligned.real, aligned.imag], axis=1)


def opening(points: NDArray[np.floating]) -> Series:
    """Inner-lip opening |62 - 66| over the inter-ocular distance.

    Args:
        points: [T,68,2] landmarks, any unit.

    Returns:
        [T] openings in inter-ocular distances.
    """
    require_shape("points", points, None, 68, 2)
    iod = np.linalg.norm(points[:, RIGHT_EYE] - points[:, LEFT_EYE], axis=1)
    return np.asarray(np.linalg.norm(points[:, UPPER_LIP] - points[:, LOWER_LIP], axis=1) / iod, dtype=np.float64)


def convention_offset(tracked: Series, judged: Series) -> Series:
    """Mean offset from the tracker's landmark convention to the judge's, over frames that both have read.

    Two landmark networks put "the same" point at slightly different places of the same face. The targets come in the
    tracker's convention; to be compared with what the judge reads they are moved by this offset, which is measured on
    the *source* frames only, so that nothing of the edit can enter it.

    Args:
        tracked: [T,N,2] the tracker's landmarks of the source frames in the eye frame.
        judged: [T,N,2] the judge's landmarks of the same frames in the same eye frame.

    Returns:
        [N,2] mean of judged - tracked in inter-ocular distances.
    """
    require_shape("tracked", tracked, None, None, 2)
    require_shape("judged", judged, *tracked.shape)
    difference = (judged - tracked)[np.isfinite(judged - tracked).all(axis=(1, 2))]
    if not len(difference):
        raise NotMeasured("no frame was read by both the tracker and the judge")
    return np.asarray(difference.mean(axis=0))


def lip_target_error(measured: Series, target: Series) -> float:
    """Mean distance of the mouth points from their target.

    Args:
        measured: [T,N,2] what the judge reads on the edited frames, eye frame, inter-ocular distances.
        target: [T,N,2] where they should be, same frame and convention.

    Returns:
        Mean over points and frames, in inter-ocular distances.
    """
    require_shape("measured", measured, None, None, 2)
    require_shape("target", target, *measured.shape)
    distance = np.linalg.norm(measured - target, axis=2)
    distance = distance[np.isfinite(distance).all(axis=1)]
    if not len(distance):
        raise NotMeasured("no edited frame has both a target and a reading of the judge")
    return float(distance.mean())


def correlation(a: Series, b: Series) -> float:
    """Pearson correlation of two series [T]; pairs with a NaN are left out.

    Raises:
        NotMeasured: fewer than `MIN_FRAMES` pairs, or a series that does not vary.
    """
    require_shape("a", a, None)
    require_shape("b", b, len(a))
    both = np.isfinite(a) & np.isfinite(b)
    if both.sum() < MIN_FRAMES:
        raise NotMeasured(f"{both.sum()} frames with both readings, {MIN_FRAMES} needed for a correlation")
    a, b = a[both] - a[both].mean(), b[both] - b[both].mean()
    spread_a, spread_b = a.std(), b.std()
    if min(spread_a, spread_b) < MIN_SPREAD:
        raise NotMeasured("the opening or its target does not vary: no correlation")
    return float((a * b).mean() / (spread_a * spread_b))


def delayed(times: Series, values: Series, lag_s: float) -> Series:
    """The series [T] delayed by `lag_s` and read again at its own times, NaN where it is unknown.

    Cubic (Catmull-Rom) interpolation between frames, so that a lag that is no whole number of frames neither smooths
    the series nor draws the best lag to whole frames. A gap (a NaN, or frames further apart than 1.5 usual steps)
    stays a gap.
    """
    step = float(np.median(np.diff(times)))
    at = times - lag_s
    left = np.searchsorted(times, at + 1e-9, side="right") - 1
    inside = (left >= 1) & (left <= len(times) - 3)
    left = np.clip(left, 1, max(1, len(times) - 3))
    neighbours = left[:, None] + np.arange(-1, 3)
    even = (np.diff(times[neighbours], axis=1) < 1.5 * step).all(axis=1)
    p0, p1, p2, p3 = values[neighbours].T
    u = (at - times[left]) / (times[left + 1] - times[left])
    curve = p1 + 0.5 * u * (p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3 + u * (3 * (p1 - p2) + p3 - p0)))
    return np.where(inside & even, curve, np.nan)


@dataclass(frozen=True)
class Lag:
    """The lag at which two series fit best."""

    offset_ms: float
    """How much later the measured series is than its target; + = the mouth is late, - = it is early."""
    r: float
    """The correlation at that lag."""


def best_lag(times: Series, measured: Series, target: Series, centre_s: float = 0.0, reach_s: float = MAX_LAG_S) -> Lag:
    """Lag of the best correlation between a measured series and its target.

    The correlation is taken every 10 ms within `centre_s` +- `reach_s`, and a parabola through the best three gives
    the lag between them.

    Args:
        times: [T] seconds, rising.
        measured: [T] for example openings read by the judge.
        target: [T] for example openings asked for.
        centre_s: middle of the lags that are looked at (a clip's documented offset).
        reach_s: how far to look either way.

    Raises:
        NotMeasured: too few frames, a constant series, no correlation worth the name, or the best lag is at the rim.
    """
    require_shape("times", times, None)
    require_shape("measured", measured, len(times))
    require_shape("target", target, len(times))
    if len(times) < MIN_FRAMES:
        raise NotMeasured(f"{len(times)} frames, {MIN_FRAMES} needed for a lag")
    lags = centre_s + 0.01 * np.arange(-round(reach_s / 0.01), round(reach_s / 0.01) + 1)
    r = np.array([correlation(measured, delayed(times, target, float(lag))) for lag in lags])
    best = int(r.argmax())
    if r[best] < MIN_LAG_R:
        raise NotMeasured(f"best correlation over lags is {r[best]:.2f}, under {MIN_LAG_R}: the lag would be noise")
    if best in (0, len(lags) - 1):
        raise NotMeasured(f"the best lag is at the rim of the search ({1000 * lags[best]:.0f} ms)")
    before, peak, after = r[best - 1 : best + 2]
    bend = before - 2 * peak + after
    shift = 0.0 if bend == 0 else 0.5 * (before - after) / bend
    return Lag(offset_ms=float(1000 * (lags[best] + 0.01 * shift)), r=float(peak - 0.25 * (before - after) * shift))


def silent_frames(times: Series, speaking: Series) -> NDArray[np.bool_]:
    """Which frames [T] count as silence: voice activity low now, and speech ended at least `SILENCE_AFTER_S` before.

    Speech ends where the smoothed activity falls under `ENDED_BELOW`; a frame counts only while it is also under
    `SILENT_BELOW`. A clip that begins in silence is treated as if speech had ended at its first frame.
    """
    require_shape("times", times, None)
    require_shape("speaking", speaking, len(times))
    silent = np.zeros(len(times), dtype=bool)
    ended: float | None = None
    for row, (second, activity) in enumerate(zip(times, speaking, strict=True)):
        if activity >= ENDED_BELOW:
            ended = None
            continue
        ended = float(second) if ended is None else ended
        silent[row] = activity < SILENT_BELOW and second - ended >= SILENCE_AFTER_S - 1e-9
    return silent


def share_open(openings: Series, rest: float, allowance: float) -> float:
    """Share of openings [T] above `rest + allowance`; NaN readings are left out.

    Raises:
        NotMeasured: no reading at all.
    """
    require_shape("openings", openings, None)
    known = openings[np.isfinite(openings)]
    if not len(known):
        raise NotMeasured(f"no edited frame is silent for {SILENCE_AFTER_S} s after speech ends")
    return float((known > rest + allowance).mean())


def identity_distance(edited: Series, source: Series) -> float:
    """Mean Euclidean distance of descriptors [T,D] of edited and source frames (dlib: same person < 0.6)."""
    require_shape("edited", edited, None, None)
    require_shape("source", source, *edited.shape)
    distance = np.linalg.norm(edited - source, axis=1)
    distance = distance[np.isfinite(distance)]
    if not len(distance):
        raise NotMeasured("no edited frame has descriptors")
    return float(distance.mean())


def cosine(a: Series, b: Series) -> float:
    """Cosine similarity of two descriptors [D]."""
    require_shape("a", a, None)
    require_shape("b", b, len(a))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def ratio(edited: Series, source: Series) -> float:
    """Mean of the edited frames' readings [T] over that of the source frames' [T], over frames that have both.

    Raises:
        NotMeasured: no such frame, or the source's mean is zero.
    """
    require_shape("edited", edited, None)
    require_shape("source", source, len(edited))
    both = np.isfinite(edited) & np.isfinite(source)
    if not both.any():
        raise NotMeasured("no frame has both readings")
    below = float(source[both].mean())
    if below == 0:
        raise NotMeasured("the source's own reading is zero: no ratio")
    return float(edited[both].mean()) / below
