"""Array files of corpus and runs: written whole or not at all, read whole or with an error that says what to do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import BadInputError
from engine.files import atomic_path, write_error


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


def write_arrays(path: Path, arrays: Mapping[str, ArrayLike], compressed: bool = False) -> None:
    """Writes an .npz file of named arrays; it is there whole or not at all.

    Raises:
        MediaError: it cannot be written.
    """
    save = np.savez_compressed if compressed else np.savez
    plain: dict[str, Any] = {name: np.asarray(value) for name, value in arrays.items()}
    with atomic_path(path) as part:
        try:
            with part.open("wb") as file:
                save(file, allow_pickle=False, **plain)
        except OSError as error:
            raise write_error(path, error) from error
