"""How fast a file is dubbed, and what each stage costs at each effort: with and without compiled packages and overlap.

`python -m bench dub [--seconds S] [--efforts N ...] [--backends NAME ...] [--ways NAME ...] [--rounds N] [--out FILE]`:
the shipped presenter; all variants in one process, one after the other in every round, so that other work on the
machine strikes all of them alike. Sessions are begun (and backends chosen) before the clock starts; the file is
decoded, edited, encoded and thrown away. Stages that overlap compute with `stage_threads`, as `livedub dub` has it,
stages one after the other with all threads. `livedub compile --effort N` makes packages for the first; `--compile`
makes what is missing for both before anything is timed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from bench.machine import header, write_json
from engine.dubber import compile_for
from engine.editing.profile import SpeakerProfile
from engine.evaluation import EditedFrameLike
from kernels.backends.choice import BackendName
from streaming.commands.demo import PRESENTER
from streaming.dubbing import Chosen, dub_to_file
from streaming.engines import LocalEngine
from streaming.ingest.file import probe_video
from streaming.ingest.sound import Sound, read_sound
from streaming.overlap import computing_with, stage_threads
from streaming.timeline import Timeline

OUT: Final = Path(__file__).with_name("results") / "dub.json"
_BACKENDS: Final[tuple[BackendName, ...]] = ("eager", "auto")
_WAYS: Final = {"one-by-one": False, "overlapping": True}
"""Whether stages go on at the same time, by name."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of dubbing."""

    effort: int
    """Optimisation steps."""
    backend: BackendName
    """"eager", or "auto" for what is compiled."""
    overlap: bool
    """Whether stages go on at the same time."""

    @property
    def name(self) -> str:
        """As in tables."""
        return f"effort {self.effort} {self.backend}{' overlapping' if self.overlap else ''}"


