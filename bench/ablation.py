"""What each term of the objective is worth, and what effort costs: the same dubs with one term left out at a time.

`python -m bench ablation --clips A B --speech X Y --profiles P --out O`: every clip with its speech (first with first
and so on; one speech goes with all) under the whole objective, without each of its terms (`--term-effort` steps a
frame, so that there is W+ optimisation to speak of), and at every effort of `--efforts`. Terms are the weights of
`engine.editing.refine.RefineConfig`: what is added there is measured here without further ado. `--fit` also leaves out
the terms of enrolment's joint fit (`engine.editing.tuning.TuningConfig`), which takes an enrolment a term and clip.

Runs are kept as those of `python -m bench quality` are, a folder a variant, so that a long measurement can be broken
off and taken up again; `ablation.json` and the tables are written after each.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from bench.machine import header, write_json
from bench.pairs import add_arguments, found, name_of
from bench.quality import Bench, Folders, Options, told
from bench.report import cell
from engine import Dubber, DubConfig, weights
from engine.editing.enrolment import EnrolConfig, EnrolParts, enroll_speaker
from engine.editing.perceptual import PerceptualLoss, has_bfloat16
from engine.editing.profile import SpeakerProfile
from engine.editing.refine import RefineConfig
from engine.editing.tuning import TuningConfig
from engine.errors import BadInputError, ProfileError
from engine.evaluation import FIGURES, Judge, NetJudge, goal_text
from engine.generators.library import DEFAULT, load_generator
from engine.media import VideoFrame
from engine.tracking.backends import create_tracker
from engine.tracking.mesh import MeshNet
from streaming.dubbing import Session
from streaming.engines import DubEngine, Profile, Quality, Tracker
from streaming.screen import Report

EFFORTS: Final = (0, 1, 2, 4, 8)
"""Optimisation steps a frame whose cost is measured."""
TERM_EFFORT: Final = 4
"""Steps a frame at which terms are left out."""
_SEARCH: Final = frozenset({"rate", "beta1", "stages", "whole"})
"""Settings of the W+ search that are no terms of its objective; `keep`, its warm start, is left out like a term."""
_FIT_TERMS: Final = ("perceptual", "pixel", "slope_prior", "weight_rate")
"""Terms of the joint fit; without `weight_rate` the generator's weights stay as they are."""
WHOLE: Final = "whole objective"


@dataclass(frozen=True)
class Variant:
    """One way to dub."""

    name: str
    """In tables, and of its folder."""
    effort: int
    """Steps a frame."""
    refine: RefineConfig
    """Objective of a frame."""
    tuning: TuningConfig | None = None
    """Objective of the joint fit, if it is another one."""

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return self.name.replace(" ", "_")


def terms(objective: RefineConfig) -> list[str]:
    """Weights of the per-frame objective that are in use."""
    names = [item.name for item in fields(objective) if item.name not in _SEARCH]
    return [name for name in names if getattr(objective, name) != 0]


Config = TypeVar("Config", RefineConfig, TuningConfig)


def without(objective: Config, term: str) -> Config:
    """An objective in which one term counts nothing."""
    nothing: dict[str, Any] = {term: 0.0}
    return replace(objective, **nothing)


def variants(efforts: Sequence[int], term_effort: int, fit: bool) -> list[Variant]:
    """All ways to dub: every effort, then without each term, then (`fit`) with profiles fitted without a term."""
    whole, tuning = RefineConfig(), EnrolConfig.preset("draft").tuning
    found = [Variant(f"effort {effort}", effort, whole) for effort in efforts]
    found.append(Variant(WHOLE, term_effort, whole))
    found += [Variant(f"without {name}", term_effort, without(whole, name)) for name in terms(whole)]
    if fit:
        found += [Variant(f"fitted without {name}", 1, whole, without(tuning, name)) for name in _FIT_TERMS]
    return found


class VariantEngine:
    """The engine of this package with one variant's objectives."""

    def __init__(self, variant: Variant) -> None:
        """Nothing is loaded yet."""
        self._variant: Final = variant

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = DEFAULT
    ) -> Profile:
        """Learn a speaker with the variant's joint fit."""
        ready = load_generator(generator)
        perceptual = PerceptualLoss(weights.path("stlpips-vgg"), stages=4, half=has_bfloat16())
        mesh = MeshNet(weights.path("mesh")).eval()
        parts = EnrolParts(
            ready.generator, ready.statistics, ready.directions, perceptual, mesh,
            create_tracker(tracker, steadied=False),
        )  # fmt: skip
        config = EnrolConfig.preset(quality)
        if self._variant.tuning is not None:
            config = replace(config, tuning=self._variant.tuning)
        return enroll_speaker(frames, parts, config, report)

    def load(self, path: Path) -> Profile:
        """Read a saved profile."""
        return SpeakerProfile.load(path)

    def session(
        self, profile: Profile, effort: int | None, tracker: Tracker, emotion: str = "neutral", intensity: float = 1.0
    ) -> Session:
        """Begin a dub under the variant's objective."""
        if not isinstance(profile, SpeakerProfile):
            raise ProfileError(f"got a {type(profile).__name__}, expected a profile that this engine has made or read")
        steps = self._variant.effort if effort is None else effort
        return Dubber(profile, DubConfig(steps, tracker, refine=self._variant.refine))


Maker = Callable[[Variant], DubEngine]
"""Makes the engine of a variant."""


