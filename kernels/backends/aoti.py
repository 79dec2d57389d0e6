"""Flat graphs and whole networks compiled ahead of time by AOTInductor into packages of machine code, kept in a folder.

A package is named after all that it depends on: the graph, the number of threads, torch's version and the processor's
instructions; on another machine, or after an update, another package is made beside it. A package that is damaged is
made again, and said. Compiling takes from half a minute (a render) to some minutes (a step) once, and needs a C++
compiler. A network whose weights never change is compiled with them inside (`frozen`): filters are then packed as the
processor wants them, and nothing is traced where the package is there; its user names it.
"""

import hashlib
import logging
import os
import platform
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import torch
from filelock import FileLock
from torch import Tensor, nn

from kernels.backends.unlocked import UnlockedPackage
from kernels.errors import ArgumentMismatch, BackendUnavailable
from kernels.flat import FlatGraph

logger = logging.getLogger(__name__)

_FORMAT: Final = 2
"""Raised when packages of older versions of this module must not be used."""
_FLAGS: Final = ("flags", "Features")
_OPTIONS: Final[Mapping[str, Any]] = {"cpp.enable_floating_point_contract_flag": "fast"}
"""Products and sums are fused into one instruction, which rounds once instead of twice."""
_FROZEN_OPTIONS: Final[Mapping[str, Any]] = {**_OPTIONS, "freezing": True}
"""Weights are constants, laid out when they are compiled."""


@dataclass(frozen=True)
class CompiledGraph:
    """A loaded package with the constants it runs on."""

    graph: FlatGraph
    """What was compiled."""
    package: Path
    """Where it lies."""
    compile_s: float
    """Seconds that compiling took now; 0 when the package was there."""
    _run: Callable[..., Any]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run it; results are new tensors. Inputs may lie in memory in any order.

        Raises:
            ArgumentMismatch: inputs of other shapes, types or devices than the graph's.
        """
        return _called(self._run, inputs, self.graph.examples, self.graph.constants)


@dataclass(frozen=True)
class FrozenNetwork:
    """A loaded package that holds its weights."""

    examples: tuple[Tensor, ...]
    """Inputs that it was compiled for: their shapes, types and devices are the only ones it takes."""
    package: Path
    """Where it lies."""
    compile_s: float
    """Seconds that compiling took now; 0 when the package was there."""
    _run: Callable[..., Any]

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run it, as a `CompiledGraph`."""
        return _called(self._run, inputs, self.examples, ())


def _called(
    run: Callable[..., Any], inputs: tuple[Tensor, ...], examples: tuple[Tensor, ...], constants: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    check_arguments(inputs, examples)
    with torch.no_grad():
        laid = [_laid_as(found, example) for found, example in zip(inputs, examples, strict=True)]
        return tuple(run(*laid, *constants))


def check_arguments(inputs: tuple[Tensor, ...], examples: tuple[Tensor, ...]) -> None:
    """Compiled code reads memory without looking: what it is given must be what it was made for.

    Raises:
        ArgumentMismatch: another number of inputs, or one of another shape, type or device.
    """
    if len(inputs) != len(examples):
        raise ArgumentMismatch(f"{len(inputs)} inputs, expected {len(examples)}")
    for index, (found, example) in enumerate(zip(inputs, examples, strict=True)):
        if (found.shape, found.dtype, found.device) != (example.shape, example.dtype, example.device):
            raise ArgumentMismatch(
                f"input {index} is {_described(found)}; expected {_described(example)}. Compiled graphs have static "
                "shapes: trace and compile for these inputs, or use the eager backend"
            )


def _laid_as(value: Tensor, example: Tensor) -> Tensor:
    """The same numbers in the example's order in memory: compiled code counts on it and does not look."""
    if value.stride() == example.stride():
        return value
    return torch.empty_strided(example.shape, example.stride(), dtype=value.dtype, device=value.device).copy_(value)


def _described(value: Tensor) -> str:
    return f"{tuple(value.shape)} {value.dtype} on {value.device}"


def compiler() -> str:
    """The C++ compiler that packages are built with.

    Raises:
        BackendUnavailable: there is none.
    """
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return str(get_cpp_compiler())
    except InvalidCxxCompiler as error:
        raise BackendUnavailable(
            "AOTInductor needs a C++ compiler and found none (looked for g++, or what CXX names): install one, or use "
            "the eager backend"
        ) from error


def processor() -> str:
    """What compiled code depends on: architecture, vector width, and a digest of the instructions that are there."""
    flags = ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        flags = next((line for line in lines if line.startswith(_FLAGS)), "")
    except OSError:
        flags = platform.processor()
    digest = hashlib.sha256(" ".join(sorted(flags.split())).encode()).hexdigest()[:8]
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()} {digest}"


