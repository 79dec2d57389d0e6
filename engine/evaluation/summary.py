"""From a run's readings to its figures.

Targets come in the tracker's landmark convention, readings in the judge's. The targets are carried over by the mean
offset between both on the run's own source frames (`figures.convention_offset`); the same figures without that
correction stand in the details.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.evaluation import figures as f
from engine.evaluation.report import FIGURES, Counted

UPPER: Final = f.UPPER_LIP - f.MOUTH.start
LOWER: Final = f.LOWER_LIP - f.MOUTH.start
CLOSED_SHARE: Final = 0.2
"""Share of the source frames, the most closed ones, on which the judge's reading of a closed mouth is measured."""
WIDE_PERCENTILE: Final = 95
"""Percentile of the target openings that counts as the speaker's wide-open mouth."""
LEAST_CLOSED: Final = 10
"""Closed source frames from which on the judge's floor is told."""
ALLOWANCE: Final = 0.1
"""How far above rest a mouth still counts as closed, as a share of the way from rest to wide open."""

ELSEWHERE: Final = {
    "speech_r": "needs a clip in sync with the driving speech: measured by the speech benchmark",
    "speech_r_over_baseline": "needs a clip in sync with the driving speech: measured by the speech benchmark",
    "lse_c": "needs SyncNet weights, none given",
    "lse_d": "needs SyncNet weights, none given",
}
"""Figures that a run's report never has, and why."""
JUDGED: Final = (
    "lip_target_error", "lip_opening_r", "sync_offset_ms", "identity", "tl_id", "closed_in_silence",
)  # fmt: skip
"""Figures that need a judge."""


@dataclass(frozen=True)
class Reading:
    """The mouth points [20,2] of one edited frame in the eye frame, in inter-ocular distances."""

    tracked: f.Series
    """The source frame's, by the tracker."""
    target: f.Series
    """Where they should be, in the tracker's convention."""
    source: f.Series
    """The source frame's, by the judge."""
    edited: f.Series
    """The finished frame's, by the judge."""
    witness: tuple[f.Series, f.Series] | None = None
    """The source's and the finished frame's, by the witness."""


@dataclass
class Measurements:
    """What a run has given so far; lists over frames, or over the frames (pairs) that could be read."""

    judged: bool
    rest_opening: float | None = None
    times: list[float] = field(default_factory=list)
    speaking: list[float] = field(default_factory=list)
    readings: list[Reading | None] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)
    pairs: defaultdict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    stages: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    changed: int = 0
    outside: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    effort: Counter[int] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)

    @property
    def edited(self) -> int:
        """Edited frames."""
        return sum(self.effort.values())


@dataclass
class Summary:
    """Figures, reasons, counts and details of a run."""

    figures: dict[str, float | None]
    not_measured: dict[str, str]
    counted: dict[str, Counted] = field(default_factory=dict)
    details: dict[str, float] = field(default_factory=dict)


def summarise(measured: Measurements) -> Summary:
    """All figures of a run, each measured or with the reason why not."""
    summary = Summary(figures=dict.fromkeys(FIGURES), not_measured=dict(ELSEWHERE))
    lips = _Lips.of(measured, summary.details)
    measures: dict[str, Callable[[], tuple[float, int, int]]] = {
        "outside": lambda: _outside(measured),
        "identity": lambda: _identity(measured),
        **{key: _pair_measure(measured, key) for key in ("tl_id", "seam", "sharpness", "flicker")},
        "lip_target_error": lambda: lips.target_error(),
        "lip_opening_r": lambda: lips.opening_r(),
        "sync_offset_ms": lambda: lips.sync_offset(),
        "closed_in_silence": lambda: lips.closed_in_silence(),
    }
    for key, measure in measures.items():
        if key in JUDGED and not measured.judged:
            summary.not_measured[key] = "no judge (install livedub[eval] and fetch its weights)"
            continue
        try:
            value, frames, left_out = measure()
        except f.NotMeasured as reason:
            summary.not_measured[key] = str(reason)
            continue
        summary.figures[key], summary.counted[key] = value, Counted(frames, left_out)
    return summary


