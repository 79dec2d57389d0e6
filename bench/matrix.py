"""Many clips with many speeches: what each clip is like, how each fares, and which is the worst, with what it misses.

A clip's shortfall is the sum over the figures of how far each lies beyond its goal, as a share of the goal and at most
one, averaged over its speeches. The weighing is ours; it ranks clips and nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.evaluation import FIGURES, GOALS, figures, goal_text, reached

NOSE: Final = 33
"""Landmark at the base of the nose."""
MATERIAL: Final[Mapping[str, tuple[str, bool]]] = {
    "iod_px": ("the smallest face, px between the eyes", False),
    "turn": ("the head that turns most, way of the nose in eye distances", True),
    "motion": ("the fastest head, eye distances a second", True),
    "without_face": ("most pictures without a usable face, share", True),
}
"""What is known of a clip, in words for the one where it is extreme; whether large values are hard."""
_LEAST_SCALE: Final = 0.1


class Material:
    """What the tracked landmarks of a run's sources say of the clip: `add` every frame, then `finish`."""

    def __init__(self) -> None:
        """Nothing seen yet."""
        self._sizes: list[float] = []
        self._noses: list[float] = []
        self._speeds: list[float] = []
        self._frames = 0
        self._last: tuple[float, complex] | None = None

    def add(self, seconds: float, tracked: NDArray[np.floating] | None) -> None:
        """Takes the landmarks [68,2] of one frame in px, None without a face."""
        self._frames += 1
        if tracked is None:
            self._last = None
            return
        origin, axis = figures.eye_frame(tracked)
        nose = figures.to_eye_frame(tracked[NOSE : NOSE + 1], np.array([origin, axis]))
        self._sizes.append(abs(axis))
        self._noses.append(float(nose[0, 0]))
        if self._last is not None and seconds > self._last[0]:
            self._speeds.append(abs(origin - self._last[1]) / abs(axis) / (seconds - self._last[0]))
        self._last = (seconds, complex(origin))

    def finish(self) -> dict[str, float]:
        """Median size of the face, how far the nose goes to the sides, 95th percentile of speed, share without face."""
        found = {"without_face": 1 - len(self._sizes) / max(1, self._frames)}
        if self._sizes:
            found["iod_px"] = float(np.median(self._sizes))
            found["turn"] = float(np.ptp(np.quantile(self._noses, (0.02, 0.98))))
        if self._speeds:
            found["motion"] = float(np.quantile(self._speeds, 0.95))
        return {key: float(f"{value:.4g}") for key, value in found.items()}


@dataclass(frozen=True)
class Clip:
    """How one clip fares over its speeches."""

    name: str
    """Of the clip."""
    runs: int
    """Speeches it was measured with."""
    shortfall: float
    """Mean over the speeches; 0: all goals reached."""
    means: dict[str, float]
    """Figure -> mean over the speeches that have it."""
    missed: dict[str, dict[str, float]]
    """Figure -> speech -> value, where the goal is missed."""
    silent: dict[str, str]
    """Figure -> why it was not measured with some speech."""
    material: dict[str, float] = field(default_factory=dict)
    """What the clip is like (see `MATERIAL`)."""


def shortfall(key: str, value: float) -> float:
    """How far a figure lies beyond its goal: 0 when it is reached, at most 1."""
    low, high = GOALS[key]
    beyond = [0.0]
    beyond += [] if low is None else [(low - value) / max(abs(low), _LEAST_SCALE)]
    beyond += [] if high is None else [(value - high) / max(abs(high), _LEAST_SCALE)]
    return min(1.0, max(beyond))


def clips_of(runs: Sequence[Mapping[str, Any]]) -> list[Clip]:
    """Our own runs by clip, the worst first; runs that failed and those of other systems are left out."""
    by_clip: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        if "figures" in run and "system" not in run["run"]:
            by_clip.setdefault(run["run"]["clip"], []).append(run)
    return sorted((_clip(name, found) for name, found in by_clip.items()), key=lambda clip: -clip.shortfall)


def _clip(name: str, runs: Sequence[Mapping[str, Any]]) -> Clip:
    means: dict[str, float] = {}
    missed: dict[str, dict[str, float]] = {}
    silent: dict[str, str] = {}
    total = 0.0
    for key in FIGURES:
        values = {run["run"]["speech"]: run["figures"].get(key) for run in runs}
        known = {speech: float(value) for speech, value in values.items() if value is not None}
        if known:
            means[key] = float(np.mean(list(known.values())))
            total += sum(shortfall(key, value) for value in known.values())
            reasons = [run["not_measured"][key] for run in runs if key in run.get("not_measured", {})]
            silent |= {key: reasons[0]} if reasons else {}
        if beyond := {speech: value for speech, value in known.items() if not reached(key, value)}:
            missed[key] = beyond
    return Clip(name, len(runs), total / len(runs), means, missed, silent, _material(runs))


def _material(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    found = [run["material"] for run in runs if "material" in run]
    keys = dict.fromkeys(key for part in found for key in part)
    return {key: float(np.mean([part[key] for part in found if key in part])) for key in keys}


def explain(clips: Sequence[Clip]) -> list[str]:
    """Names the worst of several clips: what it misses, with which speech, and what it is the hardest in.

    Args:
        clips: as `clips_of` gives them.

    Returns:
        Lines of text; none for fewer than two clips.
    """
    if len(clips) < 2:
        return []
    worst = clips[0]
    if not worst.missed:
        return [f"No clip misses a goal; the worst by its means would be {worst.name}."]
    lines = [f"Worst of {len(clips)} clips: {worst.name}, shortfall {worst.shortfall:.2f} (next: {_next(clips)})."]
    for key, values in sorted(worst.missed.items(), key=lambda item: -_loss(*item)):
        told = ", ".join(f"{value:.3g} with {speech}" for speech, value in values.items())
        lines.append(f"{key} ({goal_text(key)}): {told}.")
    lines += [f"{key} is not measured with some speech: {reason}." for key, reason in worst.silent.items()]
    lines += _extremes(worst, clips)
    return lines


def _next(clips: Sequence[Clip]) -> str:
    return ", ".join(f"{clip.name} {clip.shortfall:.2f}" for clip in clips[1:3])


def _loss(key: str, values: Mapping[str, float]) -> float:
    return sum(shortfall(key, value) for value in values.values())


def _extremes(worst: Clip, clips: Sequence[Clip]) -> list[str]:
    """In what the worst clip is the hardest material of all."""
    lines = []
    for key, (words, large) in MATERIAL.items():
        known = {clip.name: clip.material[key] for clip in clips if key in clip.material}
        if worst.name not in known or len(known) < 2:
            continue
        value, others = known.pop(worst.name), list(known.values())
        if value > max(others) if large else value < min(others):
            lines.append(f"It has {words}: {value:.3g}, the other clips {min(others):.3g} to {max(others):.3g}.")
    return lines


def clip_table(clips: Sequence[Clip]) -> str:
    """Means of all figures by clip as a Markdown table, the worst first; * = missed with at least one speech."""
    keys = [key for key in FIGURES if any(key in clip.means for clip in clips)]
    rows = [["clip", "speeches", "shortfall", *keys], ["---"] * (3 + len(keys))]
    for clip in clips:
        cells = [f"{clip.means[key]:.3g}{' *' * (key in clip.missed)}" if key in clip.means else "-" for key in keys]
        rows.append([clip.name, str(clip.runs), f"{clip.shortfall:.2f}", *cells])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)
