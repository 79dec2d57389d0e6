"""Region render against the full picture, in one run: equal pixels inside, and how much faster.

`python -m bench region [--rounds N] [--out FILE]`: the default generator and the region that is edited; forward passes
alone and forward with the gradient for w, interleaved, so that other work on the machine strikes all of them alike.

The full picture is also timed in a process of its own that keeps the system's allocator settings, as a program that
does not ask for anything else runs it (`kernels.memory`): once with our kernels and once plain, by single operations.
Ratios are given to all three; that to the plain picture says what region, kernels and memory bring together.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from bench.machine import header, write_json
from engine.generators import load_default_generator
from engine.generators.mobile import MobileStyleGAN
from engine.generators.protocol import Region
from kernels.tracing import tracing

REGION: Final = Region(640, 320, 352, 384)
"""Of the middle size of those that enrolment places (`engine.editing.placement`)."""
OUT: Final = Path(__file__).with_name("results") / "region.json"


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the figures as JSON; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench region", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=12, help="timed rounds of all four")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--plain", action="store_true", help="only time full pictures, as JSON on the output")
    options = parser.parse_args(arguments)
    generator = load_default_generator()
    with torch.no_grad():
        w = generator.mapping(torch.randn(1, generator.width, generator=torch.Generator().manual_seed(0)))
    code = w[:, None].repeat(1, generator.rows, 1)
    if options.plain:
        works = full_works(generator, code) | plain_works(generator, code)
        sys.stdout.write(json.dumps(time_works(works, options.rounds)) + "\n")
        return 0
    figures = compare(generator, code, options.rounds, plain_times(max(3, options.rounds // 2)))
    write_json(options.out, {**header("python -m bench region"), "threads": torch.get_num_threads(), **figures})
    sys.stdout.write(
        f"largest difference inside {figures['max_abs_difference']:.1e}; forward {figures['speedup_forward']:.1f} "
        f"times ({figures['speedup_forward_over_default_allocator']:.1f} over the system's allocator settings, "
        f"{figures['speedup_forward_over_plain']:.1f} over the plain picture), "
        f"step {figures['speedup_step']:.1f} times "
        f"({figures['speedup_step_over_default_allocator']:.1f}, {figures['speedup_step_over_plain']:.1f}) as fast; "
        f"wrote {options.out}\n"
    )
    return 0


def plain_times(rounds: int) -> dict[str, list[float]]:
    """Times in ms of full pictures in a fresh process with the system's own allocator settings."""
    begin = "import sys; from bench.region import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", begin, "--plain", "--rounds", str(rounds)]
    done = subprocess.run(command, cwd=OUT.parents[2], capture_output=True, text=True, check=True)
    times: dict[str, list[float]] = json.loads(done.stdout)
    return times


def compare(generator: MobileStyleGAN, code: Tensor, rounds: int, plain: dict[str, list[float]]) -> dict[str, Any]:
    """Difference and times of both renders.

    Args:
        generator: the generator.
        code: [1,R,512] W+.
        rounds: timed rounds; one more before them warms up.
        plain: times of `full_works` and `plain_works` with the system's allocator settings, ms.
    """
    with torch.no_grad():
        inside = generator.synthesis(code)[:, :, REGION.slices[0], REGION.slices[1]]
        difference = float((inside - generator.region(code, REGION)).abs().max())
    works = full_works(generator, code) | {
        "region_forward": lambda: _forward(lambda w: generator.region(w, REGION), code),
        "region_step": lambda: _step(lambda w: generator.region(w, REGION), code),
    }
    times = time_works(works, rounds)
    times |= {f"{name}_default_allocator": values for name, values in plain.items()}
    middle = {name: float(np.median(values)) for name, values in times.items()}
    return {
        "region": {"top": REGION.top, "left": REGION.left, "height": REGION.height, "width": REGION.width},
        "rounds": rounds,
        "max_abs_difference": difference,
        "times_ms": {
            name: {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 95, 99)}
            for name, values in times.items()
        },
        "speedup_forward": round(middle["full_forward"] / middle["region_forward"], 2),
        "speedup_step": round(middle["full_step"] / middle["region_step"], 2),
        **{
            f"speedup_{work}_over_{name}": round(
                middle[f"{full}_{work}_default_allocator"] / middle[f"region_{work}"], 2
            )
            for name, full in (("default_allocator", "full"), ("plain", "plain"))
            for work in ("forward", "step")
        },
    }


def full_works(generator: MobileStyleGAN, code: Tensor) -> dict[str, Callable[[], None]]:
    """What is timed of full pictures."""
    return {
        "full_forward": lambda: _forward(generator.synthesis, code),
        "full_step": lambda: _step(generator.synthesis, code),
    }


def plain_works(generator: MobileStyleGAN, code: Tensor) -> dict[str, Callable[[], None]]:
    """Full pictures by single operations, without kernels that save passes over memory."""

    def synthesis(w: Tensor) -> Tensor:
        """W+ [1,R,512] -> [1,3,1024,1024]."""
        with tracing():
            return generator.synthesis(w)

    return {"plain_forward": lambda: _forward(synthesis, code), "plain_step": lambda: _step(synthesis, code)}


def time_works(
    works: dict[str, Callable[[], None]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Times in ms of every work, in turn, after one round that is not timed."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for index in range(rounds + 1):
        for name, work in works.items():
            begin = clock()
            work()
            if index:
                times[name].append((clock() - begin) * 1000)
    return times


def _forward(render: Callable[[Tensor], Tensor], code: Tensor) -> None:
    with torch.no_grad():
        render(code)


def _step(render: Callable[[Tensor], Tensor], code: Tensor) -> None:
    w = code.clone().requires_grad_(True)
    render(w).square().mean().backward()  # type: ignore[no-untyped-call]
