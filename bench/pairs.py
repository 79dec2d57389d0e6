"""Which clips and speeches a benchmark works on: command-line arguments, files by name, a clip's own sound."""

import argparse
import os
from dataclasses import replace
from pathlib import Path

from bench.others import OWN
from engine.errors import BadInputError
from streaming.ingest.sound import ENGINE_RATE, Sound, read_sound


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of every benchmark that dubs clips with speech."""
    data = os.environ.get("LIVEDUB_TEST_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(data), help="folder with clips/ and speech/")
    parser.add_argument("--clips", nargs="+", required=True, help="names without ending, or paths")
    parser.add_argument("--speech", nargs="+", required=True, help="names without ending, paths, or own: the clip's")
    parser.add_argument("--profiles", type=Path, required=True, help="folder of profiles; missing ones are enrolled")
    parser.add_argument("--out", type=Path, required=True, help="folder for reports")
    parser.add_argument(
        "--quality", choices=("draft", "full", "compact"), default="draft", help="of profiles to be enrolled"
    )
    parser.add_argument("--start", type=float, default=0.0, help="seconds into the clip")
    parser.add_argument("--duration", type=float, help="seconds of the clip")
    parser.add_argument(
        "--keep-older", action="store_true", help="do not repeat what another version of the code measured"
    )


def found(args: argparse.Namespace) -> tuple[list[Path], list[Path | None]]:
    """Files of the clips and speeches that were asked for; None stands for a clip's own sound.

    Raises:
        BadInputError: a name has no file, or several.
    """
    clips = [find(args.data / "clips", name) for name in args.clips]
    return clips, [None if name == OWN else find(args.data / "speech", name) for name in args.speech]


def name_of(speech: Path | None) -> str:
    """A speech as it is called in reports."""
    return OWN if speech is None else speech.stem


def own_sound(clip: Path, start: float) -> Sound:
    """The sound of a clip from `start` seconds on."""
    sound = read_sound(clip)
    first, begin = round(start * ENGINE_RATE), round(start * sound.rate)
    return replace(sound, speech=sound.speech[first:], track=sound.track[:, begin:])


def find(folder: Path, name: str) -> Path:
    """A file by its path, or by its name without ending in `folder`.

    Raises:
        BadInputError: there is none, or more than one.
    """
    if Path(name).is_file():
        return Path(name)
    found = sorted(path for path in folder.glob("*") if path.stem == name and path.is_file())
    if len(found) != 1:
        raise BadInputError(f"{name}: got {len(found)} files of that name in {folder}, expected one, or a path")
    return found[0]
