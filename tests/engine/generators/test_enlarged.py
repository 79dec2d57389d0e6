"""Small generators behind the protocol of large ones."""

import pytest
import torch
from torch.nn import functional

from engine.errors import ShapeError
from engine.generators.enlarged import Enlarged
from engine.generators.protocol import Generator, Region
from engine.generators.stylegan2 import StyleGAN2
from tests.engine.generators.made_stylegan2 import SMALL, code, randomised

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def small() -> StyleGAN2:
    return randomised(SMALL)


@pytest.mark.parametrize(
    "region", [Region(40, 20, 36, 60), Region(0, 96, 8, 32), Region(124, 124, 4, 4), Region(33, 51, 7, 10)]
)
def test_region_equals_the_enlarged_picture(small: StyleGAN2, region: Region) -> None:
    large: Generator = Enlarged(small, 128)
    w = code(small, 1, batch=2)
    full = functional.interpolate(small.synthesis(w), scale_factor=4, mode="bicubic")
    torch.testing.assert_close(large.synthesis(w), full)
    torch.testing.assert_close(large.region(w, region), full[(..., *region.slices)], atol=1e-4, rtol=1e-4)


def test_region_gradient_equals_full_gradient(small: StyleGAN2) -> None:
    large, region = Enlarged(small, 64), Region(10, 4, 20, 32)
    grads = []
    for cut in (True, False):
        w = code(small, 4).requires_grad_(True)
        picture = large.region(w, region) if cut else large.synthesis(w)[(..., *region.slices)]
        grads.append(torch.autograd.grad(picture.square().sum(), w)[0])
    torch.testing.assert_close(grads[0], grads[1], atol=1e-3, rtol=1e-4)


def test_all_else_is_the_generators_own(small: StyleGAN2) -> None:
    large = Enlarged(small, 256)
    w, z = code(small, 1), torch.randn(2, small.noise_width)
    assert torch.equal(large.coarse(w), small.coarse(w)) and torch.equal(large.mapping(z), small.mapping(z))
    assert (large.rows, large.width, large.coarse_resolution) == (small.rows, small.width, small.coarse_resolution)
    assert large.module() is small and large.resolution == 256 and large.region_step == 1


@pytest.mark.parametrize("resolution", [16, 32, 48])
def test_only_multiples_are_enlarged_to(small: StyleGAN2, resolution: int) -> None:
    with pytest.raises(ShapeError, match="expected a multiple"):
        Enlarged(small, resolution)


def test_regions_outside_the_picture_are_refused(small: StyleGAN2) -> None:
    with pytest.raises(ShapeError, match="128x128"):
        Enlarged(small, 128).region(code(small, 1), Region(100, 0, 40, 4))
