"""Files that are there whole or not at all."""

import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISDIR

from engine.errors import MediaError


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Give a path beside `target` to write to; move it to `target` at the end, or remove it when anything goes wrong.

    Only a killed process or a power cut can leave the hidden `.NAME.*.part` file behind.
    """
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        try:
            with part.open("rb+") as written:
                os.fsync(written.fileno())
            part.replace(target)
        except OSError as error:
            raise write_error(target, error) from error
    finally:
        part.unlink(missing_ok=True)


def write_atomically(target: Path, content: bytes) -> None:
    """Write a small file that is there whole or not at all."""
    with atomic_path(target) as part:
        try:
            part.write_bytes(content)
        except OSError as error:
            raise write_error(target, error) from error


def write_error(target: Path, error: OSError) -> MediaError:
    """One line about a file that could not be written."""
    return MediaError(
        f"{target}: cannot be written: {error.strerror or error}. Nothing was left behind; free some space or choose "
        "another place."
    )


def check_output(target: Path, inputs: Iterable[Path], suffixes: tuple[str, ...]) -> None:
    """Refuse an output path that cannot work, before any work is done."""
    if target.suffix.lower() not in suffixes:
        raise MediaError(f"{target}: unknown kind of output {target.suffix!r}; expected {' or '.join(suffixes)}.")
    if not os.path.isdir(target.parent):
        raise MediaError(f"{target}: the folder {target.parent} does not exist. Make it first.")
    try:
        is_folder = S_ISDIR(target.stat().st_mode)
    except FileNotFoundError:
        is_folder = False
    except (OSError, ValueError) as error:
        raise MediaError(f"{target}: cannot be a file's name: {error}. Choose another name.") from error
    if is_folder:
        raise MediaError(f"{target}: is a folder, expected the name of a file to write.")
    if not os.access(target.parent, os.W_OK):
        raise MediaError(f"{target}: no permission to write in {target.parent}. Choose another place.")
    for source in inputs:
        if target.exists() and source.exists() and target.samefile(source):
            raise MediaError(
                f"{target}: is also an input; it would be overwritten. Choose another name for the output."
            )
