"""`livedub enroll`: learn one speaker from a video, once, and save what was learnt."""

import argparse
from pathlib import Path

from engine.evaluation.strips import png
from engine.files import check_output, write_atomically
from engine.generators.library import DEFAULT, find_generator
from streaming.commands.common import Context, Subparsers, add_json, add_person, all_different
from streaming.consent import require_consent
from streaming.ingest.file import probe_video, read_video


def add(commands: Subparsers) -> None:
    """Describe the command."""
    about = "learn a speaker from a video, once"
    parser = commands.add_parser("enroll", help=about, description=f"{about.capitalize()}; saves a profile for `dub`.")
    parser.add_argument("video", type=Path, metavar="VIDEO", help="talking-head video of the speaker")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="PROFILE.safetensors", help="file to write")
    parser.add_argument("--quality", choices=("draft", "full", "compact"), default="draft",
        help="draft: minutes; full: longer; compact: a small profile, for faces near the generator's own",
    )  # fmt: skip
    parser.add_argument("--generator", default=DEFAULT, metavar="NAME",
        help="an imported generator, as `livedub weights list` names it (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--preview", type=Path, metavar="PNG", help="preview picture (default: beside the profile)")
    add_person(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, context: Context) -> int:
    """Do the work of the command."""
    preview: Path = args.preview or args.out.with_suffix(".png")
    check_output(args.out, [args.video], (".safetensors",))
    check_output(preview, [args.video], (".png",))
    all_different([args.out, preview])
    if args.generator != DEFAULT:
        find_generator(args.generator)
    info = probe_video(args.video)
    used = info.ticks_between(args.start, args.duration)
    require_consent(args.consent, context.screen, context.stdin)
    with context.screen.progress() as report:
        frames = read_video(info, args.start, args.duration)
        profile = context.engine.enroll(frames, args.quality, args.tracker, report, args.generator)
    profile.save(args.out)
    write_atomically(preview, png(profile.preview))
    context.screen.result(
        {"profile": str(args.out), "preview": str(preview), "quality": args.quality, "frames": len(used)},
        f"{args.out}: learnt from {len(used)} pictures ({args.quality}); what it can do is shown in {preview}",
    )
    return 0
