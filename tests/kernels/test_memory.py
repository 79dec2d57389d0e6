"""The allocator's settings."""

import subprocess
import sys

import pytest

from kernels.memory import keep_large_blocks

pytestmark = pytest.mark.unit

_PROGRAM = """
import resource, torch
from kernels.memory import keep_large_blocks
kept = keep_large_blocks()
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.zeros(8 << 20).add_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
raise SystemExit(0 if not kept or faults() < 2000 else 1)
"""


def test_large_blocks_are_reused() -> None:
    """After a first round, twenty 32 MB tensors cost hardly a page fault (each would cost 8192 when mapped anew)."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without glibc nothing happens, and the answer says so."""
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_large_blocks() is False
