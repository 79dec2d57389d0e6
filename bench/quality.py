"""Quality over clips and speech: dubs every pair in this process, measures it, and sums up.

For each pair a JSON report (`CLIP__SPEECH.json`) is written, at the end `summary.json` and a table. Pairs that are
measured already with the same options and profile are not measured again. Reports hold figures only; strips of
pictures go to a folder of their own, and never into this repository when they show a real person.
"""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

from bench.machine import header, read_json, write_json
from bench.report import quality_table
from engine.errors import BadInputError
from engine.evaluation import Collector, DlibJudge, Judge, StripMaker, draw_strip, peak_memory_mb, png
from streaming.engines import Engine, LocalEngine, Profile, Quality
from streaming.ingest.file import probe_video, read_video
from streaming.ingest.sound import read_sound
from streaming.timeline import Timeline

REPOSITORY: Final = Path(__file__).resolve().parents[1]
"""Nothing in it shows a real person, and nothing that does is written into it."""
Clock = Callable[[], float]
"""Gives seconds of a clock that never goes back."""


@dataclass(frozen=True)
class Options:
    """How every pair is dubbed."""

    quality: Quality = "draft"
    """Quality of profiles that have to be enrolled first."""
    effort: int | None = None
    """Optimisation steps a frame; None: the engine's default."""
    start: float = 0.0
    """Where in the clip to begin, in seconds."""
    duration: float | None = None
    """How much of the clip to dub, in seconds; None: all."""


@dataclass(frozen=True)
class Folders:
    """Where things are."""

    profiles: Path
    """Speaker profiles, `CLIP.safetensors`; made when missing."""
    out: Path
    """Reports."""
    strips: Path | None
    """Pictures; None: none are made."""


@dataclass
class Bench:
    """One run of the benchmark: the engine, the judge and where results go."""

    engine: Engine
    judge: Judge | None
    options: Options
    folders: Folders
    clock: Clock = time.perf_counter

    def measure(self, clip: Path, speech: Path) -> dict[str, Any]:
        """Dubs and measures one pair, or reads its report when it is there already; returns the report."""
        if self.folders.strips is not None:
            guard_pictures(self.folders.strips, clip)
        profile, enrolled_s, digest = self._profile(clip)
        run = {"clip": clip.stem, "speech": speech.stem, "profile": digest, **asdict(self.options)}
        path = self.folders.out / f"{clip.stem}__{speech.stem}.json"
        if path.is_file() and (known := read_json(path)).get("run") == run:
            return known
        report = self._dub(profile, clip, speech, {"run": run, "enrolled_s": enrolled_s})
        write_json(path, report)
        return report

    def _profile(self, clip: Path) -> tuple[Profile, float | None, str]:
        """The clip's profile, the seconds that enrolling took (None: it was there), and its file's digest."""
        path, took = self.folders.profiles / f"{clip.stem}.safetensors", None
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            begun = self.clock()
            frames = read_video(probe_video(clip), self.options.start, self.options.duration)
            self.engine.enroll(frames, self.options.quality, "mesh", _progress).save(path)
            took = round(self.clock() - begun, 1)
        return self.engine.load(path), took, hashlib.sha256(path.read_bytes()).hexdigest()[:16]

    def _dub(self, profile: Profile, clip: Path, speech: Path, extra: dict[str, Any]) -> dict[str, Any]:
        """Dubs one pair and measures every frame as it comes out, before any encoder."""
        sound, info = read_sound(speech), probe_video(clip)
        timeline = Timeline.plan(info, self.options.start, self.options.duration, sound.duration, False)
        collector = Collector(self.judge, rest_opening=profile.rest_opening)
        strip = StripMaker(judge=self.judge)
        dubbing_s = 0.0
        session = self.engine.session(profile, self.options.effort, "mesh")

        def work(action: Callable[[], None]) -> None:
            """Lets the session work; only its own time is counted, not the measuring."""
            nonlocal dubbing_s
            begun = self.clock()
            action()
            ready = session.ready()
            dubbing_s += self.clock() - begun
            for edited in ready:
                collector.add(edited)
                if self.folders.strips is not None:
                    strip.add(edited)

        for chunk in sound.chunks(until=timeline.seconds):
            work(partial(session.push_audio, chunk))
        work(session.end_audio)
        for frame in timeline.frames():
            work(partial(session.push_video, frame))
        work(session.end_video)
        self._draw(strip, f"{clip.stem}__{speech.stem}.png")
        speed = {"ms_per_frame": round(1000 * dubbing_s / len(timeline.pts), 1), "peak_memory_mb": peak_memory_mb()}
        return collector.finish(command_of(self.options, clip, speech), **extra, **speed).as_dict()

    def _draw(self, strip: StripMaker, name: str) -> None:
        if self.folders.strips is not None and strip.columns:
            self.folders.strips.mkdir(parents=True, exist_ok=True)
            (self.folders.strips / name).write_bytes(png(draw_strip(strip.columns, landmarks=True)))


