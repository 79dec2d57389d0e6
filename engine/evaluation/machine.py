"""What a figure was measured on: the machine and the versions of everything that matters."""

import functools
import hashlib
import importlib
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

PACKAGES: Final = ("livedub", "torch", "numpy", "av", "opencv-python-headless", "dlib-bin", "safetensors")
"""Packages whose versions are stated."""
INSTRUCTION_SETS: Final = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "neon")
"""Processor abilities that matter for speed."""


def versions() -> dict[str, str]:
    """Python and the packages of `PACKAGES` that are installed, with their versions."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@functools.lru_cache(maxsize=1)
def code_digest() -> str:
    """What engine and kernels this is: a hash of their source text and shipped networks, without training.

    Figures with different digests were made by different code: they are not to be compared without a thought.
    """
    engine = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for folder in (engine, engine.parent / "kernels"):
        for path in sorted(folder.rglob("*")):
            name = path.relative_to(folder.parent)
            if path.suffix in (".py", ".safetensors") and "training" not in name.parts:
                digest.update(name.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def describe_machine() -> dict[str, str | int | list[str]]:
    """Processor, cores that this process may use, memory, system; no name of the machine or its user."""
    model, flags = _processor(Path("/proc/cpuinfo"))
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    described: dict[str, str | int | list[str]] = {
        "processor": model or platform.processor() or platform.machine(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "cores": usable,
        "system": f"{platform.system()} {platform.machine()}",
    }
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        described["memory_mb"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    return described


def peak_memory_mb() -> int | None:
    """Largest resident memory of this process so far, in MiB; None on systems that do not tell (Windows)."""
    try:
        resource = importlib.import_module("resource")
    except ImportError:
        return None
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak // 2**20 if sys.platform == "darwin" else peak // 2**10


def _processor(path: Path) -> tuple[str, frozenset[str]]:
    """Model name and flags from a Linux cpuinfo file; empty where there is none."""
    if not path.is_file():
        return "", frozenset()
    entries: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        entries.setdefault(key.strip(), value.strip())
    return entries.get("model name", ""), frozenset(entries.get("flags", entries.get("Features", "")).split())
