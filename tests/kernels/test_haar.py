"""The Haar transform: by hand, its inverse, its gradient, memory formats, bad shapes."""

import pytest
import torch
from torch import Tensor

from kernels.haar import forward_haar, forward_haar_composed, inverse_haar, inverse_haar_composed
from kernels.tracing import tracing

pytestmark = pytest.mark.unit


def bands(*, last: bool = False, kind: torch.dtype = torch.float32) -> Tensor:
    """Random bands of three channels, [2,12,4,6]."""
    x = torch.randn(2, 12, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(kind)
    return x.contiguous(memory_format=torch.channels_last) if last else x


def test_one_channel_by_hand() -> None:
    expected = torch.tensor([[15.0, 9.0], [5.0, 3.0]]) / 2
    found = inverse_haar(torch.tensor([8.0, 4.0, 2.0, 1.0]).reshape(1, 4, 1, 1))
    torch.testing.assert_close(found[0, 0], expected)


def test_order_of_channels_is_all_low_bands_then_three_per_channel() -> None:
    x = torch.zeros(1, 8, 1, 1)
    x[0, 5] = 2.0  # first detail band (LH) of the second channel
    found = inverse_haar(x)[0]
    torch.testing.assert_close(found[0], torch.zeros(2, 2))
    torch.testing.assert_close(found[1], torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))


@pytest.mark.parametrize("last", [False, True])
def test_forward_undoes_inverse(last: bool) -> None:
    x = bands(last=last)
    torch.testing.assert_close(forward_haar(inverse_haar(x)), x)


def test_energy_is_kept() -> None:
    x = bands()
    torch.testing.assert_close(inverse_haar(x).square().sum(), x.square().sum())


@pytest.mark.parametrize("last", [False, True])
def test_gradient(last: bool) -> None:
    x = bands(last=last, kind=torch.float64).requires_grad_(True)
    assert torch.autograd.gradcheck(inverse_haar, x)


def test_memory_format_is_kept_for_a_cut_out_of_a_map_too() -> None:
    assert inverse_haar(bands()).is_contiguous()
    cut = bands(last=True)[:, :, 1:3, 2:5]
    assert inverse_haar(cut).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(inverse_haar(cut), inverse_haar(cut.contiguous()).contiguous())


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_number_format_is_kept(kind: torch.dtype) -> None:
    assert inverse_haar(bands(kind=kind)).dtype == kind


@pytest.mark.parametrize("shape", [(1, 6, 2, 2), (4, 2, 2)])
def test_bad_bands_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[B,4C,H,W\]"):
        inverse_haar(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(1, 1, 3, 2), (1, 1, 2, 5), (2, 2)])
def test_bad_pixels_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[B,C,2H,2W\]"):
        forward_haar(torch.zeros(shape))


@pytest.mark.parametrize("last", [False, True])
def test_composed_forms_give_the_same_numbers(last: bool) -> None:
    x = bands(last=last)
    torch.testing.assert_close(inverse_haar_composed(x), inverse_haar(x))
    pixels = inverse_haar(x)
    torch.testing.assert_close(forward_haar_composed(pixels), forward_haar(pixels))


def test_gradient_of_the_composed_form() -> None:
    x = bands(kind=torch.float64).requires_grad_(True)
    with tracing():
        assert torch.autograd.gradcheck(inverse_haar, x)
