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
    parser.add_argument("--encoder", type=Path, metavar="FILE.pt",
        help="encoder of that generator (e4e or pSp checkpoint) to start from; made for it, or it is refused",
    )  # fmt: skip
    parser.add_argument("--preview", type=Path, metavar="PNG", help="preview picture (default: beside the profile)")
    add_person(parser)
    add_json(parser)
    parser.set_defaults(run=run)


def unfinished(args: argparse.Namespace) -> Path | None:
    """Where an enrolment is kept while it runs: beside the profile; None for other commands."""
    out: Path | None = args.out if getattr(args, "run", None) is run else None
    return None if out is None else out.with_name(f"{out.name}.unfinished")


def run(args: argparse.Namespace, context: Context) -> int:
    """Do the work of the command; broken off, it is taken up again by the same command."""
    preview: Path = args.preview or args.out.with_suffix(".png")
    check_output(args.out, [args.video], (".safetensors",))
    check_output(preview, [args.video], (".png",))
    all_different([args.out, preview])
    if args.generator != DEFAULT:
        find_generator(args.generator)
    info = probe_video(args.video)
    used = info.ticks_between(args.start, args.duration)
    require_consent(args.consent, context.screen, context.stdin)
    kept = unfinished(args)
    try:
        with context.screen.progress() as report:
            frames = read_video(info, args.start, args.duration)
            profile = context.engine.enroll(frames, args.quality, args.tracker, report, args.generator)
    except KeyboardInterrupt:
        if kept is not None and kept.exists():
            context.screen.warn(f"{kept} holds what is learnt so far: the same command takes it up again")
        raise
    profile.save(args.out)
    write_atomically(preview, png(profile.preview))
    if kept is not None:
        kept.unlink(missing_ok=True)
    told = {key: profile.notes[key] for key in ("score", "grade", "verdicts") if key in profile.notes}
    score = f"; {told['score']} of 100, {told['grade']}" if "score" in told else ""
    lines = [f"{args.out}: learnt from {len(used)} pictures ({args.quality}{score}); preview: {preview}"]
    lines += [f"- {verdict}" for verdict in told.get("verdicts", ())]
    known = {"profile": str(args.out), "preview": str(preview), "quality": args.quality, "frames": len(used)}
    context.screen.result(known | told, "\n".join(lines))
    return 0
