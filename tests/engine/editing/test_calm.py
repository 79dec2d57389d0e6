"""Rendered skin trembles no longer; lips, outlines and sudden changes are shown as they are; it moves with the face."""

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.editing.calm import Calm
from engine.editing.settling import FRAME_S
from engine.errors import ShapeError
from kernels.separable import blurred
from tests.engine.editing.test_texture import REGION, around, face

pytestmark = pytest.mark.unit


def flat(level: float) -> Tensor:
    return torch.full((1, 3, REGION.height, REGION.width), level)


def shaded(seed: int = 0) -> Tensor:
    """Skin with shades 10 px wide, spread .05."""
    noise = torch.randn(1, 3, REGION.height, REGION.width, generator=torch.Generator().manual_seed(seed))
    wide = blurred(noise, 10.0)
    return wide * (0.05 / wide.std())


def calmed(pictures: list[Tensor], chins: list[float] | None = None) -> list[Tensor]:
    """What is shown of a shot."""
    last, shown = None, []
    for picture, chin in zip(pictures, chins or [0.0] * len(pictures), strict=True):
        last = Calm.following(last, picture, face(chin=chin), REGION, FRAME_S)
        shown.append(last.onto(picture))
    return shown


def part(picture: Tensor, point: int) -> Tensor:
    """A square of the picture around a landmark of the resting face."""
    rows, columns = around(face()[point])
    return picture[0, :, rows, columns]


def test_a_shot_begins_with_what_was_rendered() -> None:
    assert torch.equal(calmed([shaded()])[0], shaded())


def test_skin_that_trembles_is_a_quarter_as_restless() -> None:
    pictures = [shaded() + (0.02 if index % 2 else -0.02) for index in range(20)]
    chin = [float(part(each, 8).mean()) for each in calmed(pictures)]
    assert np.abs(np.diff(chin[8:])).max() < 0.04 / 4


def test_lips_are_shown_as_they_are() -> None:
    pictures = [shaded() + (0.02 if index % 2 else -0.02) for index in range(6)]
    for rendered, shown in zip(pictures, calmed(pictures), strict=True):
        for point in (62, 66):
            assert torch.allclose(part(shown, point), part(rendered, point), atol=0.004)


@pytest.mark.parametrize("jump", [0.25, -0.4])
def test_a_change_that_is_no_trembling_is_shown_at_once(jump: float) -> None:
    shown = calmed([flat(0.0), flat(0.0), flat(jump)])
    assert torch.allclose(shown[-1], flat(jump), atol=1e-6)


def test_what_changes_slowly_is_followed() -> None:
    shown = calmed([flat(0.0)] + [flat(0.05)] * 25)
    assert float((shown[-1] - 0.05).abs().max()) < 0.001


def test_the_mean_moves_with_the_chin() -> None:
    """Shades that the chin takes along stay as sharp as they are: nothing is left behind where the chin was."""
    still = shaded()
    chins = [0.0, 4.0, 8.0, 12.0, 16.0]
    moving = [torch.roll(still, round(chin), 2) for chin in chins]
    shown = calmed(moving, chins)[-1]
    rows, columns = around(face(chin=chins[-1])[8])
    wanted, found = (each[0, :, rows, columns] for each in (moving[-1], shown))
    left = calmed(moving)[-1][0, :, rows, columns]
    assert (found - wanted).abs().mean() < 0.5 * (left - wanted).abs().mean()


def test_sizes_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected"):
        Calm.following(None, flat(0.0)[..., 1:], face(), REGION, FRAME_S)
    with pytest.raises(ShapeError, match="expected"):
        Calm.following(None, flat(0.0), face()[:5], REGION, FRAME_S)
