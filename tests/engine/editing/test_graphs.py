"""The functions that are compiled compute what the edit computes: predicted pictures, measured landmarks, W+ steps."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.editing.compositing import lower_face_mask
from engine.editing.graphs import (
    StepData,
    View,
    goal_of,
    measured,
    points_of,
    predicted,
    rendered,
    step_graph,
    wplus_step,
)
from engine.editing.meter import MouthMeter
from engine.editing.observation import observe
from engine.editing.perceptual import PerceptualLoss
from engine.editing.profile import SpeakerProfile
from engine.editing.refine import RefineConfig, RefineProblem, refine
from engine.editing.rendering import SpeakerRenderer
from engine.generators.mobile import MobileStyleGAN
from engine.generators.stats import WStatistics
from engine.tracking.mesh import MeshNet
from kernels.flat import trace
from kernels.lowering import NARROW
from kernels.step import STATE, StepState
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import REGION, Place, ScriptedMesh, film, tracked

pytestmark = pytest.mark.unit

PLACES = {"straight": Place(), "small and turned": Place(0.25, roll_deg=15, left=80, top=0)}


def meter_of(place: Place) -> tuple[MouthMeter, View]:
    """A frame's meter, and the same frame as tensors."""
    face, rgb = tracked(neutral_head(), place), film(np.zeros(8), place)
    seen = observe(rgb, face)
    meter = MouthMeter(ScriptedMesh(), rgb, face, seen, REGION, lower_face_mask(seen, seen.points, REGION))
    return meter, View.of(meter._matrix, meter._crop, meter._source, meter._mask, REGION)


