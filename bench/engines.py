"""TensorRT engines of one render and one W+ step: built without a GPU, judged by onnxruntime, bounded by arithmetic.

`python -m bench engines [--generators NAME ...] [--generation SM89] [--out FILE]`: for each work, in float32 and with
the generator's convolutions in float16, the graph is traced and written as ONNX, an engine is built from it, and what
the ONNX file computes on the processor is compared with the same work by torch in float32. `bounds_ms` are computed,
not measured: the least time that a GPU's data sheet allows for the arithmetic, and for the bytes that the same graph
moves when it is compiled for a processor (`bench step`). Where a CUDA device answers, engines and CUDA graphs are run
and timed.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from bench.machine import header, read_json, write_json
from bench.step import OUT as STEPS
from bench.step import times_of
from bench.step_works import GENERATORS, Variant, arithmetic, leaving
from kernels.backends.device import captured, engine_runner
from kernels.backends.repeated import Repeatable
from kernels.backends.tensorrt import GENERATIONS, build_engine, export_onnx
from kernels.errors import BackendUnavailable
from kernels.flat import FlatGraph
from kernels.step import STATE

OUT: Final = Path(__file__).with_name("results") / "engines.json"
PRECISIONS: Final[Mapping[str, torch.dtype | None]] = {"fp32": None, "fp16": torch.float16}
GPUS: Final[Mapping[str, tuple[float, float]]] = {"H200": (989, 4800), "RTX 4090": (165, 1008), "L4": (121, 300)}
"""Dense float16 arithmetic on tensor cores (sums in float32) in TFLOP/s, and memory in GB/s; makers' data sheets."""
_COUNT: Final = 4
"""Steps that are captured as one CUDA graph, where there is a GPU."""
_NOT_RUN: Final = "no CUDA device answered: engines were built, none was run"


