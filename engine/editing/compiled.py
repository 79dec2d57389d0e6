"""What a session's work runs on, chosen by measuring on this machine (`kernels.backends.choice`).

Pieces of work: the region's render, loops over pixels (the way into the frame, and what composites measure), the
tracker's networks, the alignment network, the measurement of the mouth (effort 1 and more) and the W+ step (effort 2
and more). A compiled
package belongs to the form of the networks and the region, not to the speaker: weights are its inputs. The tracker's
networks are the same for all, and their weights are inside. `auto` takes packages that are there and
never compiles, so that no session waits for a compiler unasked; a backend asked for by name is compiled. Beside its
packages the folder holds a note for each form that was compiled, so that `auto` need not trace a graph to learn that
there is none.
"""

import functools
import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.editing.graphs import (
    Function,
    StepData,
    View,
    goal_of,
    measured,
    points_of,
    rendered,
    step_graph,
    wplus_step,
)
from engine.editing.loop_trial import UNIT, example, parts_of
from engine.editing.perceptual import PerceptualLoss, has_bfloat16
from engine.editing.refine import RefineConfig
from engine.editing.rendering import SpeakerRenderer
from engine.editing.stepping import FastForms, Runner
from engine.errors import BackendError
from engine.generators.stats import WStatistics
from engine.speech.alignment import NetworkAlignment
from engine.tracking.mesh import MESH_SIZE, MeshNet
from engine.tracking.networks import TrackerNetwork, identity
from engine.weights import cache_dir
from kernels.backends.aoti import compiled, frozen, is_cached, is_whole, processor
from kernels.backends.choice import BackendName, Choice, Trial, choose, worst_of
from kernels.backends.device import captured, engine_runner
from kernels.errors import BackendMismatch, BackendUnavailable, KernelError
from kernels.flat import FlatGraph, trace
from kernels.lowering import Lowering, lower
from kernels.native.pixels import Pixels, load, using
from kernels.step import STATE, StepState

logger = logging.getLogger(__name__)

RENDER: Final = "region render"
MEASURE: Final = "mouth measurement"
STEP: Final = "W+ step"
LOOPS: Final = "picture loops"
ALIGN: Final = "alignment network"

GREY_LEVELS: Final = 0.75
"""Largest root mean square difference of a backend's pictures from the reference's, in grey levels of 0...255.

Rounding to 8 bits alone makes 0.29."""
LANDMARK_PX: Final = 0.1
"""Largest root mean square difference of landmarks, in px of the 1024-px crop: 0.03 % of the eyes' distance."""
NETWORK_PX: Final = 0.02
"""Largest root mean square difference of a result of the tracker's networks: px of their pictures (of the face mesh:
`LANDMARK_PX` of a crop of 1024 px), and logits of their scores."""
ALIGNMENT_IOD: Final = 1e-4
"""Largest root mean square difference of the alignment network's corrections, in inter-ocular distances."""
GRADIENT: Final = 0.05
"""Largest difference of a step's gradient, as a share of the gradient, and of its loss, as a share of the loss.

Steps are compared by these, never by where they lead: Adam's first step is the gradient's sign alone."""
_SPREAD: Final = 2.0
"""Mouth numbers at which pictures are compared, in their units, beside the mean one."""
_LOOP_ROUNDS: Final = 3
_NOTE: Final = ".form"
_WIDTHS: Final = (False, True)
"""Whether in bfloat16."""
_MISSING: Final = "not compiled on this machine yet; `livedub compile` does it, once"


def packages_dir() -> Path:
    """Folder of compiled packages: beside the cached weights."""
    return cache_dir().parent / "compiled"


def forms_made(folder: Path | None = None) -> Counter[str]:
    """How many forms of each piece of work were compiled into a folder; `packages_dir` by default."""
    return Counter(note.read_text(encoding="ascii") for note in (folder or packages_dir()).glob(f"*{_NOTE}"))