@dataclass(frozen=True, slots=True)
class Run:
    """One dub."""

    frames: int
    """Pictures."""
    wall_s: float
    """Seconds that it took."""
    cpu_s: float
    """Seconds of processor time, all threads."""
    stages_ms: Mapping[str, Sequence[float]]
    """Times of each stage in ms, one a picture."""
    backend: Mapping[str, str]
    """Piece of work -> what it ran on."""


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the figures as JSON; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench dub", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="of the clip")
    parser.add_argument("--efforts", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--backends", nargs="+", choices=_BACKENDS, default=list(_BACKENDS))
    parser.add_argument("--ways", nargs="+", choices=_WAYS, default=list(_WAYS))
    parser.add_argument("--rounds", type=int, default=3, help="dubs of each variant")
    parser.add_argument("--compile", action="store_true", help="compile what is missing first; takes minutes")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    overlaps = [_WAYS[way] for way in options.ways]
    chosen = [Variant(e, b, o) for e in options.efforts for b in options.backends for o in overlaps]
    if options.compile:
        for effort in options.efforts:
            _compile(effort, overlaps)
    measure = _measuring(options.seconds)
    runs: dict[Variant, list[Run]] = {variant: [] for variant in chosen}
    for _ in range(options.rounds):
        for variant in chosen:
            runs[variant].append(measure(variant))
    figures = summarised(runs)
    command = f"python -m bench dub {' '.join(arguments or [])}".strip()
    threads = {variant.name: _threads(variant.overlap, variant.effort) for variant in chosen}
    write_json(options.out, {**header(command), "threads": threads, **figures})
    sys.stdout.write(f"{table(figures)}wrote {options.out}\n")
    return 0


def _threads(overlap: bool, effort: int) -> int:
    """Threads that torch computes with."""
    return stage_threads(effort) if overlap else torch.get_num_threads()


def _compile(effort: int, overlaps: Sequence[bool]) -> None:
    """Make the packages that are missing, for each number of threads."""
    profile = SpeakerProfile.load(PRESENTER / "presenter.safetensors")
    for threads in sorted({_threads(overlap, effort) for overlap in overlaps}):
        with computing_with(threads):
            compile_for(profile, effort)


def _measuring(seconds: float) -> Callable[[Variant], Run]:
    """What dubs the presenter once."""
    info, sound = probe_video(PRESENTER / "presenter.mp4"), read_sound(PRESENTER / "speech.flac")
    timeline = Timeline.plan(info, 0.0, seconds, sound.duration, loop=False)
    profile = SpeakerProfile.load(PRESENTER / "presenter.safetensors")
    return lambda variant: dubbed(variant, profile, timeline, sound)


def dubbed(variant: Variant, profile: SpeakerProfile, timeline: Timeline, sound: Sound) -> Run:
    """One dub in a session of its own; the time counts from its first picture on."""
    with computing_with(_threads(variant.overlap, variant.effort)):
        return _dubbed(variant, profile, timeline, sound)


def _dubbed(variant: Variant, profile: SpeakerProfile, timeline: Timeline, sound: Sound) -> Run:
    session = LocalEngine(variant.backend).session(profile, variant.effort, "mesh")
    stages: dict[str, list[float]] = {}

    def watch(edited: EditedFrameLike) -> None:
        """Collect the stages' times."""
        for name, ms in edited.stages_ms.items():
            stages.setdefault(name, []).append(ms)

    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = time.perf_counter(), time.process_time()
        out = Path(folder) / "dub.mp4"
        tally = dub_to_file(session, timeline, sound, out, lambda *_: None, watch, variant.overlap, variant.effort)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return Run(tally.frames, wall, cpu, stages, backends(session.backend) if isinstance(session, Chosen) else {})


def backends(told: Mapping[str, Any]) -> dict[str, str]:
    """What each piece of work ran on, of what a session tells."""
    others = {name: each["backend"] for name, each in told.items() if isinstance(each, Mapping)}
    return {"region render": told["backend"], **others}


def summarised(runs: Mapping[Variant, Sequence[Run]]) -> dict[str, Any]:
    """Medians of each variant, and the ratios of pictures a second that compiling and overlap bring."""
    rate = {variant: float(np.median([run.frames / run.wall_s for run in each])) for variant, each in runs.items()}
    rows = [
        {
            "name": variant.name, "effort": variant.effort, "backend": variant.backend, "overlap": variant.overlap,
            "frames_per_s": round(rate[variant], 3),
            "frames_per_s_of_each": [round(run.frames / run.wall_s, 3) for run in each],
            "cpu_s_per_frame": round(float(np.median([run.cpu_s / run.frames for run in each])), 4),
            "stages_ms": stage_times(each), "ran_on": each[-1].backend,
        }
        for variant, each in runs.items()
    ]  # fmt: skip
    ratios: dict[str, float] = {}
    for variant in runs:
        apart = Variant(variant.effort, variant.backend, False)
        eager = Variant(variant.effort, "eager", variant.overlap)
        if variant.overlap and apart in runs:
            ratios[f"overlap, effort {variant.effort} {variant.backend}"] = round(rate[variant] / rate[apart], 3)
        if variant.backend != "eager" and eager in runs:
            how = "overlapping" if variant.overlap else "one after the other"
            ratios[f"compiled, effort {variant.effort} {how}"] = round(rate[variant] / rate[eager], 3)
    return {"variants": rows, "ratios": ratios}


def stage_times(runs: Sequence[Run]) -> dict[str, dict[str, float]]:
    """Percentiles of each stage's times in ms over all pictures of all dubs: stage -> {"p50", "p95"}."""
    names = dict.fromkeys(name for run in runs for name in run.stages_ms)
    times = {name: [ms for run in runs for ms in run.stages_ms.get(name, ())] for name in names}
    return {name: {f"p{q}": round(float(np.percentile(each, q)), 2) for q in (50, 95)} for name, each in times.items()}


def table(figures: Mapping[str, Any]) -> str:
    """The figures as text."""
    lines = []
    for row in figures["variants"]:
        stages = ", ".join(f"{name} {ms['p50']:.1f}/{ms['p95']:.1f}" for name, ms in row["stages_ms"].items())
        lines.append(f"{row['name']}: {row['frames_per_s']:.2f} pictures a second; p50/p95 in ms: {stages}")
    lines += [f"{name}: {ratio:.2f} times" for name, ratio in figures["ratios"].items()]
    return "".join(f"{line}\n" for line in lines)
