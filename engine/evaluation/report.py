"""The report of one run: every figure or the reason why there is none, as JSON and as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

FIGURES: Final = (
    "outside",
    "lip_target_error",
    "lip_opening_r",
    "sync_offset_ms",
    "speech_r",
    "speech_r_over_baseline",
    "identity",
    "tl_id",
    "seam",
    "sharpness",
    "flicker",
    "closed_in_silence",
)
"""Keys of `figures` in every report, in the order of the table."""

GOALS: Final[Mapping[str, tuple[float | None, float | None]]] = {
    "outside": (None, 0.0),
    "lip_target_error": (None, 0.04),
    "lip_opening_r": (0.9, None),
    "sync_offset_ms": (-20.0, 20.0),
    "speech_r": (0.55, None),
    "speech_r_over_baseline": (0.08, None),
    "identity": (None, 0.30),
    "tl_id": (0.98, None),
    "seam": (None, 1.05),
    "sharpness": (0.8, 1.25),
    "flicker": (None, 1.15),
    "closed_in_silence": (None, 0.02),
}
"""Lowest and highest value to reach."""


@dataclass(frozen=True)
class Counted:
    """On how many frames a figure rests."""

    frames: int
    """Frames (for figures over time: pairs of adjacent frames) that were measured."""
    left_out: int
    """Frames or pairs that could not be."""


def percentiles(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99 of the times of a stage, in ms."""
    p50, p95, p99 = np.percentile(np.asarray(milliseconds, dtype=np.float64), (50, 95, 99))
    return {"p50": round(float(p50), 3), "p95": round(float(p95), 3), "p99": round(float(p99), 3)}


@dataclass(frozen=True)
class Report:
    """What was measured on one run."""

    figures: Mapping[str, float | None]
    """Every key of `FIGURES`; None: not measured."""
    not_measured: Mapping[str, str]
    """Reason of every figure that is None, and of figures of the field that this run cannot have."""
    counted: Mapping[str, Counted]
    """On how many frames each measured figure rests."""
    details: Mapping[str, float]
    """Beside the figures: what helps to read them (before correction, stricter readings, offsets)."""
    left_out: Mapping[str, int]
    """Reason -> edited frames that the judge could not read."""
    frames: int
    """Frames in all."""
    edited: int
    """Frames that were edited."""
    passed_through: Mapping[str, int]
    """Reason -> frames that were not edited."""
    effort: Mapping[int, int]
    """Optimisation steps -> edited frames that got so many."""
    stages_ms: Mapping[str, Mapping[str, float]]
    """Stage -> p50, p95, p99 of its time per frame."""
    versions: Mapping[str, str]
    """Package -> version."""
    machine: Mapping[str, Any]
    """What it ran on."""
    command: str
    """The command that made it."""
    date: str
    """When, ISO 8601 in UTC."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What the caller adds at the top level (clip, speech, ms per frame, peak memory ...)."""

    def as_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "figures": {key: _rounded(self.figures[key]) for key in FIGURES},
            "not_measured": dict(self.not_measured),
            "counted": {key: {"frames": c.frames, "left_out": c.left_out} for key, c in self.counted.items()},
            "details": {key: _rounded(value) for key, value in self.details.items()},
            "left_out": dict(self.left_out),
            "frames": self.frames,
            "edited": self.edited,
            "passed_through": dict(self.passed_through),
            "effort": {str(steps): count for steps, count in sorted(self.effort.items())},
            "stages_ms": {stage: dict(times) for stage, times in self.stages_ms.items()},
            "versions": dict(self.versions),
            "machine": dict(self.machine),
            "command": self.command,
            "date": self.date,
            **self.extra,
        }

    def to_json(self) -> str:
        """The report as JSON text, ending in a newline."""
        return json.dumps(self.as_dict(), indent=2, allow_nan=False) + "\n"

    def table(self) -> str:
        """The figures as lines of text: value, what to reach, whether it is reached, frames."""
        rows = [("figure", "value", "to reach", "", "frames (left out)")]
        rows += [self._row(key) for key in FIGURES]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[4]]) for row in rows]
        passed = ", ".join(f"{count} {reason}" for reason, count in self.passed_through.items()) or "none"
        lines.append(f"frames {self.frames}, edited {self.edited}, passed through: {passed}")
        return "\n".join(line.rstrip() for line in lines) + "\n"

    def _row(self, key: str) -> tuple[str, str, str, str, str]:
        value, goal = self.figures[key], goal_text(key)
        if value is None:
            return key, "-", goal, "", self.not_measured[key]
        counted = self.counted.get(key)
        frames = "" if counted is None else f"{counted.frames} ({counted.left_out})"
        return key, f"{value:.4g}", goal, "yes" if reached(key, value) else "no", frames


def goal_text(key: str) -> str:
    """What to reach, in words: ">= 0.9"."""
    low, high = GOALS[key]
    if low is not None and high is not None:
        return f"{low:g} ... {high:g}"
    return f">= {low:g}" if low is not None else f"<= {high:g}"


def reached(key: str, value: float) -> bool:
    """Whether a value of a figure is what is to be reached."""
    low, high = GOALS[key]
    return (low is None or value >= low) and (high is None or value <= high)


def _rounded(value: float | None) -> float | None:
    """Six significant digits: enough for every figure, and no false ones."""
    return None if value is None else float(f"{value:.6g}")
