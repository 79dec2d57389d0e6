"""One render and one optimisation step: generators x backends x precision, against the plain reference.

`python -m bench step [--generators NAME ...] [--rounds N] [--out FILE] [--compare OLD.json]`: every variant runs in a
process of its own (`bench.step_works` says what each is), so that memory and allocator settings are its own. Writes
JSON, a table and a plot. Times are wall times; `cpu_ms` is the processor time of the same runs, which other work on
the machine lengthens less. `gbyte` is what a run moves (`bench.step_bytes`). Compiled variants are compiled anew in a
folder of their own: set-up time is of this run, and peak memory is that of compiling where it is more than running's.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from bench.machine import header, read_json, write_json
from bench.step_bytes import moved_by
from bench.step_plot import bars
from bench.step_works import BACKENDS, GENERATORS, Variant, arithmetic, gradient_cosine, make
from engine.editing.perceptual import has_bfloat16
from engine.errors import BadInputError
from engine.evaluation import peak_memory_mb
from kernels.memory import keep_large_blocks

OUT: Final = Path(__file__).with_name("results") / "step.json"
_SLOWER: Final = 1.1
"""From this ratio of medians on, a variant counts as slower than before."""
_LEAST_COSINE: Final = 0.98
"""Between a step's gradient and the one in float32; a step that is further off has no ratio worth telling."""
_SIDE: Final = 2048
"""Side of the matrices of the measured ceiling."""
_COPIED: Final = 1 << 26
"""Numbers that the measured copy moves: four times the usual last-level cache."""


def main(arguments: list[str] | None = None) -> int:
    """Measure and write; gives the exit status: 1 when something is slower than in the file compared with."""
    parser = argparse.ArgumentParser(prog="python -m bench step", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, default=["default"])
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--efforts", nargs="+", type=int, choices=(0, 2), default=[0, 2])
    parser.add_argument("--rounds", type=int, default=10, help="timed runs of each; a third for pictures of 1024 px")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--compare", type=Path, metavar="OLD.json", help="name what is slower than in that file")
    parser.add_argument("--one", metavar="VARIANT", help="only this variant (JSON), its figures as JSON on the output")
    options = parser.parse_args(arguments)
    if options.one:
        variant = Variant(**json.loads(options.one))
        with tempfile.TemporaryDirectory() as folder:  # compiled anew: set-up time and bytes are of this run
            sys.stdout.write(json.dumps(measure(variant, options.rounds, Path(folder))) + "\n")
        return 0
    before = _variants_of(options.compare) if options.compare else []
    chosen = variants(options.generators, options.backends, options.efforts, has_bfloat16())
    ceilings = {"before": measured_ceilings()}
    rows = [_in_a_process(variant, options.rounds) for variant in chosen]
    ceilings["after"] = measured_ceilings()
    with_ratios(rows, best(ceilings))
    command = f"python -m bench step {' '.join(arguments or [])}".strip()
    result = {**header(command), "threads": torch.get_num_threads(), "ceilings": ceilings, "variants": rows}
    result["speedup"] = speedup(rows)
    result["gradient_cosine"] = {
        row["name"]: row["gradient_cosine"] for row in rows if row.get("gradient_cosine") is not None
    }
    write_json(options.out, result)
    options.out.with_suffix(".md").write_text(table(rows), encoding="utf-8")
    options.out.with_suffix(".svg").write_text(bars(rows), encoding="utf-8")
    sys.stdout.write(f"{table(rows)}\nspeedup {result['speedup']}; wrote {options.out}\n")
    slower = regressions(rows, before)
    for line in slower:
        sys.stdout.write(f"slower: {line}\n")
    return 1 if slower else 0


def variants(generators: Sequence[str], backends: Sequence[str], efforts: Sequence[int], half: bool) -> list[Variant]:
    """What is measured; compiled graphs in float32, and in bfloat16 where the processor has it."""
    return [
        Variant(generator, effort, backend, narrow)
        for generator in generators
        for effort in efforts
        for backend in backends
        for narrow in ((False, True) if backend == "aoti" and half else (False,))
    ]


