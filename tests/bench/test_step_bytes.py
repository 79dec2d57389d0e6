"""Bytes that operations move: each operand and result once, views nothing."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from bench.step_bytes import counting_fused, moved_by, size_of
from kernels.backends.aoti import compiled
from kernels.flat import trace

KILO = 1024 * 4
"""Bytes of 1024 numbers in float32."""


@pytest.mark.unit
def test_operands_and_results_count_once_each() -> None:
    a, b = torch.ones(1024), torch.ones(1024)
    assert moved_by(lambda: a + b) == 3 * KILO
    assert moved_by(lambda: (a + b) * 2) == 5 * KILO
    assert moved_by(lambda: a.to(torch.bfloat16)) == 1.5 * KILO


@pytest.mark.unit
def test_views_and_untouched_memory_count_nothing() -> None:
    a = torch.ones(32, 32)
    assert moved_by(lambda: a.t()[3:].reshape(-1, 4, 29).permute(2, 0, 1).detach()) == 2 * 29 * 32 * 4, "one copy"
    assert moved_by(lambda: torch.empty(1000)) == 0


@pytest.mark.unit
def test_what_is_spread_out_is_read_as_it_lies() -> None:
    assert size_of(torch.ones(1, 64).expand(16, 64)) == 64 * 4
    assert size_of(torch.ones(3, 0)) == 0
    assert size_of(torch.tensor(1.0)) == 4


@pytest.mark.unit
def test_gradients_count_too() -> None:
    x = torch.ones(1024, requires_grad=True)
    forward = moved_by(lambda: x.detach().exp().sum())
    both = moved_by(lambda: torch.autograd.grad(x.exp().sum(), x))
    assert forward == 3 * KILO + 4
    assert both >= forward + 2 * KILO


@pytest.mark.slow
def test_fused_kernels_move_less(tmp_path: Path) -> None:
    x = torch.randn(1, 8, 64, 64)

    def chain(value: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(value * 2 + 1, 0.2) * 0.5

    with counting_fused() as fused:
        compiled(trace(chain, (x,)), tmp_path)
    assert fused.total == 2 * size_of(x), "read once, written once"
    assert moved_by(lambda: chain(x)) >= 8 * size_of(x)
    with counting_fused() as again:
        compiled(trace(chain, (x,)), tmp_path)
    assert again.total is None, "the package was there: nothing was compiled, nothing is told"
