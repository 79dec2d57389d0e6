"""The search by a backend's steps: the same as `refine`, step by step, and the same when something goes wrong."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.editing.editor import Edit, EditState, FrameEditor, landmark_weight
from engine.editing.graphs import View, measured, wplus_step
from engine.editing.perceptual import PerceptualLoss
from engine.editing.refine import RefineConfig, RefineProblem, objective, refine
from engine.editing.rendering import SpeakerRenderer
from engine.editing.settling import FRAME_S
from engine.editing.stepping import FastForms, refine_by
from kernels.backends.repeated import Steps, repeated
from kernels.step import STATE, AdamConfig, optimisation_step
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import ScriptedMesh, film, painted_generator, plain_statistics, tracked
from tests.engine.editing.test_editor import WISH, BlindMesh, displaced, weak_profile
from tests.engine.editing.test_refine import AXES, ROWS, WANTED, problem, render

pytestmark = pytest.mark.unit

STATISTICS = plain_statistics(AXES)
VIEW = View(*(torch.zeros(1) for _ in range(5)))
"""How the mesh sees the frame: the stripes of these tests need none."""
CONFIG = RefineConfig(rate=0.05)

Step = Callable[..., tuple[Tensor, ...]]


def stepping(task: RefineProblem, perceptual: PerceptualLoss, config: RefineConfig = CONFIG) -> Step:
    """A step of the task, as `graphs.wplus_step` makes it, with the task's own landmarks."""

    def loss(offset: Tensor, *data: Tensor) -> tuple[Tensor, ...]:
        w, last, target, iod, source, edge = data[:6]
        own = replace(task, w=w, target=target, iod_px=iod, source=source, edge=edge)
        picture = render(w + offset @ STATISTICS.basis)
        return (objective(own, picture, offset, last, list(data[11:]), perceptual, config),)

    return optimisation_step(loss, AdamConfig(config.rate, config.beta1, 0.99))


def last_offset() -> Tensor:
    return 0.1 * torch.sin(torch.arange(float(ROWS * AXES))).reshape(ROWS, AXES)


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_it_finds_what_refine_finds(perceptual: PerceptualLoss, steps: int) -> None:
    task, last = problem(WANTED), last_offset()
    wanted = refine(task, render(task.w), last, steps, STATISTICS, perceptual, CONFIG)
    run = stepping(task, perceptual)
    found = refine_by(run, task, VIEW, render(task.w), last, steps, perceptual, CONFIG)
    assert not found.recovered and not wanted.recovered
    torch.testing.assert_close(found.offset, wanted.offset, rtol=1e-4, atol=1e-5)


def test_the_last_offset_is_not_touched(perceptual: PerceptualLoss) -> None:
    task, last = problem(WANTED), last_offset()
    refine_by(stepping(task, perceptual), task, VIEW, render(task.w), last, 3, perceptual, CONFIG)
    assert torch.equal(last, last_offset())


class Spoiled:
    """A step whose n-th result is changed."""

    def __init__(self, run: Step, turn: int, place: int, value: float) -> None:
        self.run, self.turn, self.place, self.value = run, turn, place, value
        self.calls = 0

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        results = list(self.run(*inputs))
        if self.calls == self.turn:
            results[self.place] = torch.full_like(results[self.place], self.value)
        self.calls += 1
        return tuple(results)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e9])
def test_a_loss_that_is_no_number_or_rises_ends_the_search_at_the_best_offset(
    perceptual: PerceptualLoss, value: float
) -> None:
    task, last = problem(WANTED), last_offset()
    run = Spoiled(stepping(task, perceptual), 2, STATE, value)
    found = refine_by(run, task, VIEW, render(task.w), last, 6, perceptual, CONFIG)
    assert found.recovered and run.calls == 3
    one = refine(task, render(task.w), last, 1, STATISTICS, perceptual, replace(CONFIG, whole=1))
    torch.testing.assert_close(found.offset, one.offset, rtol=1e-4, atol=1e-5)


def at_once(run: Step) -> Steps:
    """The same step by a backend that takes several in one call."""
    return Steps(run, lambda count: repeated(run, count), torch.device("cpu"), "step")


@pytest.mark.parametrize("steps", [0, 1, 2, 7])
def test_steps_taken_at_once_find_the_same(perceptual: PerceptualLoss, steps: int) -> None:
    task, last = problem(WANTED), last_offset()
    run = stepping(task, perceptual)
    wanted = refine_by(run, task, VIEW, render(task.w), last, steps, perceptual, CONFIG)
    found = refine_by(at_once(run), task, VIEW, render(task.w), last, steps, perceptual, CONFIG)
    assert not found.recovered
    torch.testing.assert_close(found.offset, wanted.offset)


