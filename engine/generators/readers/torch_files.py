"""Tensors in the files that `torch.save` and `pickle` write, without unpickling them.

Three containers: the zip archive of today's `torch.save`; its form before 1.6 (several pickles, then the numbers); and
a plain pickle in which each tensor's numbers are a file of the second form. Every size is checked against the bytes
that are there before anything is made of it.
"""

import io
import math
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor

from engine.errors import BadInputError, WeightsFormatError
from engine.generators.readers.pickles import Made, Name, Notes, Reference, Stream, read_pickle

_MAGIC: Final = 0x1950A86A20F9469CFC6C
"""First object of the form before 1.6."""
_VERSION: Final = 1001
_TYPES: Final = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError)
"""What Python's reader of archives raises when one is damaged."""
_MOST_DIMENSIONS: Final = 8
_REBUILD: Final = ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor")
_WRAPPERS: Final = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state")

Bytes = Callable[[str, int], bytes]
"""Gives the numbers kept under a key; the second argument is how many bytes they must be."""


@dataclass(frozen=True, slots=True)
class TorchFile:
    """A file's object, and the numbers of its tensors."""

    source: str
    """Name of the file, for messages."""
    root: object
    """The object, as notes."""
    numbers: Bytes
    """The numbers by key."""

    def is_tensor(self, value: object) -> bool:
        """Whether `tensor` can be asked for a value."""
        return isinstance(value, Made) and str(value.name) in (*_REBUILD, *_WRAPPERS)

    def tensor(self, value: object) -> Tensor:
        """A tensor with storage of its own; floating-point ones become float32.

        Raises:
            WeightsFormatError: the value is no tensor, or its numbers are not all there.
        """
        if isinstance(value, Made) and str(value.name) in _WRAPPERS and value.args:
            value = value.args[0]
        if not isinstance(value, Made) or str(value.name) not in _REBUILD or len(value.args) < 4:
            raise WeightsFormatError(f"{self.source}: expected a tensor, got {_kind(value)}")
        storage, offset, size, stride = value.args[:4]
        flat = self._storage(storage)
        found = self._view(flat, offset, size, stride)
        return found.to(torch.float32).contiguous() if found.is_floating_point() else found.clone()

    def _storage(self, value: object) -> Tensor:
        """All numbers of a storage, [N]."""
        if isinstance(value, Made) and str(value.name) == "torch.storage._load_from_bytes":
            data = _bytes(value.args[0]) if len(value.args) == 1 else None
            if data is None:
                raise WeightsFormatError(f"{self.source}: a tensor's numbers are not there as bytes")
            inner = _read_old(io.BytesIO(data), len(data), self.source)
            return inner._storage(inner.root)
        key = value.key if isinstance(value, Reference) else None
        if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage":
            raise WeightsFormatError(f"{self.source}: a tensor's numbers are {_kind(value)}; expected a storage")
        kind, count = key[1], key[4]
        if not isinstance(kind, Name) or kind.name not in _TYPES or not isinstance(count, int) or count < 0:
            raise WeightsFormatError(f"{self.source}: storage of {kind} with {count} numbers; expected a known type")
        if len(key) > 5 and key[5] is not None:
            raise WeightsFormatError(f"{self.source}: a storage inside a storage; save the file with a newer torch")
        dtype = _TYPES[kind.name]
        data = self.numbers(str(key[2]), count * dtype.itemsize)
        return torch.frombuffer(bytearray(data), dtype=dtype) if count else torch.zeros(0, dtype=dtype)

    def _view(self, flat: Tensor, offset: object, size: object, stride: object) -> Tensor:
        shape, steps = _whole_numbers(size), _whole_numbers(stride)
        start = offset if isinstance(offset, int) else -1
        if shape is None or steps is None or len(shape) != len(steps) or start < 0:
            raise WeightsFormatError(f"{self.source}: a tensor of size {_kind(size)} and stride {_kind(stride)}")
        last = start + sum((n - 1) * step for n, step in zip(shape, steps, strict=True))
        numbers: int = math.prod(shape)
        if numbers > len(flat) or (numbers and last >= len(flat)):
            raise WeightsFormatError(
                f"{self.source}: a tensor of {list(shape)} reaches beyond its {len(flat)} numbers; fetch the file again"
            )
        return flat.as_strided(shape, steps, start)


def open_torch_file(path: Path) -> TorchFile:
    """Read the notes of a `.pkl`, `.pt` or `.pth` file.

    Raises:
        BadInputError: there is no such file.
        WeightsFormatError: it is none of the known containers, damaged, or asks for calls that no generator needs.
    """
    if not path.is_file():
        raise BadInputError(f"{path}: no such file; expected a generator's .pkl, .pt or .safetensors")
    size = path.stat().st_size
    with path.open("rb") as file:
        if size == 0:
            raise WeightsFormatError(f"{path.name}: the file is empty; fetch it again")
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if view[:4] == b"PK\x03\x04":
        return _read_zip(path)
    return _read_old(view, size, path.name)


