"""The frame's own texture on rendered skin: it moves with the landmarks, spares the lips and brings no colour along."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.editing.settling import FRAME_S
from engine.editing.texture import Texture, carried, fine, off_outlines, skin
from engine.errors import ShapeError
from engine.generators.protocol import Region
from kernels.separable import blurred

pytestmark = pytest.mark.unit

REGION = Region(560, 320, 320, 384)


def face(opening: float = 0.0, chin: float = 0.0) -> NDArray[np.float64]:
    """Landmarks in crop px: a jaw as a half circle, eyes 250 px apart, a mouth of 120 px around (512, 720)."""
    points = np.zeros((68, 2))
    angles = np.linspace(np.pi, 0, 17)
    points[:17] = np.stack([512 + 190 * np.cos(angles), 600 + 240 * np.sin(angles)], 1)
    points[17:48] = (512, 450)
    points[27:36, 1] = np.linspace(460, 640, 9)
    points[36], points[45] = (387, 440), (637, 440)
    turn = np.linspace(np.pi, -np.pi, 13)[:12]
    points[48:60] = np.stack([512 + 60 * np.cos(turn), 720 - 24 * np.sin(turn)], 1)
    inner = np.linspace(np.pi, -np.pi, 9)[:8]
    points[60:68] = np.stack([512 + 45 * np.cos(inner), 720 - 3 * np.sin(inner)], 1)
    points[[55, 56, 57, 58, 59, 65, 66, 67], 1] += opening
    points[5:12, 1] += chin
    return points


def stubble(seed: int = 0) -> Tensor:
    """A region of noise that is smooth over 2 px, as a camera gives it."""
    noise = torch.randn(1, 3, REGION.height, REGION.width, generator=torch.Generator().manual_seed(seed))
    return blurred(noise, 1.5).clamp(-1, 1)


def around(point: NDArray[np.float64], half: int = 6) -> tuple[slice, slice]:
    """Rows and columns of a small square in the region around a point in crop px."""
    x, y = round(point[0] - REGION.left), round(point[1] - REGION.top)
    return slice(y - half, y + half), slice(x - half, x + half)


def test_a_mouth_that_stays_carries_nothing_anywhere() -> None:
    source = stubble()
    assert torch.allclose(carried(source, face(), face(), REGION), source, atol=1e-5)


@pytest.mark.parametrize("drop", [-24.0, -8.0, 16.0])
def test_the_chin_s_texture_goes_where_the_chin_goes(drop: float) -> None:
    source, filmed, wanted = stubble(), face(), face(chin=drop)
    found = carried(source, filmed, wanted, REGION)
    rows, columns = around(wanted[8])
    own_rows, own_columns = around(filmed[8])
    moved, there = found[0, :, rows, columns], source[0, :, own_rows, own_columns]
    assert torch.corrcoef(torch.stack([moved.flatten(), there.flatten()]))[0, 1] > 0.9
    still = source[0, :, rows, columns]
    assert torch.corrcoef(torch.stack([moved.flatten(), still.flatten()]))[0, 1] < 0.5


def test_what_is_far_from_all_that_moves_stays() -> None:
    source = stubble()
    found = carried(source, face(), face(opening=30.0, chin=20.0), REGION)
    nose = around(face()[33])
    assert (found[0][:, nose[0], nose[1]] - source[0][:, nose[0], nose[1]]).abs().mean() < 0.06


def test_lips_are_spared_and_skin_is_taken() -> None:
    points = face(opening=40.0)
    share = skin(points, REGION)
    assert share.shape == (1, 1, REGION.height, REGION.width)
    for lip in (48, 51, 54, 57, 62, 66):
        rows, columns = around(points[lip], 2)
        assert share[0, 0, rows, columns].max() < 0.01
    rows, columns = around(points[8] - (0, 10), 4)
    assert share[0, 0, rows, columns].min() == 1
    assert bool((share >= 0).all() and (share <= 1).all())


WHOLE = torch.ones(1, 1, REGION.height, REGION.width)


def likeness(found: Tensor, other: Tensor) -> float:
    """Correlation of two pictures away from the border."""
    pair = torch.stack([each[..., 40:-40, 40:-40].flatten() for each in (found, other)])
    return float(torch.corrcoef(pair)[0, 1])


def test_only_the_finest_band_is_replaced() -> None:
    """Light and colour stay the rendered ones: a brighter frame brings its grain, not its brightness."""
    rendered = torch.linspace(-0.5, 0.5, REGION.width).expand(1, 3, REGION.height, REGION.width)
    grain = 0.2 * stubble(1)
    filmed = rendered + 0.4 + grain
    found = Texture.following(None, filmed, face(), REGION, FRAME_S).onto(rendered, filmed, WHOLE, WHOLE)
    assert (functional.avg_pool2d(found - rendered, 64).abs() < 0.02).all()
    assert likeness(found - rendered, grain) > 0.95


def test_nothing_changes_where_nothing_is_shared() -> None:
    rendered, filmed = stubble(2), stubble(3)
    share = WHOLE.clone()
    share[..., :200] = 0
    found = Texture.following(None, filmed, face(), REGION, FRAME_S).onto(rendered, filmed, share, WHOLE)
    assert torch.equal(found[..., :200], rendered[..., :200])
    assert (found[..., 200:] - rendered[..., 200:]).abs().mean() > 0.05


def test_noise_of_the_tracker_moves_the_texture_less_than_the_frame_s_own() -> None:
    """A still face whose tracked landmarks tremble by a pixel: consecutive textures differ less than fresh ones."""
    source, random = stubble(4), np.random.default_rng(0)
    shaken = [face() + random.normal(0, 0.7, 2) for _ in range(12)]
    kept, running, single = None, [], []
    for points in shaken:
        moved = carried(source, points, face(), REGION)
        kept = Texture.following(kept, moved, face(), REGION, FRAME_S)
        running.append(kept.onto(torch.zeros_like(source), source, WHOLE, WHOLE))
        single.append(fine(moved))
    change = [
        float(np.mean([float((b - a).abs().mean()) for a, b in zip(each[4:], each[5:], strict=False)]))
        for each in (running, single)
    ]
    assert change[0] < 0.6 * change[1]
    assert running[-1].std() == pytest.approx(float(fine(source).std()), rel=0.1)


def test_towards_the_mask_s_edge_the_texture_is_the_frame_s_own() -> None:
    """Where half of the frame shows through, half of the texture is the mean of a shot; where all does, none."""
    begun = Texture.following(None, stubble(6), face(), REGION, FRAME_S)
    kept = Texture.following(begun, stubble(7), face(), REGION, FRAME_S)
    mask = (torch.arange(REGION.width) / (REGION.width - 1)).expand(1, 1, REGION.height, -1)
    found = kept.onto(torch.zeros_like(stubble()), stubble(7), WHOLE, mask)
    likes = [
        [
            float(torch.corrcoef(torch.stack([each[..., part].flatten(), found[..., part].flatten()]))[0, 1])
            for each in (fine(stubble(6)), fine(stubble(7)))
        ]
        for part in (slice(0, 40), slice(-40, None))
    ]
    assert likes[0][1] > 0.85 and abs(likes[0][0]) < 0.2
    assert likes[1][0] > 0.8 and likes[1][1] < 0.6


def test_the_running_texture_moves_with_the_wanted_mouth() -> None:
    first, wanted = stubble(5), face(chin=12.0)
    begun = Texture.following(None, first, face(), REGION, FRAME_S)
    blank = torch.zeros_like(first)
    found = Texture.following(begun, blank, wanted, REGION, FRAME_S).band
    rows, columns = around(wanted[8])
    old_rows, old_columns = around(face()[8])
    pair = torch.stack([found[0, :, rows, columns].flatten(), begun.band[0, :, old_rows, old_columns].flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.9


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected \[1,3,320,384\]"):
        carried(torch.zeros(1, 3, 320, 380), face(), face(), REGION)
    with pytest.raises(ShapeError, match=r"twice \[68,2\]"):
        carried(stubble(), face()[:60], face(), REGION)


def test_pictures_and_landmarks_that_do_not_belong_together_are_refused() -> None:
    source = stubble()
    kept = Texture.following(None, source, face(), REGION, FRAME_S)
    with pytest.raises(ShapeError, match=r"expected three times \[1,3,h,w\]"):
        kept.onto(source[:, :, 1:], source, WHOLE, WHOLE)
    with pytest.raises(ShapeError, match=r"expected three times \[1,3,h,w\]"):
        kept.onto(source, source, WHOLE[:, :, :, 1:], WHOLE)
    with pytest.raises(ShapeError, match=r"landmarks \(67, 2\); expected \[68,2\]"):
        skin(face()[1:], REGION)


def jaw_before_hair(column: int) -> Tensor:
    """A region of bright skin beside dark hair, with an outline at that column."""
    bright = (torch.arange(REGION.width) < column).to(torch.float32) * 1.2 - 0.6
    return bright.expand(1, 3, REGION.height, REGION.width).contiguous()


def test_texture_is_carried_and_outlines_are_not() -> None:
    """Far from an outline nothing is held back, at it everything; stubble is no outline."""
    found = off_outlines(fine(jaw_before_hair(200)), 0.4 * fine(stubble()))
    assert float(found[..., :, 190:210].max()) < 0.05
    assert float(found[..., :, :120].min()) == float(found[..., :, 280:].min()) == 1.0


def test_an_outline_of_the_frame_is_not_seen_beside_the_rendered_one() -> None:
    """The generator has drawn the jaw 40 px beside where it was filmed: only its own is there."""
    filmed, rendered = jaw_before_hair(200), jaw_before_hair(240)
    found = Texture.following(None, filmed, face(), REGION, FRAME_S).onto(rendered, filmed, WHOLE, WHOLE)
    assert float((found - rendered).abs()[..., 194:206].max()) < 0.02
    assert float((found - rendered).abs()[..., 234:246].max()) < 0.02