def openings(measured: Measurements) -> dict[str, list[float | None]]:
    """Openings over time, to be drawn: seconds, target (in the judge's convention), shown and filmed, [T] each.

    In inter-ocular distances; None where there is no reading. Without a judge only the times.
    """
    lips = _Lips.of(measured, {})
    series: dict[str, list[float | None]] = {"seconds": [round(float(t), 4) for t in lips.times]}
    try:
        offset = lips.offset()
    except f.NotMeasured:
        return series
    for name, points in (("target", lips.target + offset), ("shown", lips.edited), ("filmed", lips.source)):
        series[name] = [round(float(v), 4) if np.isfinite(v) else None for v in _opening(points)]
    return series


def _outside(measured: Measurements) -> tuple[float, int, int]:
    if not measured.outside:
        raise f.NotMeasured("no pixel is outside a mask")
    return measured.changed / measured.outside, len(measured.times), 0


def _identity(measured: Measurements) -> tuple[float, int, int]:
    if not measured.distances:
        raise f.NotMeasured("no edited frame has descriptors")
    return float(np.mean(measured.distances)), len(measured.distances), measured.edited - len(measured.distances)


def _pair_measure(measured: Measurements, key: str) -> Callable[[], tuple[float, int, int]]:
    """Ratio of what was read on edited and source frames, over the frames (neighbours) that have both."""

    def measure() -> tuple[float, int, int]:
        """The ratio, its frames, and those left out."""
        pairs = np.asarray(measured.pairs[key], dtype=np.float64).reshape(-1, 2)
        possible = measured.edited if key in ("seam", "sharpness") else max(0, measured.edited - 1)
        frames = int(np.isfinite(pairs).all(axis=1).sum())
        return f.ratio(pairs[:, 0], pairs[:, 1]), frames, possible - frames

    return measure


