"""`livedub plot`: a picture of what the model makes of a speech."""

import argparse
from pathlib import Path

import numpy as np

from engine.errors import BadInputError
from engine.evaluation.strips import png
from engine.files import check_output, write_atomically
from engine.speech import EMOTIONS, load_speech_model
from engine.speech.drawing import Drawn, draw
from engine.speech.emotions import EmotionBlend
from streaming.commands.common import Context, Subparsers, add_json, length, look_ahead, seconds, share
from streaming.ingest.sound import ENGINE_RATE, read_sound


def add(commands: Subparsers) -> None:
    """Describe the command."""
    about = "draw what the model makes of a speech"
    parser = commands.add_parser(
        "plot",
        help=about,
        description=f"{about.capitalize()}: sound, activity, opening and width of the mouth, emotion, landmark faces.",
    )
    parser.add_argument("audio", type=Path, metavar="AUDIO", help="speech: a sound or video file")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="PNG", help="picture to write")
    parser.add_argument("--start", type=seconds, default=0.0, metavar="S", help="leave out the first S seconds")
    parser.add_argument("--duration", type=length, default=None, metavar="S", help="draw only S seconds")
    parser.add_argument("--emotion", choices=EMOTIONS, default="neutral", help="emotion that is shown")
    parser.add_argument("--intensity", type=share, default=1.0, metavar="SHARE", help="its intensity, 0 to 1")
    parser.add_argument("--look-ahead", type=look_ahead, default=None, metavar="MS",
        help="largest look-ahead of the model in ms (default: that of the shipped weights)",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, context: Context) -> int:
    """Do the work of the command."""
    check_output(args.out, [args.audio], (".png",))
    speech = read_sound(args.audio).speech[round(args.start * ENGINE_RATE) :]
    if args.duration is not None:
        speech = speech[: round(args.duration * ENGINE_RATE)]
    if len(speech) < ENGINE_RATE // 50:
        raise BadInputError(f"{args.audio}: nothing to draw after {args.start:g} s. Choose an earlier start.")
    model = load_speech_model(limit_ms=args.look_ahead)
    track = model.offline(speech, args.emotion, args.intensity)
    blend = EmotionBlend()
    blend.choose(args.emotion, args.intensity)
    write_atomically(args.out, png(draw(Drawn(speech, track, model.basis.rest, blend.follow(len(track.times))))))
    spoken = float(np.mean(track.speaking > 0.5))
    values = {
        "picture": str(args.out),
        "seconds": round(len(speech) / ENGINE_RATE, 3),
        "speaking_share": round(spoken, 3),
        "look_ahead_ms": model.look_ahead_ms,
    }
    context.screen.result(values, f"{args.out}: {values['seconds']} s, speech in {spoken:.0%} of it")
    return 0
