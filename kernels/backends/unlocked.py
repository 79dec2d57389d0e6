"""Runs a compiled package without holding Python's lock, so that other threads go on meanwhile.

torch's own loader keeps the lock for the whole call (measured: a thread that wanted to run every half millisecond ran
once per render). The machine code in a package has a C interface (`AOTInductorModelContainerRun`), and a call through
`ctypes` gives the lock away. Tensors pass as handles, which torch makes and takes back.
"""

import ctypes
import shutil
import tempfile
import weakref
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

import torch
from torch import Tensor

from kernels.errors import BackendUnavailable

_NAMES: Final = (
    "AOTInductorModelContainerCreateWithDevice",
    "AOTInductorModelContainerDelete",
    "AOTInductorModelContainerGetNumInputs",
    "AOTInductorModelContainerGetNumOutputs",
    "AOTInductorModelContainerRun",
)
_METADATA: Final = "_metadata.json"
_MODELS: Final = 2
"""Calls at once: a dub renders in two of its threads, to predict and to correct."""


class UnlockedPackage:
    """A package's machine code, called through its C interface.

    Two threads may call it at once, more wait for each other. The code stays loaded while the process lives; its file
    does not.

    Args:
        package: the `.pt2` file, for the processor.

    Raises:
        BackendUnavailable: this version of torch, or this package, has another interface.
    """

    def __init__(self, package: Path) -> None:
        """Loads the code and makes its models."""
        folder = Path(tempfile.mkdtemp(prefix="livedub-code-"))
        try:
            self._library: Final = _opened(_code_of(package, folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # what is loaded stays mapped
        self._handle: Final = ctypes.c_void_p()
        self._check(
            self._library.AOTInductorModelContainerCreateWithDevice(
                ctypes.byref(self._handle), ctypes.c_size_t(_MODELS), b"cpu", None
            )
        )
        weakref.finalize(self, self._library.AOTInductorModelContainerDelete, self._handle)
        self._inputs: Final = self._count("GetNumInputs")
        self._outputs: Final = self._count("GetNumOutputs")

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Run it on tensors laid out as it was compiled for; results are new tensors.

        Raises:
            BackendUnavailable: another number of inputs, or the code failed.
        """
        if len(inputs) != self._inputs:
            raise BackendUnavailable(f"{len(inputs)} tensors, expected {self._inputs}, constants included")
        given = (ctypes.c_void_p * self._inputs)(*_handles(inputs))  # the run takes them, whether it fails or not
        found = (ctypes.c_void_p * self._outputs)()
        self._check(
            self._library.AOTInductorModelContainerRun(
                self._handle, given, ctypes.c_size_t(self._inputs), found, ctypes.c_size_t(self._outputs), None, None
            )
        )
        return list(torch._C._aoti.alloc_tensors_by_stealing_from_void_ptrs([_capsule(each) for each in found]))

    def _count(self, what: str) -> int:
        found = ctypes.c_size_t()
        self._check(getattr(self._library, f"AOTInductorModelContainer{what}")(self._handle, ctypes.byref(found)))
        return found.value

    @staticmethod
    def _check(status: int) -> None:
        if status:
            raise BackendUnavailable(f"compiled code failed with status {status}; torch's log says why")


def _code_of(package: Path, folder: Path) -> Path:
    """The machine code of a package, unpacked."""
    if not zipfile.is_zipfile(package):
        raise BackendUnavailable(f"{package.name} is no archive")
    with zipfile.ZipFile(package) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
        code = [str(name) for name in names if name.suffix == ".so"]
        others = [name for name in names if name.suffix == ".json" and not name.name.endswith(_METADATA)]
        if len(code) != 1 or others:
            raise BackendUnavailable(
                f"{package.name} holds {len(code)} pieces of code and calls to {len(others)} operations outside it; "
                "expected one and none"
            )
        return Path(archive.extract(code[0], folder))


def _opened(path: Path) -> ctypes.CDLL:
    """The code, if it and torch have what a call needs."""
    if not hasattr(torch._C._aoti, "alloc_tensors_by_stealing_from_void_ptrs"):
        raise BackendUnavailable(f"torch {torch.__version__} gives no handles of tensors")
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise BackendUnavailable(f"the code cannot be loaded: {error}") from error
    missing = [name for name in _NAMES if not hasattr(library, name)]
    if missing:
        raise BackendUnavailable(f"the code has no {', '.join(missing)}")
    return library


def _handles(tensors: Sequence[Tensor]) -> list[int | None]:
    """New handles, to be taken by a run."""
    capsules = torch._C._aoti.unsafe_alloc_void_ptrs_from_tensors(list(tensors))
    return [_pointer(each, None) for each in capsules]


_pointer: Final[Any] = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype, _pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
_new_capsule: Final[Any] = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)


def _capsule(pointer: Any) -> Any:
    return _new_capsule(pointer, None, None)
