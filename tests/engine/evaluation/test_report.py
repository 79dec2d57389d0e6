"""The report's JSON and table."""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.evaluation import FIGURES, GOALS, Report, describe_machine, goal_text, peak_memory_mb, reached, versions
from engine.evaluation import machine as machine_module
from engine.evaluation.report import Counted, percentiles

pytestmark = pytest.mark.unit

REPORT = Report(
    figures={**dict.fromkeys(FIGURES), "identity": 0.123456789, "lip_opening_r": 0.5},
    not_measured={key: "because" for key in FIGURES if key not in ("identity", "lip_opening_r")},
    counted={"identity": Counted(10, 2), "lip_opening_r": Counted(9, 3)},
    details={"opening_gain": 1 / 3},
    left_out={"lost": 2},
    frames=14,
    edited=12,
    passed_through={"no_face": 2},
    effort={3: 10, 0: 2},
    stages_ms={"track": {"p50": 1.0, "p95": 2.0, "p99": 3.0}},
    versions={"python": "3"},
    machine={"cores": 2},
    command="livedub dub",
    date="2026-01-01T00:00:00+00:00",
    extra={"ms_per_frame": 12},
)


def test_json_has_every_figure_and_everything_beside_it() -> None:
    got = json.loads(REPORT.to_json())
    assert tuple(got["figures"]) == FIGURES
    assert got["figures"]["identity"] == 0.123457
    assert got["figures"]["outside"] is None
    assert got["not_measured"]["outside"] == "because"
    assert got["counted"]["identity"] == {"frames": 10, "left_out": 2}
    assert got["effort"] == {"0": 2, "3": 10}
    assert list(got["effort"]) == ["0", "3"]
    beside = {"frames", "edited", "passed_through", "effort", "stages_ms", "versions", "machine", "command", "date"}
    assert beside <= set(got)
    assert got["ms_per_frame"] == 12


def test_not_a_number_never_reaches_the_json() -> None:
    broken = replace(REPORT, details={"x": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        broken.to_json()


def test_table_says_value_goal_and_whether_it_is_reached() -> None:
    lines = {line.split()[0]: line for line in REPORT.table().splitlines()}
    assert lines["identity"].split() == ["identity", "0.1235", "<=", "0.3", "yes", "10", "(2)"]
    assert lines["lip_opening_r"].split()[-3:] == ["no", "9", "(3)"]
    assert lines["outside"].endswith("because")
    assert lines["frames"] == "frames 14, edited 12, passed through: 2 no_face"


def test_goals_cover_every_figure() -> None:
    assert set(GOALS) == set(FIGURES)
    assert (goal_text("sync_offset_ms"), goal_text("tl_id"), goal_text("outside")) == ("-20 ... 20", ">= 0.98", "<= 0")
    assert reached("outside", 0.0) and not reached("outside", 1e-9)
    assert reached("sharpness", 1.0) and not reached("sharpness", 1.3) and not reached("sharpness", 0.7)


def test_percentiles_of_a_stage() -> None:
    assert percentiles(list(np.arange(101.0))) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_versions_and_machine_tell_what_matters_and_no_names() -> None:
    found = versions()
    assert {"python", "torch", "numpy"} <= set(found)
    described = describe_machine()
    assert isinstance(described["cores"], int) and described["cores"] >= 1
    assert described["processor"]
    assert set(described) <= {"processor", "instruction_sets", "cores", "system", "memory_mb"}


def test_peak_memory_is_known_here_and_none_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resource", reason="this system does not tell")
    assert (peak_memory_mb() or 0) > 10

    def refuse(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    assert peak_memory_mb() is None


def test_processor_is_read_from_cpuinfo_where_there_is_one(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor : 0\nmodel name : Some CPU\nflags : avx2 fma\n\nprocessor : 1\nmodel name : Other\n")
    assert machine_module._processor(cpuinfo) == ("Some CPU", frozenset({"avx2", "fma"}))
    assert machine_module._processor(tmp_path / "none") == ("", frozenset())
