"""StyleGAN2: equal to NVIDIA's implementation; region renders, their gradients and the coarse picture."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from engine.errors import ShapeError
from engine.generators import stylegan2
from engine.generators.coarse import fit_coarse
from engine.generators.protocol import Generator, Region
from engine.generators.readers.layout import assemble
from engine.generators.readers.nvidia import read_nvidia_state
from engine.generators.stats import WStatistics
from engine.generators.stylegan2 import StyleGAN2, StyleGAN2Config, enlarge, smooth
from tests.engine.generators.made_stylegan2 import SMALL, code, randomised, reference, weights_of

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def small() -> StyleGAN2:
    return randomised(SMALL)


def changed(model: StyleGAN2, config: StyleGAN2Config) -> StyleGAN2:
    """The same weights under another configuration."""
    other = StyleGAN2(config)
    other.load_state_dict(model.state_dict())
    return other.eval().requires_grad_(False)


@pytest.mark.parametrize("size", [64, 256])
def test_output_equals_nvidias(data_dir: Path, size: int) -> None:
    vectors = reference(data_dir, size)
    model, _ = assemble(read_nvidia_state(weights_of(vectors), "vectors", "vectors"))
    w = model.truncated(model.mapping(vectors["z"]), 0.7)[:, None].expand(-1, model.rows, -1)
    torch.testing.assert_close(w, vectors["w_psi07"], atol=1e-5, rtol=0)
    ws, full = vectors["ws"], vectors["image_noise_const"]
    torch.testing.assert_close(model.synthesis(ws), full, atol=1e-4, rtol=0)
    torch.testing.assert_close(model.synthesis(ws[1:]), full[1:], atol=1e-4, rtol=0)
    silent = changed(model, replace(model.config, noise="none"))
    torch.testing.assert_close(silent.synthesis(ws), vectors["image_noise_none"], atol=1e-4, rtol=0)
    region = Region(size // 4, size // 8, size // 2, size // 4)
    torch.testing.assert_close(model.region(ws, region), full[(..., *region.slices)], atol=1e-4, rtol=0)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_region_equals_full_render(data: st.DataObject) -> None:
    model = randomised(SMALL)
    rows = sorted(data.draw(st.lists(st.integers(0, 32), min_size=2, max_size=2, unique=True)))
    columns = sorted(data.draw(st.lists(st.integers(0, 32), min_size=2, max_size=2, unique=True)))
    region = Region(rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])
    w = code(model, 1, batch=data.draw(st.sampled_from([1, 2])))
    full = model.synthesis(w)[(..., *region.slices)]
    torch.testing.assert_close(model.region(w, region), full, atol=2e-5, rtol=1e-5)


def test_region_gradient_equals_full_gradient(small: StyleGAN2) -> None:
    region = Region(9, 3, 14, 21)
    renders: list[Callable[[Tensor], Tensor]] = [
        lambda w: small.synthesis(w)[(..., *region.slices)],
        lambda w: small.region(w, region),
    ]
    grads = []
    for render in renders:
        w = code(small, 4).requires_grad_(True)
        grads.append(torch.autograd.grad(render(w).square().sum(), w)[0])
    assert grads[0].abs().max() > 1e-3
    torch.testing.assert_close(grads[1], grads[0], atol=1e-4, rtol=1e-4)


def test_gradient_is_that_of_finite_differences() -> None:
    model = randomised(StyleGAN2Config((3, 2), 4, 4, 1))
    w = code(model, 1).double().requires_grad_(True)
    model.double()
    region = Region(1, 2, 5, 4)
    assert torch.autograd.gradcheck(lambda v: model.region(v, region), w, eps=1e-6, atol=1e-6)


def test_region_computes_less_than_the_picture(small: StyleGAN2) -> None:
    seen: list[tuple[int, int]] = []
    layer = small.levels()[-1].second
    hook = layer.register_forward_hook(lambda _, __, out: seen.append((out.shape[2], out.shape[3])))
    small.region(code(small, 1), Region(20, 8, 4, 6))
    hook.remove()
    assert seen == [(6, 8)]


def test_batch_equals_one_by_one(small: StyleGAN2) -> None:
    both = code(small, 1, batch=2)
    one_by_one = torch.cat([small.synthesis(both[:1]), small.synthesis(both[1:])])
    torch.testing.assert_close(small.synthesis(both), one_by_one, atol=1e-5, rtol=1e-5)


def test_every_row_matters(small: StyleGAN2) -> None:
    w = code(small, 1)
    full = small.synthesis(w)
    for row in range(small.rows):
        moved = w.clone()
        moved[:, row] += 1.0
        assert (small.synthesis(moved) - full).abs().max() > 1e-3, row


def test_weights_get_gradients_for_tuning(small: StyleGAN2) -> None:
    model = changed(small, SMALL).requires_grad_(True)
    model.region(code(small, 2).detach(), Region(4, 4, 20, 20)).square().sum().backward()  # type: ignore[no-untyped-call]
    without = [name for name, p in model.module().named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert all(name.startswith("mapping_network") for name in without)


def test_no_noise_is_zero_strength(small: StyleGAN2) -> None:
    silent = changed(small, replace(SMALL, noise="none"))
    zeroed = changed(small, SMALL)
    with torch.no_grad():
        for name, parameter in zeroed.named_parameters():
            if name.endswith("noise_strength"):
                parameter.zero_()
    w = code(small, 1)
    torch.testing.assert_close(silent.synthesis(w), zeroed.synthesis(w))
    assert (small.synthesis(w) - silent.synthesis(w)).abs().max() > 1e-2


def test_clamp_limits_every_level(small: StyleGAN2) -> None:
    limited = changed(small, replace(SMALL, clamp=0.5))
    w = code(small, 1)
    outputs: list[Tensor] = []
    for level in limited.levels():
        level.second.register_forward_hook(lambda _, __, out: outputs.append(out))
    picture = limited.synthesis(w)
    assert all(out.abs().max() <= 0.5 for out in outputs) and len(outputs) == 4
    assert (picture - small.synthesis(w)).abs().max() > 0.1
    torch.testing.assert_close(limited.region(w, Region(3, 5, 9, 8)), picture[:, :, 3:12, 5:13], atol=1e-5, rtol=0)


def test_truncation_moves_towards_the_average(small: StyleGAN2) -> None:
    w = code(small, 1)
    mean = small.mapping_network.get_buffer("mean")
    torch.testing.assert_close(small.truncated(w, 1.0), w)
    torch.testing.assert_close(small.truncated(w, 0.0), mean.expand_as(w))
    torch.testing.assert_close(small.truncated(w, 0.25), 0.25 * w + 0.75 * mean)


def test_mapping_does_not_see_the_length_of_z(small: StyleGAN2) -> None:
    z = torch.randn(3, small.noise_width, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(small.mapping(5 * z), small.mapping(z), atol=1e-4, rtol=1e-4)


def test_filters_keep_the_mean_of_a_flat_picture() -> None:
    flat = torch.ones(1, 3, 9, 9)
    torch.testing.assert_close(smooth(flat)[:, :, 2:-2, 2:-2], torch.full((1, 3, 4, 4), 4.0))
    torch.testing.assert_close(enlarge(flat)[:, :, 1:-1, 1:-1], torch.ones(1, 3, 16, 16))


def test_enlarged_pixels_are_three_quarters_of_the_nearest() -> None:
    picture = torch.zeros(1, 3, 4, 4)
    picture[:, 0, 1, 2] = 1.0
    row = enlarge(picture)[0, 0, 2]
    torch.testing.assert_close(row, 0.75 * torch.tensor([0, 0, 0, 0.25, 0.75, 0.75, 0.25, 0]))


def test_usual_shapes() -> None:
    config = StyleGAN2Config.sized(1024)
    assert config.channels == (512, 512, 512, 512, 512, 256, 128, 64, 32) and config.resolution == 1024
    assert StyleGAN2Config.sized(256, 16384, 256).channels == (256, 256, 256, 256, 256, 128, 64)
    assert StyleGAN2Config.sized(8, 64, 16).channels == (16, 8)
    for wrong in (0, 4, 100, 1000):
        with pytest.raises(ShapeError, match="power of two"):
            StyleGAN2Config.sized(wrong)
    with pytest.raises(ShapeError, match="positive"):
        StyleGAN2Config((8, 0))
    with pytest.raises(ShapeError, match="two levels"):
        StyleGAN2Config((8,))
    with pytest.raises(ShapeError, match="'random'"):
        StyleGAN2Config((8, 8), noise="random")  # type: ignore[arg-type]


def test_properties_are_those_of_the_protocol() -> None:
    whole = StyleGAN2(StyleGAN2Config((4,) * 9, 8, 8, 1))
    model: Generator = whole
    assert (model.resolution, model.rows, model.width, model.coarse_resolution) == (1024, 18, 8, 256)
    assert model.region_step == 16 and model.module() is whole
    face = StyleGAN2(StyleGAN2Config((4,) * 7, 8, 8, 1))
    assert (face.resolution, face.rows, face.coarse_resolution, face.region_step) == (256, 14, 256, 4)


def test_shapes_are_checked(small: StyleGAN2) -> None:
    with pytest.raises(ShapeError, match="W\\+"):
        small.synthesis(torch.zeros(1, small.rows - 1, small.width))
    with pytest.raises(ShapeError, match="W\\+"):
        small.coarse(torch.zeros(1, small.rows, small.width, dtype=torch.int64))
    with pytest.raises(ShapeError, match="z is"):
        small.mapping(torch.zeros(1, small.width))
    with pytest.raises(ShapeError, match="Region"):
        small.region(code(small, 1), Region(20, 0, 20, 4))


def test_coarse_of_a_small_generator_is_its_picture(small: StyleGAN2) -> None:
    w = code(small, 1)
    assert small.coarse_weight is None
    assert torch.equal(small.coarse(w), small.synthesis(w))


def test_coarse_of_a_large_one_is_a_fitted_read_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stylegan2, "COARSE_SIZE", 16)
    model = randomised(replace(SMALL, noise="none"))
    assert model.coarse_resolution == 16 and model.coarse_weight is not None
    w = code(model, 1)
    assert model.coarse_inputs(w).shape == (1, 2 * 8 + 4, 16, 16)
    model.levels()[-1].rgb.weight.zero_()  # the last level adds nothing, so that the picture is told at half its size
    model.levels()[-1].rgb.bias.zero_()
    fit = fit_coarse(model, samples=6, held_out=2)
    model.coarse_weight.copy_(fit.weight[:, :, None, None])
    shrunken = functional.avg_pool2d(model.synthesis(w), 2)
    missed = (model.coarse(w) - shrunken).square().mean()
    assert missed < 0.1 * shrunken.var() and fit.explained > 0.9


def test_statistics_of_w_are_those_of_the_mapping() -> None:
    model = randomised(SMALL)
    stats = WStatistics.sample(model, axes=16, samples=3000)
    z = torch.randn(3000, model.noise_width, generator=torch.Generator().manual_seed(99))
    codes = stats.encode(model.mapping(z))
    torch.testing.assert_close(codes.std(0), torch.ones(16), atol=0.15, rtol=0)
