"""The networks of a tracker as whoever compiles them is given them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine.tracking import networks as module
from engine.tracking.mesh import MeshNet
from engine.tracking.networks import TrackerNetwork, tracker_networks
from engine.tracking.running import MESH, detector
from kernels.flat import trace

pytestmark = pytest.mark.unit


class Brightness(nn.Module):
    """Says how bright a picture is, in its unit."""

    def __init__(self, unit: float = 1.0) -> None:
        super().__init__()
        self.unit: Tensor
        self.register_buffer("unit", torch.tensor(unit))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x.mean((2, 3)) / self.unit,)


def made_up(unit: float = 1.0) -> TrackerNetwork:
    return TrackerNetwork("made up", nn.Sequential(Brightness(unit)), 16)


@pytest.fixture
def found(weights: Callable[[str], Path]) -> tuple[TrackerNetwork, ...]:
    assert weights("detector-short") != weights("detector-full")
    return tracker_networks(MeshNet(weights("mesh")).eval())


def test_they_are_the_mesh_and_both_detectors(found: tuple[TrackerNetwork, ...]) -> None:
    assert [each.name for each in found] == [MESH, detector(128), detector(192)]
    assert [each.size for each in found] == [192, 128, 192]
    assert len({each.form for each in found}) == 3
    for each in found:
        picture = each.picture(torch.rand(1, 3, 300, 300))
        assert picture.shape == (1, 3, each.size, each.size)
        results = each.network(picture)
        assert isinstance(results, tuple) and len(results) == 2
        assert not any(value.requires_grad for value in results)


def test_they_can_be_traced_for_other_backends(found: tuple[TrackerNetwork, ...]) -> None:
    """What CUDA graphs and TensorRT start from says the same as the network; here of the smallest."""
    near = found[1]
    picture = near.picture(torch.rand(1, 3, 300, 300, generator=torch.Generator().manual_seed(0)))
    graph = trace(near.network, (picture,), portable=True)
    for one, other in zip(graph(picture), near.network(picture), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


def test_pictures_come_in_the_network_s_own_range() -> None:
    seen = torch.zeros(1, 3, 64, 48)
    seen[:, :, :32] = 1
    assert set(made_up().picture(seen).flatten().tolist()) == {0, 1}
    assert set(replace(made_up(), low=-1.0).picture(seen).flatten().tolist()) == {-1, 1}
    assert float(replace(made_up(), low=-1.0).picture(0.5 * seen).max()) == 0


def test_pictures_lie_in_one_order_whatever_they_come_in() -> None:
    """A compiled network counts on the order it was compiled for."""
    seen = torch.rand(1, 3, 64, 48)
    last = made_up().picture(seen.contiguous(memory_format=torch.channels_last))
    assert last.is_contiguous() and torch.equal(last, made_up().picture(seen))


def test_a_form_follows_weights_code_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = made_up()
    assert made_up().form == plain.form
    assert replace(plain, name="another").form == plain.form, "the name is not what it computes"
    assert replace(plain, size=32).form != plain.form
    assert made_up(2.0).form != plain.form
    (tmp_path / "code.py").write_bytes(b"class Brightness: pass")
    monkeypatch.setattr(module.inspect, "getfile", lambda kind: str(tmp_path / "code.py"))  # type: ignore[attr-defined]
    assert made_up().form != plain.form


def test_torch_s_own_code_is_not_part_of_a_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its version is part of a package's name."""
    asked: list[type] = []

    def noted(kind: type) -> str:
        asked.append(kind)
        return __file__

    monkeypatch.setattr(module.inspect, "getfile", noted)  # type: ignore[attr-defined]
    assert made_up().form and asked == [Brightness]