@dataclass(frozen=True)
class Ablation:
    """One measurement: pairs, variants, and where results go."""

    pairs: list[tuple[Path, Path | None]]
    """Clips with their speech."""
    folders: Folders
    """Profiles, and results."""
    options: Options
    """Quality and part of the clips."""
    judge: Judge | None
    """Reads landmarks and identity."""
    make: Maker
    """Makes the engine of each variant."""
    keep_older: bool = False
    """Whether reports that another version of the code has measured are kept."""

    def run(self, ways: Sequence[Variant], tell: Callable[[str], object]) -> dict[str, Any]:
        """Measures every pair in every way; gives what `ablation.json` holds."""
        rows: list[dict[str, Any]] = []
        result: dict[str, Any] = {}
        for way in ways:
            bench = self._bench(way)
            for clip, speech in self.pairs:
                report = bench.attempt(clip, speech)
                rows.append({"variant": way.name, "effort": way.effort, **_kept(report)})
                tell(f"{way.name}: {told(report)}")
                result = {**header(self._command(ways)), "rows": rows}
                write_json(self.folders.out / "ablation.json", result)
        return result

    def _command(self, ways: Sequence[Variant]) -> str:
        """The command that measures this, without this machine's folders."""
        clips, speeches = zip(*((clip.stem, name_of(speech)) for clip, speech in self.pairs), strict=True)
        words = [f"--clips {' '.join(clips)}", f"--speech {' '.join(speeches)}"]
        words += [f"--start {self.options.start:g}"] if self.options.start else []
        words += [] if self.options.duration is None else [f"--duration {self.options.duration:g}"]
        words += [f"--efforts {' '.join(str(way.effort) for way in ways if way.name == f'effort {way.effort}')}"]
        words += [f"--term-effort {way.effort}" for way in ways if way.name == WHOLE]
        return " ".join(["python -m bench ablation", *words])

    def _bench(self, way: Variant) -> Bench:
        profiles = self.folders.profiles if way.tuning is None else self.folders.profiles / way.folder
        folders = Folders(profiles, self.folders.out / way.folder, None)
        bench = Bench(self.make(way), self.judge, replace(self.options, effort=way.effort), folders)
        bench.keep_older = self.keep_older
        return bench


def _kept(report: dict[str, Any]) -> dict[str, Any]:
    keys = ("run", "figures", "details", "frames", "edited", "ms_per_frame", "stages_ms", "missing")
    return {key: report[key] for key in keys if key in report}


def figures_table(rows: Sequence[dict[str, Any]]) -> str:
    """A row a variant, figures averaged over the pairs that have them; * = beyond the goal."""
    keys = [key for key in FIGURES if any(row.get("figures", {}).get(key) is not None for row in rows)]
    lines = [["variant", "steps", "pairs", *keys, "ms a frame"], ["---"] * (4 + len(keys))]
    lines.append(["to reach", "", "", *map(goal_text, keys), ""])
    for name in dict.fromkeys(row["variant"] for row in rows):
        found = [row for row in rows if row["variant"] == name and "figures" in row]
        means = [_mean([row["figures"].get(key) for row in found]) for key in keys]
        cells = [cell(key, mean) for key, mean in zip(keys, means, strict=True)]
        cost = _mean([row.get("ms_per_frame") for row in found])
        steps = str(next(row["effort"] for row in rows if row["variant"] == name))
        lines.append([name, steps, str(len(found)), *cells, "-" if cost is None else f"{cost:.0f}"])
    return _markdown(lines)


def stages_table(rows: Sequence[dict[str, Any]]) -> str:
    """Cost of each stage by effort: median ms a frame, averaged over the pairs."""
    by_effort = [row for row in rows if row["variant"].startswith("effort ") and "stages_ms" in row]
    stages = list(dict.fromkeys(stage for row in by_effort for stage in row["stages_ms"]))
    lines = [["effort", *stages, "all, ms a frame"], ["---"] * (2 + len(stages))]
    for effort in dict.fromkeys(row["effort"] for row in by_effort):
        found = [row for row in by_effort if row["effort"] == effort]
        times = [_mean([row["stages_ms"].get(stage, {}).get("p50") for row in found]) for stage in stages]
        whole = _mean([row["ms_per_frame"] for row in found])
        lines.append([str(effort), *("-" if ms is None else f"{ms:.0f}" for ms in (*times, whole))])
    return _markdown(lines)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def pairs_of(clips: Sequence[Path], speeches: Sequence[Path | None]) -> list[tuple[Path, Path | None]]:
    """First with first and so on; one speech goes with every clip.

    Raises:
        BadInputError: as many of neither.
    """
    spoken = list(speeches) * len(clips) if len(speeches) == 1 else list(speeches)
    if len(spoken) != len(clips):
        raise BadInputError(f"got {len(clips)} clips and {len(spoken)} speeches, expected as many, or one speech")
    return list(zip(clips, spoken, strict=True))


def main(arguments: list[str]) -> int:
    """Measures all variants; writes `ablation.json` and shows both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench ablation", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--efforts", nargs="*", type=int, default=list(EFFORTS), help="efforts whose cost is measured")
    parser.add_argument("--term-effort", type=int, default=TERM_EFFORT, help="steps a frame when a term is left out")
    parser.add_argument("--fit", action="store_true", help="also enrol without each term of the joint fit: slow")
    args = parser.parse_args(arguments)
    if args.term_effort < 2:
        raise BadInputError(f"--term-effort: got {args.term_effort}, expected 2 or more: less has no W+ steps")
    options = Options(args.quality, None, args.start, args.duration)
    folders = Folders(args.profiles, args.out, None)
    measured = Ablation(pairs_of(*found(args)), folders, options, NetJudge(), VariantEngine, args.keep_older)
    result = measured.run(variants(args.efforts, args.term_effort, args.fit), sys.stdout.write)
    sys.stdout.write(figures_table(result["rows"]) + "\n" + stages_table(result["rows"]))
    return 1 if any("missing" in row for row in result["rows"]) else 0
