"""Tables of results: one row a figure, one column a run."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.machine import read_json
from engine.errors import BadInputError
from engine.evaluation import FIGURES, goal_text, reached

SIDE: Final = {"reconstruction": "own sound", "lse": "SyncNet"}
"""Parts of a report with figures of their own, and what those are measured with."""


def cell(key: str, value: float | None) -> str:
    """One figure: its value, with a star where it is not what is to be reached; a dash where it is not measured."""
    if value is None:
        return "-"
    return f"{value:.3g}" + ("" if reached(key, value) else " *")


def name_of(run: Mapping[str, Any]) -> str:
    """What a run is called in tables: clip and speech, and the system when it is another one."""
    name = f"{run['clip']} + {run['speech']}"
    return f"{run['system']}: {name}" if "system" in run else name


def side_rows(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, list[float | None]]]:
    """Figures that only some runs have: key, what they are measured with, and a value or None for every run."""
    rows: list[tuple[str, str, list[float | None]]] = []
    for part, words in SIDE.items():
        found = [(run.get(part) or {}).get("figures", {}) for run in runs]
        keys = dict.fromkeys(key for figures in found for key in figures)
        rows += [(key, words, [figures.get(key) for figures in found]) for key in keys]
    return rows


def quality_table(runs: Sequence[Mapping[str, Any]]) -> str:
    """Figures of quality runs (entries of `summary.json`) as a Markdown table; * = not what is to be reached."""
    runs = [run for run in runs if "figures" in run]
    names = [name_of(run["run"]) for run in runs]
    rows = [["figure", "to reach", *names], ["---"] * (2 + len(runs))]
    rows += [[key, goal_text(key), *(cell(key, run["figures"].get(key)) for run in runs)] for key in FIGURES]
    for key, words, values in side_rows(runs):
        rows.append([key, words, *("-" if value is None else f"{value:.3g}" for value in values)])
    rows.append(["edited / frames", "", *(f"{run['edited']} / {run['frames']}" for run in runs)])
    rows.append(["ms per frame", "", *(f"{run['ms_per_frame']:.0f}" if "ms_per_frame" in run else "-" for run in runs)])
    rows.append(["peak memory, MiB", "", *(str(run.get("peak_memory_mb", "-")) for run in runs)])
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def main(arguments: list[str]) -> int:
    """Writes the table of a `summary.json` again.

    Raises:
        BadInputError: the file is no summary.
    """
    parser = argparse.ArgumentParser(prog="python -m bench report", description=__doc__)
    parser.add_argument("summary", type=Path, help="summary.json of `python -m bench quality`")
    path: Path = parser.parse_args(arguments).summary
    summary = read_json(path)
    if missing := [key for key in ("machine", "versions", "date", "runs") if key not in summary]:
        raise BadInputError(
            f"{path}: got a file without {', '.join(missing)}, expected the summary.json of `python -m bench quality`"
        )
    machine, versions = summary["machine"], summary["versions"]
    head = f"{machine['processor']}, {machine['cores']} cores, torch {versions.get('torch', '-')}, {summary['date']}"
    sys.stdout.write(f"{quality_table(summary['runs'])}\n{head}\n")
    return 0