def _read_zip(path: Path) -> TorchFile:
    source = path.name
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise WeightsFormatError(f"{source}: a damaged archive ({error}); fetch the file again") from error
    names = {info.filename: info for info in archive.infolist()}
    found = [name for name in names if name.rsplit("/", 1)[-1] == "data.pkl"]
    if len(found) != 1 or any(name.endswith("constants.pkl") for name in names):
        raise WeightsFormatError(
            f"{source}: a zip archive, but not one that torch.save wrote (TorchScript is not read)"
        )
    folder = found[0][: -len("data.pkl")]
    order = names.get(f"{folder}byteorder")

    def member(name: str) -> bytes:
        """All bytes of one stored file of the archive."""
        if name not in names or names[name].compress_type != zipfile.ZIP_STORED:
            raise WeightsFormatError(f"{source}: {name} is missing or compressed; save it again with torch.save")
        try:
            return archive.read(name)
        except _DAMAGE as error:
            raise WeightsFormatError(f"{source}: {name} is damaged ({error}); fetch the file again") from error

    def numbers(key: str, size: int) -> bytes:
        """The numbers of a storage, if they are as many bytes as are asked for."""
        name = f"{folder}data/{key}"
        if name not in names or names[name].file_size != size:
            there = names[name].file_size if name in names else "no"
            raise WeightsFormatError(f"{source}: {name} has {there} bytes, {size} are needed; fetch the file again")
        return member(name)

    if order is not None and member(order.filename).strip() != b"little":
        raise WeightsFormatError(f"{source}: written on a big-endian machine; expected little-endian numbers")
    data = member(found[0])
    return TorchFile(source, read_pickle(io.BytesIO(data), source).root, numbers)


def _read_old(stream: "mmap.mmap | io.BytesIO", size: int, source: str) -> TorchFile:
    """A plain pickle, or several and then the numbers."""
    first = read_pickle(cast(Stream, stream), source)
    if first.root != _MAGIC:
        return TorchFile(source, first.root, _no_numbers(source))
    if read_pickle(cast(Stream, stream), source).root != _VERSION:
        raise WeightsFormatError(
            f"{source}: an unknown version of torch's old format; save it again with a newer torch"
        )
    machine = read_pickle(cast(Stream, stream), source).root
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise WeightsFormatError(f"{source}: not written on a little-endian machine; expected little-endian numbers")
    notes = read_pickle(cast(Stream, stream), source)
    keys = read_pickle(cast(Stream, stream), source).root
    places = _places(stream, size, notes, keys, source)

    def numbers(key: str, wanted: int) -> bytes:
        """The numbers of a storage, if they are as many bytes as are asked for."""
        begin, length = places.get(key, (0, -1))
        if length != wanted:
            raise WeightsFormatError(f"{source}: storage {key[:20]} has {length} bytes, {wanted} are needed")
        stream.seek(begin)
        return stream.read(length)

    return TorchFile(source, notes.root, numbers)


def _places(
    stream: "mmap.mmap | io.BytesIO", size: int, notes: Notes, keys: object, source: str
) -> dict[str, tuple[int, int]]:
    """Where the numbers of each key begin, and how many bytes they are."""
    widths: dict[str, int] = {}
    for reference in notes.references:
        key = reference.key
        if isinstance(key, tuple) and len(key) > 2 and key[0] == "storage" and isinstance(key[1], Name):
            widths[str(key[2])] = _TYPES.get(key[1].name, torch.uint8).itemsize
    places: dict[str, tuple[int, int]] = {}
    at = stream.tell()
    for key in keys if isinstance(keys, list) else []:
        stream.seek(at)
        head = stream.read(8)
        count = struct.unpack("<q", head)[0] if len(head) == 8 else -1
        length = count * widths.get(str(key), 0)
        if count < 0 or at + 8 + length > size:
            raise WeightsFormatError(
                f"{source}: ends at {size} bytes, storage {str(key)[:20]} needs more; fetch it again"
            )
        places[str(key)] = (at + 8, length)
        at += 8 + length
    return places


def _no_numbers(source: str) -> Bytes:
    def numbers(key: str, size: int) -> bytes:
        """There are none."""
        raise WeightsFormatError(f"{source}: names numbers that a plain pickle cannot hold; fetch the file again")

    return numbers


def _bytes(value: object) -> bytes | None:
    """Bytes, also as pickles of protocol 2 write them: text to be encoded."""
    if isinstance(value, Made) and str(value.name) == "_codecs.encode" and value.args:
        text = value.args[0]
        return text.encode("latin-1", "replace") if isinstance(text, str) else None
    return value if isinstance(value, bytes) else None


def _whole_numbers(value: object) -> tuple[int, ...] | None:
    """A size or stride, or None when it is none."""
    if isinstance(value, Made) and str(value.name) == "torch.Size" and value.args:
        value = value.args[0]
    if not isinstance(value, tuple | list) or len(value) > _MOST_DIMENSIONS:
        return None
    return tuple(value) if all(type(n) is int and n >= 0 for n in cast(tuple[Any, ...], value)) else None


def _kind(value: object) -> str:
    return str(value.name) if isinstance(value, Made) else type(value).__name__