@dataclass(frozen=True)
class _Lips:
    """Mouth points [T,20,2] of all frames, NaN where there is no reading."""

    times: f.Series
    speaking: f.Series
    tracked: f.Series
    target: f.Series
    source: f.Series
    edited: f.Series
    witnessed_source: f.Series
    witnessed: f.Series
    edited_frames: int
    rest_opening: float | None
    details: dict[str, float]

    @classmethod
    def of(cls, measured: Measurements, details: dict[str, float]) -> "_Lips":
        """Stacks the readings; `details` is where the methods leave what helps to read the figures."""
        unknown = np.full((20, 2), np.nan)
        blank = Reading(unknown, unknown, unknown, unknown)
        rows = [reading or blank for reading in measured.readings]
        names = ("tracked", "target", "source", "edited")
        stacks = {name: np.array([getattr(row, name) for row in rows]).reshape(-1, 20, 2) for name in names}
        seen = np.array([row.witness or (unknown, unknown) for row in rows]).reshape(-1, 2, 20, 2)
        return cls(
            times=np.array(measured.times),
            speaking=np.array(measured.speaking),
            edited_frames=measured.edited,
            rest_opening=measured.rest_opening,
            details=details,
            witnessed_source=seen[:, 0],
            witnessed=seen[:, 1],
            **stacks,
        )

    @property
    def known(self) -> NDArray[np.bool_]:
        """Frames [T] with a reading."""
        return np.asarray(np.isfinite(self.edited).all(axis=(1, 2)))

    def offset(self) -> f.Series:
        """[20,2] from the tracker's convention to the judge's."""
        return f.convention_offset(self.tracked, self.source)

    def _count(self, frames: int) -> tuple[int, int]:
        return frames, self.edited_frames - frames

    def target_error(self) -> tuple[float, int, int]:
        """Lip target error; uncorrected in the details."""
        offset = self.offset()
        self.details["lip_target_error_uncorrected"] = f.lip_target_error(self.edited, self.target)
        self.details["convention_offset"] = float(np.linalg.norm(offset, axis=1).mean())
        return f.lip_target_error(self.edited, self.target + offset), *self._count(int(self.known.sum()))

    def opening_r(self) -> tuple[float, int, int]:
        """Correlation of the opening with its target; uncorrected, and with the source's own mouth, in the details."""
        edited, target = _opening(self.edited), _opening(self.target + self.offset())
        r = f.correlation(edited, target)
        self.details["lip_opening_r_uncorrected"] = f.correlation(edited, _opening(self.target))
        self.details["opening_gain"] = float(r * np.nanstd(edited) / np.nanstd(target[self.known]))
        source = _opening(self.source)
        if np.nanstd(source) >= f.MIN_SPREAD:
            self.details["opening_r_with_source_mouth"] = f.correlation(edited, source)
        return r, *self._count(int(self.known.sum()))

    def sync_offset(self) -> tuple[float, int, int]:
        """Lag of the opening behind its target; the correlation at that lag in the details."""
        lag = f.best_lag(self.times, _opening(self.edited), _opening(self.target + self.offset()))
        self.details["lip_opening_r_at_best_lag"] = lag.r
        return lag.offset_ms, *self._count(int(self.known.sum()))

    def closed_in_silence(self) -> tuple[float, int, int]:
        """Share of silent frames whose mouth is open: to the judge and, where there is one, to the witness as well.

        Open is more than 10 % of the way from the speaker's rest to wide open (the 95th percentile of the targets
        while speaking). Rest is the profile's, else the median target of the silent frames, moved by how a network
        reads closed mouths differently from the tracker: the median difference of their openings over the 20 % of the
        source frames that are most closed. One network alone calls up to a third of *filmed* closed lips open by this
        rule (a beard, dark lips), so two that err on different faces have to agree. In the details: each one's own
        share; the judge's share at 10 % of the rest opening itself, which is mostly finer than it can read; and the
        floors, the shares of untouched source frames that the tracker finds closed and that count as open.
        """
        silent = f.silent_frames(self.times, self.speaking)
        if not (silent & self.known).any():
            raise f.NotMeasured(f"no edited frame is silent {f.SILENCE_AFTER_S} s after speech ends")
        target = _opening(self.target)
        spoken = target[self.known & (self.speaking >= f.ENDED_BELOW)]
        if not len(spoken):
            raise f.NotMeasured("nobody speaks in this run: the speaker's opening range is not known")
        rest = float(np.median(target[silent & self.known])) if self.rest_opening is None else self.rest_opening
        allowance = ALLOWANCE * (float(np.percentile(spoken, WIDE_PERCENTILE)) - rest)
        if allowance <= 0:
            raise f.NotMeasured("the targets while speaking are no wider open than rest")
        unread = int((silent & ~self.known).sum())
        silent &= self.known
        judged = _Closure.of(self.tracked, self.source, self.edited, rest)
        opened, floor = judged.opened(allowance)
        strict = judged.edited > judged.rest * (1 + ALLOWANCE)
        self.details.update(
            rest_opening=judged.rest,
            closed_allowance=allowance,
            closed_in_silence_of_rest_itself=float(strict[silent].mean()),
        )
        seen = np.asarray(np.isfinite(self.witnessed).all(axis=(1, 2)))
        if seen[silent].any():
            witness = _Closure.of(self.tracked, self.witnessed_source, self.witnessed, rest).opened(allowance)
            self.details["closed_in_silence_to_judge"] = float(opened[silent].mean())
            self.details["closed_in_silence_to_witness"] = float(witness[0][silent & seen].mean())
            opened, floor = opened & (witness[0] | ~seen), floor & (witness[1] | ~seen)
        closed = self.known & (_opening(self.tracked) <= rest + allowance)
        if closed.sum() >= LEAST_CLOSED:
            self.details["closed_in_silence_floor"] = float(floor[closed].mean())
        return float(opened[silent].mean()), int(silent.sum()), unread


@dataclass(frozen=True)
class _Closure:
    """One network's openings [T] and what it reads at rest."""

    source: f.Series
    edited: f.Series
    rest: float

    @classmethod
    def of(cls, tracked: f.Series, source: f.Series, edited: f.Series, rest: float) -> "_Closure":
        """From mouth points [T,20,2]: rest as this network reads it, by the most closed source frames."""
        openings = [_opening(points) for points in (tracked, source, edited)]
        known = np.isfinite(openings[0]) & np.isfinite(openings[1])
        own, read = openings[0][known], openings[1][known]
        closed = own <= np.quantile(own, CLOSED_SHARE)
        return cls(openings[1], openings[2], max(0.0, rest + float(np.median(read[closed] - own[closed]))))

    def opened(self, allowance: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which finished and which source frames [T] count as open; False where there is no reading."""
        limit = self.rest + allowance
        return self.edited > limit, self.source > limit


def _opening(mouth: f.Series) -> f.Series:
    """Inner-lip opening [T] of mouth points [T,20,2]."""
    return np.asarray(np.linalg.norm(mouth[:, UPPER] - mouth[:, LOWER], axis=1))
