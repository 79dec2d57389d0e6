"""The choice of what renders a speaker's region: compiled once, equal to the reference, refused with reasons."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from engine.editing import compiled as module
from engine.editing.compiled import (
    ALIGN,
    LOOPS,
    MEASURE,
    RENDER,
    STEP,
    SessionBackends,
    Work,
    aligning,
    choose_backend,
    choose_for,
    choose_loops,
    forms_made,
    looking,
    measurement,
    render,
    step,
)
from engine.editing.editor import landmark_weight
from engine.editing.perceptual import PerceptualLoss
from engine.editing.profile import SpeakerProfile
from engine.editing.refine import RefineConfig
from engine.editing.rendering import SpeakerRenderer
from engine.editing.stepping import Runner
from engine.errors import BackendError
from engine.generators.mobile import MobileStyleGAN
from engine.generators.protocol import Region
from engine.generators.stats import WStatistics
from engine.speech.alignment import GeometricAlignment, NetworkAlignment, read_alignment_net
from engine.tracking.mesh import MeshNet
from engine.tracking.networks import TrackerNetwork, tracker_networks
from engine.tracking.pose import HeadPose
from kernels.backends.aoti import compiler
from kernels.backends.choice import BackendName, Choice
from kernels.backends.device import engine_of
from kernels.backends.engines import widened
from kernels.backends.tensorrt import precision_of
from kernels.errors import BackendUnavailable
from kernels.flat import FlatGraph
from kernels.native.pixels import Pixels, load
from kernels.step import STATE
from tests.engine.editing.test_graphs import StillMesh

pytestmark = pytest.mark.unit

HAS_BUILDER = all(importlib.util.find_spec(name) is not None for name in ("onnxscript", "tensorrt_rtx_bindings"))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The loops over pixels, compiled once for all tests of this file."""
    return load(tmp_path_factory.mktemp("native"), may_compile=True).path


@pytest.fixture(autouse=True)
def loops_there(tmp_path: Path, library: Path) -> None:
    """Every test's folder of packages has them."""
    shutil.copy(library, tmp_path)


@pytest.fixture
def renderer(profile: SpeakerProfile, small: MobileStyleGAN) -> SpeakerRenderer:
    return SpeakerRenderer(profile, small)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FlatGraph]]:
    """Compiling without a compiler: graphs are run as they are."""
    asked: list[FlatGraph] = []

    def compiled(graph: FlatGraph, folder: Path, name: str) -> FlatGraph:
        asked.append(graph)
        return graph

    monkeypatch.setattr(module, "compiled", compiled)
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    yield asked


