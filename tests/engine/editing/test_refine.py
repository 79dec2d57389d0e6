"""The per-frame search on a picture that is linear in its code: every term does what it is there for."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine.editing.perceptual import PerceptualLoss
from engine.editing.refine import RefineConfig, RefineProblem, looks_of, refine
from engine.generators.stats import WStatistics
from tests.engine.editing.scripted import plain_statistics

pytestmark = pytest.mark.unit

AXES, ROWS, SIDE = 6, 2, 64
FREE = RefineConfig(rate=0.05, perceptual=0.0, pixel=0.0, prior=0.0, smoothness=0.0)
"""The landmarks alone count."""


def render(w: Tensor) -> Tensor:
    """Six stripes, each as bright as one number of the first row."""
    return w[0, :AXES].repeat_interleave(SIDE // AXES + 1)[:SIDE].expand(1, 3, SIDE, SIDE)


def points(picture: Tensor) -> Tensor:
    """68 landmarks whose x is 10 px times the brightness of their stripe."""
    columns = (torch.arange(68) % AXES) * (SIDE // AXES + 1) + 2
    x = 10 * picture[:, 0, 0, columns]
    return torch.stack([x, torch.zeros_like(x), torch.zeros_like(x)], 2)


def problem(wanted: Tensor, weight: Tensor | None = None) -> RefineProblem:
    """Change the brightness by `wanted` [6], from a predicted picture of stripes."""
    w = torch.zeros(ROWS, 512)
    w[0, :AXES] = torch.tensor([0.2, -0.1, 0.15, -0.2, 0.1, -0.15])
    goal = w.clone()
    goal[0, :AXES] += wanted
    return RefineProblem(
        w, render, points, points(render(goal))[0, :, :2], torch.ones(68) if weight is None else weight, 20.0,
        render(w), torch.ones(1, 1, SIDE, SIDE),
    )  # fmt: skip


WANTED = torch.tensor([0.3, -0.2, 0.1, 0.4, -0.3, 0.2])


def search(
    perceptual: PerceptualLoss, config: RefineConfig, steps: int, last: Tensor | None = None,
    task: RefineProblem | None = None, statistics: WStatistics | None = None,
) -> Tensor:  # fmt: skip
    last = torch.zeros(ROWS, AXES) if last is None else last
    task = task or problem(WANTED)
    found = refine(task, render(task.w), last, steps, statistics or plain_statistics(AXES), perceptual, config)
    assert not found.recovered
    return found.offset


def test_landmarks_alone_find_the_code(perceptual: PerceptualLoss) -> None:
    found = search(perceptual, FREE, 60)
    assert torch.allclose(found[0], WANTED, atol=0.05)
    assert not found[1].any()


def test_more_steps_come_nearer(perceptual: PerceptualLoss) -> None:
    left = [float((search(perceptual, FREE, steps)[0] - WANTED).norm()) for steps in (0, 2, 4, 8)]
    assert left == sorted(left, reverse=True) and left[3] < 0.6 * left[0]


@pytest.mark.parametrize(("steps", "share"), [(1, 0.125), (2, 0.25), (8, 1.0), (9, 1.0)])
def test_of_few_steps_a_share_of_the_way_is_taken(perceptual: PerceptualLoss, steps: int, share: float) -> None:
    """Adam's first step is as long at the goal as far from it: one step a frame would jump to and fro."""
    last = torch.full((ROWS, AXES), 0.1)
    config = replace(FREE, keep=0.5)
    gone = search(perceptual, replace(config, whole=1), steps, last) - 0.5 * last
    assert float(gone.abs().max()) > 0.01
    torch.testing.assert_close(search(perceptual, config, steps, last) - 0.5 * last, share * gone, rtol=1e-4, atol=1e-6)


def test_one_step_a_frame_settles_instead_of_jumping(perceptual: PerceptualLoss) -> None:
    """Frame after frame of one still picture: what the steps do to it dies away."""
    offset, moves = torch.zeros(ROWS, AXES), []
    config = replace(FREE, keep=1.0, rate=0.08)
    for _ in range(60):
        after = search(perceptual, config, 1, offset)
        moves.append(float((after - offset).abs().max()))
        offset = after
    assert max(moves[-10:]) <= 0.08 / 8 * 1.01
    assert torch.allclose(offset[0], WANTED, atol=0.03)


