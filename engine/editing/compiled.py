"""The speaker's region render on the backend that suits this machine, chosen by measuring (`kernels.backends.choice`).

A compiled package belongs to the generator's form and the region, not to the speaker: weights are its inputs. So
compiling, half a minute once, serves every profile of the same generator from then on. `auto` takes a package that is
there and never compiles, so that no session waits for a compiler unasked; a backend asked for by name is compiled.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from engine.editing.graphs import rendered
from engine.editing.perceptual import has_bfloat16
from engine.editing.rendering import SpeakerRenderer
from engine.errors import BackendError
from engine.weights import cache_dir
from kernels.backends.aoti import compiled, is_cached
from kernels.backends.choice import BackendName, Choice, Runner, Trial, choose
from kernels.backends.cudagraph import GraphedFunction
from kernels.errors import BackendMismatch, BackendUnavailable, KernelError
from kernels.flat import FlatGraph, trace
from kernels.lowering import Lowering, lower

logger = logging.getLogger(__name__)

GREY_LEVELS: Final = 0.75
"""Largest root mean square difference of a backend's pictures from the reference's, in grey levels of 0...255.

Rounding to 8 bits alone makes 0.29."""
_UNIT: Final = 127.5
_SPREAD: Final = 2.0
"""Mouth numbers at which pictures are compared, in their units, beside the mean one."""


def packages_dir() -> Path:
    """Folder of compiled packages: beside the cached weights."""
    return cache_dir().parent / "compiled"


def choose_backend(renderer: SpeakerRenderer, asked: BackendName, folder: Path | None = None) -> Choice:
    """Choose how the region is rendered, and make the renderer use it for pictures without gradient.

    Args:
        renderer: the speaker's.
        asked: "auto", or the only backend that will do.
        folder: of compiled packages; `packages_dir` by default.

    Returns:
        The backend, with the reason and all trials; the reference where nothing else was tried, with that as reason.

    Raises:
        BackendError: the backend asked for cannot be had here, or computes something else.
    """
    folder = folder or packages_dir()
    eager = renderer.eager
    if asked == "eager" or (asked == "auto" and not any(folder.glob("*.pt2"))):
        reason = (
            "asked for" if asked == "eager" else "nothing is compiled on this machine yet; `livedub enroll` does it"
        )
        return Choice("eager", eager, reason, (Trial("eager", None, 0.0, "usable"),))
    inputs = [(w,) for w in _looks(renderer)]
    graph = trace(rendered(renderer.generator, renderer.profile.region), inputs[0])
    half = _candidates(graph, folder, has_bfloat16(), asked != "auto")
    try:
        try:
            choice = choose(eager, half, inputs, GREY_LEVELS / _UNIT, asked)
        except BackendMismatch as error:
            logger.warning("%s; compiling in float32 instead", error)
            single = _candidates(graph, folder, False, asked != "auto")
            choice = choose(eager, single, inputs, GREY_LEVELS / _UNIT, asked)
    except KernelError as error:
        raise BackendError(str(error)) from error
    logger.info("backend %s: %s", choice.name, choice.reason)
    if choice.runner is not eager:
        renderer.use(choice.runner)
    return choice


def _candidates(graph: FlatGraph, folder: Path, half: bool, may_compile: bool) -> dict[str, Callable[[], Runner]]:
    """What may run the graph besides the reference; with `half` in bfloat16, float32 only where that is there too."""

    def packaged(half: bool) -> Runner:
        """The region from a compiled package, in bfloat16 or not."""
        fast = lower(graph, Lowering(half=half))
        if not may_compile and not is_cached(fast, folder):
            raise BackendUnavailable("not compiled on this machine yet; `livedub enroll` does it, once")
        return compiled(fast, folder, "region render")

    def captured() -> Runner:
        """The region from a captured CUDA graph."""
        if not torch.cuda.is_available():
            raise BackendUnavailable("no CUDA device answers here")
        return GraphedFunction(lower(graph, Lowering()), name="region render")

    def engine() -> Runner:
        """The region from a TensorRT engine."""
        raise BackendUnavailable("TensorRT engines can be built here, but dubs do not run them yet")

    found: dict[str, Callable[[], Runner]] = {"aoti bf16": lambda: packaged(True)} if half else {}
    if not half or not may_compile:
        found["aoti"] = lambda: packaged(False)
    return found | {"cudagraph": captured, "tensorrt": engine}


def _looks(renderer: SpeakerRenderer) -> list[Tensor]:
    """Codes to compare pictures at: the clip's mean mouth, and each mouth number moved."""
    profile = renderer.profile
    mouths = profile.slopes[-8:]
    return [profile.base, profile.base + _SPREAD * mouths[0], profile.base - _SPREAD * mouths[1:].mean(0)]
