"""The meter: what it reads is what was painted, wherever the face is, and only where the mask lets it through."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.compositing import lower_face_mask
from engine.editing.meter import MouthMeter
from engine.editing.mouth import mouth_shape
from engine.editing.observation import observe
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import REGION, SHADE, Place, ScriptedMesh, film, squares, tracked

pytestmark = pytest.mark.unit

NEUTRAL = mouth_shape(neutral_head())
ASKED = np.array([2.0, -3.0, 1.0, 0.5, -1.5, 4.0, -0.5, 2.5])
SIZE = (REGION.height, REGION.width)


def painted(change: NDArray[np.float64]) -> Tensor:
    light = torch.einsum("k,khw->hw", torch.from_numpy(change.astype(np.float32)), squares(REGION)) * SHADE
    return light[None, None].repeat(1, 3, 1, 1)


def meter(
    place: Place | None = None, mask: Tensor | None = None, filmed: NDArray[np.float64] | None = None
) -> MouthMeter:
    face = tracked(neutral_head(), place)
    rgb = film(np.zeros(8) if filmed is None else filmed, place)
    seen = observe(rgb, face)
    mask = lower_face_mask(seen, seen.points, REGION) if mask is None else mask
    return MouthMeter(ScriptedMesh(), rgb, face, seen, REGION, mask)


@pytest.mark.parametrize(
    "place",
    [Place(), Place(0.25, left=41, top=9), Place(0.25, roll_deg=15, left=80, top=0), Place(0.22, -8, 0, 20, 60)],
)
def test_it_reads_what_is_painted_wherever_the_face_is(place: Place) -> None:
    assert np.allclose(meter(place).mouth(painted(ASKED)) - NEUTRAL, ASKED, atol=0.15)


def test_without_a_mask_it_reads_the_frame_and_no_picture() -> None:
    """A mask of zero: whatever is laid over, the filmed mouth is read."""
    nothing = meter(mask=torch.zeros(1, 1, *SIZE), filmed=ASKED)
    assert np.allclose(nothing.mouth(painted(-ASKED)) - NEUTRAL, ASKED, atol=0.15)
    assert np.array_equal(nothing.mouth(painted(-ASKED)), nothing.mouth(painted(3 * ASKED)))


def test_half_a_mask_reads_halfway_between_frame_and_picture() -> None:
    half = meter(mask=torch.full((1, 1, *SIZE), 0.5), filmed=np.zeros(8))
    assert np.allclose(half.mouth(painted(ASKED)) - NEUTRAL, ASKED / 2, atol=0.1)


def test_brightness_beyond_what_a_frame_can_hold_is_not_read() -> None:
    """White is white: a mouth painted brighter than that reads as white does."""
    far = np.zeros(8)
    far[0] = 40.0
    assert meter().mouth(painted(far))[0] - NEUTRAL[0] == pytest.approx(1 / SHADE, abs=0.2)


def test_points_are_in_px_of_the_frame_and_move_with_the_face() -> None:
    with torch.no_grad():
        one = meter(Place(left=30, top=20)).points(painted(ASKED))
        other = meter(Place(left=41, top=13)).points(painted(ASKED))
    assert one.shape == (1, 68, 3)
    assert torch.allclose(other[..., :2] - one[..., :2], torch.tensor([11.0, -7.0]), atol=0.05)
    assert np.allclose(one[0, 36:48, :2].numpy(), tracked(neutral_head()).points[36:48, :2], atol=0.05)


def test_gradient_reaches_the_picture_through_the_mask_alone() -> None:
    picture = painted(ASKED).requires_grad_(True)
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., : SIZE[1] // 2] = 1.0
    meter(mask=mask).points(picture).sum().backward()  # type: ignore[no-untyped-call]
    assert picture.grad is not None
    assert bool(picture.grad[..., : SIZE[1] // 2 - 8].any())
    assert not bool(picture.grad[..., SIZE[1] // 2 + 8 :].any())


def test_reading_a_mouth_keeps_no_graph() -> None:
    """It may be asked under gradients: nothing of them stays, and the network is asked once."""
    reader = meter()
    picture = painted(ASKED).requires_grad_(True)
    assert isinstance(reader.mouth(picture), np.ndarray)
    assert picture.grad is None
    mesh = reader._net
    assert isinstance(mesh, ScriptedMesh) and mesh.calls == 1