def guard_pictures(folder: Path, clip: Path) -> None:
    """Refuses to write pictures of a clip from outside this repository into it.

    Raises:
        BadInputError: `folder` is in the repository and `clip` is not.
    """
    if folder.resolve().is_relative_to(REPOSITORY) and not clip.resolve().is_relative_to(REPOSITORY):
        raise BadInputError(
            f"--strips: got {folder}, a folder of this repository, for {clip.name}, a clip that is not its own; "
            "pictures of real people stay out of it: name a folder elsewhere"
        )


def command_of(options: Options, clip: Path, speech: Path) -> str:
    """The command that measures one pair, without this machine's folders."""
    words = [
        "python -m bench quality",
        f"--clips {clip.stem}",
        f"--speech {speech.stem}",
        f"--quality {options.quality}",
    ]
    words += [] if options.effort is None else [f"--effort {options.effort}"]
    words += [f"--start {options.start:g}"] if options.start else []
    words += [] if options.duration is None else [f"--duration {options.duration:g}"]
    return " ".join(words)


def find(folder: Path, name: str) -> Path:
    """A file by its path, or by its name without ending in `folder`.

    Raises:
        BadInputError: there is none, or more than one.
    """
    if Path(name).is_file():
        return Path(name)
    found = sorted(path for path in folder.glob(f"{name}.*") if path.is_file())
    if len(found) != 1:
        raise BadInputError(f"{name}: got {len(found)} files of that name in {folder}, expected one, or a path")
    return found[0]


def summary_of(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """All runs in short: what was dubbed, its figures, and what it cost."""
    keys = ("run", "figures", "not_measured", "frames", "edited", "passed_through", "ms_per_frame", "peak_memory_mb")
    return {"runs": [{key: report[key] for key in (*keys, "enrolled_s")} for report in reports]}


def _progress(what: str, done: int, total: int) -> None:
    """One line on the error output that is written over and over."""
    sys.stderr.write(f"\r{what} {done}/{total}   " + ("\n" if done >= total else ""))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench quality", description=__doc__)
    data = os.environ.get("LIVEDUB_TEST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder with clips/ and speech/")
    parser.add_argument("--clips", nargs="+", required=True, help="names without ending, or paths")
    parser.add_argument("--speech", nargs="+", required=True, help="names without ending, or paths")
    parser.add_argument("--pairwise", action="store_true", help="first clip with first speech and so on, not all")
    parser.add_argument("--profiles", type=Path, required=True, help="folder of profiles; missing ones are enrolled")
    parser.add_argument("--out", type=Path, required=True, help="folder for reports")
    parser.add_argument("--strips", type=Path, help="folder for pictures, outside this repository for real people")
    parser.add_argument(
        "--quality", choices=("draft", "full", "compact"), default="draft", help="of profiles to be enrolled"
    )
    parser.add_argument("--effort", type=int, help="optimisation steps a frame")
    parser.add_argument("--start", type=float, default=0.0, help="seconds into the clip")
    parser.add_argument("--duration", type=float, help="seconds of the clip")
    parser.add_argument("--time-limit", type=float, help="seconds after which no further pair is begun")
    return parser


def main(arguments: list[str]) -> int:
    """Measures all pairs, or as many as the time limit allows; writes reports, summary and table."""
    args = _parser().parse_args(arguments)
    clips = [find(args.data / "clips", name) for name in args.clips]
    speeches = [find(args.data / "speech", name) for name in args.speech]
    if args.pairwise and len(clips) != len(speeches):
        raise BadInputError(
            f"--pairwise: got {len(clips)} clips and {len(speeches)} speeches, expected as many of each"
        )
    pairs = list(zip(clips, speeches, strict=True)) if args.pairwise else list(product(clips, speeches))
    options = Options(args.quality, args.effort, args.start, args.duration)
    bench = Bench(LocalEngine(), DlibJudge(), options, Folders(args.profiles, args.out, args.strips))
    begun = bench.clock()
    reports: list[dict[str, Any]] = []
    for clip, speech in pairs:
        if args.time_limit is not None and bench.clock() - begun > args.time_limit:
            sys.stderr.write(f"time limit: {len(pairs) - len(reports)} of {len(pairs)} pairs are not measured\n")
            break
        reports.append(bench.measure(clip, speech))
        sys.stdout.write(quality_table(summary_of(reports[-1:])["runs"]) + "\n")
        sys.stdout.flush()
    summary = {**header("python -m bench quality"), "not_begun": len(pairs) - len(reports), **summary_of(reports)}
    write_json(args.out / "summary.json", summary)
    sys.stdout.write(quality_table(summary["runs"]))
    return 0
