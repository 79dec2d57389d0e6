"""Blurs and enlargements along the axes: the same numbers as the library's convolutions and enlargement."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kernels.separable import along, blur_matrix, blurred, coarse_part, enlarged, enlarging_matrix, gaussian

pytestmark = pytest.mark.unit


def picture(height: int = 40, width: int = 56, batch: int = 1) -> Tensor:
    """Noise."""
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(0))


def convolved(x: Tensor, sigma: float, mode: str) -> Tensor:
    """The blur as two depthwise convolutions."""
    kernel = gaussian(sigma)
    reach = len(kernel) // 2
    x = functional.pad(x, (reach, reach, reach, reach), mode=mode)
    across = kernel.expand(x.shape[1], 1, 1, -1)
    x = functional.conv2d(x, across, groups=x.shape[1])
    return functional.conv2d(x, across.transpose(2, 3), groups=x.shape[1])


def test_a_gaussian_is_even_sums_to_one_and_ends_at_three_deviations() -> None:
    kernel = gaussian(1.4)
    assert len(kernel) == 9
    torch.testing.assert_close(kernel, kernel.flip(0))
    assert float(kernel.sum()) == pytest.approx(1.0)
    assert float(kernel[4] / kernel[3]) == pytest.approx(2.71828 ** (0.5 / 1.4**2), rel=1e-4)


@pytest.mark.parametrize("sigma", [0.5, 1.4, 3.0])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_blur_by_shifts_is_the_convolution(sigma: float, layout: torch.memory_format) -> None:
    x = picture(batch=2).contiguous(memory_format=layout)
    kept = x.clone()
    torch.testing.assert_close(blurred(x, sigma), convolved(x, sigma, "replicate"), atol=1e-6, rtol=0)
    assert torch.equal(x, kept), "the picture is not written to"


def test_a_blur_by_shifts_has_the_convolutions_gradient() -> None:
    x, y = picture().requires_grad_(True), picture().requires_grad_(True)
    weight = torch.linspace(-1, 1, 56)
    found = torch.autograd.grad((blurred(x, 1.4) * weight).sum(), x)[0]
    wanted = torch.autograd.grad((convolved(y, 1.4, "replicate") * weight).sum(), y)[0]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("repeat", "mode"), [(True, "replicate"), (False, "constant")])
@pytest.mark.parametrize("sigma", [3.0, 9.0])
def test_a_blur_by_matrices_is_the_convolution(repeat: bool, mode: str, sigma: float) -> None:
    x = picture()
    found = along(x, blur_matrix(40, sigma, repeat), blur_matrix(56, sigma, repeat))
    torch.testing.assert_close(found, convolved(x, sigma, mode), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(80, 112), (320, 224), (41, 57), (40, 56)])
def test_an_enlargement_is_the_library_s(size: tuple[int, int]) -> None:
    x = picture()
    wanted = functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarged(x, size), wanted, atol=2e-5, rtol=0)  # its places are single precision


def test_every_row_of_an_enlargement_sums_to_one() -> None:
    torch.testing.assert_close(enlarging_matrix(12, 96).sum(1), torch.ones(96))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_coarse_part_is_pooled_blurred_and_enlarged(layout: torch.memory_format) -> None:
    x = picture(96, 64).contiguous(memory_format=layout)
    small = convolved(functional.avg_pool2d(x, 4), 3.0, "replicate")
    wanted = functional.interpolate(small, size=(96, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(coarse_part(x, 4, 3.0), wanted, atol=1e-6, rtol=0)


def test_an_even_picture_has_no_finer_part() -> None:
    x = torch.full((1, 3, 32, 32), 0.7)
    torch.testing.assert_close(coarse_part(x, 4, 3.0), x)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected multiples of 4"):
        coarse_part(picture(42, 40), 4, 3.0)
    with pytest.raises(ValueError, match=r"expected float \[B,C,H,W\]"):
        blurred(picture()[0], 1.4)
    with pytest.raises(ValueError, match=r"uint8"):
        enlarged(picture().to(torch.uint8), (80, 112))
