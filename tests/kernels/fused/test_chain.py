"""The fused chain against its twin, by Triton's interpreter in a process of its own; the twin against the generator."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from engine.generators.stylegan2 import smooth
from kernels.errors import BackendUnavailable
from kernels.fused import chain as module
from kernels.fused.chain import HAS_TRITON, SLOPE, chain, chain_reference

ROOT = Path(__file__).parents[3]
TOLERANCE = 2e-5
"""Of float32 sums over at most 200 pixels, relative to their largest."""
COMPARE = """
import sys
import torch
from kernels.fused.chain import chain, chain_reference
noise = torch.Generator().manual_seed(int(sys.argv[1]))
b, c, h, w = (int(each) for each in sys.argv[2:6])
draw = lambda *shape: torch.randn(*shape, generator=noise)
x, norm, style = (draw(*s).requires_grad_(True) for s in ((b, c, h + 1, w + 1), (b, c), (b, c)))
added, bias, weights = draw(h, w), draw(c), draw(b, c, h, w)
worst = 0.0
results = []
for function in (chain, chain_reference):
    out = function(x, norm, added, bias, style)
    results.append((out.detach(), *torch.autograd.grad((out * weights).sum(), (x, norm, style))))
for found, wanted in zip(*results):
    worst = max(worst, float((found - wanted).abs().max() / wanted.abs().max()))
print(worst)
"""


@pytest.mark.unit
@pytest.mark.skipif(not HAS_TRITON, reason="triton is not installed")
@pytest.mark.parametrize("shape", [(1, 2, 4, 4), (2, 3, 9, 20), (1, 1, 1, 3)], ids=str)
def test_kernels_equal_the_twin_forward_and_back(shape: tuple[int, ...]) -> None:
    command = [sys.executable, "-c", COMPARE, "5", *(str(each) for each in shape)]
    environment = dict(os.environ, TRITON_INTERPRET="1")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < TOLERANCE


@pytest.mark.gpu
def test_kernels_equal_the_twin_on_a_gpu() -> None:
    draw = torch.Generator("cuda").manual_seed(0)
    shapes = ((1, 64, 65, 65), (1, 64), (64, 64), (64,), (1, 64))
    parts = [torch.randn(*shape, generator=draw, device="cuda") for shape in shapes]
    torch.testing.assert_close(chain(*parts), chain_reference(*parts), rtol=1e-5, atol=1e-4)


@pytest.mark.unit
def test_twin_is_what_the_generator_does() -> None:
    noise = torch.Generator().manual_seed(2)
    x, norm, style = (torch.randn(*s, generator=noise) for s in ((2, 3, 9, 7), (2, 3), (2, 3)))
    added, bias = torch.randn(8, 6, generator=noise), torch.randn(3, generator=noise)
    own = functional.leaky_relu(smooth(x) * norm[:, :, None, None] + added + bias[:, None, None], SLOPE)
    torch.testing.assert_close(chain_reference(x, norm, added, bias, style), own * style[:, :, None, None])


@pytest.mark.unit
def test_shapes_that_do_not_fit_are_refused() -> None:
    x, pair = torch.zeros(1, 2, 5, 5), torch.zeros(1, 2)
    with pytest.raises(ValueError, match="expected"):
        chain(x, pair, torch.zeros(5, 5), torch.zeros(2), pair)
    with pytest.raises(ValueError, match="float64"):
        chain(x.double(), pair, torch.zeros(4, 4), torch.zeros(2), pair)


@pytest.mark.unit
def test_without_triton_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HAS_TRITON", False)
    pair = torch.zeros(1, 2)
    with pytest.raises(BackendUnavailable, match="Triton"):
        chain(torch.zeros(1, 2, 5, 5), pair, torch.zeros(4, 4), torch.zeros(2), pair)
