"""MobileStyleGAN: region renders equal full ones, and both equal an independent run of the original files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import ShapeError
from engine.generators import WStatistics, load_default_generator
from engine.generators.mobile import MobileStyleGAN
from engine.generators.protocol import Region

Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


def code(model: MobileStyleGAN, seed: int) -> Tensor:
    """A code with different rows (a row mixed up with its neighbour would show)."""
    z = torch.randn(model.rows, model.width, generator=torch.Generator().manual_seed(seed))
    w = model.mapping(z)
    return (0.7 * w.mean(0) + 0.3 * w)[None]


def regions(model: MobileStyleGAN) -> list[Region]:
    """One inside, one at every border and corner, the whole."""
    size, step = model.resolution, model.region_step
    half, part = size // 2, size // 4
    return [
        Region(part + step, part, half, part + step),
        Region(0, part, part, half),
        Region(size - part, part, part, half),
        Region(part, 0, half, part),
        Region(part, size - part, half, part),
        Region(0, 0, step, step),
        Region(size - step, size - step, step, step),
        Region(0, 0, size, size),
    ]


@pytest.mark.unit
@pytest.mark.parametrize("index", range(8))
def test_region_equals_full_render(tiny: MobileStyleGAN, index: int) -> None:
    region = regions(tiny)[index]
    w = torch.cat([code(tiny, 1), code(tiny, 2)])
    full = tiny.synthesis(w)[(..., *region.slices)]
    torch.testing.assert_close(tiny.region(w, region), full, atol=1e-5, rtol=1e-5)


@pytest.mark.unit
def test_region_gradient_equals_full_gradient(tiny: MobileStyleGAN) -> None:
    region = regions(tiny)[0]
    grads = []
    renders: list[Callable[[Tensor], Tensor]] = [
        lambda w: tiny.synthesis(w)[(..., *region.slices)],
        lambda w: tiny.region(w, region),
    ]
    for render in renders:
        w = code(tiny, 4).requires_grad_(True)
        (grad,) = torch.autograd.grad(render(w).square().sum(), w)
        grads.append(grad)
    torch.testing.assert_close(grads[1], grads[0], atol=1e-4, rtol=1e-4)


@pytest.mark.unit
def test_batch_equals_one_by_one(tiny: MobileStyleGAN) -> None:
    one, two = code(tiny, 1), code(tiny, 2)
    both = tiny.synthesis(torch.cat([one, two]))
    torch.testing.assert_close(both, torch.cat([tiny.synthesis(one), tiny.synthesis(two)]), atol=1e-5, rtol=1e-5)


@pytest.mark.unit
def test_every_row_matters(tiny: MobileStyleGAN) -> None:
    w = code(tiny, 1)
    full = tiny.synthesis(w)
    for row in range(tiny.rows):
        moved = w.clone()
        moved[:, row] += 1.0
        assert (tiny.synthesis(moved) - full).abs().max() > 1e-4, row


@pytest.mark.unit
def test_shapes_are_checked(tiny: MobileStyleGAN) -> None:
    with pytest.raises(ShapeError, match="W\\+"):
        tiny.synthesis(torch.zeros(1, tiny.rows - 1, tiny.width))
    with pytest.raises(ShapeError, match="W\\+"):
        tiny.coarse(torch.zeros(1, tiny.rows, tiny.width, dtype=torch.int64))
    with pytest.raises(ShapeError, match="Region.around"):
        tiny.region(code(tiny, 1), Region(1, 0, 4, 4))
    with pytest.raises(ShapeError, match="z is"):
        tiny.mapping(torch.zeros(tiny.width))
    with pytest.raises(ShapeError, match="style scales"):
        MobileStyleGAN((8, 8), (1.0,))


@pytest.mark.unit
def test_region_around_holds_the_box_and_is_cut_to_the_picture() -> None:
    assert Region.around((17.0, 30.0, 48.5, 64.0), 16, 128) == Region(16, 16, 48, 48)
    assert Region.around((-20.0, 100.0, 10.0, 300.0), 16, 128) == Region(0, 96, 16, 32)
    with pytest.raises(ShapeError, match="outside"):
        Region.around((200.0, 0.0, 240.0, 20.0), 16, 128)


@pytest.fixture(scope="module")
def openvino_run(files: dict[str, Path]) -> Callable[[str], Run]:
    """Runs an original graph by OpenVINO, an implementation of its own."""
    openvino = pytest.importorskip("openvino", reason="openvino is not installed; `pip install openvino`")

    def prepare(name: str) -> Run:
        core = openvino.Core()
        core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
        compiled = core.compile_model(core.read_model(files[f"{name}-xml"], files[f"{name}-bin"]), "CPU")

        def run(value: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(compiled([value])[compiled.output(0)])

        return run

    return prepare


@pytest.mark.slow
def test_mapping_equals_the_original(real: MobileStyleGAN, openvino_run: Callable[[str], Run]) -> None:
    run = openvino_run("mapping")
    for seed in range(4):
        z = torch.randn(1, real.width, generator=torch.Generator().manual_seed(seed))
        np.testing.assert_allclose(real.mapping(z).numpy(), run(z.numpy()), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_synthesis_equals_the_original(real: MobileStyleGAN, openvino_run: Callable[[str], Run]) -> None:
    w = real.mapping(torch.randn(1, real.width, generator=torch.Generator().manual_seed(11)))
    expected = openvino_run("synthesis")(w.numpy())
    assert expected.shape == (1, 3, 1024, 1024) and expected.std() > 0.2
    code_of_all_rows = w[:, None].expand(-1, real.rows, -1)
    np.testing.assert_allclose(real.synthesis(code_of_all_rows).numpy(), expected, atol=3e-4, rtol=0)


@pytest.mark.slow
def test_real_region_equals_full_render(real: MobileStyleGAN) -> None:
    w = code(real, 12)
    full = real.synthesis(w)
    for region in regions(real)[:-1]:
        torch.testing.assert_close(real.region(w, region), full[(..., *region.slices)], atol=1e-4, rtol=0)


@pytest.mark.slow
def test_default_generator_is_ready_for_use(real: MobileStyleGAN) -> None:
    assert not real.training and not any(p.requires_grad for p in real.parameters())
    assert real.rows == 23 and real.resolution == 1024 and real.coarse_resolution == 256
    assert real.first.weight.is_contiguous(memory_format=torch.channels_last)
    assert real.coarse_weight.abs().sum() > 0


@pytest.mark.slow
def test_statistics_of_the_default_generator_repeat(real: MobileStyleGAN) -> None:
    stats = WStatistics.sample(real)
    assert stats.basis.shape == (300, 512)
    torch.testing.assert_close(WStatistics.sample(load_default_generator()).basis, stats.basis, atol=1e-5, rtol=0)
    z = torch.randn(500, 512, generator=torch.Generator().manual_seed(99))
    w = real.mapping(z)
    kept = (stats.decode(stats.encode(w)) - w).square().sum() / (w - stats.mean).square().sum()
    assert kept < 0.05
