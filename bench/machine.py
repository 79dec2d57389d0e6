"""What stands at the head of every result file: machine, versions, code, date and command."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.errors import BadInputError
from engine.evaluation import code_digest, describe_machine, versions
from engine.files import write_atomically, write_error


def header(command: str) -> dict[str, Any]:
    """Machine, versions, digest of the code, date (UTC) and the command that measured."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return {
        "command": command,
        "date": now,
        "machine": describe_machine(),
        "versions": versions(),
        "code": code_digest(),
    }


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Writes a result file whole or not at all, making its folder where there is none.

    Raises:
        ValueError: a number that JSON cannot hold; nothing is written.
        MediaError: the file cannot be written.
    """
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from error
    write_atomically(path, text.encode("utf-8"))


def read_json(path: Path) -> dict[str, Any]:
    """A result file.

    Raises:
        BadInputError: there is none, or it holds no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path}: got {error}, expected a result file; measure again, or remove it") from error
    if not isinstance(values, dict):
        raise BadInputError(
            f"{path}: got a {type(values).__name__}, expected a JSON object; name the file of a result, or remove it"
        )
    return values
