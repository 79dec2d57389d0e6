"""Options and steps that several commands share."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from engine.errors import BadInputError
from engine.speech import LOOK_AHEADS_MS
from engine.speech.alignment import ALIGNMENTS
from streaming.engines import Engine
from streaming.screen import Screen


@dataclass(frozen=True)
class Context:
    """What a command works with besides its options."""

    screen: Screen
    """Where it shows what it does."""
    engine: Engine
    """What edits."""
    stdin: TextIO
    """Where questions are answered."""
    command_line: str
    """The command as typed, for reports."""


class Subparsers(Protocol):
    """Where a command adds its options (argparse's own type has no public name)."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser:
        """A parser for one command."""


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option for machines."""
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout instead of text")


def add_person(parser: argparse.ArgumentParser) -> None:
    """Options of commands that edit a person in a video: consent, which part, which tracker."""
    parser.add_argument(
        "--consent",
        action="store_true",
        help="state that the person in the video has agreed to being edited (asked for at a terminal otherwise)",
    )
    parser.add_argument("--start", type=seconds, default=0.0, metavar="S", help="leave out the first S seconds")
    parser.add_argument("--duration", type=length, default=None, metavar="S", help="use only S seconds")
    parser.add_argument(
        "--tracker",
        choices=("mesh", "fan"),
        default="mesh",
        help="landmark tracker: mesh (default), or fan (needs the extra livedub[fan] and internet once)",
    )


def add_following(parser: argparse.ArgumentParser) -> None:
    """Options of commands that dub: how far ahead the speech is heard, and how the mouth is placed."""
    parser.add_argument(
        "--look-ahead",
        type=look_ahead,
        metavar="MS",
        help="most speech, in ms, that is heard beyond a picture before it is edited, 40 to 200 (default: 113)",
    )
    parser.add_argument(
        "--alignment",
        choices=ALIGNMENTS,
        default=ALIGNMENTS[0],
        help="how the mouth is placed on the speaker: geometric (default, better on real faces), or a network",
    )


def look_ahead(text: str) -> int:
    """Milliseconds that the speech model can be made to hear ahead."""
    value = int(text)
    if value not in LOOK_AHEADS_MS:
        least, most = LOOK_AHEADS_MS[0], LOOK_AHEADS_MS[-1]
        raise argparse.ArgumentTypeError(f"got {text}, expected {least} to {most} ms")
    return value


def seconds(text: str) -> float:
    """A time >= 0 in seconds."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text}, expected seconds >= 0")
    return value


def length(text: str) -> float:
    """A length > 0 in seconds."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text}, expected seconds > 0")
    return value


def steps(text: str) -> int:
    """A number of optimisation steps >= 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number >= 0")
    return value


def all_different(outputs: Sequence[Path]) -> None:
    """Refuse two outputs that are the same file."""
    places = [output.resolve() for output in outputs]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise BadInputError(f"{outputs[index]}: given for two outputs, expected two names. Choose another for one.")


def share(text: str) -> float:
    """A share, 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected 0 to 1")
    return value
