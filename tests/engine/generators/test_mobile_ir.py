"""The default generator read out of IR files that were written from a small one: every weight comes back."""

from pathlib import Path

import pytest
import torch

from engine.errors import WeightsFormatError
from engine.generators import default
from engine.generators.default import load_coarse, load_default_generator
from engine.generators.mobile import MobileStyleGAN
from engine.generators.mobile_ir import read_mobile_stylegan
from tests.engine.generators.made_ir import IrFile, mapping_ir, synthesis_ir
from tests.engine.generators.made_mobile import random_mobile

pytestmark = pytest.mark.unit
CHANNELS = (16, 16, 12, 8, 8, 8, 4)
SCALES = tuple(1 + 0.01 * row for row in range(23))


@pytest.fixture(scope="module")
def model() -> MobileStyleGAN:
    """Seven blocks of few channels; every row has a scale of its own, the coarse read-out is not in the files."""
    made = random_mobile(CHANNELS, 6, scales=SCALES)
    with torch.no_grad():
        made.coarse_weight.zero_()
    return made


def read(folder: Path, synthesis: IrFile, mapping: IrFile) -> MobileStyleGAN:
    return read_mobile_stylegan(synthesis.write(folder, "synthesis"), mapping.write(folder, "mapping"))


def test_every_weight_and_scale_comes_back(model: MobileStyleGAN, tmp_path: Path) -> None:
    found = read(tmp_path, synthesis_ir(model), mapping_ir(model))
    assert found.channels == CHANNELS and found.rows == 23
    for name, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    w = torch.randn(1, 23, 512, generator=torch.Generator().manual_seed(1))
    assert torch.equal(found.features(w, 32), model.features(w, 32)), "scales are no weights, and count"
    assert not found.training and not any(p.requires_grad for p in found.parameters())


def test_names_of_another_network_are_told(tmp_path: Path, model: MobileStyleGAN) -> None:
    other = synthesis_ir(model)
    for layer in other.layers:
        layer.attrib["name"] = layer.attrib["name"].replace("m.conv1", "g.conv1")
    with pytest.raises(WeightsFormatError, match="no layer 'm.conv1.conv.modulation.weight'; this is another network"):
        read(tmp_path, other, mapping_ir(model))


def test_a_mapping_of_other_depth_is_told(tmp_path: Path, model: MobileStyleGAN) -> None:
    shallow = mapping_ir(model)
    dense = [layer for layer in shallow.layers if layer.attrib["type"] == "MatMul"]
    dense[0].attrib["type"] = "Multiply"
    with pytest.raises(WeightsFormatError, match="mapping graph has 7 dense layers; expected 8"):
        read(tmp_path, synthesis_ir(model), shallow)


def test_weights_that_are_computed_are_told(tmp_path: Path, model: MobileStyleGAN) -> None:
    """Another export may compute what this one has as constants."""
    computed = mapping_ir(model)
    for layer in computed.layers:
        if layer.attrib["type"] == "Const":
            layer.attrib["type"] = "Range"
    with pytest.raises(WeightsFormatError, match="dense weight is computed in this graph"):
        read(tmp_path, synthesis_ir(model), computed)


def test_a_broken_chain_is_told(tmp_path: Path, model: MobileStyleGAN) -> None:
    broken = synthesis_ir(model)
    first = next(layer for layer in broken.layers if layer.attrib["type"] == "GroupConvolution")
    first.attrib["type"] = "Identity"
    with pytest.raises(WeightsFormatError, match="feeds 0 GroupConvolution layers, not one"):
        read(tmp_path, broken, mapping_ir(model))


def test_the_default_generator_is_put_together_from_weights_and_read_out(
    tmp_path: Path, model: MobileStyleGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-out of another generator is refused; a fitting one is filled in."""
    synthesis = synthesis_ir(model).write(tmp_path, "SynthesisNetwork")
    mapping = mapping_ir(model).write(tmp_path, "MappingNetwork")
    names = ("synthesis-xml", "synthesis-bin", "mapping-xml", "mapping-bin")
    places = {f"mobilestylegan-{name}": path for name, path in zip(names, (*synthesis, *mapping), strict=True)}
    monkeypatch.setattr("engine.weights.path", lambda name: places[name])
    with pytest.raises(WeightsFormatError, match=r"is \(3, 257\); expected \(3, 17\) \(other weights\?\)"):
        load_default_generator()
    read_out = torch.randn(3, 17)
    monkeypatch.setattr(default, "load_file", lambda file: {default.COARSE_KEY: read_out})
    found = load_default_generator()
    assert torch.equal(found.coarse_weight[:, :, 0, 0], read_out) and not found.coarse_weight.requires_grad
    assert found.first.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_damaged_read_out_is_told(model: MobileStyleGAN, tmp_path: Path) -> None:
    (tmp_path / "coarse.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsFormatError, match="holds no coarse read-out"):
        load_coarse(model, tmp_path / "coarse.safetensors")
