"""`livedub demo`: dub the shipped presenter, a person who does not exist, with shipped synthetic speech."""

import argparse
from pathlib import Path

from engine.evaluation.strips import StripMaker, draw_strip, png
from engine.files import check_output, write_atomically
from streaming.commands.common import Context, Subparsers, add_json, all_different, steps
from streaming.commands.dub import Job, perform
from streaming.ingest.file import probe_video
from streaming.ingest.sound import read_sound
from streaming.timeline import Timeline

PRESENTER = Path(__file__).resolve().parents[1] / "demo_data"
"""The shipped clip, its speaker's profile and the speech: `presenter.mp4`, `presenter.safetensors`, `speech.flac`."""

_FASTER = "pictures were rendered without compiling: `livedub compile`, once, makes this and later dubs faster"


def add(commands: Subparsers) -> None:
    """Describe the command."""
    about = "dub a shipped clip of a person who does not exist"
    parser = commands.add_parser("demo", help=about, description=f"{about.capitalize()}; prints the figures.")
    parser.add_argument("-o", "--out", type=Path, default=Path("livedub_demo.mp4"), metavar="FILE", help="MP4 to write")
    parser.add_argument(
        "--effort", type=steps, metavar="N", help="optimisation steps a picture (default: the engine's)"
    )
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, context: Context) -> int:
    """Do the work of the command."""
    strip_path: Path = args.out.with_name(f"{args.out.stem}_strip.png")
    check_output(args.out, [], (".mp4",))
    check_output(strip_path, [], (".png",))
    all_different([args.out, strip_path])
    info, sound = probe_video(PRESENTER / "presenter.mp4"), read_sound(PRESENTER / "speech.flac")
    timeline = Timeline.plan(info, 0.0, None, sound.duration, loop=False)
    strip = StripMaker()
    profile = PRESENTER / "presenter.safetensors"
    job = Job(timeline, sound, args.out, profile, args.effort, "mesh", measure=True, strip=strip)
    tally, measured = perform(job, context)
    values = {"out": str(args.out), "seconds": round(timeline.seconds, 3), **tally.as_dict()}
    lines = [f"{args.out}: {timeline.seconds:.2f} s, {tally}"]
    if strip.columns:
        write_atomically(strip_path, png(draw_strip(strip.columns)))
        values["strip"] = str(strip_path)
        lines.append(f"{strip_path}: source, edit and their difference at a few moments")
    if measured is not None:
        context.screen.say(measured.table())
        values["figures"] = measured.as_dict()["figures"]
        if measured.extra.get("backend", {}).get("backend") == "eager":
            lines.append(_FASTER)
    context.screen.result(values, "\n".join(lines))
    return 0