class Networks(Protocol):
    """What all sessions of a process share."""

    @property
    def perceptual(self) -> PerceptualLoss:
        """The distance of W+ steps."""

    @property
    def mesh(self) -> MeshNet:
        """The face mesh."""


@dataclass(frozen=True)
class Work:
    """A piece of work that may be compiled."""

    name: str
    """`RENDER`, `MEASURE`, `STEP` or `ALIGN`, or that of a tracker's network."""
    form: tuple[object, ...]
    """All that its graph depends on, as plain values."""
    reference: Runner
    """Does it eagerly."""
    inputs: Callable[[], list[tuple[Tensor, ...]]]
    """Sets of inputs to compare on."""
    graph: Callable[[tuple[Tensor, ...], torch.dtype | None, bool], FlatGraph]
    """Inputs, what its convolutions run in, whether for another library than torch, to the graph that is compiled."""
    limit: float
    """Largest difference of what is compared."""
    judged: Callable[[tuple[Tensor, ...], tuple[Tensor, ...]], Tensor]
    """Results, and the reference's on the same inputs, to what is compared."""
    halves: bool = False
    """Whether bfloat16 may be tried, and float16 in engines."""
    steps: bool = False
    """Whether it is an optimisation step, of which a GPU takes several at once (`kernels.backends.repeated`)."""
    rounds: int = 5
    """Timed runs of each candidate."""
    network: nn.Module | None = None
    """Compiled as it is, with its weights inside, in place of the graph; for weights that never change."""

    def note(self, folder: Path, half: bool) -> Path:
        """The file that says that this form was compiled, in bfloat16 or not, for this machine and so many threads."""
        parts = (self.name, half, *self.form, torch.__version__, processor(), torch.get_num_threads())
        return folder / (hashlib.sha256(repr(parts).encode()).hexdigest()[:20] + _NOTE)


class SessionBackends:
    """What one speaker's work runs on; eager until `prepare` has chosen.

    Args:
        renderer: the speaker's; it is made to use what renders.
        networks: the mesh and the perceptual network.
        statistics: whitened W.
        config: of the W+ steps.
        weight: [68] weight of each landmark in them.
        asked: "auto", or the only backend that will do.
        folder: of compiled packages; `packages_dir` by default.
        trackers: the networks of the speaker's trackers; none: those stay eager.
        alignment: how dubs place the mouth, where a network has a part in it.
    """

    def __init__(
        self,
        renderer: SpeakerRenderer,
        networks: Networks,
        statistics: WStatistics,
        config: RefineConfig,
        weight: Tensor,
        asked: BackendName,
        folder: Path | None = None,
        trackers: Sequence[TrackerNetwork] = (),
        alignment: NetworkAlignment | None = None,
    ) -> None:
        """Chooses nothing yet."""
        self.fast: Final = FastForms()
        """What the editor uses."""
        self._renderer: Final = renderer
        self._networks: Final = networks
        self._statistics: Final = statistics
        self._config: Final = config
        self._weight: Final = weight
        self._asked: Final[BackendName] = asked
        self._folder: Final = folder
        self._trackers: Final = {each.name: each for each in trackers}
        self._alignment: Final = alignment
        self._chosen: Final[dict[str, Choice]] = {}

    def prepare(self, effort: int) -> None:
        """Choose what an effort needs and has not been chosen yet; takes seconds where something is compiled.

        Raises:
            BackendError: the backend asked for cannot be had here, or computes something else.
        """
        wanted = [RENDER, LOOPS, *self._trackers] + [ALIGN] * (self._alignment is not None)
        wanted += [MEASURE] * (effort > 0) + [STEP] * (effort > 1)
        for name in wanted:
            if name not in self._chosen:
                self._chosen[name] = self._choose(name)

    def as_dict(self) -> dict[str, Any]:
        """What was chosen, as plain JSON values: the render's choice, the others' by name."""
        found = {name: choice.as_dict() for name, choice in self._chosen.items()}
        return {**found.pop(RENDER, {}), **found}

    @functools.cached_property
    def _mean_face(self) -> Tensor:
        """The generator's own picture [1,3,H,W] of the mean mouth, in 0...1: what trackers' networks are tried on."""
        with torch.no_grad():
            picture = self._renderer.generator.coarse(self._renderer.profile.base[None])
        return (picture * 0.5 + 0.5).clamp(0, 1)

    def _choose(self, name: str) -> Choice:
        if name == RENDER:
            return choose_backend(self._renderer, self._asked, self._folder)
        if name == LOOPS:
            choice, self.fast.loops = choose_loops(self._asked, self._folder)
            return choice
        if name in self._trackers:
            choice = choose_for(looking(self._trackers[name], lambda: self._mean_face), self._asked, self._folder)
            if choice.name != "eager":
                self.fast.networks[name] = choice.runner
            return choice
        if name == ALIGN and self._alignment is not None:
            choice = choose_for(aligning(self._alignment, self._renderer), self._asked, self._folder)
            if choice.name != "eager":
                self._alignment.use(choice.runner)
            return choice
        if name == MEASURE:
            choice = choose_for(measurement(self._renderer, self._networks.mesh), self._asked, self._folder)
            self.fast.measure = choice.runner if choice.name != "eager" else None
        else:
            work = step(self._renderer, self._networks, self._statistics, self._config, self._weight)
            choice = choose_for(work, self._asked, self._folder)
            self.fast.step = choice.runner if choice.name != "eager" else None
        return choice


