"""Quality over clips and speech: dubs every pair in this process, measures it, and sums up.

For each pair a JSON report (`CLIP__SPEECH.json`) is written, and after each the summary (`summary.json`), so that a
long run can be broken off and taken up again: pairs that are measured already with the same options, profile and code
are not measured again. A pair that fails does not end the others. With several clips the worst is named, with what it
misses and what makes it hard (`bench.matrix`). `--syncnet FILE` adds LSE-C and LSE-D. `--speech own` dubs a clip with
its own sound and measures how well it is reconstructed. `--results NAME=FOLDER` scores another system's videos of the
same pairs (see `bench.others`). Reports hold figures only; strips of pictures, openings over time and a page of all
(`index.html`) go to a folder of their own, and never into this repository when they show a real person.
"""

import argparse
import hashlib
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Final

from bench.machine import header, read_json, write_json
from bench.matrix import Material, clip_table, clips_of, explain
from bench.others import OWN, Scorer, System, Tracker, add_lse, score, score_all
from bench.page import Run, page
from bench.pairs import add_arguments, found, name_of, own_sound
from bench.report import quality_table
from engine import weights
from engine.errors import BadInputError, LivedubError
from engine.evaluation import (
    JUDGES,
    Collector,
    Judge,
    StripMaker,
    code_digest,
    draw_strip,
    peak_memory_mb,
    png,
    witness_for,
)
from engine.evaluation.likeness import LearntDistance
from engine.evaluation.lse import LipSync
from engine.evaluation.reconstruction import Distance, Reconstruction
from engine.evaluation.syncnet import SyncNet
from engine.files import write_atomically
from engine.tracking.tracker import FaceTracker
from streaming.engines import DubEngine, LocalEngine, Profile, Quality
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
    """Strips, openings over time and the page; None: none are made."""


