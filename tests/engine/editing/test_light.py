"""Rendered skin has the light of the frame's own skin; lips have what lies around them, slowly."""

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.editing.light import Light, followed
from engine.editing.settling import FRAME_S
from engine.editing.texture import skin
from engine.errors import ShapeError
from tests.engine.editing.test_texture import REGION, around, face

pytestmark = pytest.mark.unit

SIZE = (REGION.height, REGION.width)


def cast(level: float) -> Tensor:
    """A change of colour as coarse as the running one."""
    return torch.full((1, 3, REGION.height // 8, REGION.width // 8), level)


def flat(level: float) -> Tensor:
    return torch.full((1, 3, *SIZE), level)


def mask() -> Tensor:
    """Whole but for a soft edge of 40 px."""
    ramps = [torch.minimum(torch.arange(size) / 40, (size - 1 - torch.arange(size)) / 40).clamp(0, 1) for size in SIZE]
    return (ramps[0][:, None] * ramps[1])[None, None]


def level(picture: Tensor, point: int) -> float:
    """Mean light of a square around a landmark."""
    rows, columns = around(face()[point])
    return float(picture[0, :, rows, columns].mean())


def test_colour_of_a_shot_begins_with_the_first_frame_and_follows_slowly() -> None:
    running = followed(None, cast(0.02), FRAME_S)
    assert torch.equal(running, cast(0.02))
    after = followed(running, cast(0.04), FRAME_S)
    assert 0.02 < float(after.mean()) < 0.025
    for _ in range(40):
        running = followed(running, cast(0.04), FRAME_S)
    assert torch.allclose(running, cast(0.04), atol=1e-4)


def test_a_change_that_flickers_is_hardly_seen() -> None:
    """A change that goes up and down with each frame is left at a seventh of itself."""
    running, seen_levels = cast(0.0), []
    for index in range(60):
        running = followed(running, cast(0.02 if index % 2 else -0.02), FRAME_S)
        seen_levels.append(float(running.mean()))
    steps = np.abs(np.diff(seen_levels[20:]))
    assert steps.max() < 0.04 / 6


def test_light_that_is_switched_is_followed_at_once() -> None:
    assert float(followed(cast(-0.06), cast(0.06), FRAME_S).mean()) == pytest.approx(0.06, abs=1e-6)
    assert float(followed(cast(0.0), cast(0.09), FRAME_S).mean()) > 0.045


def test_skin_that_grows_lighter_and_darker_stays_as_filmed() -> None:
    """The generator draws a cheek darker in every second frame: chin and cheeks do not flicker, lips a little."""
    own, shot, chins, lips = skin(face(), REGION), None, [], []
    for index in range(20):
        rendered = flat(0.04 if index % 2 else -0.04)
        shot = Light.following(shot, rendered, flat(0.06), mask(), own, FRAME_S)
        found = shot.onto(rendered, own)
        chins.append(level(found, 8))
        lips.append(level(found, 62) - level(rendered, 62))
    assert np.allclose(chins, 0.06, atol=0.002)
    assert np.abs(np.diff(lips[5:])).max() < 0.02
    assert np.mean(lips[5:]) == pytest.approx(0.06, abs=0.01)


def test_a_patch_of_skin_gets_its_own_light() -> None:
    """A shadow on one cheek is filmed there alone: the other cheek and the lips do not get it."""
    own = skin(face(), REGION)
    filmed = flat(0.0)
    filmed[..., : SIZE[1] // 4] = -0.1
    found = Light.following(None, flat(0.0), filmed, mask(), own, FRAME_S).onto(flat(0.0), own)
    assert float(found[0, 0, 100:200, 50:60].mean()) < -0.07
    assert abs(float(found[0, 0, 100:200, 300:340].mean())) < 0.005
    assert abs(level(found, 62)) < 0.02


def test_what_differs_between_the_lips_is_not_made_up_for() -> None:
    """A dark open mouth over a filmed closed one stays dark."""
    own = skin(face(), REGION)
    rendered = flat(0.0)
    rows, columns = around(face()[62], 12)
    rendered[..., rows, columns] = -0.8
    found = Light.following(None, rendered, flat(0.0), mask(), own, FRAME_S).onto(rendered, own)
    assert float(found[..., rows, columns].mean()) < -0.75


def test_pictures_that_do_not_belong_together_are_refused() -> None:
    own = skin(face(), REGION)
    with pytest.raises(ShapeError, match=r"expected twice \[1,3,h,w\] and \[1,1,h,w\]"):
        Light.following(None, flat(0.0), flat(0.0)[..., 8:], mask(), own, FRAME_S)