@pytest.mark.parametrize(
    ("turn", "place", "value"),
    [(0, STATE, float("nan")), (2, STATE, 1e9), (2, STATE + 1, float("inf")), (0, STATE + 1, float("nan"))],
)
def test_steps_taken_at_once_are_judged_afterwards_by_the_same_rules(
    perceptual: PerceptualLoss, turn: int, place: int, value: float
) -> None:
    task, last = problem(WANTED), last_offset()
    found = []
    for wrapped in (lambda run: run, at_once):
        run = Spoiled(stepping(task, perceptual), turn, place, value)
        found.append(refine_by(wrapped(run), task, VIEW, render(task.w), last, 5, perceptual, CONFIG))
    assert all(each.recovered for each in found)
    torch.testing.assert_close(found[0].offset, found[1].offset)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_first_loss_that_is_no_number_leaves_no_offset(perceptual: PerceptualLoss, value: float) -> None:
    task = problem(WANTED)
    run = Spoiled(stepping(task, perceptual), 0, STATE, value)
    found = refine_by(run, task, VIEW, render(task.w), last_offset(), 4, perceptual, CONFIG)
    assert found.recovered and not found.offset.any()


def test_a_high_first_loss_is_no_rise(perceptual: PerceptualLoss) -> None:
    task = problem(WANTED)
    run = Spoiled(stepping(task, perceptual), 0, STATE, 1e9)
    found = refine_by(run, task, VIEW, render(task.w), last_offset(), 4, perceptual, CONFIG)
    assert not found.recovered and run.calls == 4


def test_a_gradient_that_is_no_number_ends_the_search_where_it_stands(perceptual: PerceptualLoss) -> None:
    task, last = problem(WANTED), last_offset()
    run = Spoiled(stepping(task, perceptual), 0, STATE + 1, float("nan"))
    found = refine_by(run, task, VIEW, render(task.w), last, 4, perceptual, replace(CONFIG, keep=0.5))
    assert found.recovered and run.calls == 1
    torch.testing.assert_close(found.offset, 0.5 * last)


def editor_pair(perceptual: PerceptualLoss, mesh: ScriptedMesh) -> tuple[FrameEditor, FrameEditor]:
    """An eager editor of the painted speaker, and one that uses the functions that are compiled elsewhere."""
    renderer = SpeakerRenderer(weak_profile(), painted_generator())
    weight, statistics = landmark_weight(), plain_statistics()
    step = wplus_step(lambda w: renderer.eager(w)[0], mesh, perceptual, statistics, weight, CONFIG)
    fast = FastForms(measured(mesh), step)
    return (
        FrameEditor(renderer, statistics, perceptual, mesh, CONFIG),
        FrameEditor(renderer, statistics, perceptual, mesh, CONFIG, fast=fast),
    )


def edited(editor: FrameEditor, share: float, effort: int, state: EditState, index: int) -> Edit:
    """The frame of that number, asked for a share of the wish."""
    predicted = editor.predict(
        film(np.zeros(8)), tracked(neutral_head()), displaced(share * WISH), 1.0, effort, state, index * FRAME_S
    )
    return editor.composite(editor.correct(predicted))


@pytest.mark.parametrize("effort", [1, 3])
def test_an_editor_with_fast_forms_edits_as_an_eager_one(perceptual: PerceptualLoss, effort: int) -> None:
    """Over three frames, with what is carried from one to the next."""
    eager, fast = editor_pair(perceptual, ScriptedMesh())
    states = EditState(), EditState()
    for index, share in enumerate((0.5, 1.0, 0.8)):
        one, other = (
            edited(editor, share, effort, state, index) for editor, state in zip((eager, fast), states, strict=True)
        )
        assert np.abs(one.patch.rgb - other.patch.rgb).max() < 1.0, "grey levels"
        assert np.array_equal(one.patch.mask, other.patch.mask)
    assert states[1].recoveries == 0


def test_recoveries_of_a_backend_s_steps_are_counted(perceptual: PerceptualLoss) -> None:
    _, editor = editor_pair(perceptual, BlindMesh())
    state = EditState()
    for count in (1, 2):
        edit = edited(editor, 1.0, 3, state, count)
        assert state.recoveries == count and np.isfinite(edit.patch.rgb).all()