def test_no_steps_give_no_offset_even_after_a_frame_that_had_one(perceptual: PerceptualLoss) -> None:
    assert not search(perceptual, FREE, 0, torch.ones(ROWS, AXES)).any()


def test_the_search_begins_with_most_of_the_last_frames_offset(perceptual: PerceptualLoss) -> None:
    """With steps of no length nothing else is left; the last offset itself is not touched."""
    last = torch.linspace(-1, 1, ROWS * AXES).reshape(ROWS, AXES)
    before = last.clone()
    assert torch.allclose(search(perceptual, replace(FREE, rate=0.0, keep=0.6), 2, last), 0.6 * last)
    assert torch.equal(last, before)


def test_offsets_are_in_whitened_units(perceptual: PerceptualLoss) -> None:
    """Axes twice as long need half the offset."""
    long = WStatistics(torch.zeros(512), 2 * torch.eye(AXES, 512))
    assert torch.allclose(search(perceptual, FREE, 80, statistics=long)[0], WANTED / 2, atol=0.05)


def test_a_landmark_without_weight_is_not_followed(perceptual: PerceptualLoss) -> None:
    weight = (torch.arange(68) % AXES != 3).float()
    found = search(perceptual, FREE, 40, task=problem(WANTED, weight))
    assert found[0, 3] == 0
    assert torch.allclose(found[0, :3], WANTED[:3], atol=0.08)


def test_weights_count_beside_one_another_not_by_themselves(perceptual: PerceptualLoss) -> None:
    one, other = (search(perceptual, FREE, 5, task=problem(WANTED, torch.full((68,), w))) for w in (1.0, 7.0))
    assert torch.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    "held_back",
    [replace(FREE, prior=40.0), replace(FREE, perceptual=40.0), replace(FREE, pixel=40.0)],
    ids=["prior", "perceptual", "pixel"],
)
def test_what_holds_the_picture_back_shortens_the_offset(perceptual: PerceptualLoss, held_back: RefineConfig) -> None:
    """Prior, likeness to the predicted picture, and the frame's own pixels at the edge: all pull back."""
    free = search(perceptual, FREE, 30)
    held = search(perceptual, held_back, 30)
    assert float(held.norm()) < 0.8 * float(free.norm())


def test_smoothness_holds_to_the_last_frame(perceptual: PerceptualLoss) -> None:
    last = torch.zeros(ROWS, AXES)
    last[0] = -WANTED
    free = search(perceptual, replace(FREE, keep=1.0), 20, last)
    held = search(perceptual, replace(FREE, keep=1.0, smoothness=1000.0), 20, last)
    assert float((held - last).norm()) < 0.5 * float((free - last).norm())


def test_a_size_of_face_scales_errors_not_the_answer(perceptual: PerceptualLoss) -> None:
    """The landmark term is in IOD: with a picture twice as large and everything in it, the steps are the same."""
    small, task = problem(WANTED), problem(WANTED)
    large = replace(task, points=lambda picture: 2 * points(picture), target=2 * task.target, iod_px=40.0)
    held = replace(FREE, prior=1.0)
    assert torch.allclose(search(perceptual, held, 10, task=small), search(perceptual, held, 10, task=large), atol=1e-5)


def test_gradients_that_are_no_numbers_end_the_search_at_the_best_offset(perceptual: PerceptualLoss) -> None:
    """The loss itself is finite: only its slope is not."""

    def rough(picture: Tensor) -> Tensor:
        found = points(picture)
        return found + 0.0 * (picture - picture.detach()).abs().sqrt().sum()

    task = replace(problem(WANTED), points=rough)
    last = torch.full((ROWS, AXES), 0.1)
    found = refine(task, render(task.w), last, 5, plain_statistics(AXES), perceptual, replace(FREE, keep=0.5))
    assert found.recovered
    assert torch.allclose(found.offset, 0.5 * last)


def test_pictures_are_held_by_as_many_stages_as_asked_for(perceptual: PerceptualLoss) -> None:
    picture = render(problem(WANTED).w)
    assert [len(looks_of(perceptual, picture, RefineConfig(stages=stages))) for stages in (1, 3)] == [1, 3]
    near, nearer = (replace(RefineConfig(pixel=0.0, prior=0.0), stages=stages, perceptual=20.0) for stages in (1, 3))
    found = [float(search(perceptual, config, 8)[0].norm()) for config in (near, nearer)]
    assert found[1] < found[0], "each stage holds the picture a little more to the predicted one"
