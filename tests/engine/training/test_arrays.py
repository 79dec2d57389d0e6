"""Array files: written whole or not at all, read whole, or refused with what they should be and what to do."""

import io
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from engine.errors import BadInputError, MediaError
from engine.training.arrays import read_arrays, write_arrays

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


ARRAYS = st.dictionaries(
    st.sampled_from(["samples", "places", "level", "name"]),
    st.one_of(
        arrays(np.float32, array_shapes(max_dims=3, max_side=4), elements=st.floats(-9, 9, width=32)),
        arrays(np.int16, array_shapes(max_dims=2, max_side=5)),
        st.integers(-9, 9),
        st.text("abc", max_size=4),
    ),
    min_size=1,
)


@settings(max_examples=40, deadline=None)
@given(content=ARRAYS, compressed=st.booleans())
def test_what_is_written_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], compressed: bool
) -> None:
    """Numbers of every kind, single ones and words, bit by bit and in their own types."""
    path = tmp_path_factory.mktemp("a") / "voice.a.npz"
    write_arrays(path, content, compressed)
    found = read_arrays(path, tuple(content), "a clip", "make it again")
    for value, array in zip(content.values(), found, strict=True):
        assert array.dtype == np.asarray(value).dtype and np.array_equal(array, np.asarray(value))
    assert [item.name for item in path.parent.iterdir()] == ["voice.a.npz"]


def test_compressed_is_smaller_and_the_same(tmp_path: Path) -> None:
    content: dict[str, Any] = {"samples": np.zeros(10_000, np.int16), "places": np.arange(3)}
    for name, compressed in (("plain", False), ("small", True)):
        write_arrays(tmp_path / f"{name}.npz", content, compressed)
    assert (tmp_path / "small.npz").stat().st_size * 10 < (tmp_path / "plain.npz").stat().st_size
    assert read(tmp_path / "small.npz") == read(tmp_path / "plain.npz")


class Interrupted:
    """Something that cannot become an array, as an interruption in the middle of a write."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __array__(self, dtype: object = None, copy: object = None) -> NDArray[np.float64]:
        """Breaks off."""
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_write_that_breaks_off_leaves_the_old_file_and_no_voice_that_a_glob_would_find(
    tmp_path: Path, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "voice.npz"
    write_arrays(path, {"samples": np.arange(3), "places": np.arange(2)})
    before = path.read_bytes()
    seen: list[list[str]] = []
    whole = np.savez

    def broken(file: IO[bytes], **content: object) -> None:
        file.write(b"PK half")
        seen.append([item.name for item in tmp_path.glob("*.npz")])
        raise error

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(error):
        write_arrays(path, {"samples": np.arange(9)})
    monkeypatch.setattr(np, "savez", whole)
    assert seen == [["voice.npz"]]
    assert path.read_bytes() == before and [item.name for item in tmp_path.iterdir()] == ["voice.npz"]
    parts: dict[str, Any] = {"samples": Interrupted(error)}
    with pytest.raises(error):
        write_arrays(path, parts)
    assert path.read_bytes() == before


def test_objects_are_never_pickled_into_a_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(tmp_path / "a.npz", {"samples": np.array([{}, None], dtype=object)})
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"gone/a\.npz: cannot be written"):
        write_arrays(tmp_path / "gone" / "a.npz", {"samples": np.arange(3)})
    (tmp_path / "taken.npz").mkdir()
    with pytest.raises(MediaError, match=r"taken\.npz: cannot be written"):
        write_arrays(tmp_path / "taken.npz", {"samples": np.arange(3)})
    assert [item.name for item in tmp_path.iterdir()] == ["taken.npz"]
