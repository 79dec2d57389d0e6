"""The region benchmark: equality is measured, times are told apart, ratios belong to them."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch

from bench import region as bench
from engine.generators.mobile import MobileStyleGAN
from kernels.tracing import tracing
from tests.engine.generators.made_mobile import random_mobile

pytestmark = pytest.mark.unit

PLAIN = {"full_forward": [999.0], "full_step": [1998.0], "plain_forward": [3333.0], "plain_step": [4444.0]}
"""Times in ms of another process."""

RATIOS = [(work, over) for work in ("forward", "step") for over in ("", "_over_default_allocator", "_over_plain")]


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


def test_works_take_turns_so_that_other_work_strikes_all_alike() -> None:
    order: list[str] = []
    times = bench.time_works({name: partial(order.append, name) for name in ("a", "b", "c")}, 3)
    assert order == ["a", "b", "c"] * 4
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3, "c": 3}


def test_ratios_are_of_medians_so_that_one_slow_round_does_not_count(
    thin: MobileStyleGAN, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {
        "full_forward": [100.0, 100.0, 9000.0],
        "full_step": [400.0, 400.0, 400.0],
        "region_forward": [20.0, 21.0, 19.0],
        "region_step": [50.0, 1.0, 50.0],
    }
    monkeypatch.setattr(bench, "time_works", lambda works, rounds: {name: times[name] for name in works})
    found = bench.compare(thin, code(thin), 3, PLAIN)
    assert (found["speedup_forward"], found["speedup_step"]) == (5.0, 8.0)
    assert found["speedup_forward_over_default_allocator"] == 49.95
    assert found["speedup_step_over_default_allocator"] == 39.96
    assert found["speedup_forward_over_plain"] == 166.65 and found["speedup_step_over_plain"] == 88.88
    assert found["times_ms"]["full_forward"]["p50"] == 100.0 < found["times_ms"]["full_forward"]["p99"]
    assert found["times_ms"]["plain_step_default_allocator"] == {"p50": 4444.0, "p95": 4444.0, "p99": 4444.0}
    assert found["rounds"] == 3 and found["region"]["width"] == bench.REGION.width


def test_the_command_writes_what_it_says(
    thin: MobileStyleGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plain pictures are timed in half as many rounds, three at the least."""
    asked: list[int] = []

    def plain(rounds: int) -> dict[str, list[float]]:
        asked.append(rounds)
        return PLAIN

    monkeypatch.setattr(bench, "load_default_generator", lambda: thin)
    monkeypatch.setattr(bench, "plain_times", plain)
    figures: dict[str, object] = {"max_abs_difference": 1e-6, "rounds": 1}
    figures |= {f"speedup_{work}{over}": value for value, (work, over) in enumerate(RATIOS, start=2)}
    monkeypatch.setattr(bench, "compare", lambda generator, w, rounds, plain: figures | {"plain": plain})
    out = tmp_path / "new" / "region.json"
    assert bench.main(["--rounds", "1", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert asked == [3] and found["command"] == "python -m bench region" and found["plain"] == PLAIN
    text = capsys.readouterr().out
    assert "inside 1.0e-06; forward 2.0 times (3.0 over the system's allocator settings, 4.0 over the plain" in text
    assert text.endswith(f"step 5.0 times (6.0, 7.0) as fast; wrote {out}\n")
