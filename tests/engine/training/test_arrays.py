"""Array files: read whole, or refused with what they should be and what to do."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadInputError
from engine.training.arrays import read_arrays

pytestmark = pytest.mark.unit

NAMES = ("samples", "places")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arrays") / "a.npz"
    np.savez(path, samples=np.arange(6.0).reshape(2, 3), places=np.array(["one", "two"]))
    return path


def read(path: Path) -> list[object]:
    return [each.tolist() for each in read_arrays(path, NAMES, "a clip", "make it again")]


def test_arrays_come_in_the_order_of_their_names(file: Path) -> None:
    assert read(file) == [[[0, 1, 2], [3, 4, 5]], ["one", "two"]]
    [places] = read_arrays(file, ("places",), "a clip", "make it again")
    assert places.tolist() == ["one", "two"]


def test_a_name_that_is_not_there_a_folder_and_no_file_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"a\.npz is not a clip: .*level.*; make it again$"):
        read_arrays(file, (*NAMES, "level"), "a clip", "make it again")
    for path in (tmp_path, tmp_path / "none.npz"):
        with pytest.raises(BadInputError, match=f"^{path} is not a clip: "):
            read(path)


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    plain, pickled = io.BytesIO(), io.BytesIO()
    np.save(plain, np.zeros(3))
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    for content in (b"", b"PK", b"PK\x03\x04", b"text", plain.getvalue(), pickled.getvalue()):
        path = tmp_path / "x.npz"
        path.write_bytes(content)
        with pytest.raises(BadInputError, match="is not a clip: .*; make it again"):
            read(path)


@settings(max_examples=40, deadline=None)
@given(cut=st.integers(0, 600))
def test_a_file_that_is_cut_short_anywhere_is_refused(file: Path, cut: int) -> None:
    """And is closed: on other systems it could not be made again otherwise."""
    whole = file.read_bytes()
    short = file.with_name("short.npz")
    short.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(BadInputError, match="is not a clip"):
        read(short)
