"""`python -m bench`: what it lists is there, what it does not know it refuses, errors are one line and a status."""

import importlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.__main__ import BENCHMARKS, main
from engine.errors import BadInputError, LivedubError, MediaError, WeightsError

pytestmark = pytest.mark.unit

BENCH = Path(__file__).resolve().parents[2] / "bench"
README = BENCH.parent / "README.md"


def test_every_module_with_a_main_can_be_named() -> None:
    """Nothing that measures is hidden from the list."""
    found = {path.stem for path in BENCH.glob("*.py") if re.search(r"^def main\(", path.read_text(), re.MULTILINE)}
    assert found - {"__main__", "gstreamer_peer"} == set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_tells_its_options_under_its_own_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: ") and len(text.splitlines()) > 5


@pytest.mark.parametrize("name", sorted(BENCHMARKS))
def test_usage_begins_with_the_command_that_was_typed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: python -m bench {name}")


@pytest.mark.parametrize("name", BENCHMARKS)
def test_an_option_that_is_not_there_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--no-such-option"])
    assert ended.value.code == 2
    assert "usage: " in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "status"), [([], 2), (["nonsense"], 2), (["--help"], 0), (["-h"], 0)])
def test_without_a_benchmark_all_are_listed(
    arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    out, err = capsys.readouterr()
    assert (err == "") == (status == 0) and (out == "") == (status == 2)
    lines = (out or err).splitlines()
    assert lines[0] == "usage: python -m bench NAME [options]"
    columns = {line.index(BENCHMARKS[line.split()[0]]) for line in lines[1:]}
    assert {line.split()[0] for line in lines[1:]} == set(BENCHMARKS) and len(columns) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(BadInputError("x"), 2), (MediaError("x"), 2), (WeightsError("x"), 3), (LivedubError("x"), 1)]
)
def test_an_error_is_one_line_and_its_own_status(
    error: LivedubError, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: list[str]) -> int:
        raise error

    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        return SimpleNamespace(main=fail)

    monkeypatch.setattr(importlib, "import_module", load)
    assert main(["region", "--rounds", "1"]) == status
    assert asked == ["bench.region"] and capsys.readouterr().err == "bench region: x\n"


def test_arguments_and_status_are_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    got: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        got.append(arguments)
        return 7

    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(main=run))
    assert main(["quality", "--out", "x", "--strips", "y"]) == 7
    assert got == [["--out", "x", "--strips", "y"]]


@pytest.mark.parametrize("path", [README, BENCH.parent / "ARCHITECTURE.md", BENCH.parent / "CHANGELOG.md"])
def test_documents_name_benchmarks_that_there_are(path: Path) -> None:
    named = re.findall(r"python -m bench[ .]([a-z_|]+)", " ".join(path.read_text().split()))
    assert named and {name for group in named for name in group.split("|")} <= set(BENCHMARKS)


def test_the_report_of_a_file_that_is_no_summary_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "speech.json"
    path.write_text('{"machine": {}, "versions": {}, "clips": []}')
    assert main(["report", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"bench report: {path}: got a file without date, runs, expected the summary.json of `python -m bench quality`\n"
    )
    assert main(["report", str(tmp_path / "none.json")]) == 2
    assert "none.json: got" in capsys.readouterr().err
