"""Directions in whitened W: how it changes with head angles and mouth numbers. Those of the default generator ship."""

from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from engine.errors import ShapeError, WeightsFormatError

DIRECTIONS_FILE: Final = Path(__file__).with_name("mobile_directions.safetensors")
"""[13,K] float16, see `engine.training.directions`."""
NUMBERS: Final = 13
"""Numbers that were regressed on together, see `engine.training.directions`."""
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
    if found.shape != (NUMBERS, axes):
        raise WeightsFormatError(f"{file}: directions are {tuple(found.shape)}; expected ({NUMBERS}, {axes})")
    return spread(found, rows, _ANGLE_ROWS, _MOUTH_ROWS)


def spread(found: Tensor, rows: int, angle_rows: slice, mouth_rows: slice) -> tuple[Tensor, Tensor]:
    """Directions of one W for W+ codes, each on the rows where it acts.

    Args:
        found: [13,K] change of whitened W per number.
        rows: R of the generator.
        angle_rows: rows on which head angles act.
        mouth_rows: rows on which the mouth acts.

    Returns:
        [2,R,K] per ten degrees of yaw and pitch, and [8,R,K] per mouth number.

    Raises:
        ShapeError: there are not thirteen directions.
    """
    if found.ndim != 2 or len(found) != NUMBERS:
        raise ShapeError(f"directions are {tuple(found.shape)}; expected [{NUMBERS},K]")
    angles, mouth = torch.zeros(2, rows, found.shape[1]), torch.zeros(8, rows, found.shape[1])
    angles[:, angle_rows] = found[ANGLES, None]
    mouth[:, mouth_rows] = found[MOUTH, None]
    return angles, mouth


def stylegan2_rows(rows: int) -> tuple[slice, slice]:
    """Rows of a StyleGAN2 on which head angles act (up to 16 px) and on which the mouth acts (8 to 64 px)."""
    return slice(0, min(5, rows)), slice(1, min(9, rows))
