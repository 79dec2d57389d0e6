"""Reading the array files of corpus and runs: whole, or an error that says what to do."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError


def read_arrays(path: Path, names: tuple[str, ...], what: str, mend: str) -> list[NDArray[Any]]:
    """The named arrays of an .npz file, in their order.

    Args:
        path: of the file.
        names: of the arrays that it must hold.
        what: it should be, for the message.
        mend: what to do when it is not.

    Raises:
        BadInputError: it cannot be read, is cut short, or lacks one of them.
    """
    try:
        with path.open("rb") as file, np.load(file) as archive:
            return [archive[name] for name in names]
    except (OSError, ValueError, KeyError, EOFError, TypeError, BadZipFile) as error:
        raise BadInputError(f"{path} is not {what}: {error}; {mend}") from error
