"""Shipped directions of the default generator: how whitened W changes with head angles and mouth numbers."""

from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import WeightsFormatError

DIRECTIONS_FILE: Final = Path(__file__).with_name("mobile_directions.safetensors")
"""[13,K] float16, see `engine.training.directions`."""
ANGLES: Final = slice(0, 2)
"""Yaw and pitch, per ten degrees; the roll of aligned faces tells nothing and is not used."""
MOUTH: Final = slice(3, 11)
"""The eight mouth numbers of `engine.editing.mouth`."""
_ANGLE_ROWS: Final = slice(0, 7)
_MOUTH_ROWS: Final = slice(2, 13)


def row_directions(rows: int, axes: int, file: Path = DIRECTIONS_FILE) -> tuple[Tensor, Tensor]:
    """Directions for W+ codes, each on the rows where it acts: pose up to 16 px, mouth from 8 to 64 px.

    Args:
        rows: R of the generator.
        axes: K of its whitened W.
        file: the shipped file.

    Returns:
        [2,R,K] per ten degrees of yaw and pitch, and [8,R,K] per mouth number.

    Raises:
        WeightsFormatError: the file is damaged or of another size.
    """
    try:
        found = load_file(file)["directions"].to(torch.float32)
    except (OSError, SafetensorError, KeyError) as error:
        raise WeightsFormatError(f"{file} holds no directions ({error!r}); reinstall the package") from error
    if found.shape != (13, axes):
        raise WeightsFormatError(f"{file}: directions are {tuple(found.shape)}; expected (13, {axes})")
    angles, mouth = torch.zeros(2, rows, axes), torch.zeros(8, rows, axes)
    angles[:, _ANGLE_ROWS] = found[ANGLES, None]
    mouth[:, _MOUTH_ROWS] = found[MOUTH, None]
    return angles, mouth