def picture(seed: int = 0) -> Tensor:
    noise = torch.Generator().manual_seed(seed)
    small = torch.rand(1, 3, REGION.height // 8, REGION.width // 8, generator=noise) - 0.5
    return torch.nn.functional.interpolate(small, size=(REGION.height, REGION.width), mode="bilinear")


@pytest.mark.parametrize("name", PLACES)
def test_landmarks_are_the_meters(name: str) -> None:
    meter, view = meter_of(PLACES[name])
    torch.testing.assert_close(
        points_of(ScriptedMesh(), picture(), view), meter.points(picture()), rtol=1e-4, atol=2e-2
    )


def test_measuring_can_be_traced() -> None:
    _, view = meter_of(Place())
    graph = trace(measured(ScriptedMesh()), (picture(), *view.tensors))
    other = picture(1)
    torch.testing.assert_close(graph(other, *view.tensors)[0], points_of(ScriptedMesh(), other, view)[0])


def test_prediction_is_anchor_and_render(profile: SpeakerProfile, small: MobileStyleGAN) -> None:
    """Effort 0 as one graph: features and asked mouth numbers in, w and pixels out."""
    renderer = SpeakerRenderer(profile, small)
    features, asked = 0.3 * torch.ones(profile.features.count), profile.mouth_mean + 0.4
    change = torch.from_numpy((asked - profile.mouth_mean).astype(np.float32))
    inputs = torch.cat([features, change])[None]
    graph = trace(predicted(small, profile.region, profile.base, profile.slopes), (torch.zeros_like(inputs),))
    w, found = graph(inputs)
    wanted = renderer.anchor(features, asked)
    torch.testing.assert_close(w, wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found, renderer.region(wanted), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rendered(small, profile.region)(wanted)[0], renderer.region(wanted))


class StillMesh(MeshNet):
    """A mesh whose points move with the mean brightness of strips of the crop."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        strips = x.mean((1, 3))
        index = torch.arange(468) % strips.shape[1]
        points = torch.stack([strips[:, index] * 100, strips[:, index] * 50, strips[:, index]], 2)
        return points, strips[:, 0]


@pytest.fixture
def problem(small: MobileStyleGAN, profile: SpeakerProfile) -> tuple[RefineProblem, View, Callable[[Tensor], Tensor]]:
    """A frame of the made-up speaker, seen by a differentiable mesh."""
    region, noise = profile.region, torch.Generator().manual_seed(4)
    matrix = np.array([[0.4, 0, -6.0], [0, 0.4, -4.0], [0, 0, 1.0]])
    crop = np.array([[2.0, 0, 30.0], [0, 2.0, 10.0], [0, 0, 1.0]])
    face, mask = torch.rand(1, 3, 192, 192, generator=noise), torch.rand(1, 1, 192, 192, generator=noise)
    view, mesh = View.of(matrix, crop, face, mask, region), StillMesh()

    def render(w: Tensor) -> Tensor:
        return small.region(w[None], region)

    source = render(profile.base) * 0.9
    edge = torch.rand(1, 1, region.height, region.width, generator=noise)
    target = torch.rand(68, 2, generator=noise) * 100
    task = RefineProblem(
        profile.base, render, lambda seen: points_of(mesh, seen, view), target, torch.ones(68), 120.0, source, edge,
    )  # fmt: skip
    return task, view, render


def test_traced_steps_are_refines(
    problem: tuple[RefineProblem, View, Callable[[Tensor], Tensor]],
    statistics: WStatistics,
    perceptual: PerceptualLoss,
) -> None:
    task, view, render = problem
    config = RefineConfig(rate=0.01, whole=1)
    last = 0.05 * torch.randn(len(task.w), len(statistics.basis), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        predicted_picture = render(task.w)
    goal = goal_of(perceptual, config)(predicted_picture)
    data = StepData(task.w, last, task.target, torch.tensor(float(task.iod_px)), task.source, task.edge)
    step = wplus_step(render, StillMesh(), perceptual, statistics, task.weight, config)
    state = StepState.begin(config.keep * last)
    graph = trace(step, (*state.tensors, *data.tensors, *view.tensors, *goal))
    losses = []
    for _ in range(3):
        results = graph(*state.tensors, *data.tensors, *view.tensors, *goal)
        losses.append(float(results[STATE]))
        state = StepState.after(results)
    found = refine(task, predicted_picture, last, 3, statistics, perceptual, config)
    assert not found.recovered
    torch.testing.assert_close(state.z, found.offset, rtol=1e-3, atol=2e-4)
    assert losses[2] < losses[0]


@pytest.mark.parametrize(
    ("narrow", "portable", "least"),
    [
        (None, False, 0.99999), (torch.bfloat16, False, 0.98),
        (None, True, 0.99999), (torch.float16, True, 0.9995),
    ],
)  # fmt: skip
def test_lowered_steps_have_the_gradient(
    problem: tuple[RefineProblem, View, Callable[[Tensor], Tensor]],
    statistics: WStatistics,
    perceptual: PerceptualLoss,
    narrow: torch.dtype | None,
    portable: bool,
    least: float,
) -> None:
    task, view, render = problem
    config = RefineConfig()

    def stepping(run: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
        return wplus_step(lambda w: run(w)[0], StillMesh(), perceptual, statistics, task.weight, config)

    last = 0.05 * torch.randn(len(task.w), len(statistics.basis), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        goal = goal_of(perceptual, config)(render(task.w))
    data = StepData(task.w, last, task.target, torch.tensor(float(task.iod_px)), task.source, task.edge)
    inputs = (*StepState.begin(config.keep * last).tensors, *data.tensors, *view.tensors, *goal)
    graph = step_graph(trace(lambda w: (render(w),), (task.w,)), stepping, inputs, narrow, portable)
    found, true = graph(*inputs), stepping(lambda w: (render(w),))(*inputs)
    torch.testing.assert_close(found[STATE], true[STATE], rtol=2e-2 if narrow else 1e-4, atol=0)
    assert float(torch.cosine_similarity(found[STATE + 1].flatten(), true[STATE + 1].flatten(), 0)) > least
    made = {node.kwargs.get("dtype") for node in graph.module.graph.nodes}
    assert made & set(NARROW) == ({narrow} if narrow else set())