@dataclass
class Bench:
    """One run of the benchmark: the engine, the judge and where results go."""

    engine: DubEngine
    judge: Judge | None
    options: Options
    folders: Folders
    clock: Clock = time.perf_counter
    distance: Distance | None = None
    syncnet: SyncNet | None = None
    witness: Judge | None = None
    """A judge of another kind: where both see an open mouth in silence it is open."""
    keep_older: bool = False
    """Whether reports that another version of the code has measured are kept."""

    def attempt(self, clip: Path, speech: Path | None) -> dict[str, Any]:
        """As `measure`; a pair that cannot be dubbed gives a report without figures that says why."""
        try:
            return self.measure(clip, speech)
        except LivedubError as error:
            return {"run": {"clip": clip.stem, "speech": name_of(speech)}, "missing": str(error)}

    def measure(self, clip: Path, speech: Path | None) -> dict[str, Any]:
        """Dubs and measures one pair, or reads its report when it is there already; returns the report.

        Args:
            clip: the video.
            speech: the sound; None: the clip's own.
        """
        if self.folders.strips is not None:
            guard_pictures(self.folders.strips, clip)
        profile, enrolled_s, digest = self._profile(clip)
        run = {"clip": clip.stem, "speech": name_of(speech), "profile": digest, **asdict(self.options)}
        run |= {} if self.judge is None else {"judge": self.judge.name}
        run |= {} if self.witness is None else {"witness": self.witness.name}
        run |= {} if self.syncnet is None else {"syncnet": self.syncnet.name}
        path = self.folders.out / f"{clip.stem}__{name_of(speech)}.json"
        if (known := self._known(path, "run", run)) is not None:
            return known
        report = self._dub(profile, clip, speech, {"run": run, "code": code_digest(), "enrolled_s": enrolled_s})
        write_json(path, report)
        return report

    def _known(self, path: Path, key: str, value: object) -> dict[str, Any] | None:
        """A report that is there already and is of the same thing, by the same code unless older ones are kept."""
        if not path.is_file():
            return None
        known = read_json(path)
        fresh = self.keep_older or known.get("code") == code_digest()
        return known if known.get(key) == value and fresh else None

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

    def _dub(self, profile: Profile, clip: Path, speech: Path | None, extra: dict[str, Any]) -> dict[str, Any]:
        """Dubs one pair and measures every frame as it comes out, before any encoder."""
        info = probe_video(clip)
        sound = own_sound(clip, self.options.start) if speech is None else read_sound(speech)
        timeline = Timeline.plan(info, self.options.start, self.options.duration, sound.duration, False)
        collector = Collector(self.judge, witness=self.witness, rest_opening=profile.rest_opening)
        likeness = Reconstruction(self.judge, self.distance)
        strip, material = StripMaker(judge=self.judge), Material()
        sync = None if self.syncnet is None else LipSync(self.syncnet)
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
                material.add(edited.source.seconds, edited.tracked)
                if sync is not None:
                    sync.add(edited.frame, edited.tracked)
                if speech is None:
                    likeness.add(edited.frame, edited.source, edited.tracked)
                if self.folders.strips is not None:
                    strip.add(edited)

        for chunk in sound.chunks(until=timeline.seconds):
            work(partial(session.push_audio, chunk))
        work(session.end_audio)
        for frame in timeline.frames():
            work(partial(session.push_video, frame))
        work(session.end_video)
        self.draw(strip, collector, f"{clip.stem}__{name_of(speech)}")
        speed = {"ms_per_frame": round(1000 * dubbing_s / len(timeline.pts), 1), "peak_memory_mb": peak_memory_mb()}
        extra |= {"reconstruction": likeness.finish()} if speech is None else {}
        extra |= {"material": material.finish(), **speed}
        report = collector.finish(command_of(self.options, clip, speech), **extra).as_dict()
        if sync is not None:
            add_lse(report, sync.finish(sound.speech))
        return report

    def score(self, tracker: Callable[[], Tracker], name: str) -> Scorer:
        """What scores the videos of the system `name`; reports that are there already are read."""

        def scorer(result: Path, clip: Path, own: bool) -> dict[str, Any]:
            """Measures one video."""
            if self.folders.strips is not None:
                guard_pictures(self.folders.strips, clip)
            digest = hashlib.sha256(result.read_bytes()).hexdigest()[:16]
            span = (self.options.start, self.options.duration)
            parties = [each.name for each in (self.judge, self.syncnet) if each is not None]
            source = [digest, *span, *parties]
            path = self.folders.out / f"{result.stem}__by_{name}.json"
            if (known := self._known(path, "result", source)) is not None:
                return known
            strip, collector = StripMaker(judge=self.judge), Collector(self.judge)
            sync = None if self.syncnet is None else LipSync(self.syncnet)
            report = score(result, clip, own, (tracker(), self.judge, self.distance), span, strip, collector, sync)
            self.draw(strip, collector, f"{result.stem}__by_{name}")
            report |= {"result": source, "code": code_digest()}
            write_json(path, report)
            return report

        return scorer

    def sum_up(self, reports: list[dict[str, Any]], not_begun: int) -> dict[str, Any]:
        """Writes the summary of all reports so far, and the page; returns the summary."""
        summary = {**header("python -m bench quality"), "not_begun": not_begun, **summary_of(reports)}
        write_json(self.folders.out / "summary.json", summary)
        self.write_page(reports, summary)
        return summary

    def draw(self, strip: StripMaker, collector: Collector, name: str) -> None:
        """Writes a run's strip and its openings over time, if pictures are wanted."""
        if self.folders.strips is None:
            return
        self.folders.strips.mkdir(parents=True, exist_ok=True)
        write_json(self.folders.strips / f"{name}.json", collector.openings())
        if strip.columns:
            (self.folders.strips / f"{name}.png").write_bytes(png(draw_strip(strip.columns, landmarks=True)))

    def write_page(self, reports: list[dict[str, Any]], head: dict[str, Any]) -> None:
        """Writes `index.html` of all runs beside their strips, if pictures are wanted."""
        folder = self.folders.strips
        if folder is None:
            return
        runs = []
        for report in reports:
            run = report["run"]
            name = f"{run['clip']}__{run['speech']}"
            if "system" in run:
                name = f"{run['clip'] if run['speech'] == OWN else name}__by_{run['system']}"
            series, strip = folder / f"{name}.json", folder / f"{name}.png"
            drawn = read_json(series) if series.is_file() else {}
            runs.append(Run(report, drawn, strip.read_bytes() if strip.is_file() else None))
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "index.html", page(runs, head).encode())


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


def command_of(options: Options, clip: Path, speech: Path | None) -> str:
    """The command that measures one pair, without this machine's folders."""
    words = [
        "python -m bench quality",
        f"--clips {clip.stem}",
        f"--speech {name_of(speech)}",
        f"--quality {options.quality}",
    ]
    words += [] if options.effort is None else [f"--effort {options.effort}"]
    words += [f"--start {options.start:g}"] if options.start else []
    words += [] if options.duration is None else [f"--duration {options.duration:g}"]
    return " ".join(words)