def main(arguments: list[str] | None = None) -> int:
    """Build, compare and write; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench engines", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--generators", nargs="+", choices=GENERATORS, default=["default"])
    parser.add_argument("--generation", choices=GENERATIONS, default="SM89", help="GPUs to build for (default: SM89)")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    rows = [
        row_of(generator, effort, precision, options.generation)
        for generator in options.generators
        for effort in (0, 2)
        for precision in PRECISIONS
    ]
    result = header(f"python -m bench engines {' '.join(arguments or [])}".strip())
    result |= {"gpu": _NOT_RUN if not torch.cuda.is_available() else torch.cuda.get_device_name(), "engines": rows}
    write_json(options.out, result)
    sys.stdout.write(f"{table(rows)}\n{result['gpu']}; wrote {options.out}\n")
    return 0


def row_of(generator: str, effort: int, precision: str, generation: str) -> dict[str, Any]:
    """All that is told of one engine; what cannot be had here says why in place of its figures."""
    begin = time.perf_counter()
    graph, inputs, wanted = leaving(generator, effort, PRECISIONS[precision])
    row: dict[str, Any] = {
        "generator": generator,
        "work": "render" if effort == 0 else "step",
        "precision": precision,
        "operations": graph.size,
        "trace_s": round(time.perf_counter() - begin, 1),
        "bounds_ms": bounds(arithmetic(Variant(generator, effort, "aoti"))["gflop"], _moved(generator, effort)),
    }
    with tempfile.TemporaryDirectory() as folder:
        try:
            row |= built(graph, Path(folder), generation, precision)
            row |= compared(Path(folder) / "graph.onnx", inputs, wanted)
            if torch.cuda.is_available():
                row["times_ms"] = timed(graph, inputs, Path(folder), effort > 0)
        except BackendUnavailable as error:
            row["error"] = str(error)
    return row


def built(graph: FlatGraph, folder: Path, generation: str, precision: str) -> dict[str, Any]:
    """Writes the ONNX file and builds the engine: seconds and sizes.

    Raises:
        BackendUnavailable: no exporter or no builder is installed, or one of them fails.
    """
    begin = time.perf_counter()
    onnx = export_onnx(graph, folder / "graph.onnx")
    written = time.perf_counter()
    engine = build_engine(onnx, folder, generation, precision)
    return {
        "engine": engine.name,
        "export_s": round(written - begin, 1),
        "build_s": round(time.perf_counter() - written, 1),
        "onnx_mb": round(onnx.stat().st_size / 1e6, 1),
        "engine_mb": round(engine.stat().st_size / 1e6, 1),
    }


def compared(onnx: Path, inputs: Sequence[Tensor], wanted: Sequence[Tensor]) -> dict[str, float]:
    """What the ONNX file computes on the processor, against the same work in float32.

    Returns:
        Of a step: cosine of the gradients, and the losses' difference as a share; of a render: the pictures' root mean
        square difference in grey levels of 255.

    Raises:
        BackendUnavailable: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise BackendUnavailable(f"ONNX files are judged by onnxruntime ({error}); pip install onnxruntime") from error
    session = onnxruntime.InferenceSession(str(onnx), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    found = session.run(None, dict(zip(names, (each.detach().numpy() for each in inputs), strict=True)))
    return difference([torch.from_numpy(np.asarray(each)) for each in found], wanted)


def difference(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> dict[str, float]:
    """See `compared`."""
    if len(wanted) == 1:
        off = (found[0].double() - wanted[0].double()).square().mean().sqrt()
        return {"grey_levels": round(float(off) * 127.5, 4)}
    mine, true = (each[STATE + 1].flatten().double() for each in (found, wanted))
    loss, wished = float(found[STATE]), float(wanted[STATE])
    return {
        "gradient_cosine": round(float(torch.cosine_similarity(mine, true, 0)), 6),
        "loss_off": round(abs(loss - wished) / abs(wished), 6),
    }


def timed(graph: FlatGraph, inputs: tuple[Tensor, ...], folder: Path, steps: bool) -> dict[str, float]:
    """Medians on this machine's GPU in ms, tensors copied there and back: engine and CUDA graph; steps also several."""
    made = {
        "tensorrt": engine_runner(lambda: graph, folder, "benchmark", steps),
        "cudagraph": captured(lambda: graph, "benchmark", steps),
    }
    found = {}
    for name, run in made.items():
        once = times_of(lambda run=run: run(*inputs), 30)[0]  # type: ignore[misc]
        found[name] = float(np.median(once))
        if isinstance(run, Repeatable):
            several = times_of(lambda run=run: run.times(_COUNT, *inputs), 30)[0]  # type: ignore[misc]
            found[f"{name}, {_COUNT} steps in one graph"] = float(np.median(several))
    return {name: round(value, 3) for name, value in found.items()}


def bounds(gflop: float, gbyte: float | None) -> dict[str, float]:
    """The least ms that each of `GPUS` could take: arithmetic or memory, whichever takes longer."""
    return {name: round(max(gflop / tflops, 1000 * (gbyte or 0.0) / rate), 3) for name, (tflops, rate) in GPUS.items()}


def _moved(generator: str, effort: int) -> float | None:
    """GB that the compiled graph moves, by the newest `bench step`; None where that was not measured."""
    work = "render" if effort == 0 else "step"
    for path in (STEPS, STEPS.with_name("step_stylegan2_compiled.json")):
        if not path.exists():
            continue
        rows = {row["name"]: row.get("gbyte") for row in read_json(path).get("variants", [])}
        for name in (f"{generator} {work} aoti bf16", f"{generator} {work} aoti"):
            if rows.get(name) is not None:
                return float(rows[name])
    return None


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The figures as a Markdown table."""
    heads = ("work", "precision", "operations", "export s", "build s", "engine MB", "off by", *GPUS)
    lines = [heads, ("---", "---", *("--:" for _ in heads[2:]))]
    for row in rows:
        name = f"{row['generator']} {row['work']}"
        least = tuple(f"{value:.2f}" for value in row["bounds_ms"].values())
        if "error" in row:
            lines.append((name, row["precision"], str(row["operations"]), row["error"], "", "", "", *least))
            continue
        off = f"{row['grey_levels']} grey levels" if "grey_levels" in row else f"cosine {row['gradient_cosine']}"
        figures = (str(row["operations"]), str(row["export_s"]), str(row["build_s"]), str(row["engine_mb"]), off)
        lines.append((name, row["precision"], *figures, *least))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