def choose_backend(renderer: SpeakerRenderer, asked: BackendName, folder: Path | None = None) -> Choice:
    """Choose how the region is rendered, and make the renderer use it for pictures without gradient.

    Args and errors are those of `choose_for`.
    """
    choice = choose_for(render(renderer), asked, folder)
    if choice.name != "eager":
        renderer.use(choice.runner)
    return choice


def choose_for(work: Work, asked: BackendName, folder: Path | None = None) -> Choice:
    """Choose what a piece of work runs on.

    Args:
        work: the piece.
        asked: "auto", or the only backend that will do.
        folder: of compiled packages; `packages_dir` by default.

    Returns:
        The backend, with the reason and all trials; the reference where nothing else was tried, with that as reason.

    Raises:
        BackendError: the backend asked for cannot be had here, or computes something else.
    """
    folder = folder or packages_dir()
    if asked == "eager":
        return _eagerly(work, "asked for")
    if asked == "auto" and not torch.cuda.is_available() and not any(work.note(folder, h).exists() for h in _WIDTHS):
        return _eagerly(work, _MISSING)
    inputs, half = work.inputs(), work.halves and has_bfloat16()
    try:
        try:
            choice = _tried(work, inputs, folder, asked, half)
        except BackendMismatch as error:
            if not half:
                raise
            logger.warning("%s: %s; compiling in float32 instead", work.name, error)
            choice = _tried(work, inputs, folder, asked, False)
    except KernelError as error:
        raise BackendError(f"{work.name}: {error}") from error
    logger.info("%s on backend %s: %s", work.name, choice.name, choice.reason)
    return choice


def choose_loops(asked: BackendName, folder: Path | None = None) -> tuple[Choice, Pixels | None]:
    """Choose whether composites use the compiled loops over pixels: all of them compared, and timed together.

    Args:
        asked: "auto", or the only backend that will do.
        folder: of compiled packages; `packages_dir` by default.

    Returns:
        The choice, and the loops where they are chosen.

    Raises:
        BackendError: they are asked for and cannot be compiled, or compute something else.
    """
    if asked not in ("auto", "aoti"):
        told = "asked for" if asked == "eager" else f"{asked} does not run this work yet"
        return _eager(parts_of, told), None
    found: list[Pixels] = []

    def build() -> Runner:
        """The same with the loops."""
        found.append(load(folder or packages_dir(), may_compile=asked == "aoti"))

        def run(picture: Tensor) -> tuple[Tensor, ...]:
            """See `parts_of`."""
            with using(found[0]):
                return parts_of(picture)

        return run

    try:
        choice = choose(
            parts_of, {"aoti": build}, [(example(),)], GREY_LEVELS / UNIT, asked, _LOOP_ROUNDS, judged=worst_of
        )
    except KernelError as error:
        raise BackendError(f"{LOOPS}: {error}") from error
    logger.info("%s on backend %s: %s", LOOPS, choice.name, choice.reason)
    return choice, found[0] if choice.name != "eager" else None


