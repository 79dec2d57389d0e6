"""Engines' figures: what is compared, what bounds a GPU, and what is said where something is missing."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench import engines as module
from bench.engines import GPUS, bounds, difference, main, row_of, table
from kernels.flat import FlatGraph, trace
from kernels.step import STATE

pytestmark = pytest.mark.unit


def test_pictures_differ_in_grey_levels_and_steps_in_direction_and_loss() -> None:
    picture = torch.zeros(1, 3, 4, 4)
    assert difference([picture + 2 / 255], [picture]) == {"grey_levels": 1.0}
    gradient = torch.tensor([3.0, 4.0])
    wanted = [torch.zeros(2)] * STATE + [torch.tensor(2.0), gradient]
    found = [torch.ones(2)] * STATE + [torch.tensor(1.9), torch.tensor([4.0, -3.0])]
    assert difference(found, wanted) == {"gradient_cosine": 0.0, "loss_off": 0.05}
    assert difference(wanted, wanted) == {"gradient_cosine": 1.0, "loss_off": 0.0}


def test_a_gpu_is_bound_by_what_takes_longer() -> None:
    peak, rate = GPUS["L4"]
    assert bounds(peak * 2, rate / 1000)["L4"] == 2.0
    assert bounds(peak * 2, rate * 5 / 1000)["L4"] == 5.0
    assert bounds(peak * 2, None)["L4"] == 2.0


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A render of one layer in place of a generator's."""
    weight = torch.linspace(-1, 1, 12).reshape(4, 3)

    def leaving(
        name: str, effort: int, narrow: torch.dtype | None
    ) -> tuple[FlatGraph, tuple[Tensor, ...], tuple[Tensor, ...]]:
        w = torch.linspace(0, 1, 8).reshape(2, 4)
        graph = trace(lambda w: (w @ weight,), (w,), portable=True)
        return graph, (w,), graph(w)

    monkeypatch.setattr(module, "leaving", leaving)
    monkeypatch.setattr(module, "arithmetic", lambda variant: {"gflop": 10.0})
    monkeypatch.setattr(module, "_moved", lambda generator, effort: 0.5)


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_an_engine_is_built_compared_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("onnxscript", "onnxruntime", "tensorrt_rtx_bindings"):
        pytest.importorskip(name)
    out = tmp_path / "engines.json"
    assert main(["--out", str(out)]) == 0
    told = json.loads(out.read_text())
    assert [(row["work"], row["precision"]) for row in told["engines"]] == [
        ("render", "fp32"), ("render", "fp16"), ("step", "fp32"), ("step", "fp16"),
    ]  # fmt: skip
    for row in told["engines"]:
        assert "error" not in row and row["grey_levels"] < 0.01 and row["engine_mb"] > 0
    if not torch.cuda.is_available():
        assert told["gpu"] == "no CUDA device answered: engines were built, none was run"
    assert "default render | fp16" in capsys.readouterr().out


@pytest.mark.usefixtures("small")
def test_what_cannot_be_built_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    row = row_of("default", 0, "fp16", "SM89")
    assert "install livedub[tensorrt-rtx]" in row["error"] and row["bounds_ms"]["L4"] == round(500 / 300, 3)
    assert "install livedub[tensorrt-rtx]" in table([row])