def package_name(graph: FlatGraph) -> str:
    """File name of the graph's package on this machine with this version of torch and this number of threads."""
    parts = (_FORMAT, graph.key, torch.__version__, processor(), torch.get_num_threads())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:20] + ".pt2"


def is_cached(graph: FlatGraph, folder: Path) -> bool:
    """Whether the graph's package is there and whole, so that `compiled` takes no time."""
    return is_whole(folder / package_name(graph))


def compiled(
    graph: FlatGraph, folder: Path, name: str = "graph", options: Mapping[str, Any] | None = None
) -> CompiledGraph:
    """The graph as machine code: loaded from the folder, compiled first when it is not there.

    Args:
        graph: what to compile.
        folder: where packages are kept; made when missing.
        name: what the graph is called in the log.
        options: options of Inductor beside ours, for experiments.

    Raises:
        BackendUnavailable: there is no C++ compiler, or it fails.
    """
    path = folder / package_name(graph)
    run, seconds = _opened(path, name, lambda: _build(graph, path, {**_OPTIONS, **(options or {})}))
    return CompiledGraph(graph, path, seconds, run)


def frozen(network: nn.Module, examples: tuple[Tensor, ...], path: Path, name: str = "network") -> FrozenNetwork:
    """A network as machine code with its weights inside: loaded from a file, compiled first when that is not there.

    Args:
        network: gives a tuple of tensors; its weights and its form are what the file is named after.
        examples: inputs of the shapes, types and device that it is for; they are taken as contiguous, so that a package
            means the same whoever loads it.
        path: the package. Whoever names it sees to it that all that it depends on is in the name: the network and its
            code, torch's version, the processor and the number of threads.
        name: what the network is called in the log.

    Raises:
        BackendUnavailable: there is no C++ compiler, or it fails.
    """
    plain = tuple(each.contiguous() for each in examples)

    def build() -> None:
        """Export it as it is, and compile that: filters are packed only where no gradient can be asked for."""
        with torch.no_grad():
            _package(lambda: torch.export.export(network, plain), path, dict(_FROZEN_OPTIONS))

    run, seconds = _opened(path, name, build)
    return FrozenNetwork(plain, path, seconds, run)


def _opened(path: Path, name: str, build: Callable[[], None]) -> tuple[Callable[..., Any], float]:
    """A package, loaded; built first where it is not there or damaged; and the seconds that building took."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seconds = 0.0
    with FileLock(path.with_suffix(".lock")):
        if path.exists() and not is_whole(path):
            logger.warning("compiled %s %s is damaged: compiling it again", name, path)
            path.unlink()
        run = _loaded(path, name) if path.exists() else None
        if run is None:
            begin = time.perf_counter()
            build()
            seconds = time.perf_counter() - begin
            logger.info("compiled %s in %.0f s: %s", name, seconds, path)
            run = _caller(path, name)
    return run, seconds


def _loaded(path: Path, name: str) -> Callable[..., Any] | None:
    """A whole package; None, said aloud, when torch cannot load it all the same."""
    try:
        return _caller(path, name)
    except RuntimeError as error:
        logger.warning("compiled %s %s cannot be loaded (%s): compiling it again", name, path, error)
        path.unlink()
        return None


def _caller(path: Path, name: str) -> Callable[..., Any]:
    """What runs a package: without Python's lock where torch allows it, else, and said, with it."""
    try:
        return UnlockedPackage(path)
    except BackendUnavailable as error:
        logger.warning("compiled %s %s: other threads wait while it runs (%s)", name, path, error)
        return cast(Callable[..., Any], torch._inductor.aoti_load_package(str(path)))


def _build(graph: FlatGraph, path: Path, options: dict[str, Any]) -> None:
    _package(lambda: torch.export.export(graph.module, (*graph.examples, *graph.constants)), path, options)


def _package(export: Callable[[], torch.export.ExportedProgram], path: Path, options: dict[str, Any]) -> None:
    """Compile a program into a file, which appears when it is whole."""
    compiler()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own modules warn about each other while they export
        package = Path(folder) / "model.pt2"
        program = export()
        try:
            torch._inductor.aoti_compile_and_package(program, package_path=str(package), inductor_configs=options)
        except (RuntimeError, OSError, ValueError, AssertionError, subprocess.SubprocessError) as error:
            raise BackendUnavailable(
                f"AOTInductor could not compile the graph: {type(error).__name__}: {str(error)[:400]}. Is the C++ "
                f"compiler ({compiler()}) whole? Use the eager backend, or mend it"
            ) from error
        _digest_file(path).write_text(_digest(package), encoding="ascii")
        os.replace(package, path)


def _digest_file(path: Path) -> Path:
    return path.with_suffix(".sha256")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(path: Path) -> bool:
    """Whether a package is there with the content that was written."""
    try:
        return _digest_file(path).read_text(encoding="ascii") == _digest(path)
    except OSError:
        return False
