"""`livedub dub`: one video and one speech file in, the video with its mouth following the speech out."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import BackendError
from engine.evaluation import Collector, EditedFrameLike, Judge, Report, best_judge, peak_memory_mb, witness_for
from engine.evaluation.strips import StripMaker
from engine.files import check_output, write_atomically
from engine.speech.emotions import CHOICES
from kernels.backends.choice import BACKENDS
from streaming.commands.common import (
    Context,
    Subparsers,
    add_following,
    add_json,
    add_person,
    all_different,
    share,
    steps,
)
from streaming.consent import require_consent
from streaming.dubbing import Chosen, Tally, dub_to_file
from streaming.engines import Tracker
from streaming.ingest.file import probe_video, read_video
from streaming.ingest.sound import Sound, read_sound
from streaming.overlap import computing_with, may_overlap, stage_threads
from streaming.timeline import Timeline


@dataclass(frozen=True)
class Job:
    """One dub, all inputs looked over."""

    timeline: Timeline
    """The pictures."""
    sound: Sound
    """The speech."""
    out: Path
    """The MP4 to write."""
    profile: Path | None
    """The speaker's profile; None: enrol in draft quality first."""
    effort: int | None
    """Optimisation steps a picture; None: the engine's default."""
    tracker: Tracker
    """Which network finds the landmarks."""
    measure: bool
    """Whether quality is measured."""
    emotion: str = "neutral"
    """Emotion of the face."""
    intensity: float = 1.0
    """Its intensity, 0 ... 1."""
    strip: StripMaker | None = None
    """Collects a before/after picture."""


def add(commands: Subparsers) -> None:
    """Describe the command."""
    about = "make the mouth in a video follow another speech"
    parser = commands.add_parser("dub", help=about, description=f"{about.capitalize()}; writes an MP4.")
    parser.add_argument("video", type=Path, metavar="VIDEO", help="talking-head video, one face to be edited")
    parser.add_argument("--audio", type=Path, required=True, metavar="AUDIO", help="speech, any sound or video file")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="OUT.mp4", help="file to write (replaced)")
    parser.add_argument("--speaker", type=Path, metavar="PROFILE", help="profile from `livedub enroll`; else a draft")
    parser.add_argument(
        "--effort", type=steps, metavar="N", help="optimisation steps a picture (default: the engine's)"
    )
    parser.add_argument(
        "--emotion",
        choices=CHOICES,
        default="neutral",
        help="emotion of the mouth (default: neutral); auto tells it from the speech, which is experimental",
    )
    parser.add_argument("--intensity", type=share, default=1.0, metavar="X", help="of the emotion, 0 to 1 (default: "
                        "1); with auto a factor on what is heard")  # fmt: skip
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="auto",
        help="what renders: auto measures and takes the fastest that is right, of what is compiled (default)",
    )
    add_following(parser)
    parser.add_argument("--loop", action="store_true", help="play the video back and forth until the speech ends")
    parser.add_argument("--report", type=Path, metavar="REPORT.json", help="measure quality and times, write them here")
    add_person(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, context: Context) -> int:
    """Do the work of the command."""
    inputs = [args.video, args.audio, *([args.speaker] if args.speaker else [])]
    check_output(args.out, inputs, (".mp4",))
    if args.report:
        check_output(args.report, inputs, (".json",))
        all_different([args.out, args.report])
    info, sound = probe_video(args.video), read_sound(args.audio)
    timeline = Timeline.plan(info, args.start, args.duration, sound.duration, args.loop)
    _warn_of_misfits(context, timeline, sound, args.loop)
    require_consent(args.consent, context.screen, context.stdin)
    job = Job(
        timeline, sound, args.out, args.speaker, args.effort, args.tracker, args.report is not None, args.emotion,
        args.intensity,
    )  # fmt: skip
    tally, measured = perform(job, context)
    values: dict[str, Any] = {"out": str(args.out), "seconds": round(timeline.seconds, 3), **tally.as_dict()}
    if measured is not None:
        write_atomically(args.report, measured.to_json().encode())
        values |= {"report": str(args.report), "figures": measured.as_dict()["figures"]}
        context.screen.say(measured.table())
    context.screen.result(values, f"{args.out}: {timeline.seconds:.2f} s, {tally}")
    return 0


def perform(job: Job, context: Context) -> tuple[Tally, Report | None]:
    """Run a dub with progress shown; gives what became of the pictures, and the report when quality is measured."""
    timeline = job.timeline
    collector: Collector | None = None

    def watch(edited: EditedFrameLike) -> None:
        """Measure and picture one finished frame."""
        if collector is not None:
            collector.add(edited)
        if job.strip is not None:
            job.strip.add(edited)

    with context.screen.progress() as report:
        if job.profile is not None:
            profile = context.engine.load(job.profile)
        else:
            frames = read_video(timeline.info, timeline.start, timeline.duration)
            profile = context.engine.enroll(frames, "draft", job.tracker, report)
        if job.measure:
            judge = _find_judge(context)
            witness = None if judge is None else witness_for(judge, context.screen.warn)
            collector = Collector(judge, witness=witness, rest_opening=profile.rest_opening)
        effort = context.engine.features().default_effort if job.effort is None else job.effort
        with computing_with(stage_threads(effort)):
            session = context.engine.session(profile, job.effort, job.tracker, job.emotion, job.intensity)
            tally = dub_to_file(session, timeline, job.sound, job.out, report, watch, may_overlap(), effort)
    _warn_of_untouched(context, tally)
    if collector is None:
        return tally, None
    extra: dict[str, Any] = {"peak_memory_mb": peak_memory_mb(), "warnings": context.screen.warnings}
    if isinstance(session, Chosen):
        extra |= {"backend": dict(session.backend), "speech": dict(session.speech_notes)}
    return tally, collector.finish(context.command_line, **extra)


def _find_judge(context: Context) -> Judge | None:
    """The judge that reads landmarks and identity, or None, said aloud, where it is not installed."""
    try:
        return best_judge(context.screen.warn)
    except BackendError as error:
        context.screen.warn(f"figures that need a judge are not measured: {error}")
        return None


def _warn_of_untouched(context: Context, tally: Tally) -> None:
    """Say so when much or all of the video went through as it was."""
    if tally.edited == 0:
        context.screen.warn("no picture was edited: the output is the input's pictures with another sound")
    elif tally.edited < tally.frames / 2:
        context.screen.warn(f"only {tally.edited} of {tally.frames} pictures were edited")


def _warn_of_misfits(context: Context, timeline: Timeline, sound: Sound, loop: bool) -> None:
    """Warn about speech that is cut, and about formats that cannot be kept."""
    over = sound.duration - timeline.seconds
    if over > 0.05 and not loop:
        context.screen.warn(
            f"the speech is {over:.2f} s longer than the video and is cut; --loop plays the video back and forth"
        )
    picture = timeline.info.picture
    if picture.converted_from is not None:
        context.screen.warn(f"pixel format {picture.converted_from} is written as {picture.pix_fmt}")
