"""The start of an inversion from an encoder: its code in the generator's rows and whitened W; strangers are refused."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import BadInputError, ShapeError
from engine.generators.encoder_start import check_encoder, row_sources, spread_rows, start_code
from engine.generators.stats import WStatistics

pytestmark = pytest.mark.unit
WIDTH = 16


class Known:
    """Stands for an encoder whose code is the mean colour of the picture, beside its average face."""

    source = "e4e.pt"
    width = WIDTH

    def __init__(self, average: Tensor, rows: int = 8) -> None:
        self.rows, self.average = rows, average.expand(rows, WIDTH)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, pictures: Tensor) -> Tensor:
        self.shapes.append(tuple(pictures.shape))
        code = self.average.clone()
        code[:, 0] += pictures.mean()
        code[:, 1] += torch.arange(float(self.rows))
        return code[None]


@pytest.fixture
def statistics() -> WStatistics:
    """Axes of different length, all that W has."""
    random = torch.Generator().manual_seed(1)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=random))[0]
    return WStatistics(torch.randn(WIDTH, generator=random), basis * torch.linspace(2, 0.5, WIDTH)[:, None])


def test_the_start_is_the_encoders_code_in_whitened_w(statistics: WStatistics) -> None:
    encoder: Any = Known(statistics.mean)
    code = start_code(encoder, statistics, 8, torch.full((1, 3, 128, 128), 0.5))
    assert encoder.shapes == [(1, 3, 256, 256)] and code.shape == (8, WIDTH)
    w = statistics.decode(code)
    assert torch.allclose(w[:, 0] - statistics.mean[0], torch.full((8,), 0.5), atol=1e-4)
    assert torch.allclose(w[:, 1] - statistics.mean[1], torch.arange(8.0), atol=1e-4)


def test_an_encoder_of_another_generator_is_refused(statistics: WStatistics) -> None:
    """A little away from the average face is sampling; a deviation is another generator's W."""
    near: Any = Known(statistics.decode(torch.full((WIDTH,), 0.2)))
    check_encoder(near, statistics, 8)
    far: Any = Known(statistics.decode(torch.full((WIDTH,), 1.0)))
    with pytest.raises(BadInputError, match="1.00 deviations from the generator's.*livedub weights import"):
        check_encoder(far, statistics, 8)
    with pytest.raises(BadInputError, match="an encoder of 8 rows of 16, the generator takes 10 of 16"):
        start_code(near, statistics, 10, torch.zeros(1, 3, 64, 64))
    narrow = WStatistics(torch.zeros(4), torch.eye(4))
    with pytest.raises(BadInputError, match="the generator takes 8 of 4"):
        check_encoder(near, narrow, 8)


def test_rows_of_the_default_generator_take_the_rows_of_the_same_size() -> None:
    """18 rows of 1024 px: 4 px, then two a size, the output last; 23 rows: 4 px, three a size up to 512, the output."""
    sources = row_sources(18, 23)
    assert sources is not None and len(sources) == 23
    assert sources[:7] == [0, 1, 1, 2, 3, 3, 4] and sources[-4:] == [13, 13, 14, 17]
    code = torch.arange(18.0)[:, None].expand(18, 3)
    assert spread_rows(code, 23)[:, 1].tolist() == sources
    assert torch.equal(spread_rows(code, 18), code)


@pytest.mark.parametrize(("given", "rows"), [(18, 20), (14, 23), (18, 16), (8, 9)])
def test_rows_that_cannot_be_told_apart_are_refused(given: int, rows: int) -> None:
    assert row_sources(given, rows) is None
    with pytest.raises(ShapeError, match="cannot be spread"):
        spread_rows(torch.zeros(given, 4), rows)