def measure(variant: Variant, rounds: int, folder: Path) -> dict[str, Any]:
    """Figures of one variant in this process."""
    if variant.backend != "plain":
        keep_large_blocks()
    begin = time.perf_counter()
    work = make(variant, folder)
    setup_s = time.perf_counter() - begin
    large = variant.generator in ("default", "stylegan2-1024") and variant.backend == "plain"
    wall, cpu = times_of(work.run, max(3, rounds // 3) if large else rounds)
    return {
        **variant.as_dict(),
        "name": variant.name,
        "setup_s": round(setup_s, 2),
        "operations": work.operations,
        "runs": len(wall),
        "times_ms": {f"p{q}": round(float(np.percentile(wall, q)), 2) for q in (50, 95, 99)},
        "cpu_ms": round(float(np.median(cpu)), 2),
        "peak_memory_mb": peak_memory_mb(),
        "gradient_cosine": gradient_cosine(variant, work.run()),
        "gbyte": _gigabytes(work.fused_bytes if variant.backend == "aoti" else moved_by(work.run)),
        **arithmetic(variant),
    }


def _gigabytes(count: int | None) -> float | None:
    return None if count is None else round(count / 1e9, 4)


def times_of(
    run: Callable[[], object],
    rounds: int,
    clocks: tuple[Callable[[], float], ...] = (time.perf_counter, time.process_time),
) -> tuple[list[float], list[float]]:
    """Wall and processor times in ms of a run, after two that are not timed."""
    run()
    run()
    wall, cpu = [], []
    for _ in range(rounds):
        begin = [clock() for clock in clocks]
        run()
        taken = [(clock() - start) * 1000 for clock, start in zip(clocks, begin, strict=True)]
        wall.append(taken[0])
        cpu.append(taken[1])
    return wall, cpu


def _variants_of(path: Path) -> list[dict[str, Any]]:
    """The variants of an older result, read before minutes are spent on new ones."""
    found = read_json(path).get("variants")
    if not isinstance(found, list):
        raise BadInputError(f"{path} holds no variants; expected a result of `python -m bench step`")
    return found


def _last_words(done: subprocess.CompletedProcess[str]) -> str:
    """Why a process failed: its last line, or how it ended if it said nothing."""
    lines = done.stderr.strip().splitlines()
    return lines[-1][:300] if lines else f"ended with status {done.returncode} without a word: killed for memory?"


def _in_a_process(variant: Variant, rounds: int) -> dict[str, Any]:
    begin = "import sys; from bench.step import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", begin, "--one", json.dumps(variant.as_dict()), "--rounds", str(rounds)]
    done = subprocess.run(command, cwd=OUT.parents[2], capture_output=True, text=True, check=False)
    if done.returncode:
        return {**variant.as_dict(), "name": variant.name, "error": _last_words(done)}
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def measured_ceilings() -> dict[str, float]:
    """What the machine does at best: matrix products in GFLOP/s, a copy in GB/s (read and written)."""
    found = {}
    kinds = {"float32": torch.float32} | ({"bfloat16": torch.bfloat16} if has_bfloat16() else {})
    for name, kind in kinds.items():
        a, b = torch.randn(_SIDE, _SIDE).to(kind), torch.randn(_SIDE, _SIDE).to(kind)
        seconds = min(times_of(lambda a=a, b=b: torch.mm(a, b), 5)[0]) / 1000  # type: ignore[misc]
        found[f"{name}_gflops"] = round(2 * _SIDE**3 / seconds / 1e9, 1)
    source = torch.zeros(_COPIED)
    target = torch.empty_like(source)
    seconds = min(times_of(lambda: target.copy_(source), 5)[0]) / 1000
    return found | {"copy_gbs": round(8 * _COPIED / seconds / 1e9, 1)}


def best(ceilings: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """The better of the ceilings before and after."""
    return {name: max(each[name] for each in ceilings.values()) for name in ceilings["before"]}


def with_ratios(rows: Sequence[dict[str, Any]], ceilings: Mapping[str, float]) -> None:
    """Adds the ratio to the plain variant of the same work, and shares of the rates of the best product and copy."""
    plain = {(row["generator"], row["effort"]): row for row in rows if row["backend"] == "plain" and "error" not in row}
    for row in rows:
        if "error" in row:
            continue
        peak = ceilings.get("bfloat16_gflops", 0.0) if row["half"] else ceilings["float32_gflops"]
        seconds = row["times_ms"]["p50"] / 1000
        row["share_of_peak"] = round(row["gflop"] / seconds / peak, 3)
        moved = row.get("gbyte")
        row["share_of_copy"] = None if moved is None else round(moved / seconds / ceilings["copy_gbs"], 3)
        other = plain.get((row["generator"], row["effort"]))
        if other is not None:
            row["speedup"] = round(other["times_ms"]["p50"] / row["times_ms"]["p50"], 2)
            row["speedup_cpu"] = round(other["cpu_ms"] / row["cpu_ms"], 2)


def speedup(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Best ratio to plain of each generator's render and step.

    Ratios of one precision stand apart from those of another: the reference computes in float32, and gradients in
    bfloat16 are not the same gradients: how near they are stands beside (`gradient_cosine`).
    """
    found: dict[str, float] = {}
    for row in rows:
        cosine = row.get("gradient_cosine")
        if "speedup" in row and (cosine is None or cosine >= _LEAST_COSINE):
            work = f"{row['generator']} {'render' if row['effort'] == 0 else 'step'}"
            work += " in bfloat16" if row["half"] else ""
            found[work] = max(found.get(work, 0.0), row["speedup"])
    return found


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a Markdown table."""
    heads = (
        "variant",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "CPU ms",
        "GFLOP",
        "of peak",
        "GB",
        "of copy",
        "cosine",
        "MiB",
        "set-up s",
        "times plain",
    )
    lines = [heads, ("---", *("--:" for _ in heads[1:]))]
    for row in rows:
        if "error" in row:
            lines.append((row["name"], row["error"], *("" for _ in heads[2:])))
            continue
        times = row["times_ms"]
        figures = (times["p50"], times["p95"], times["p99"], row["cpu_ms"], row["gflop"])
        cosine = "-" if row.get("gradient_cosine") is None else f"{row['gradient_cosine']:.4f}"
        moved = ("-", "-") if row.get("gbyte") is None else (f"{row['gbyte']:.2f}", f"{row['share_of_copy']:.0%}")
        rest = (f"{row['share_of_peak']:.0%}", *moved, cosine, str(row["peak_memory_mb"]), f"{row['setup_s']:.0f}")
        lines.append((row["name"], *(f"{value:.1f}" for value in figures), *rest, str(row.get("speedup", "-"))))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def regressions(rows: Sequence[Mapping[str, Any]], old: Sequence[Mapping[str, Any]]) -> list[str]:
    """What takes more processor time than in another file, with both medians; what is missing there is passed over."""
    before = {row["name"]: row for row in old if "error" not in row}
    found = []
    for row in rows:
        other = before.get(row["name"])
        if other is None:
            continue
        if "error" in row:
            found.append(f"{row['name']}: {row['error']}")
        elif row["cpu_ms"] > _SLOWER * other["cpu_ms"]:
            found.append(f"{row['name']}: {row['cpu_ms']:.1f} ms CPU, {other['cpu_ms']:.1f} ms before")
    return found
