"""What stands at the head of every result file: machine, versions, code, date and command."""

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine.evaluation import code_digest, describe_machine, versions


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
    """Writes a result file whole or not at all, making its folder where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(values, indent=2, allow_nan=False) + "\n"
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False, encoding="utf-8") as part:
        part.write(text)
    os.chmod(part.name, 0o644)
    os.replace(part.name, path)


def read_json(path: Path) -> dict[str, Any]:
    """A result file."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