def _eagerly(work: Work, reason: str) -> Choice:
    return _eager(work.reference, reason)


def _eager(reference: Runner, reason: str) -> Choice:
    return Choice("eager", reference, reason, (Trial("eager", None, 0.0, "usable"),))


def _tried(work: Work, inputs: list[tuple[Tensor, ...]], folder: Path, asked: BackendName, half: bool) -> Choice:
    """Try the candidates, each on all inputs."""
    candidates = _candidates(work, inputs[0], folder, half, asked != "auto")
    return choose(work.reference, candidates, inputs, work.limit, asked, work.rounds, judged=work.judged)


def _candidates(
    work: Work, examples: tuple[Tensor, ...], folder: Path, half: bool, may_compile: bool
) -> dict[str, Callable[[], Runner]]:
    """What may do the work besides the reference; with `half` in bfloat16, float32 only where that is there too."""

    def packaged(half: bool) -> Runner:
        """From a compiled package, in bfloat16 or not."""
        if not may_compile and not work.note(folder, half).exists():
            raise BackendUnavailable(_MISSING)
        if work.network is not None:
            return packaged_whole(work.network, half)
        graph = work.graph(examples, torch.bfloat16 if half else None, False)
        if not may_compile and not is_cached(graph, folder):
            raise BackendUnavailable(_MISSING)
        found = compiled(graph, folder, work.name)
        work.note(folder, half).write_text(work.name, encoding="ascii")
        return found

    def packaged_whole(network: nn.Module, half: bool) -> Runner:
        """A network with its weights inside: what its package is named after is in its note's name."""
        note = work.note(folder, half)
        path = note.with_suffix(".pt2")
        if not may_compile and not is_whole(path):
            raise BackendUnavailable(_MISSING)
        found = frozen(network, examples, path, work.name)
        note.write_text(work.name, encoding="ascii")
        return found

    found: dict[str, Callable[[], Runner]] = {"aoti bf16": lambda: packaged(True)} if half else {}
    if not half or not may_compile:
        found["aoti"] = lambda: packaged(False)
    for kind, named in ((None, ""), (torch.bfloat16, " bf16"))[: 1 + work.halves]:
        found[f"cudagraph{named}"] = functools.partial(_captured, work, examples, kind)
    for kind, named in ((None, ""), (torch.float16, " fp16"))[: 1 + work.halves]:
        found[f"tensorrt{named}"] = functools.partial(_engine, work, examples, kind, folder)
    return found


def _captured(work: Work, examples: tuple[Tensor, ...], kind: torch.dtype | None) -> Runner:
    return captured(lambda: work.graph(examples, kind, False), work.name, work.steps)


def _engine(work: Work, examples: tuple[Tensor, ...], kind: torch.dtype | None, folder: Path) -> Runner:
    return engine_runner(lambda: work.graph(examples, kind, True), folder, work.name, work.steps)


def render(renderer: SpeakerRenderer) -> Work:
    """The region's render: w [R,D] -> ([1,3,h,w],)."""
    function = rendered(renderer.generator, renderer.profile.region)

    def graph(examples: tuple[Tensor, ...], narrow: torch.dtype | None, portable: bool) -> FlatGraph:
        """The render as a graph."""
        return _lowered(function, examples, narrow, portable)

    return Work(
        RENDER, _form(renderer), renderer.eager, lambda: [(w,) for w in _looks(renderer)], graph, GREY_LEVELS / UNIT,
        lambda results, _: results[0], halves=True,
    )  # fmt: skip


