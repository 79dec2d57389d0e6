"""The step benchmark's own arithmetic: what is measured, ratios, tables, regressions."""

import itertools
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import step as bench
from bench.step_plot import bars
from bench.step_works import Variant, Work
from engine.errors import BadInputError

pytestmark = pytest.mark.unit


def row(backend: str, p50: float, cpu: float, **more: Any) -> dict[str, Any]:
    variant = Variant("default", 2, backend, more.pop("half", False))
    times = {"p50": p50, "p95": p50 * 1.1, "p99": p50 * 1.2}
    figures = {"times_ms": times, "cpu_ms": cpu, "gflop": 10.0, "peak_memory_mb": 500, "setup_s": 3.0}
    return {**variant.as_dict(), "name": variant.name, **figures, **more}


def rows(cosine: float = 0.99) -> list[dict[str, Any]]:
    fast = row("aoti", 100, 95, half=True, gradient_cosine=cosine)
    return [row("plain", 2000, 1900), row("eager", 400, 380), fast]


CEILINGS = {"float32_gflops": 100.0, "bfloat16_gflops": 200.0, "copy_gbs": 20.0}


def test_compiled_graphs_are_measured_in_both_precisions_where_there_are_two() -> None:
    names = [variant.name for variant in bench.variants(["default"], ["plain", "aoti"], [0, 2], True)]
    assert names == [
        "default render plain", "default render aoti", "default render aoti bf16",
        "default step plain", "default step aoti", "default step aoti bf16",
    ]  # fmt: skip
    assert len(bench.variants(["default"], ["plain", "aoti"], [0, 2], False)) == 4


def test_ratios_are_to_the_plain_variant_and_the_right_ceiling() -> None:
    found = rows()
    bench.with_ratios(found, CEILINGS)
    assert [each["speedup"] for each in found] == [1.0, 5.0, 20.0]
    assert found[2]["speedup_cpu"] == 20.0
    assert found[1]["share_of_peak"] == 0.25, "10 GFLOP in 0.4 s of 100 GFLOP/s"
    assert found[2]["share_of_peak"] == 0.5, "10 GFLOP in 0.1 s of 200 GFLOP/s"
    assert bench.speedup(found) == {"default step": 5.0, "default step in bfloat16": 20.0}


def test_a_step_with_another_gradient_has_no_ratio_worth_telling() -> None:
    for cosine in (0.97, 0.0, -1.0, float("nan")):
        found = rows(cosine=cosine)
        bench.with_ratios(found, CEILINGS)
        assert bench.speedup(found) == {"default step": 5.0}


def test_without_the_plain_variant_there_is_no_ratio() -> None:
    found = rows()[1:]
    bench.with_ratios(found, CEILINGS)
    assert "speedup" not in found[0] and bench.speedup(found) == {}


def test_variants_that_failed_are_shown_with_their_reason() -> None:
    found = [*rows(), {**Variant("default", 2, "aoti").as_dict(), "name": "default step aoti", "error": "no compiler"}]
    bench.with_ratios(found, CEILINGS)
    assert "| default step aoti | no compiler |" in bench.table(found)
    assert "no compiler" not in bars(found)


def test_table_has_one_row_each() -> None:
    found = rows()
    bench.with_ratios(found, CEILINGS)
    lines = bench.table(found).splitlines()
    assert len(lines) == 5 and lines[-1].endswith("| 50% | - | - | 0.9900 | 500 | 3 | 20.0 |")


def test_bytes_stand_beside_the_rate_of_a_copy() -> None:
    found = [row("plain", 1000, 900, gbyte=4.0), row("aoti", 100, 95, gbyte=None)]
    bench.with_ratios(found, CEILINGS)
    assert [each["share_of_copy"] for each in found] == [0.2, None], "4 GB in 1 s of 20 GB/s; not counted is not told"
    assert "| 4.00 | 20% | - |" in bench.table(found)


