"""The coarse read-out: what the fit recovers, what the shipped file gives, what a wrong file says."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from engine.errors import BadInputError, WeightsFormatError
from engine.generators.coarse import fit_coarse
from engine.generators.default import COARSE_FILE, COARSE_KEY, load_coarse
from engine.generators.mobile import MobileStyleGAN
from engine.generators.stats import WStatistics


@pytest.mark.unit
def test_fit_reports_and_is_repeatable(tiny: MobileStyleGAN) -> None:
    told: list[tuple[int, int]] = []
    fit = fit_coarse(tiny, samples=6, held_out=2, progress=lambda done, total: told.append((done, total)))
    assert fit.weight.shape == tiny.coarse_weight.shape[:2]
    assert fit.explained <= 1.0
    assert told == [(n, 8) for n in range(1, 9)]
    assert torch.equal(fit.weight, fit_coarse(tiny, samples=6, held_out=2).weight)


@pytest.mark.unit
def test_fit_lessens_the_error_of_coarse(tiny: MobileStyleGAN) -> None:
    fitted = copy.deepcopy(tiny)
    fitted.coarse_weight.copy_(fit_coarse(tiny, samples=6, held_out=1).weight[:, :, None, None])
    z = torch.randn(1, tiny.width, generator=torch.Generator().manual_seed(77))
    w = tiny.mapping(z)[:, None].expand(-1, tiny.rows, -1)
    shrunken = functional.avg_pool2d(tiny.synthesis(w), tiny.resolution // tiny.coarse_resolution)
    before, after = ((m.coarse(w) - shrunken).square().mean() for m in (tiny, fitted))
    assert after < 0.5 * before


@pytest.mark.unit
def test_fit_explains_all_where_the_output_is_linear_in_the_features(tiny: MobileStyleGAN) -> None:
    class LinearOutput(MobileStyleGAN):
        """Its picture is a linear map of the coarse regressors, enlarged."""

        def synthesis(self, w: Tensor) -> Tensor:
            small = functional.conv2d(self.coarse_inputs(w), truth[:, :, None, None])
            return functional.interpolate(small, scale_factor=self.resolution // self.coarse_resolution)

    truth = torch.randn(tiny.coarse_weight.shape[:2], generator=torch.Generator().manual_seed(1))
    model = LinearOutput(tiny.channels, (1.0,) * tiny.rows)
    model.load_state_dict(tiny.state_dict())
    fit = fit_coarse(model, samples=4, held_out=1)
    assert fit.explained > 0.99


@pytest.mark.unit
def test_fit_needs_faces(tiny: MobileStyleGAN) -> None:
    with pytest.raises(BadInputError, match="0 samples"):
        fit_coarse(tiny, samples=0)
    with pytest.raises(BadInputError, match="0 held out"):
        fit_coarse(tiny, samples=1, held_out=0)


@pytest.mark.unit
def test_read_out_of_another_generator_is_refused(tiny: MobileStyleGAN) -> None:
    with pytest.raises(WeightsFormatError, match=r"\(3, 257\).*other weights"):
        load_coarse(tiny, COARSE_FILE)


@pytest.mark.unit
def test_damaged_file_is_refused_with_the_way_to_mend_it(tiny: MobileStyleGAN, tmp_path: Path) -> None:
    file = tmp_path / "coarse.safetensors"
    file.write_bytes(COARSE_FILE.read_bytes()[:50])
    with pytest.raises(WeightsFormatError, match="engine.generators.coarse"):
        load_coarse(tiny, file)
    save_file({"other": torch.zeros(1)}, file)
    with pytest.raises(WeightsFormatError, match=COARSE_KEY):
        load_coarse(tiny, file)


@pytest.mark.unit
def test_file_fills_the_read_out(tiny: MobileStyleGAN, tmp_path: Path) -> None:
    model = copy.deepcopy(tiny)
    weight = torch.rand(model.coarse_weight.shape[:2])
    save_file({COARSE_KEY: weight}, tmp_path / "coarse.safetensors")
    load_coarse(model, tmp_path / "coarse.safetensors")
    assert torch.equal(model.coarse_weight[:, :, 0, 0], weight)


@pytest.mark.slow
def test_shipped_read_out_shows_the_same_face(real: MobileStyleGAN) -> None:
    z = torch.randn(1, real.width, generator=torch.Generator().manual_seed(5))
    mean = WStatistics.sample(real).mean
    w = (mean + 0.7 * (real.mapping(z) - mean))[:, None].expand(-1, real.rows, -1)
    shrunken = functional.avg_pool2d(real.synthesis(w), 4)
    missed = (real.coarse(w) - shrunken).square().mean()
    assert missed < 0.1 * shrunken.var()
