"""What `bench step` times: one frame's render (effort 0) and one W+ step (effort 2), on one generator and backend.

The objective is the product's (`engine.editing.refine.objective`), of made-up targets: a face of the generator's own,
its landmarks moved, seeds fixed. Three forms of the same work:

- `plain`: the whole picture, eager autograd, single operations (no kernels of ours), float32 throughout, the system's
  allocator settings. The perceptual network sees the whole picture at a quarter of its size, as it sees the region.
- `eager`: the product without compiling: the region alone, our kernels, the perceptual network in bfloat16 where the
  processor has it, large blocks kept by the allocator.
- `aoti`: the same region from one flat graph, compiled; in float32, or with the generator in bfloat16, too.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from bench.step_bytes import counting_fused
from engine import weights
from engine.editing import perceptual as perceptual_module
from engine.editing.graphs import StepData, View, goal_of, points_of, rendered, step_graph, wplus_step
from engine.editing.mouth import MOVED_POINTS
from engine.editing.perceptual import PerceptualLoss, has_bfloat16
from engine.editing.refine import RefineConfig
from engine.generators import load_default_generator
from engine.generators.protocol import Generator, Region
from engine.generators.stats import WStatistics
from engine.generators.stylegan2 import StyleGAN2, StyleGAN2Config
from engine.tracking.mesh import MESH_SIZE, MeshNet
from kernels.backends.aoti import compiled
from kernels.flat import FlatGraph, trace
from kernels.lowering import Lowering, lower
from kernels.step import STATE, Step, StepState
from kernels.tracing import tracing
from kernels.unit_distance import unit_distance_reference

GENERATORS: Final = ("default", "stylegan2-256", "stylegan2-512", "stylegan2-1024")
BACKENDS: Final = ("plain", "eager", "aoti")
_PLACE: Final = (0.60, 0.30, 0.92, 0.70)
"""Top, left, bottom, right of the region where no profile gives one, as shares of the picture."""
_FACE: Final = (0.05, 0.05, 0.95)
"""Left, top and side of the mesh's crop, as shares of the picture."""
_AXES: Final = 300
_LOWERED: Final = (*range(5, 12), *range(55, 60), *range(65, 68))
"""Landmarks of the chin and the lower lip."""
_OPENING: Final = 0.02
"""How much lower they should be, in IOD: as far as the presenter's predicted frames miss their targets.

How near a gradient in bfloat16 is to the true one hangs on it: rounding moves the landmarks, too, and counts the more
the nearer they are to their targets (cosine 0.98 here, 0.90 where only noise of 0.008 IOD is to be mended)."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the table."""

    generator: str
    """One of `GENERATORS`."""
    effort: int
    """0: one render; 2: one W+ step."""
    backend: str
    """One of `BACKENDS`."""
    half: bool = False
    """Whether the generator runs in bfloat16."""

    @property
    def name(self) -> str:
        """As in tables."""
        work = "render" if self.effort == 0 else "step"
        return f"{self.generator} {work} {self.backend}{' bf16' if self.half else ''}"

    def as_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Work:
    """A variant, ready to run."""

    run: Callable[[], tuple[Tensor, ...]]
    """One render or step."""
    setup_s: float
    """Seconds of tracing and compiling."""
    operations: int | None
    """Operations of the flat graph; None where there is none."""
    fused_bytes: int | None = None
    """Bytes that the compiled kernels move in one run, as Inductor counted them; None where nothing was compiled."""


def make_generator(name: str) -> tuple[Generator, Region]:
    """A generator and the region that is edited: the public one, or StyleGAN2 config F with random weights."""
    if name == "default":
        generator: Generator = load_default_generator()
    else:
        generator = _random_stylegan2(int(name.partition("-")[2]))
    for parameter in generator.module().parameters():
        parameter.requires_grad_(False)
    top, left, bottom, right = (share * generator.resolution for share in _PLACE)
    return generator, Region.around((top, left, bottom, right), generator.region_step, generator.resolution)


def _random_stylegan2(resolution: int) -> StyleGAN2:
    """Config F as at the start of training."""
    model = StyleGAN2(StyleGAN2Config.sized(resolution))
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("weight") or ".weights." in name or name == "constant":
                fan_in = max(1, tensor[0].numel()) if tensor.ndim > 2 else 1
                tensor.copy_(torch.randn(tensor.shape, generator=noise) / fan_in**0.5)
    return model.eval()