def measurement(renderer: SpeakerRenderer, mesh: MeshNet) -> Work:
    """The mouth's measurement: pixels of the region and a `View` -> ([68,3] px of the frame,)."""
    function = measured(mesh)

    def graph(examples: tuple[Tensor, ...], narrow: torch.dtype | None, portable: bool) -> FlatGraph:
        """The measurement as a graph."""
        return _lowered(function, examples, narrow, portable)

    def inputs() -> list[tuple[Tensor, ...]]:
        """Pictures of the speaker over the generator's own face."""
        view = _view(renderer)
        return [(renderer.eager(w)[0].contiguous(), *view.tensors) for w in _looks(renderer)]

    return Work(MEASURE, _form(renderer), function, inputs, graph, LANDMARK_PX, lambda results, _: results[0])


def step(
    renderer: SpeakerRenderer, networks: Networks, statistics: WStatistics, config: RefineConfig, weight: Tensor
) -> Work:
    """The W+ step (`graphs.wplus_step`)."""
    mesh, perceptual = networks.mesh, networks.perceptual

    def stepping(run: Runner, looks: PerceptualLoss = perceptual) -> Runner:
        """The step on a render."""
        return wplus_step(lambda w: run(w)[0], mesh, looks, statistics, weight, config)

    def graph(examples: tuple[Tensor, ...], narrow: torch.dtype | None, portable: bool) -> FlatGraph:
        """The step as a graph; beside the generator what leaves torch is in float32."""
        plain = trace(rendered(renderer.generator, renderer.profile.region), (renderer.profile.base,), portable)
        if not portable:
            return step_graph(plain, stepping, examples, narrow)
        whole = tuple(each.float() for each in examples)
        return step_graph(plain, lambda run: stepping(run, perceptual.in_float32()), whole, narrow, True)

    def judged(results: tuple[Tensor, ...], wanted: tuple[Tensor, ...]) -> Tensor:
        """Gradient and loss, each as a share of the reference's."""
        loss, gradient = (results[i].flatten() / wanted[i].square().mean().sqrt() for i in (STATE, STATE + 1))
        return torch.cat([loss.expand(len(gradient)), gradient])

    form = (*_form(renderer), tuple(statistics.basis.shape), repr(config), _shapes(perceptual))
    return Work(
        STEP, form, stepping(renderer.eager),
        lambda: _step_inputs(renderer, networks, statistics, config), graph, GRADIENT, judged, halves=True,
        steps=True, rounds=2,
    )  # fmt: skip


def looking(tracked: TrackerNetwork, face: Callable[[], Tensor]) -> Work:
    """A network that the tracker looks with: a picture [1,3,S,S] -> its results.

    Args:
        tracked: the network.
        face: gives [1,3,H,W] in 0...1, a face upright in the middle.
    """
    network = tracked.network

    def graph(examples: tuple[Tensor, ...], narrow: torch.dtype | None, portable: bool) -> FlatGraph:
        """The network as a graph, for what is not compiled with weights inside."""
        return trace(network, examples, portable)

    def inputs() -> list[tuple[Tensor, ...]]:
        """The face, and its mirror image in dim light."""
        seen = face()
        return [(tracked.picture(each),) for each in (seen, 0.5 * seen.flip(3))]

    return Work(tracked.name, tracked.form, network, inputs, graph, NETWORK_PX, worst_of, rounds=3, network=network)


