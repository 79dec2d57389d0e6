"""`livedub compile`: make the packages that dubs on this machine run on, ahead of time."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.editing.compiled import packages_dir
from streaming.commands.common import Context, Subparsers, add_json, steps
from streaming.commands.demo import PRESENTER


def add(commands: Subparsers) -> None:
    """Describe the command."""
    about = "compile ahead what dubs run on, for this machine"
    parser = commands.add_parser(
        "compile",
        help=about,
        description=f"{about.capitalize()}: once for each generator and place of the edited region; half a minute "
        "for the render, minutes for W+ steps. `enroll` does it for a new speaker and dubs without W+ steps; this is "
        "for the shipped presenter, other profiles and more effort. Needs a C++ compiler.",
    )
    parser.add_argument("profiles", nargs="*", type=Path, metavar="PROFILE",
        help="profiles from `livedub enroll` (default: the shipped presenter)",
    )  # fmt: skip
    parser.add_argument("--effort", type=steps, metavar="N",
        help="compile for dubs of this effort: 0 render, 1 measurement, too, 2 or more W+ steps, too (default: what "
        "dubs have)",
    )  # fmt: skip
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, context: Context) -> int:
    """Do the work of the command."""
    paths: list[Path] = args.profiles or [PRESENTER / "presenter.safetensors"]
    effort = context.engine.features().default_effort if args.effort is None else args.effort
    loaded = [(path, context.engine.load(path)) for path in paths]
    made: dict[str, Mapping[str, Any]] = {}
    with context.screen.progress() as report:
        for path, profile in loaded:
            made[str(path)] = context.engine.compile(profile, effort, report)
    lines = [f"{path}: {line}" for path, found in made.items() for line in described(found)]
    context.screen.result({"folder": str(packages_dir()), "compiled": made}, "\n".join(lines))
    return 0


def described(found: Mapping[str, Any]) -> Iterator[str]:
    """What was compiled, in words: one line for each number of threads and piece of work.

    Args:
        found: threads -> what is told by `engine.dubber.compile_for`.
    """
    for threads, told in found.items():
        pieces = {"region render": told, **{name: each for name, each in told.items() if isinstance(each, Mapping)}}
        for name, choice in pieces.items():
            times = {trial["name"]: trial["ms"] for trial in choice["trials"]}
            yield (
                f"{name} with {threads} threads: {choice['backend']} {times[choice['backend']]:.1f} ms, "
                f"eager {times['eager']:.1f} ms"
            )
