"""Who may be edited: profiles given at the start, those of a folder, and those learnt live."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from engine.errors import BadInputError

NAMES: Final = "letters, digits, spaces, - and _, at most 40 in all"
"""What a speaker may be called, in words."""

_NAME: Final = re.compile(r"\w[\w -]{0,38}\w|\w")
_ENDING: Final = ".safetensors"


class Speakers:
    """Name -> profile. Those learnt live go to a folder that is kept, or to one that ends with the server.

    Args:
        given: profiles known from the start.
        folder: where profiles are kept; what lies there may be edited too. None: nothing is kept.

    Raises:
        BadInputError: the folder cannot be made.
    """

    def __init__(self, given: Mapping[str, Path], folder: Path | None) -> None:
        """Look into the folder."""
        self.keeps: Final = folder is not None
        """Whether profiles outlive the server."""
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise BadInputError(f"{folder}: cannot be a folder of profiles: {error.strerror}") from error
        self._passing = None if folder else tempfile.TemporaryDirectory(prefix="livedub-speakers-")
        self._folder: Final = folder or Path(self._passing.name if self._passing else "")
        found = sorted(self._folder.glob(f"*{_ENDING}"))
        self._profiles = dict(given) | {path.stem: path for path in found if path.stem not in given}

    def names(self) -> tuple[str, ...]:
        """All of them; those given come first."""
        return tuple(self._profiles)

    def profile(self, name: str) -> Path:
        """The profile of a speaker.

        Raises:
            BadInputError: there is none of this name.
        """
        if name not in self._profiles:
            known = ", ".join(self._profiles) or "none, there is none"
            raise BadInputError(f"speaker is {name[:40]!r}; expected one of {known}")
        return self._profiles[name]

    def place(self, name: str) -> Path:
        """Where the profile of a new speaker goes.

        Raises:
            BadInputError: the name cannot be, or is taken.
        """
        if not _NAME.fullmatch(name):
            raise BadInputError(f"speaker's name is {name[:40]!r}; expected {NAMES}")
        if name in self._profiles:
            raise BadInputError(f"there is a speaker of the name {name} already; choose another name, or use this one")
        return self._folder / f"{name}{_ENDING}"

    def add(self, name: str, profile: Path) -> None:
        """A new speaker was learnt."""
        self._profiles[name] = profile

    def close(self) -> None:
        """Remove what is not kept."""
        if self._passing is not None:
            self._passing.cleanup()
