"""Tensors out of torch's containers, equal to what torch reads; sizes that lie are caught before memory is taken."""

import collections
import io
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.errors import BadInputError, WeightsFormatError
from engine.generators.readers.torch_files import TorchFile, open_torch_file
from tests.engine.generators.readers.test_pickles import touch

pytestmark = pytest.mark.unit

CONTAINERS = ("zip", "old", "pickle")


def write(path: Path, root: object, container: str) -> Path:
    """The object in one of the three containers."""
    if container == "pickle":
        path.write_bytes(pickle.dumps(root, 4))
    else:
        torch.save(root, path, _use_new_zipfile_serialization=container == "zip")
    return path


def items_of(file: TorchFile) -> dict[str, Any]:
    assert isinstance(file.root, dict)
    return file.root


@pytest.mark.parametrize("container", CONTAINERS)
def test_tensors_are_those_that_torch_reads(tmp_path: Path, container: str) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    tensors: dict[str, Tensor] = {
        "plain": base,
        "turned": base.T,
        "part": base[1:3, ::2],
        "number": torch.tensor(2.5),
        "parameter": torch.nn.Parameter(base + 1),
        "empty": torch.zeros(0, 3),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }
    file = open_torch_file(write(tmp_path / "a.pt", tensors, container))
    for name, expected in tensors.items():
        found = file.tensor(items_of(file)[name])
        assert file.is_tensor(items_of(file)[name])
        assert found.is_contiguous() and found.dtype == torch.float32 and not found.requires_grad
        assert torch.equal(found, expected.detach()), name


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.bool])
def test_other_types_are_read(tmp_path: Path, container: str, dtype: torch.dtype) -> None:
    tensor = torch.tensor([0.0, 1.0, 1.0, 0.0]).to(dtype)
    file = open_torch_file(write(tmp_path / "a.pt", {"x": tensor}, container))
    found = file.tensor(items_of(file)["x"])
    assert torch.equal(found.double(), tensor.double())
    assert found.dtype == (torch.float32 if dtype.is_floating_point else dtype)


def test_what_is_no_tensor_is_said(tmp_path: Path) -> None:
    file = open_torch_file(write(tmp_path / "a.pt", {"x": [1], "y": collections.OrderedDict()}, "zip"))
    for name, kind in (("x", "list"), ("y", "collections.OrderedDict")):
        assert not file.is_tensor(items_of(file)[name])
        with pytest.raises(WeightsFormatError, match=f"expected a tensor, got {kind}"):
            file.tensor(items_of(file)[name])


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.9, 0.99])
def test_truncated_files_are_reported(tmp_path: Path, container: str, share: float) -> None:
    path = write(tmp_path / "a.pt", {"x": torch.randn(3000), "y": torch.randn(50)}, container)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsFormatError, match="a.pt"):
        file = open_torch_file(path)
        file.tensor(items_of(file)["x"])
        file.tensor(items_of(file)["y"])


@pytest.mark.parametrize("container", CONTAINERS)
def test_an_attack_in_any_container_is_refused(tmp_path: Path, container: str) -> None:
    canary = tmp_path / "canary"
    path = write(tmp_path / "a.pt", {"x": torch.zeros(2), "y": touch(canary)}, container)
    with pytest.raises(WeightsFormatError, match="system"):
        open_torch_file(path)
    assert not canary.exists()


