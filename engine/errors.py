"""Errors of livedub: one root, so that a host program can catch all of them in one place.

LivedubError
├── BadInputError          a file, stream or value from outside is not usable        (exit code 2)
│   ├── NoFaceError        no face where one is needed
│   ├── MediaError         a file or stream cannot be read or written as it is
│   └── ProfileError       a speaker profile is damaged or belongs to another generator
├── WeightsError           weights are missing, damaged or cannot be fetched          (exit code 3)
│   └── WeightsFormatError a weight file is not in the format its reader understands
├── ShapeError             a tensor or array of the wrong shape, type or range at a public entry
└── BackendError           an optional part is not installed or does not run on this machine

Every message says what was wrong, what was got, what was expected and how to mend it.
"""

from typing import ClassVar


class LivedubError(Exception):
    """Root of all errors raised on purpose by livedub."""

    exit_code: ClassVar[int] = 1
    """Exit status of the command line when this error ends it."""

    retryable: ClassVar[bool] = False
    """Whether the same call may succeed later without any change by the caller."""


class BadInputError(LivedubError):
    """Something from outside (a file, a stream, an option) cannot be used."""

    exit_code = 2


class NoFaceError(BadInputError):
    """No usable face where one is needed."""


class MediaError(BadInputError):
    """A media file or stream cannot be read or written."""


class ProfileError(BadInputError):
    """A speaker profile is damaged, of another version, or made for another generator."""


class WeightsError(LivedubError):
    """Weights are missing, damaged, or could not be fetched."""

    exit_code = 3
    retryable = True


class WeightsFormatError(WeightsError):
    """A weight file is not in the format that its reader understands."""

    retryable = False


class ShapeError(LivedubError, ValueError):
    """A tensor or array has the wrong shape, type or range at a public entry."""


class BackendError(LivedubError):
    """An optional part is not installed or does not run on this machine."""
