"""SyncNet's layers and file against a second writing of the network with torch's own layers; no real weights."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.errors import BadInputError, ShapeError, WeightsFormatError
from engine.evaluation.syncnet import SyncNet
from tests.engine.evaluation.made_syncnet import embed, public_syncnet, write

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """The network in its authors' layout."""
    return public_syncnet()


@pytest.fixture(scope="module")
def ours(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> SyncNet:
    """Read from a file in torch's form of 2018."""
    return SyncNet.read(write(tmp_path_factory.mktemp("syncnet") / "syncnet_v2.model", model))


def test_sound_is_embedded_as_by_the_public_layers(model: nn.Module, ours: SyncNet) -> None:
    coefficients = 10 * torch.randn(4, 20, 13, generator=torch.Generator().manual_seed(1))
    expected = embed(model, "aud", coefficients.transpose(1, 2)[:, None])
    assert expected.shape == (4, 1024) and expected.std() > 0.1
    assert torch.allclose(ours.sound(coefficients), expected, atol=2e-4 * float(expected.abs().max()))


def test_pictures_are_embedded_as_by_the_public_layers_blue_first(model: nn.Module, ours: SyncNet) -> None:
    random = torch.Generator().manual_seed(2)
    pictures = torch.randint(0, 256, (2, 5, 3, 224, 224), generator=random, dtype=torch.uint8)
    blue_first = pictures[:, :, [2, 1, 0]].permute(0, 2, 1, 3, 4).float()
    expected = embed(model, "lip", blue_first)
    found = ours.lips(pictures)
    assert torch.allclose(found, expected, atol=2e-4 * float(expected.abs().max()))
    assert not torch.allclose(ours.lips(pictures.flip(2)), expected, atol=1e-2 * float(expected.abs().max()))
    assert not torch.allclose(ours.lips(pictures.flip(1)), expected, atol=1e-2 * float(expected.abs().max()))


def test_todays_form_and_a_wrapped_state_dict_are_read_too(model: nn.Module, ours: SyncNet, tmp_path: Path) -> None:
    coefficients = torch.randn(1, 20, 13, generator=torch.Generator().manual_seed(3))
    expected = ours.sound(coefficients)
    assert torch.equal(SyncNet.read(write(tmp_path / "new.pt", model, old=False)).sound(coefficients), expected)
    torch.save({"state_dict": model.state_dict(), "epoch": 3}, tmp_path / "wrapped.pt")
    assert torch.equal(SyncNet.read(tmp_path / "wrapped.pt").sound(coefficients), expected)


def other_shape(model: nn.Module) -> dict[str, torch.Tensor]:
    return model.state_dict() | {"netfclip.3.weight": torch.zeros(512, 512)}


def no_numbers(model: nn.Module) -> dict[str, torch.Tensor]:
    return model.state_dict() | {"netcnnaud.5.running_mean": torch.full((192,), float("nan"))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (other_shape, r"netfclip.3.weight is \[512, 512\]; expected \[1024, 512\]"),
        (no_numbers, r"netcnnaud.5.running_mean is \[192\]; expected \[192\] finite"),
        (
            lambda model: {"conv.weight": torch.zeros(3)},
            "got no netcnnaud.0.weight, expected the state dict of SyncNet",
        ),
        (lambda model: {"epoch": 3}, "got epoch, expected the tensors of SyncNet"),
    ],
)
def test_other_files_are_refused_in_words(
    change: Callable[[nn.Module], object], message: str, model: nn.Module, tmp_path: Path
) -> None:
    torch.save(change(model), tmp_path / "other.pt")
    with pytest.raises(WeightsFormatError, match=message):
        SyncNet.read(tmp_path / "other.pt")


def test_missing_and_dangerous_files_are_refused(model: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        SyncNet.read(tmp_path / "nothing.model")

    class Payload:
        """Asks for a call when it is unpickled."""

        def __reduce__(self) -> tuple[object, ...]:
            return exec, ("raise SystemExit('code of a weight file was run')",)

    (tmp_path / "bad.model").write_bytes(pickle.dumps({"netcnnaud.0.weight": Payload()}))
    with pytest.raises(WeightsFormatError):
        SyncNet.read(tmp_path / "bad.model")
    with pytest.raises(WeightsFormatError, match="netfcaud.0.bias"):
        SyncNet.read(write(tmp_path / "short.model", model, drop="netfcaud.0.bias"))


def test_shapes_are_checked(ours: SyncNet) -> None:
    with pytest.raises(ShapeError, match="pictures"):
        ours.lips(torch.zeros(1, 5, 3, 112, 112))
    with pytest.raises(ShapeError, match="coefficients"):
        ours.sound(torch.zeros(1, 13, 20))
    with pytest.raises(ShapeError, match="B at least 1"):
        ours.sound(torch.zeros(0, 20, 13))