def summary_of(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """All runs in short: what was dubbed, its figures, what it cost, and which clip is the worst."""
    keys = ["run", "code", "figures", "not_measured", "frames", "edited", "passed_through", "effort", "stages_ms"]
    keys += ["ms_per_frame", "peak_memory_mb", "enrolled_s", "material", "reconstruction", "lse", "missing"]
    runs = [{key: report[key] for key in keys if key in report} for report in reports]
    older = sum(1 for run in runs if run.get("code", code_digest()) != code_digest())
    found = {"worst": explain(clips_of(runs)), "runs": runs}
    return found | ({"measured_by_other_code": older} if older else {})


def told(report: dict[str, Any]) -> str:
    """What is shown of one pair as soon as it is measured."""
    if "missing" in report:
        return f"{report['run']['clip']} + {report['run']['speech']}: {report['missing']}\n\n"
    return quality_table([report]) + "\n"


def _progress(what: str, done: int, total: int) -> None:
    """One line on the error output that is written over and over."""
    sys.stderr.write(f"\r{what} {done}/{total}   " + ("\n" if 0 < total <= done else ""))


def _warn(sentence: str) -> None:
    sys.stderr.write(f"{sentence}\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench quality", description=__doc__)
    add_arguments(parser)
    parser.add_argument("--results", nargs="*", default=[], metavar="NAME=FOLDER", help="videos of other systems")
    parser.add_argument("--pairwise", action="store_true", help="first clip with first speech and so on, not all")
    parser.add_argument(
        "--strips", type=Path, help="folder for pictures and page, outside this repository for real people"
    )
    parser.add_argument("--effort", type=int, help="optimisation steps a frame")
    parser.add_argument("--judge", choices=sorted(JUDGES), default="net", help="who reads the landmarks")
    parser.add_argument(
        "--syncnet", type=Path, metavar="FILE", help="SyncNet's weights (syncnet_v2.model): LSE-C, LSE-D"
    )
    parser.add_argument("--time-limit", type=float, help="seconds after which no further pair is begun")
    return parser


def main(arguments: list[str]) -> int:
    """Measures all pairs, or as many as the time limit allows; writes reports, summary, table and page."""
    args = _parser().parse_args(arguments)
    systems = [System.parse(text) for text in args.results]
    clips, speeches = found(args)
    if args.pairwise and len(clips) != len(speeches):
        raise BadInputError(
            f"--pairwise: got {len(clips)} clips and {len(speeches)} speeches, expected as many of each"
        )
    pairs = list(zip(clips, speeches, strict=True)) if args.pairwise else list(product(clips, speeches))
    options = Options(args.quality, args.effort, args.start, args.duration)
    folders = Folders(args.profiles, args.out, args.strips)
    syncnet = None if args.syncnet is None else SyncNet.read(args.syncnet)
    distance = LearntDistance(weights.path("stlpips-alex")) if None in speeches else None
    judge = JUDGES[args.judge]()
    bench = Bench(LocalEngine(), judge, options, folders, distance=distance, syncnet=syncnet)
    bench.witness = witness_for(judge, _warn)
    bench.keep_older = args.keep_older
    begun = bench.clock()
    reports: list[dict[str, Any]] = []
    for clip, speech in pairs:
        if args.time_limit is not None and bench.clock() - begun > args.time_limit:
            sys.stderr.write(f"time limit: {len(pairs) - len(reports)} of {len(pairs)} pairs are not measured\n")
            break
        reports.append(bench.attempt(clip, speech))
        sys.stdout.write(told(reports[-1]))
        sys.stdout.flush()
        bench.sum_up(reports, len(pairs) - len(reports))
    not_begun = len(pairs) - len(reports)
    for system in systems:
        reports += score_all([system], pairs, bench.score(FaceTracker.from_cache, system.name))
    summary = bench.sum_up(reports, not_begun)
    clips_found = clips_of(summary["runs"])
    worst = "\n".join([clip_table(clips_found), *summary["worst"], ""]) if len(clips_found) > 1 else ""
    sys.stdout.write(quality_table(summary["runs"]) + ("\n" + worst if worst else ""))
    failed = any("missing" in report and "system" not in report["run"] for report in reports)
    return 1 if failed else 0
