"""Whitened W: orthogonal scaled axes, exact round trips, the same statistics every time."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from engine.errors import ShapeError
from engine.generators.stats import WStatistics

pytestmark = pytest.mark.unit


class Linear:
    """A mapping whose mean and covariance are known: w = offset + z * scales."""

    width = 6
    noise_width = 6

    def __init__(self) -> None:
        self.offset = torch.arange(6.0)
        self.scales = torch.tensor([0.5, 4.0, 1.0, 0.1, 2.0, 0.01])

    def mapping(self, z: Tensor) -> Tensor:
        return self.offset + z * self.scales


def test_finds_mean_and_axes_of_a_known_distribution() -> None:
    stats = WStatistics.sample(Linear(), axes=6, samples=20000)
    torch.testing.assert_close(stats.mean, Linear().offset, atol=0.1, rtol=0.0)
    lengths = stats.basis.norm(dim=1)
    torch.testing.assert_close(lengths, Linear().scales.sort(descending=True).values, atol=0.0, rtol=0.03)
    assert stats.basis[0].argmax() == 1 and stats.basis[1].argmax() == 4


def test_axes_are_orthogonal() -> None:
    basis = WStatistics.sample(Linear(), axes=6, samples=500).basis
    directions = basis / basis.norm(dim=1, keepdim=True)
    torch.testing.assert_close(directions @ directions.T, torch.eye(6), atol=1e-4, rtol=0.0)


def test_codes_of_random_faces_have_unit_variance() -> None:
    stats = WStatistics.sample(Linear(), axes=4, samples=20000)
    z = torch.randn(20000, 6, generator=torch.Generator().manual_seed(9))
    codes = stats.encode(Linear().mapping(z))
    torch.testing.assert_close(codes.std(0), torch.ones(4), atol=0.03, rtol=0.0)
    torch.testing.assert_close(codes.mean(0), torch.zeros(4), atol=0.05, rtol=0.0)


@given(st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3))
def test_decode_then_encode_is_the_identity(values: list[float]) -> None:
    stats = WStatistics.sample(Linear(), axes=3, samples=100)
    v = torch.tensor(values)
    torch.testing.assert_close(stats.encode(stats.decode(v)), v, atol=1e-4, rtol=1e-4)


def test_encode_keeps_leading_dimensions() -> None:
    stats = WStatistics.sample(Linear(), axes=3, samples=100)
    assert stats.encode(torch.zeros(2, 5, 6)).shape == (2, 5, 3)
    assert stats.decode(torch.zeros(2, 5, 3)).shape == (2, 5, 6)


def test_same_seed_same_statistics_other_seed_others() -> None:
    one, two = WStatistics.sample(Linear(), 3, 100, seed=1), WStatistics.sample(Linear(), 3, 100, seed=1)
    assert torch.equal(one.mean, two.mean) and torch.equal(one.basis, two.basis)
    assert not torch.equal(one.mean, WStatistics.sample(Linear(), 3, 100, seed=2).mean)


def test_shapes_are_checked() -> None:
    stats = WStatistics.sample(Linear(), axes=3, samples=100)
    with pytest.raises(ShapeError, match=r"w is \(1, 5\)"):
        stats.encode(torch.zeros(1, 5))
    with pytest.raises(ShapeError, match=r"v is \(6,\)"):
        stats.decode(torch.zeros(6))
    with pytest.raises(ShapeError, match="7 axes"):
        WStatistics.sample(Linear(), axes=7, samples=100)
    with pytest.raises(ShapeError, match="same D"):
        WStatistics(torch.zeros(4), torch.zeros(2, 5))