def make(variant: Variant, folder: Path) -> Work:
    """Prepare a variant: load, trace, compile.

    Args:
        variant: what to run.
        folder: of compiled packages; an empty one where what they move shall be counted.
    """
    generator, region = make_generator(variant.generator)
    w = _code(generator)
    if variant.backend == "plain":
        whole = Region(0, 0, generator.resolution, generator.resolution)
        return _plain(generator, whole, w, variant.effort)
    begin = time.perf_counter()
    inputs: tuple[Tensor, ...]
    if variant.effort == 0:
        function, inputs = rendered(generator, region), (w,)
    else:
        function, inputs = _step(generator, region, w, has_bfloat16())
    if variant.backend == "eager":
        return Work(lambda: _quiet(function, inputs, variant.effort), time.perf_counter() - begin, None)
    graph = _graph(variant, generator, region, w, inputs)
    with counting_fused() as fused:
        package = compiled(graph, folder, variant.name)
    return Work(lambda: package(*inputs), time.perf_counter() - begin, graph.size, fused.total)


def _code(generator: Generator) -> Tensor:
    """A face of the generator's own: [R,D]."""
    with torch.no_grad():
        z = torch.randn(1, generator.noise_width, generator=torch.Generator().manual_seed(0))
        return generator.mapping(z).repeat(generator.rows, 1)


def _graph(variant: Variant, generator: Generator, region: Region, w: Tensor, inputs: tuple[Tensor, ...]) -> FlatGraph:
    """The variant's work as a lowered flat graph."""
    render, narrow = trace(rendered(generator, region), (w,)), torch.bfloat16 if variant.half else None
    if variant.effort == 0:
        return lower(render, Lowering(narrow=narrow))

    def stepping(run: Callable[..., tuple[Tensor, ...]]) -> Step:
        """The step on a render."""
        return _step(generator, region, w, has_bfloat16(), lambda code: run(code)[0])[0]

    return step_graph(render, stepping, inputs, narrow)


