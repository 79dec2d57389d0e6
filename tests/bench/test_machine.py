"""Result files: there whole or not at all, and refused in words when they are something else."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.machine import header, read_json, write_json
from engine.errors import BadInputError, MediaError
from engine.evaluation import code_digest

pytestmark = pytest.mark.unit

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(values=st.dictionaries(st.text(max_size=6), JSON, max_size=4))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]) -> None:
    path = tmp_path_factory.mktemp("r") / "a.json"
    write_json(path, values)
    assert read_json(path) == values
    assert [item.name for item in path.parent.iterdir()] == ["a.json"]


def test_folders_are_made_and_the_umask_is_obeyed(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_json(tmp_path / "a" / "b" / "c.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a" / "b" / "c.json").stat().st_mode) == 0o640


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_does_not_know_writes_nothing_and_makes_no_folder(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "new" / "a.json", {"deep": [{"value": value}]})
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_breaks_off_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(MediaError, match=r"a\.json: cannot be written: No space left on device"):
        write_json(path, {"new": 2})
    monkeypatch.undo()
    assert read_json(path) == {"old": 1} and [item.name for item in tmp_path.iterdir()] == ["a.json"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(MediaError, match=r"taken/a\.json: cannot be written"):
        write_json(tmp_path / "taken" / "a.json", {})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "expected a result file"),
        (b'{"figures": {"seam": 1.0', "expected a result file"),
        (b"\xff\xfe\x00", "expected a result file"),
        (b"[1, 2]", "got a list, expected a JSON object"),
        (b"null", "got a NoneType, expected a JSON object"),
        (b'"text"', "got a str, expected a JSON object"),
    ],
)
def test_other_content_is_refused_with_its_name_and_what_to_do(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "summary.json"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=rf"summary\.json: got .*{told.removeprefix('got ')}.*remove it"):
        read_json(path)


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(BadInputError, match=f"^{path}: got .*expected a result file"):
            read_json(path)


@settings(deadline=None, max_examples=30)
@given(cut=st.integers(0, 10_000))
def test_a_report_cut_short_anywhere_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("r") / "a.json"
    write_json(path, header("command"))
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % (len(whole) - 2)])
    with pytest.raises(BadInputError):
        read_json(path)


def test_the_head_names_code_and_machine_and_is_json() -> None:
    head = header("python -m bench x")
    assert head["code"] == code_digest() and head["machine"] and head["versions"]["torch"]
    assert json.loads(json.dumps(head, allow_nan=False)) == head