def test_an_attack_inside_a_tensors_own_numbers_is_refused(tmp_path: Path) -> None:
    """The gadget of plain pickles: `torch.storage._load_from_bytes` unpickles its argument."""
    canary = tmp_path / "canary"
    inner = io.BytesIO()
    torch.save(touch(canary), inner, _use_new_zipfile_serialization=False)
    payload = b"ctorch.storage\n_load_from_bytes\n" + pickle.dumps(inner.getvalue(), 3)[2:-1] + b"\x85R"
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x04ctorch._utils\n_rebuild_tensor_v2\n(" + payload + b"K\x00K\x02\x85K\x01\x85\x89NtR.")
    file = open_torch_file(path)
    with pytest.raises(WeightsFormatError, match="system"):
        file.tensor(file.root)
    assert not canary.exists()


def rebuilt(size: str, stride: str, offset: str = "I0\n") -> bytes:
    """A pickled tensor of a storage of six numbers, with any size and stride."""
    storage = pickle.dumps(io_of(torch.arange(6.0)), 3)[2:-1]
    head = b"ctorch._utils\n_rebuild_tensor_v2\n(ctorch.storage\n_load_from_bytes\n" + storage + b"\x85R"
    return b"\x80\x03" + head + f"{offset}{size}{stride}".encode() + b"\x89NtR."


def io_of(tensor: Tensor) -> bytes:
    file = io.BytesIO()
    storage = tensor.storage()  # type: ignore[no-untyped-call]
    torch.save(storage, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")  # what plain pickles of tensors are made of
@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [
        ("(I7\nt", "(I1\nt", "I0\n"),
        ("(I3\nt", "(I3\nt", "I0\n"),
        ("(I2\nt", "(I1\nt", "I5\n"),
        ("(I2\nt", "(I1\nt", "I-1\n"),
        ("(I-2\nt", "(I1\nt", "I0\n"),
        ("(I2\nt", "(I-1\nt", "I1\n"),
        ("(I2\nI3\nt", "(I1\nt", "I0\n"),
        ("(I1000000\nI1000000\nt", "(I0\nI0\nt", "I0\n"),
        ("(I4611686018427387904\nI4\nt", "(I0\nI0\nt", "I0\n"),
        ("(" + "I1\n" * 9 + "t", "(" + "I1\n" * 9 + "t", "I0\n"),
        ("(F2.0\nt", "(I1\nt", "I0\n"),
        ("S'2'\n", "(I1\nt", "I0\n"),
    ],
)
def test_sizes_beyond_the_numbers_are_refused(tmp_path: Path, size: str, stride: str, offset: str) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(rebuilt(size, stride, offset))
    file = open_torch_file(path)
    with pytest.raises(WeightsFormatError, match="tensor of"):
        file.tensor(file.root)


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_the_hand_made_tensor_is_read_when_its_size_is_right(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(rebuilt("(I2\nI2\nt", "(I3\nI1\nt", "I1\n"))
    file = open_torch_file(path)
    assert file.tensor(file.root).tolist() == [[1.0, 2.0], [4.0, 5.0]]


def test_an_old_file_that_promises_more_than_it_has_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", {"x": torch.arange(5.0)}, "old")
    data = bytearray(path.read_bytes())
    at = data.rindex(struct.pack("<q", 5))
    data[at : at + 8] = struct.pack("<q", 2**60)
    path.write_bytes(data)
    with pytest.raises(WeightsFormatError, match="needs more"):
        open_torch_file(path)


def rezipped(path: Path, **changes: Any) -> None:
    """The archive with members changed by the ending of their name, or compressed."""
    with zipfile.ZipFile(path) as before:
        members = {info.filename: before.read(info) for info in before.infolist()}
    compression = changes.pop("compression", zipfile.ZIP_STORED)
    with zipfile.ZipFile(path, "w", compression) as after:
        for name, data in members.items():
            ending = name.rsplit("/", 1)[-1].replace(".", "_")
            if changes.get(ending, data) is not None:
                after.writestr(name, changes.get(ending, data))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"compression": zipfile.ZIP_DEFLATED}, "compressed"),
        ({"data_pkl": None}, "not one that torch.save wrote"),
        ({"byteorder": b"big"}, "big-endian"),
        ({"data_pkl": b"\x80\x02"}, "pickle"),
    ],
)
def test_other_archives_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write(tmp_path / "a.pt", {"x": torch.zeros(3000)}, "zip")
    rezipped(path, **changes)
    with pytest.raises(WeightsFormatError, match=message):
        open_torch_file(path)


def test_an_archive_without_its_numbers_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", {"x": torch.zeros(30)}, "zip")
    rezipped(path, **{"0": b"too short"})
    file = open_torch_file(path)
    with pytest.raises(WeightsFormatError, match="9 bytes, 120 are needed"):
        file.tensor(items_of(file)["x"])


def test_a_big_endian_old_file_is_refused(tmp_path: Path) -> None:
    values: list[Any] = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": False}, {}, []]
    parts = [pickle.dumps(value, 2) for value in values]
    (tmp_path / "a.pt").write_bytes(b"".join(parts))
    with pytest.raises(WeightsFormatError, match="little-endian"):
        open_torch_file(tmp_path / "a.pt")
    parts[1] = pickle.dumps(1002, 2)
    (tmp_path / "a.pt").write_bytes(b"".join(parts))
    with pytest.raises(WeightsFormatError, match="unknown version"):
        open_torch_file(tmp_path / "a.pt")


def test_a_missing_or_empty_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no such file"):
        open_torch_file(tmp_path / "none.pkl")
    with pytest.raises(BadInputError, match="no such file"):
        open_torch_file(tmp_path)
    (tmp_path / "empty.pkl").touch()
    with pytest.raises(WeightsFormatError, match="empty"):
        open_torch_file(tmp_path / "empty.pkl")
