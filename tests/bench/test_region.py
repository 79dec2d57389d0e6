"""The region benchmark: equality is measured, times are told apart, ratios belong to them."""

import json

import pytest
import torch

from bench import region as bench
from engine.generators.mobile import MobileStyleGAN
from kernels.tracing import tracing
from tests.engine.generators.made_mobile import random_mobile

pytestmark = pytest.mark.unit

PLAIN = {"full_forward": [999.0], "full_step": [1998.0], "plain_forward": [3333.0], "plain_step": [4444.0]}
"""Times in ms of another process."""


@pytest.fixture(scope="module")
def thin() -> MobileStyleGAN:
    """A generator of the full resolution with few channels and random weights."""
    return random_mobile((4, 4, 4, 4, 4, 4, 4), 0)


def code(model: MobileStyleGAN) -> torch.Tensor:
    return torch.randn(1, model.rows, model.width, generator=torch.Generator().manual_seed(1))


def test_compare_gives_equality_and_ratios_of_medians(thin: MobileStyleGAN) -> None:
    found = bench.compare(thin, code(thin), 1, PLAIN)
    assert found["max_abs_difference"] < 1e-4
    times = {name: values["p50"] for name, values in found["times_ms"].items()}
    assert found["speedup_forward"] == pytest.approx(times["full_forward"] / times["region_forward"], rel=0.02)
    assert found["speedup_step"] == pytest.approx(times["full_step"] / times["region_step"], rel=0.02)
    plain = found["speedup_forward_over_default_allocator"]
    assert plain == pytest.approx(999.0 / times["region_forward"], rel=0.02)
    assert found["speedup_step_over_plain"] == pytest.approx(4444.0 / times["region_step"], rel=0.02)


def test_the_plain_picture_is_the_same_picture(thin: MobileStyleGAN) -> None:
    with torch.no_grad(), tracing():
        plain = thin.synthesis(code(thin))
    with torch.no_grad():
        assert torch.allclose(plain, thin.synthesis(code(thin)), atol=1e-4)
    assert set(bench.plain_works(thin, code(thin))) == {"plain_forward", "plain_step"}


def test_compare_sees_a_region_that_differs(thin: MobileStyleGAN, monkeypatch: pytest.MonkeyPatch) -> None:
    true = thin.region
    monkeypatch.setattr(thin, "region", lambda w, place: true(w, place) + 0.01)
    found = bench.compare(thin, code(thin), 1, PLAIN)
    assert found["max_abs_difference"] == pytest.approx(0.01, rel=1e-3)


def test_first_round_is_not_timed() -> None:
    calls: list[int] = []
    ticks = iter([0.0, 10.0, 10.5, 20.0, 20.25])
    assert bench.time_works({"work": lambda: calls.append(1)}, 2, lambda: next(ticks)) == {"work": [500.0, 250.0]}
    assert len(calls) == 3


def test_plain_run_writes_only_the_times_of_full_pictures(
    thin: MobileStyleGAN, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "load_default_generator", lambda: thin)
    assert bench.main(["--plain", "--rounds", "1"]) == 0
    times = json.loads(capsys.readouterr().out)
    assert set(times) == set(PLAIN) and all(len(values) == 1 for values in times.values())
