"""Encoders against a second writing of the network with torch's own layers; their files; no real weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import BadInputError, ShapeError, WeightsFormatError
from engine.generators.encoders import PUBLIC, FaceEncoder, Kind, tensor_shapes
from tests.engine.generators.made_encoder import NARROW, ROWS, PublicEncoder, checkpoint, random_encoder, write

pytestmark = pytest.mark.unit
AVERAGE = torch.linspace(-1, 1, ROWS * 16).reshape(ROWS, 16)


@pytest.fixture(scope="module")
def model() -> PublicEncoder:
    """The network in its authors' layout, narrow."""
    return random_encoder()


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    """Two pictures of noise."""
    return torch.rand(2, 3, 256, 256, generator=torch.Generator().manual_seed(4)) * 2 - 1


def expected(model: PublicEncoder, pictures: Tensor, kind: Kind) -> Tensor:
    """Codes as the two repositories put them together."""
    with torch.no_grad():
        first, *others = model(pictures)
    if kind == "e4e":
        others = [first + other for other in others]
    return torch.stack([first, *others], 1)


@pytest.mark.parametrize("rows", [10, 18])
def test_the_full_layout_has_the_public_names_and_shapes(rows: int) -> None:
    with torch.device("meta"):
        public = PublicEncoder(PUBLIC, rows).state_dict()
    assert dict(tensor_shapes(rows)) == {
        name: tuple(value.shape) for name, value in public.items() if not name.endswith("num_batches_tracked")
    }


@pytest.mark.parametrize("kind", ["e4e", "pSp"])
def test_codes_are_those_of_the_public_layers(kind: Kind, model: PublicEncoder, pictures: Tensor) -> None:
    ours = FaceEncoder(model.state_dict(), AVERAGE, kind, layout=NARROW)
    wanted = expected(model, pictures, kind) + AVERAGE
    found = ours(pictures)
    assert found.shape == (2, ROWS, 16) and ours.rows == ROWS
    assert torch.allclose(found, wanted, atol=1e-4 * float(wanted.abs().max()))
    spread = (wanted - AVERAGE).std(0)
    assert float(spread.min()) > 0, "every number depends on the picture"


def test_the_two_kinds_differ_in_all_rows_but_the_first(model: PublicEncoder, pictures: Tensor) -> None:
    e4e, psp = (FaceEncoder(model.state_dict(), AVERAGE, kind, layout=NARROW)(pictures) for kind in ("e4e", "pSp"))
    assert torch.equal(e4e[:, 0], psp[:, 0])
    assert torch.allclose(e4e[:, 1:] - psp[:, 1:], (psp[:, :1] - AVERAGE[:1]).expand(-1, ROWS - 1, -1), atol=1e-4)


@pytest.mark.parametrize(("name", "kind"), [("Encoder4Editing", "e4e"), ("GradualStyleEncoder", "pSp")])
@pytest.mark.parametrize("average", [AVERAGE, AVERAGE[0]])
def test_checkpoints_are_read_with_their_kind_and_average(
    name: str, kind: Kind, average: Tensor, model: PublicEncoder, pictures: Tensor, tmp_path: Path
) -> None:
    ours = FaceEncoder.read(write(tmp_path / "e.pt", checkpoint(model, name, average)), NARROW)
    assert (ours.kind, ours.rows, ours.source) == (kind, ROWS, "e.pt")
    assert torch.allclose(ours(pictures), expected(model, pictures, kind) + average, atol=1e-3)


def test_an_encoder_without_an_average_starts_from_zero(model: PublicEncoder, pictures: Tensor, tmp_path: Path) -> None:
    root = checkpoint(model, "GradualStyleEncoder", None, start_from_latent_avg=False)
    ours = FaceEncoder.read(write(tmp_path / "e.pt", root), NARROW)
    assert torch.allclose(ours(pictures), expected(model, pictures, "pSp"), atol=1e-3)


def damaged(root: dict[str, Any], name: str, value: Tensor | None) -> dict[str, Any]:
    """The checkpoint with one tensor changed or (None) taken away."""
    state = dict(root["state_dict"])
    if value is None:
        del state[name]
    else:
        state[name] = value
    return root | {"state_dict": state}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: {"g_ema": r["state_dict"]}, "got g_ema, expected a state_dict with an encoder"),
        (lambda r: r | {"opts": {}}, "encoder_type is None; expected one of Encoder4Editing, GradualStyleEncoder"),
        (lambda r: r | {"opts": {"encoder_type": "ResNetBackboneEncoder"}}, "encoder_type is ResNetBackboneEncoder"),
        (lambda r: {k: v for k, v in r.items() if k != "latent_avg"}, "got no latent_avg"),
        (lambda r: r | {"latent_avg": torch.zeros(3, 16)}, r"latent_avg is \[3, 16\]; expected \[8, 16\] or \[16\]"),
        (lambda r: damaged(r, "encoder.latlayer1.bias", None), "differs in latlayer1.bias"),
        (lambda r: damaged(r, "encoder.fc.weight", torch.zeros(2)), "differs in fc.weight"),
        (
            lambda r: damaged(r, "encoder.input_layer.0.weight", torch.zeros(4, 6, 3, 3)),
            r"input_layer.0.weight is \[4, 6, 3, 3\]; expected \[4, 3, 3, 3\]",
        ),
        (lambda r: damaged(r, "encoder.latlayer1.bias", torch.full((16,), float("inf"))), "finite"),
    ],
)
def test_other_files_are_refused_in_words(change: Any, message: str, model: PublicEncoder, tmp_path: Path) -> None:
    root = change(checkpoint(model, "Encoder4Editing", AVERAGE))
    with pytest.raises(WeightsFormatError, match=message):
        FaceEncoder.read(write(tmp_path / "e.pt", root), NARROW)


def test_missing_files_few_rows_and_other_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        FaceEncoder.read(tmp_path / "none.pt")
    short = random_encoder(rows=4)
    with pytest.raises(WeightsFormatError, match="4 rows"):
        FaceEncoder(short.state_dict(), AVERAGE[:4], "e4e", layout=NARROW)
    with pytest.raises(ShapeError, match=r"expected \[B,3,256,256\]"):
        FaceEncoder(random_encoder().state_dict(), AVERAGE, "e4e", layout=NARROW)(torch.zeros(1, 3, 112, 112))
