"""Asking whether the person in the video has agreed."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TextIO

from engine.errors import BadInputError
from streaming.screen import Screen

QUESTION = (
    "livedub changes what a person is seen to say. Has the person in this video agreed to it, and may you use the "
    "recording? [y/N]"
)

STATEMENT: Final = "The person in the video has agreed to being edited, and I may use the recording."
"""What a given consent says."""


@dataclass(frozen=True)
class Consent:
    """What was stated about a person, and when; kept beside profiles that are learnt live."""

    by: str
    """Who stated it: the command line, or an address."""
    at: str
    """UTC, ISO 8601."""
    statement: str = STATEMENT
    """The words."""


def stated(by: str) -> Consent:
    """A consent that is stated now."""
    return Consent(by, datetime.now(UTC).isoformat(timespec="seconds"))


def require_consent(given: bool, screen: Screen, stdin: TextIO) -> None:
    """Return when consent was stated by flag or is stated now at the terminal; raise otherwise."""
    if given:
        return
    if not stdin.isatty():
        raise BadInputError(
            "consent is needed: got neither a terminal to ask at nor --consent. Add --consent to state that the person "
            "in the video has agreed to being edited and that you may use the recording."
        )
    if screen.ask(QUESTION, stdin.readline).strip().lower() not in ("y", "yes"):
        raise BadInputError("consent was not given: nothing was done. Ask the person in the video first.")