def test_auto_compiles_nothing_and_says_so(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    choice = choose_backend(renderer, "auto", tmp_path)
    assert choice.name == "eager" and "not compiled on this machine yet" in choice.reason
    assert "livedub compile" in choice.reason
    assert stand_in == []


def test_auto_passes_over_packages_of_other_graphs(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    """A note of this form whose package is gone or of older code: the graph tells."""
    render(renderer).note(tmp_path, False).write_text(RENDER)
    choice = choose_backend(renderer, "auto", tmp_path)
    assert choice.name == "eager" and "not compiled on this machine yet" in choice.reason
    assert stand_in == [] and len(choice.trials) > 1


def test_what_is_compiled_renders_the_same_pictures(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    w = renderer.profile.base
    before = renderer.region(w)
    choice = choose_backend(renderer, "aoti", tmp_path)
    assert choice.name.startswith("aoti") and choice.reason.startswith("asked for")
    after = renderer.region(w)
    assert not torch.equal(before, after)
    assert float((before - after).abs().max()) < 0.1
    assert len(stand_in) == 1


def test_half_precision_that_shows_gives_way_to_single(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The made-up generator's pictures differ by more than a grey level in bfloat16."""
    monkeypatch.setattr(module, "has_bfloat16", lambda: True)
    choice = choose_backend(renderer, "aoti", tmp_path)
    assert choice.name == "aoti" and len(stand_in) == 2


def test_gradients_come_from_the_reference(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    choose_backend(renderer, "aoti", tmp_path)
    w = renderer.profile.base.clone().requires_grad_(True)
    picture = renderer.region(w)
    torch.testing.assert_close(picture, renderer.eager(w)[0])
    picture.square().mean().backward()  # type: ignore[no-untyped-call]
    assert w.grad is not None and float(w.grad.norm()) > 0


def test_eager_can_be_asked_for(renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]) -> None:
    assert choose_backend(renderer, "eager", tmp_path).reason == "asked for"
    assert stand_in == []


def test_a_missing_compiler_is_an_error_only_where_it_is_asked_for(
    renderer: SpeakerRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(graph: FlatGraph, folder: Path, name: str) -> FlatGraph:
        raise BackendUnavailable("no compiler: install g++")

    monkeypatch.setattr(module, "compiled", none)
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    monkeypatch.setattr(module, "is_cached", lambda graph, folder: True)
    with pytest.raises(BackendError, match="no compiler: install g[+][+]"):
        choose_backend(renderer, "aoti", tmp_path)
    render(renderer).note(tmp_path, False).write_text(RENDER)
    choice = choose_backend(renderer, "auto", tmp_path)
    assert choice.name == "eager" and "no compiler" in choice.reason


def test_wrong_pictures_are_refused(renderer: SpeakerRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: FlatGraph, folder: Path, name: str) -> object:
        def run(w: Tensor) -> tuple[Tensor, ...]:
            return (graph(w)[0] + 0.05,)

        return run

    monkeypatch.setattr(module, "compiled", wrong)
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    with pytest.raises(BackendError, match="differs from eager"):
        choose_backend(renderer, "aoti", tmp_path)


def test_gpu_backends_say_why_they_cannot_be_used(renderer: SpeakerRenderer, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device answers")
    with pytest.raises(BackendError, match="no CUDA device.*has not been tried"):
        choose_backend(renderer, "tensorrt", tmp_path)
    with pytest.raises(BackendError, match="no CUDA device"):
        choose_backend(renderer, "cudagraph", tmp_path)


@dataclass
class Shared:
    """Networks that all sessions share."""

    perceptual: PerceptualLoss
    mesh: MeshNet


@pytest.fixture
def shared(perceptual: PerceptualLoss) -> Shared:
    return Shared(perceptual, StillMesh())


def backends(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, folder: Path, asked: BackendName = "aoti"
) -> SessionBackends:
    return SessionBackends(renderer, shared, statistics, RefineConfig(), landmark_weight(), asked, folder)


def test_an_effort_s_work_is_chosen_when_it_is_needed_and_once(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def choosing(work: Work, backend: str, folder: Path) -> Choice:
        asked.append(work.name)
        return Choice("eager" if work.name == MEASURE else "aoti", lambda *inputs: inputs, "as the test says", ())

    monkeypatch.setattr(module, "choose_for", choosing)
    made = backends(renderer, shared, statistics, tmp_path)
    for effort, pieces in ((0, [RENDER]), (1, [RENDER, MEASURE]), (0, [RENDER, MEASURE]), (2, [RENDER, MEASURE, STEP])):
        made.prepare(effort)
        made.prepare(effort)
        assert asked == pieces
        assert made.fast.measure is None, "eager is the editor's own form"
        assert (made.fast.step is not None) == (STEP in pieces)
    told = made.as_dict()
    assert (told["backend"], told[MEASURE]["backend"], told[STEP]["backend"]) == ("aoti", "eager", "aoti")


def test_auto_uses_what_was_compiled_and_says_of_each_piece_what_it_runs_on(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path, stand_in: list[FlatGraph],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(module, "is_cached", lambda graph, folder: True)
    backends(renderer, shared, statistics, tmp_path).prepare(1)
    made = backends(renderer, shared, statistics, tmp_path, "auto")
    made.prepare(2)
    told = made.as_dict()
    on_a_gpu = ["cudagraph", "cudagraph bf16", "tensorrt", "tensorrt fp16"]
    assert [trial["name"] for trial in told["trials"]] == ["eager", "aoti", *on_a_gpu]
    assert [trial["name"] for trial in told[MEASURE]["trials"]] == ["eager", "aoti", "cudagraph", "tensorrt"]
    assert told[STEP]["backend"] == "eager" and "not compiled on this machine" in told[STEP]["reason"]
    assert made.fast.step is None
    assert forms_made(tmp_path) == {RENDER: 1, MEASURE: 1}


def test_what_is_compiled_measures_the_same_mouth(
    renderer: SpeakerRenderer, shared: Shared, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    work = measurement(renderer, shared.mesh)
    choice = choose_for(work, "aoti", tmp_path)
    first, other, _ = work.inputs()
    assert len(stand_in) == 1
    torch.testing.assert_close(choice.runner(*other)[0], work.reference(*other)[0])
    assert not torch.allclose(choice.runner(*first)[0], choice.runner(*other)[0], atol=1e-3)


def test_steps_are_judged_by_gradient_and_loss(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    """Of both sets of inputs; what is used gives out the whole step."""
    work = step(renderer, shared, statistics, RefineConfig(), landmark_weight())
    choice = choose_for(work, "aoti", tmp_path)
    assert len(stand_in) == 1
    assert choice.trials[1].difference is not None and choice.trials[1].difference < 1e-3
    for inputs in work.inputs():
        found, wanted = choice.runner(*inputs), work.reference(*inputs)
        torch.testing.assert_close(found[STATE], wanted[STATE], rtol=1e-4, atol=0)
        torch.testing.assert_close(found[STATE + 1], wanted[STATE + 1], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("place", [STATE, STATE + 1])
def test_a_step_of_another_gradient_or_loss_is_refused(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, place: int,
) -> None:  # fmt: skip
    work = step(renderer, shared, statistics, RefineConfig(), landmark_weight())

    def wrong(graph: FlatGraph, folder: Path, name: str) -> Runner:
        def run(*inputs: Tensor) -> tuple[Tensor, ...]:
            results = list(work.reference(*inputs))
            results[place] = 1.1 * results[place]
            return tuple(results)

        return run

    monkeypatch.setattr(module, "compiled", wrong)
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    nothing = FlatGraph(fx.GraphModule({}, fx.Graph()), (), ())
    untraced = replace(work, graph=lambda examples, half, portable: nothing)
    with pytest.raises(BackendError, match="W[+] step: .* differs from eager by 0[.](0[5-9]|1)"):
        choose_for(untraced, "aoti", tmp_path)


@pytest.mark.parametrize("asked", ["cudagraph", "tensorrt"])
def test_on_a_gpu_steps_are_captured_several_at_once_in_both_precisions(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, asked: BackendName,
) -> None:  # fmt: skip
    """With stand-ins that run the graphs here: both pass the check of gradient and loss, and both are steps."""
    made: list[tuple[str, bool]] = []

    def runner(make: Callable[[], FlatGraph], *given: Any) -> Runner:
        graph = make()
        made.append((precision_of(graph), given[-1]))
        return lambda *inputs: graph(*widened(inputs, graph.examples))

    monkeypatch.setattr(module, "captured", runner)
    monkeypatch.setattr(module, "engine_runner", runner)
    work = step(renderer, shared, statistics, RefineConfig(), landmark_weight())
    choice = choose_for(work, asked, tmp_path)
    narrow = "bf16" if asked == "cudagraph" else "fp16"
    assert made == [("fp32", True), (narrow, True)]
    assert [(each.name, each.verdict) for each in choice.trials[1:]] == [
        (asked, "usable"), (f"{asked} {narrow}", "usable"),
    ]  # fmt: skip


def test_a_form_is_of_networks_region_and_threads_not_of_a_speaker(
    renderer: SpeakerRenderer, small: MobileStyleGAN, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = render(renderer).note(tmp_path, False)
    assert render(renderer).note(tmp_path, True) != note
    profile = renderer.profile
    other = SpeakerRenderer(replace(profile, base=profile.base + 1), small)
    assert render(other).note(tmp_path, False) == note
    moved = SpeakerRenderer(replace(profile, region=Region(36, 32, 64, 64)), small)
    assert render(moved).note(tmp_path, False) != note
    assert measurement(renderer, StillMesh()).note(tmp_path, False) != note
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    assert render(renderer).note(tmp_path, False) != note


def test_loops_are_found_by_auto_once_they_were_asked_for(tmp_path: Path) -> None:
    choice, found = choose_loops("auto", tmp_path / "empty")
    assert choice.name == "eager" and found is None and "livedub compile" in choice.reason
    choice, made = choose_loops("aoti", tmp_path)
    assert choice.name == "aoti" and made is not None and choice.reason.startswith("asked for")
    choice, _ = choose_loops("auto", tmp_path)
    assert choice.trials[1].verdict == "usable" and (choice.trials[1].difference or 0) < 1e-4


def test_loops_stay_away_where_eager_or_a_gpu_is_asked_for(tmp_path: Path) -> None:
    assert choose_loops("eager", tmp_path)[1] is None
    choice, found = choose_loops("tensorrt", tmp_path)
    assert found is None and choice.reason == "tensorrt does not run this work yet"


LOOP_NAMES = [name for name, each in vars(Pixels).items() if callable(each) and not name.startswith("__")]
"""Every loop, and what brings the channels of a pixel side by side for them."""


@pytest.mark.parametrize("name", LOOP_NAMES)
def test_wrong_loops_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each loop alone, and each of its results: a loop that the trial does not call makes this fail."""
    right = getattr(Pixels, name)
    _, loops = choose_loops("aoti", tmp_path)
    assert loops is not None
    for place in range(3 if name == "edge_strength" else 1):

        def wrong(self: Pixels, *given: object, place: int = place) -> object:
            found = right(self, *given)
            if not isinstance(found, tuple):
                return 0.9 * found - 0.05
            return tuple(0.9 * each - 0.05 if index == place else each for index, each in enumerate(found))

        monkeypatch.setattr(Pixels, name, wrong)
        with pytest.raises(BackendError, match="picture loops: .*differs from eager"):
            choose_loops("aoti", tmp_path)
        choice, found = choose_loops("auto", tmp_path)
        assert choice.name == "eager" and found is None and "differs from eager by" in choice.reason


def test_sessions_are_given_the_loops_that_were_chosen(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, loops = choose_loops("aoti", tmp_path)
    monkeypatch.setattr(module, "choose_loops", lambda asked, folder: (choose_loops("eager", tmp_path)[0], loops))
    made = backends(renderer, shared, statistics, tmp_path, "eager")
    made.prepare(0)
    assert made.fast.loops is loops and made.as_dict()[LOOPS]["backend"] == "eager"


class Look(nn.Module):
    """A network that says where a picture is bright, and how bright."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.mean((1, 2)), x.mean((1, 2, 3))


@pytest.fixture
def looks() -> tuple[TrackerNetwork, ...]:
    """Networks of a tracker, of two sizes."""
    return TrackerNetwork("near", Look().eval(), 16), TrackerNetwork("far", Look().eval(), 24)


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Networks are run as they are, and packages are empty files; the names that were asked for.

    Nothing else is chosen.
    """
    asked: list[str] = []
    eager = Choice("eager", lambda *inputs: inputs, "as the test says", ())
    monkeypatch.setattr(module, "choose_backend", lambda *_: eager)
    monkeypatch.setattr(module, "choose_loops", lambda *_: (eager, None))

    def frozen(network: nn.Module, examples: tuple[Tensor, ...], path: Path, name: str) -> nn.Module:
        asked.append(name)
        path.write_bytes(b"")
        return network

    monkeypatch.setattr(module, "frozen", frozen)
    monkeypatch.setattr(module, "is_whole", Path.exists)
    return asked


def sessions(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, folder: Path,
    looks: tuple[TrackerNetwork, ...], asked: BackendName,
) -> SessionBackends:  # fmt: skip
    return SessionBackends(renderer, shared, statistics, RefineConfig(), landmark_weight(), asked, folder, looks)


def test_trackers_networks_are_chosen_for_every_effort_and_named(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path,
    looks: tuple[TrackerNetwork, ...], whole: list[str],
) -> None:  # fmt: skip
    first = sessions(renderer, shared, statistics, tmp_path, looks, "auto")
    first.prepare(0)
    told = first.as_dict()
    assert whole == [] and first.fast.networks == {}, "auto compiles nothing"
    assert "livedub compile" in told["near"]["reason"] and told["far"]["backend"] == "eager"
    made = sessions(renderer, shared, statistics, tmp_path, looks, "aoti")
    made.prepare(0)
    made.prepare(0)
    assert whole == ["near", "far"] and set(made.fast.networks) == {"near", "far"}
    assert made.fast.networks["near"] is looks[0].network
    assert made.as_dict()["far"]["trials"][1]["difference"] == 0
    assert forms_made(tmp_path)["near"] == forms_made(tmp_path)["far"] == 1
    later = sessions(renderer, shared, statistics, tmp_path, looks, "auto")
    later.prepare(0)
    assert [trial["verdict"] for trial in later.as_dict()["near"]["trials"][:2]] == ["usable", "usable"]


def test_a_package_of_a_tracker_s_network_that_is_gone_is_said(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path,
    looks: tuple[TrackerNetwork, ...], whole: list[str],
) -> None:  # fmt: skip
    sessions(renderer, shared, statistics, tmp_path, looks, "aoti").prepare(0)
    work = looking(looks[0], lambda: torch.rand(1, 3, 32, 32))
    work.note(tmp_path, False).with_suffix(".pt2").unlink()
    choice = choose_for(work, "auto", tmp_path)
    assert choice.name == "eager" and "not compiled on this machine" in choice.trials[1].verdict
    assert whole == ["near", "far"]


@pytest.mark.parametrize("place", [0, 1])
def test_a_tracker_s_network_with_one_wrong_result_is_refused(
    looks: tuple[TrackerNetwork, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """Points, or the score alone; a picture in which it does not show is not enough."""

    def wrong(network: nn.Module, examples: tuple[Tensor, ...], path: Path, name: str) -> Runner:
        def run(x: Tensor) -> tuple[Tensor, ...]:
            found = list(network(x))
            found[place] = found[place] + 0.05 * (x.mean() < 0.4)
            return tuple(found)

        return run

    monkeypatch.setattr(module, "frozen", wrong)
    work = looking(looks[0], lambda: torch.full((1, 3, 32, 32), 0.6))
    with pytest.raises(BackendError, match="near: .*differs from eager by 0.05"):
        choose_for(work, "aoti", tmp_path)


def test_gpu_backends_of_a_tracker_s_network_say_why_not(looks: tuple[TrackerNetwork, ...], tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("a CUDA device answers")
    work = looking(looks[0], lambda: torch.rand(1, 3, 32, 32))
    for asked in ("cudagraph", "tensorrt"):
        with pytest.raises(BackendError, match="near: .*no CUDA device answers"):
            choose_for(work, asked, tmp_path)


@pytest.mark.slow
def test_the_tracker_s_own_networks_are_really_compiled(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    """The smaller detector and the face mesh, on a portrait: what a session uses says the same."""
    for each in tracker_networks(MeshNet(weights("mesh")).eval())[:2]:
        work = looking(each, lambda: torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(0)))
        choice = choose_for(work, "aoti", tmp_path)
        assert (choice.trials[1].difference or 1.0) < 1e-3
        again = choose_for(work, "auto", tmp_path)
        assert [trial.verdict for trial in again.trials[:2]] == ["usable", "usable"]


@pytest.mark.slow
@pytest.mark.skipif(not HAS_BUILDER, reason="TensorRT-RTX is not installed: livedub[tensorrt-rtx]")
def test_a_tracker_s_network_becomes_a_tensorrt_engine_without_a_gpu(
    tmp_path: Path, weights: Callable[[str], Path]
) -> None:
    near = tracker_networks(MeshNet(weights("mesh")).eval())[1]
    work = looking(near, lambda: torch.rand(1, 3, 256, 256))
    engine = engine_of(work.graph(work.inputs()[0], None, True), tmp_path, "SM89")
    assert engine.stat().st_size > 10_000


@pytest.mark.slow
def test_all_work_is_really_compiled_and_found_again(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At small size, in float32: what sessions use afterwards gives the reference's pictures, landmarks, gradients."""
    try:
        compiler()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    backends(renderer, shared, statistics, tmp_path).prepare(2)
    assert len(list(tmp_path.glob("*.pt2"))) == 3
    begun = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt2")}
    for work in (render(renderer), measurement(renderer, shared.mesh)):
        choice = choose_for(work, "auto", tmp_path)
        assert [trial.verdict for trial in choice.trials[:2]] == ["usable", "usable"]
    work = step(renderer, shared, statistics, RefineConfig(), landmark_weight())
    choice = choose_for(work, "aoti", tmp_path)
    for inputs in work.inputs():
        found, wanted = choice.runner(*inputs), work.reference(*inputs)
        torch.testing.assert_close(found[STATE], wanted[STATE], rtol=1e-4, atol=0)
        torch.testing.assert_close(found[STATE + 1], wanted[STATE + 1], rtol=5e-3, atol=1e-6)
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt2")} == begun


@pytest.mark.slow
@pytest.mark.skipif(not HAS_BUILDER, reason="TensorRT-RTX is not installed: livedub[tensorrt-rtx]")
def test_the_region_s_render_becomes_a_tensorrt_engine_without_a_gpu(renderer: SpeakerRenderer, tmp_path: Path) -> None:
    w = renderer.profile.base
    true = renderer.eager(w)[0]
    for narrow, name, off in ((None, "fp32", 1e-5), (torch.float16, "fp16", 5e-3)):
        graph = render(renderer).graph((w,), narrow, True)
        assert float((graph(w)[0] - true).square().mean().sqrt() / true.std()) < off
        engine = engine_of(graph, tmp_path, "SM89")
        assert engine.stat().st_size > 10_000 and engine.name.startswith(f"sm89-{name}-")


@pytest.mark.slow
@pytest.mark.skipif(not HAS_BUILDER, reason="TensorRT-RTX is not installed: livedub[tensorrt-rtx]")
def test_a_step_with_the_mesh_and_the_perceptual_network_becomes_an_engine_without_a_gpu(
    renderer: SpeakerRenderer, perceptual: PerceptualLoss, statistics: WStatistics, tmp_path: Path,
    weights: Callable[[str], Path],
) -> None:  # fmt: skip
    """Random weights round worse than learnt ones: the default generator's gradient is off by a fortieth."""
    shared = Shared(perceptual, MeshNet(weights("mesh")).eval())
    work = step(renderer, shared, statistics, RefineConfig(), landmark_weight())
    inputs = work.inputs()[0]
    graph = work.graph(inputs, torch.float16, True)
    found, wanted = (work.judged(each, work.reference(*inputs)) for each in (graph(*inputs), work.reference(*inputs)))
    assert 1e-5 < float((found - wanted).square().mean().sqrt()) < 0.15
    engine = engine_of(graph, tmp_path, "SM89")
    assert engine.stat().st_size > 10_000 and engine.name.startswith("sm89-fp16-")


@pytest.fixture
def alignment() -> NetworkAlignment:
    return NetworkAlignment(read_alignment_net())


def test_the_alignment_network_is_chosen_where_a_dub_uses_it(
    renderer: SpeakerRenderer, shared: Shared, statistics: WStatistics, tmp_path: Path, alignment: NetworkAlignment,
    whole: list[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    made = backends(renderer, shared, statistics, tmp_path)
    made.prepare(0)
    assert ALIGN not in made.as_dict()
    used: list[Runner] = []
    monkeypatch.setattr(alignment, "use", used.append)
    config = RefineConfig()
    made = SessionBackends(
        renderer, shared, statistics, config, landmark_weight(), "aoti", tmp_path, alignment=alignment
    )
    made.prepare(0)
    assert whole == [ALIGN] and len(used) == 1 and made.as_dict()[ALIGN]["backend"] == "aoti"


def test_an_alignment_by_a_backend_places_the_same_points(
    renderer: SpeakerRenderer, alignment: NetworkAlignment
) -> None:
    work = aligning(alignment, renderer)
    own, rest, _, asked = (each[0].double().numpy() for each in work.inputs()[1])
    pose = HeadPose(np.eye(3), 20.0, -10.0, 5.0, np.zeros(3), 100.0)
    before = alignment.place(own, rest, pose, asked)
    calls: list[int] = []

    def counted(*inputs: Tensor) -> tuple[Tensor, ...]:
        calls.append(len(inputs))
        return (2 * work.reference(*inputs)[0],)

    alignment.use(counted)
    plain = GeometricAlignment().place(own, rest, pose, asked)
    np.testing.assert_allclose(alignment.place(own, rest, pose, asked) - plain, 2 * (before - plain), atol=1e-6)
    assert calls == [4] and np.abs(before - plain).max() > 1e-3


@pytest.mark.slow
def test_the_alignment_network_is_really_compiled_and_becomes_an_engine(
    renderer: SpeakerRenderer, alignment: NetworkAlignment, tmp_path: Path
) -> None:
    work = aligning(alignment, renderer)
    choice = choose_for(work, "aoti", tmp_path)
    assert (choice.trials[1].difference or 1.0) < 1e-5
    graph = work.graph(work.inputs()[0], None, True)
    for inputs in work.inputs():
        torch.testing.assert_close(graph(*inputs)[0], work.reference(*inputs)[0], rtol=1e-4, atol=1e-6)
    if HAS_BUILDER:
        assert engine_of(graph, tmp_path, "SM89").stat().st_size > 10_000