def leaving(
    name: str, effort: int, narrow: torch.dtype | None
) -> tuple[FlatGraph, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """A render or step as a graph that leaves torch.

    Args:
        name: one of `GENERATORS`.
        effort: 0: one render; 2: one W+ step.
        narrow: what the generator's convolutions run in; None: float32.

    Returns:
        The graph, its inputs, and what the same work gives eagerly, in float32 throughout.
    """
    generator, region = make_generator(name)
    w = _code(generator)
    function = rendered(generator, region)
    render = trace(function, (w,), portable=True)
    if effort == 0:
        return lower(render, Lowering.portable(narrow)), (w,), _quiet(function, (w,), 0)
    step, inputs = _step(generator, region, w, False)

    def stepping(run: Callable[..., tuple[Tensor, ...]]) -> Step:
        """The step on a render."""
        return _step(generator, region, w, False, lambda code: run(code)[0])[0]

    return step_graph(render, stepping, inputs, narrow, portable=True), inputs, step(*inputs)


def _plain(generator: Generator, whole: Region, w: Tensor, effort: int) -> Work:
    """Whole pictures by single operations, as a program without any of this would run them."""

    def synthesis(code: Tensor) -> Tensor:
        """Code [R,D] -> the whole picture."""
        with tracing():
            return generator.synthesis(code[None])

    if effort == 0:
        return Work(lambda: _quiet(lambda code: (synthesis(code),), (w,), 0), 0.0, None)
    setattr(perceptual_module, "unit_distance", unit_distance_reference)  # noqa: B010 - a process of its own
    step, inputs = _step(generator, whole, w, False, synthesis)
    return Work(lambda: step(*inputs), 0.0, None)


def _quiet(function: Callable[..., tuple[Tensor, ...]], inputs: tuple[Tensor, ...], effort: int) -> tuple[Tensor, ...]:
    with torch.set_grad_enabled(effort > 0):
        return function(*inputs)


def _step(
    generator: Generator,
    region: Region,
    w: Tensor,
    half: bool,
    render: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Callable[..., tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """A W+ step and made-up inputs for it."""
    config = RefineConfig()
    perceptual = PerceptualLoss(weights.path("stlpips-vgg"), stages=4, half=half)
    mesh = MeshNet(weights.path("mesh")).eval()
    noise = torch.Generator().manual_seed(1)
    iod = torch.tensor(generator.resolution / 8.0)
    statistics = WStatistics.sample(generator, axes=min(_AXES, generator.width), samples=1000)
    weight = torch.zeros(68)
    weight[torch.from_numpy(MOVED_POINTS)] = 1.0
    with torch.no_grad():
        whole = generator.synthesis(w[None])
        picture = whole[:, :, region.slices[0], region.slices[1]].contiguous()
        view = _view(whole, region)
        target = points_of(mesh, picture, view)[0, :, :2] + iod / 128 * torch.randn(68, 2, generator=noise)
        target[_LOWERED, 1] += _OPENING * iod
        goal = goal_of(perceptual, config)(picture)
    offset = 0.01 * torch.randn(generator.rows, len(statistics.basis), generator=noise)
    edge = torch.rand(1, 1, region.height, region.width, generator=noise)
    data = StepData(w, torch.zeros_like(offset), target, iod, picture * 0.95, edge)
    step = wplus_step(
        render or (lambda code: generator.region(code[None], region)),
        mesh, perceptual, statistics, weight, config,
    )  # fmt: skip
    return step, (*StepState.begin(offset).tensors, *data.tensors, *view.tensors, *goal)


def _view(whole: Tensor, region: Region) -> View:
    """The mesh's view of a picture of which the region is rendered."""
    size = whole.shape[-1]
    left, top, side = (share * size for share in _FACE)
    scale = side / MESH_SIZE
    crop = np.array([[scale, 0, left], [0, scale, top], [0, 0, 1.0]])
    matrix = crop.copy()
    matrix[:2, 2] -= (region.left, region.top)
    face = functional.interpolate(whole * 0.5 + 0.5, size=(MESH_SIZE, MESH_SIZE), mode="area").clamp(0, 1)
    mask = torch.zeros(1, 1, MESH_SIZE, MESH_SIZE)
    rows = slice(int((region.top - top) / scale), int((region.top + region.height - top) / scale))
    columns = slice(int((region.left - left) / scale), int((region.left + region.width - left) / scale))
    mask[:, :, max(0, rows.start) : rows.stop, max(0, columns.start) : columns.stop] = 0.9
    return View.of(matrix, crop, face, mask, region)


def arithmetic(variant: Variant) -> Mapping[str, float]:
    """Multiplications and additions of one run, counted on the eager form: {"gflop"}.

    Of a filter's two gradients only those that are computed count, each as much as the filter itself.
    """
    generator, region = make_generator(variant.generator)
    w = torch.zeros(generator.rows, generator.width)
    whole = variant.backend == "plain"
    place = Region(0, 0, generator.resolution, generator.resolution) if whole else region
    render = (lambda code: generator.synthesis(code[None])) if whole else None
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.convolution_backward: _gradients}) as counter:
        if variant.effort == 0:
            with torch.no_grad():
                (render or (lambda code: rendered(generator, place)(code)[0]))(w)
        else:
            step, inputs = _step(generator, place, w, False, render)
            before = counter.get_total_flops()
            step(*inputs)
            return {"gflop": (counter.get_total_flops() - before) / 1e9}
    return {"gflop": counter.get_total_flops() / 1e9}


def _gradients(
    gradient: Sequence[int], x: Sequence[int], weight: Sequence[int], *rest: Any, out_shape: object = None
) -> int:
    """Operations of a convolution's gradients, from shapes; torch itself counts depthwise filters as dense ones."""
    transposed, asked = bool(rest[4]), rest[7]
    each: int = conv_flop_count(list(x), list(weight), list(gradient), transposed)
    return each * (bool(asked[0]) + bool(asked[1]))


def gradient_cosine(variant: Variant, results: tuple[Tensor, ...]) -> float | None:
    """Cosine between the gradient of a step and the same objective's in float32 throughout; None for other work."""
    if variant.effort == 0 or variant.backend == "plain":
        return None
    generator, region = make_generator(variant.generator)
    step, inputs = _step(generator, region, _code(generator), False)
    found, true = (each[STATE + 1].flatten() for each in (results, step(*inputs)))
    return float(functional.cosine_similarity(found, true, 0))