def aligning(alignment: NetworkAlignment, renderer: SpeakerRenderer) -> Work:
    """The network that places the mouth: `engine.speech.alignment.Corrections`.

    Args:
        alignment: has the network.
        renderer: of the speaker on whose face it is tried.
    """
    network = alignment.network

    def graph(examples: tuple[Tensor, ...], narrow: torch.dtype | None, portable: bool) -> FlatGraph:
        """The network as a graph, for what is not compiled with weights inside."""
        return trace(network, examples, portable)

    def inputs() -> list[tuple[Tensor, ...]]:
        """The speaker's rest face looking ahead and turned, its points moved a little, the mouth asked to open."""
        rest = torch.from_numpy(renderer.profile.rest_head.astype(np.float32))[None].contiguous()
        moved = 0.02 * torch.sin(torch.arange(float(rest.numel()))).reshape(rest.shape)
        turns = torch.zeros(1, 3), torch.tensor([[20.0, -10.0, 5.0]])
        return [(rest + moved, rest, turn, moved.flip(1)) for turn in turns]

    form = ("contiguous", *identity(network))
    return Work(ALIGN, form, network, inputs, graph, ALIGNMENT_IOD, worst_of, network=network)


def _lowered(function: Function, examples: tuple[Tensor, ...], narrow: torch.dtype | None, portable: bool) -> FlatGraph:
    """A function as a graph in the form that suits what it is for."""
    plain = trace(function, examples, portable)
    return lower(plain, Lowering.portable(narrow) if portable else Lowering(narrow=narrow))


def _form(renderer: SpeakerRenderer) -> tuple[object, ...]:
    """All that a graph of this speaker's generator and region depends on."""
    generator, region = renderer.generator, renderer.profile.region
    return (type(generator).__qualname__, generator.resolution, _shapes(generator.module()), region)


def _shapes(module: nn.Module) -> tuple[object, ...]:
    """Names and shapes of a network's weights."""
    return tuple((name, tuple(value.shape)) for name, value in sorted(module.state_dict().items()))


def _looks(renderer: SpeakerRenderer) -> list[Tensor]:
    """Codes to compare pictures at: the clip's mean mouth, and mouth numbers moved."""
    profile = renderer.profile
    mouths = profile.slopes[-8:]
    return [profile.base, profile.base + _SPREAD * mouths[0], profile.base - _SPREAD * mouths[1:].mean(0)]


def _view(renderer: SpeakerRenderer) -> View:
    """How the face mesh sees the generator's own picture, small, with the region laid over."""
    generator, region = renderer.generator, renderer.profile.region
    size = generator.resolution
    crop = np.diag([size / MESH_SIZE, size / MESH_SIZE, 1.0])
    matrix = crop.copy()
    matrix[:2, 2] = (-region.left, -region.top)
    with torch.no_grad():
        coarse = generator.coarse(renderer.profile.base[None])
        face = functional.interpolate(coarse * 0.5 + 0.5, size=(MESH_SIZE, MESH_SIZE), mode="area").clamp(0, 1)
        inside = torch.zeros(1, 1, size, size)
        inside[:, :, region.slices[0], region.slices[1]] = 0.9
        mask = functional.interpolate(inside, size=(MESH_SIZE, MESH_SIZE), mode="area")
    return View.of(matrix, crop, face.contiguous(), mask, region)


def _step_inputs(
    renderer: SpeakerRenderer, networks: Networks, statistics: WStatistics, config: RefineConfig
) -> list[tuple[Tensor, ...]]:
    """Steps from the speaker's mean mouth and from another one, towards landmarks a little away."""
    view, region = _view(renderer), renderer.profile.region
    found = []
    for w in _looks(renderer)[:2]:
        with torch.no_grad():
            picture = renderer.eager(w)[0].contiguous()
            points = points_of(networks.mesh, picture, view)[0, :, :2]
            goal = goal_of(networks.perceptual, config)(picture)
        target = points + renderer.generator.resolution / 200 * torch.sin(torch.arange(136.0)).reshape(68, 2)
        edge = torch.linspace(0, 1, region.height)[None, None, :, None].repeat(1, 1, 1, region.width)
        offset = 0.1 * torch.sin(torch.arange(float(len(w) * len(statistics.basis)))).reshape(len(w), -1)
        iod = torch.tensor(renderer.generator.resolution / 4.0)
        data = StepData(w, offset, target, iod, 0.95 * picture, edge)
        state = StepState.begin(config.keep * offset)
        found.append((*state.tensors, *data.tensors, *view.tensors, *goal))
    return found
