"""Directions of W: where they act, which files are refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from engine.errors import ShapeError, WeightsFormatError
from engine.generators.directions import NUMBERS, row_directions, spread, stylegan2_rows

pytestmark = pytest.mark.unit


def test_shipped_directions_act_on_the_rows_of_their_sizes() -> None:
    angles, mouth = row_directions(23, 300)
    assert angles.shape == (2, 23, 300) and mouth.shape == (8, 23, 300)
    assert angles[:, 0].any() and not angles[:, 7:].any()
    assert mouth[:, 2].any() and not mouth[:, :2].any() and not mouth[:, 13:].any()
    assert torch.equal(mouth[:, 2], mouth[:, 12])


def test_directions_are_spread_over_the_rows_named() -> None:
    found = torch.arange(NUMBERS * 2.0).reshape(NUMBERS, 2)
    angles, mouth = spread(found, 6, slice(0, 2), slice(1, 4))
    assert torch.equal(angles[:, 1], found[:2]) and not angles[:, 2:].any()
    assert torch.equal(mouth[:, 3], found[3:11]) and not mouth[:, 4:].any() and not mouth[:, 0].any()


@pytest.mark.parametrize(("rows", "expected"), [(18, (slice(0, 5), slice(1, 9))), (4, (slice(0, 4), slice(1, 4)))])
def test_rows_of_stylegan2(rows: int, expected: tuple[slice, slice]) -> None:
    assert stylegan2_rows(rows) == expected


def test_wrong_shapes_and_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"expected \[13,K\]"):
        spread(torch.zeros(12, 4), 6, slice(0, 2), slice(1, 4))
    with pytest.raises(WeightsFormatError, match=r"expected \(13, 4\)"):
        row_directions(23, 4)
    with pytest.raises(WeightsFormatError, match="reinstall"):
        row_directions(23, 4, tmp_path / "none.safetensors")
    save_file({"other": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(WeightsFormatError, match="reinstall"):
        row_directions(23, 4, tmp_path / "a.safetensors")
