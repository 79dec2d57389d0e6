"""Tensors of a state dict by name, whoever wrote it, without running anything in its file."""

from pathlib import Path

from torch import Tensor

from engine.errors import WeightsFormatError
from engine.generators.readers.nvidia import as_dict
from engine.generators.readers.torch_files import TorchFile, open_torch_file

_PLACES = ("state_dict", "model", None)
"""Keys under which a state dict may lie; None: the file's object itself."""


def read_state(path: Path, what: str) -> dict[str, Tensor]:
    """All tensors of a file that holds one state dict.

    Args:
        path: a file of `torch.save`.
        what: what is looked for, for messages.

    Raises:
        BadInputError: there is no such file.
        WeightsFormatError: it is damaged, asks for calls that no weights need, or holds no tensors by name.
    """
    file = open_torch_file(path)
    root = as_dict(file.root)
    for place in _PLACES:
        if found := named_tensors(file, root if place is None else root.get(place)):
            return found
    held = ", ".join(list(root)[:8]) or "nothing named"
    raise WeightsFormatError(f"{file.source}: got {held}, expected the tensors of {what} by name (a state dict)")


def named_tensors(file: TorchFile, notes: object, prefix: str = "") -> dict[str, Tensor]:
    """Tensors of a mapping in a file's notes whose names begin with `prefix`, by their names without it."""
    return {
        name.removeprefix(prefix): file.tensor(value)
        for name, value in as_dict(notes).items()
        if name.startswith(prefix) and file.is_tensor(value)
    }