def test_regressions_are_named_in_processor_time() -> None:
    old = rows()
    slower = [*rows()[:2], row("aoti", 100, 120, half=True)]
    assert bench.regressions(slower, old) == ["default step aoti bf16: 120.0 ms CPU, 95.0 ms before"]
    assert bench.regressions(rows(), old) == []
    assert bench.regressions(rows(), old[:1]) == []
    broken = [{**old[2], "error": "no compiler"}]
    assert bench.regressions(broken, old) == ["default step aoti bf16: no compiler"]


def test_bars_grow_with_time() -> None:
    drawn = bars(rows())
    lengths = [float(part.split('"')[0]) for part in drawn.split('width="')[2:]]
    assert lengths[0] > lengths[1] > lengths[2] > 0
    assert bars([]).endswith("</svg>\n")


def test_first_two_runs_are_not_timed() -> None:
    wall, cpu = itertools.count(0.0, 1.0), itertools.count(0.0, 0.5)
    calls: list[int] = []
    found = bench.times_of(lambda: calls.append(1), 3, (lambda: next(wall), lambda: next(cpu)))
    assert found == ([1000.0] * 3, [500.0] * 3) and len(calls) == 5


def test_one_variant_writes_its_figures(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(bench, "make", lambda variant, folder: Work(lambda: (torch.zeros(1_000_000),), 0.5, 7))
    monkeypatch.setattr(bench, "arithmetic", lambda variant: {"gflop": 1.5})
    asked = json.dumps(Variant("default", 0, "plain").as_dict())
    assert bench.main(["--one", asked, "--rounds", "9"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "default render plain" and found["runs"] == 3
    assert found["gbyte"] == 0.004, "a thousand zeros, written once"
    assert found["gflop"] == 1.5 and found["operations"] == 7 and set(found["times_ms"]) == {"p50", "p95", "p99"}


def test_a_run_writes_json_table_and_plot_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    costs = {"plain": 2000.0, "eager": 400.0, "aoti": 100.0}
    monkeypatch.setattr(bench, "_in_a_process", lambda v, rounds: row(v.backend, costs[v.backend], costs[v.backend]))
    monkeypatch.setattr(bench, "measured_ceilings", lambda: CEILINGS)
    monkeypatch.setattr(bench, "has_bfloat16", lambda: False)
    out = tmp_path / "step.json"
    assert bench.main(["--efforts", "2", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["speedup"] == {"default step": 20.0}
    assert json.loads(out.read_text())["gradient_cosine"] == {}
    assert out.with_suffix(".md").exists() and out.with_suffix(".svg").exists()
    costs["eager"] = 500.0
    assert bench.main(["--efforts", "2", "--out", str(tmp_path / "new.json"), "--compare", str(out)]) == 1
    assert "slower: default step eager: 500.0 ms CPU, 400.0 ms before" in capsys.readouterr().out


def test_ceilings_are_rates() -> None:
    found = bench.best({"before": CEILINGS, "after": {**CEILINGS, "copy_gbs": 25.0}})
    assert found == {**CEILINGS, "copy_gbs": 25.0}


def test_a_file_without_variants_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> dict[str, float]:
        raise AssertionError("measured first")

    monkeypatch.setattr(bench, "measured_ceilings", refuse)
    other = tmp_path / "other.json"
    other.write_text('{"figures": {}}')
    with pytest.raises(BadInputError, match=r"other\.json holds no variants; expected a result of"):
        bench.main(["--out", str(tmp_path / "new.json"), "--compare", str(other)])


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("", "ended with status -9 without a word"),
        ("Traceback\nValueError: no", "ValueError: no"),
        ("x" * 400, "x" * 300),
    ],
)
def test_a_process_that_fails_tells_why(said: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is killed says nothing on the error stream."""
    done = subprocess.CompletedProcess([], -9, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    variant = bench.variants(["default"], ["eager"], [0], False)[0]
    row = bench._in_a_process(variant, 1)
    assert row["error"].startswith(told) and row["name"] == variant.name
