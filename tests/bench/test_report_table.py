"""The table of results and the files that it is made from."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.machine import header, read_json, write_json
from bench.report import cell, quality_table
from engine.evaluation import FIGURES, GOALS, goal_text

pytestmark = pytest.mark.unit


def run(clip: str = "person", **changes: Any) -> dict[str, Any]:
    figures: dict[str, float | None] = dict.fromkeys(FIGURES)
    plain = {
        "run": {"clip": clip, "speech": "bus"},
        "figures": figures | {"identity": 0.2, "seam": 1.4},
        "frames": 20, "edited": 18, "ms_per_frame": 41.6, "peak_memory_mb": 900,
    }  # fmt: skip
    return plain | changes


def rows(runs: list[dict[str, Any]]) -> dict[str, list[str]]:
    lines = [[part.strip() for part in line.strip("| \n").split(" | ")] for line in quality_table(runs).splitlines()]
    return {line[0]: line[1:] for line in lines}


@pytest.mark.parametrize("key", FIGURES)
def test_a_star_stands_where_a_goal_is_missed_and_only_there(key: str) -> None:
    low, high = GOALS[key]
    if low is not None:
        assert not cell(key, low).endswith("*") and cell(key, low - 1).endswith(" *")
    if high is not None:
        assert not cell(key, high).endswith("*") and cell(key, high + 1).endswith(" *")
    assert cell(key, None) == "-"


def test_every_figure_has_a_row_with_its_goal_and_every_run_a_column() -> None:
    table = rows([run(), run("other", figures=dict.fromkeys(FIGURES, 1.0))])
    assert table["figure"] == ["to reach", "person + bus", "other + bus"]
    for key in FIGURES:
        assert table[key][0] == goal_text(key) and len(table[key]) == 3
    assert table["identity"][1:] == ["0.2", "1 *"]
    assert table["seam"][1] == "1.4 *" and table["tl_id"][1] == "-"
    assert table["edited / frames"][1:] == ["18 / 20"] * 2
    assert table["ms per frame"][1] == "42" and table["peak memory, MiB"][1] == "900"


def test_all_rows_have_as_many_cells() -> None:
    lines = quality_table([run(), run("b"), run("c")]).splitlines()
    assert {line.count("|") for line in lines} == {6}
    assert set(lines[1].replace("|", "").split()) == {"---"}


def test_a_written_table_is_made_again_from_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "summary.json"
    machine, versions = {"processor": "x86", "cores": 2}, {"torch": "2.13"}
    write_json(path, {"machine": machine, "versions": versions, "date": "2026-01-01", "runs": [run()]})
    assert report.main([str(path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(quality_table([run()]))
    assert text.endswith("\nx86, 2 cores, torch 2.13, 2026-01-01\n")


def test_a_result_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A value that JSON cannot hold leaves the old file and nothing else."""
    path = tmp_path / "new" / "figures.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [item.name for item in path.parent.iterdir()] == ["figures.json"]
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.read_text().endswith("}\n")


def test_header_says_what_was_measured_with_what() -> None:
    found = header("python -m bench speech")
    assert set(found) == {"command", "date", "machine", "versions", "code"}
    assert found["command"] == "python -m bench speech"
    assert found["date"].endswith("+00:00") and "." not in found["date"]
    assert json.loads(json.dumps(found)) == found
