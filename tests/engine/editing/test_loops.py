"""What composites are made of gives the same pictures and figures with the compiled loops over pixels as without."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.editing.compositing import Patch, colour_change, lower_face_mask, recoloured, sharpen, to_frame
from engine.editing.detail import compare_detail, fineness
from engine.editing.grain import temporal_noise
from engine.editing.observation import region_picture
from engine.editing.settling import FRAME_S
from engine.editing.texture import Texture, carried, fine, off_outlines
from engine.tracking.alignment import crop_from_rgb
from kernels.native.pixels import Pixels, load, using
from tests.engine.editing.made_up import neutral_head, opened, seen
from tests.engine.editing.test_texture import REGION, face

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Pixels:
    return load(tmp_path_factory.mktemp("native"), may_compile=True)


def picture(seed: int = 0, channels: int = 3) -> Tensor:
    noise = torch.randn(1, channels, REGION.height, REGION.width, generator=torch.Generator().manual_seed(seed))
    return 0.3 * noise + torch.linspace(-0.5, 0.5, REGION.width)


def frame(seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(seed).integers(0, 256, (540, 600, 3), np.uint8)


def textured() -> Tensor:
    """Two frames of a shot, the second with an open mouth."""
    first = Texture.following(None, carried(picture(1), face(), face(), REGION), face(), REGION, FRAME_S)
    moved = carried(picture(2), face(), face(opening=20), REGION)
    second = Texture.following(first, moved, face(opening=20), REGION, FRAME_S)
    return second.onto(picture(3), picture(2), *2 * [torch.full((1, 1, *picture().shape[2:]), 0.8)])


FORMS: dict[str, Callable[[], Tensor]] = {
    "carried": lambda: carried(picture(), face(), face(opening=24, chin=16), REGION),
    "finest band": lambda: fine(picture()),
    "outlines": lambda: off_outlines(picture(0), picture(1)),
    "outlines of an odd size": lambda: off_outlines(picture(0)[:, :, :100, :101], picture(1)[:, :, :100, :101]),
    "texture of a shot": textured,
    "change of colour": lambda: colour_change(picture(0), picture(1), picture(2, 1).sigmoid()),
    "sharpened": lambda: sharpen(picture(), 1.3),
    "recoloured": lambda: recoloured(picture(0), picture(1)[:, :, ::8, ::8]),
    "small crop of a frame": lambda: crop_from_rgb(
        frame(), np.array([[2.9, 0.2, 15], [-0.2, 2.9, 40], [0, 0, 1.0]]), 192
    ),
    "crop of a frame": lambda: crop_from_rgb(frame(), np.array([[1.7, 0.1, 40], [-0.1, 1.7, 60], [0, 0, 1.0]]), 192),
}


@pytest.mark.parametrize("name", FORMS)
def test_pictures_are_the_same_to_rounding(name: str, loops: Pixels) -> None:
    plain = FORMS[name]()
    with using(loops):
        found = FORMS[name]()
    assert found.shape == plain.shape
    torch.testing.assert_close(found, plain, atol=2e-3, rtol=0)
    assert float((found - plain).square().mean().sqrt()) < 1e-4
    if name != "outlines of an odd size":
        assert not torch.equal(found, plain), "the loops were not used"


def placed() -> tuple[Patch, Tensor]:
    """A region laid into a frame that shows the face smaller and turned, and what is seen of the frame."""
    to_frame_px = np.array([[0.55, 0.03, 20.0], [-0.03, 0.55, 10.0], [0.0, 0.0, 1.0]])
    watched = replace(seen(neutral_head()), crop_to_frame=to_frame_px, frame_to_crop=np.linalg.inv(to_frame_px))
    mask = lower_face_mask(watched, seen(opened(neutral_head(), 0.1)).points, REGION)
    source = region_picture(frame(), watched, REGION.top, REGION.left, (REGION.height, REGION.width))
    return to_frame(picture(4), mask, watched, REGION, (540, 600)), source


def test_the_way_out_of_and_into_the_frame_is_the_same(loops: Pixels) -> None:
    plain, plain_source = placed()
    with using(loops):
        found, source = placed()
    assert (found.top, found.left, found.mask.shape) == (plain.top, plain.left, plain.mask.shape)
    np.testing.assert_allclose(found.mask, plain.mask, atol=1e-4)
    np.testing.assert_allclose(found.rgb, plain.rgb, atol=0.1)
    torch.testing.assert_close(source, plain_source, atol=2e-3, rtol=0)
    assert 0.9 < float(plain.mask.max()) <= 1 and not np.array_equal(found.rgb, plain.rgb)


def test_detail_and_noise_are_measured_alike(loops: Pixels) -> None:
    rgb = frame(1)[:200, :240]
    inside = np.zeros(rgb.shape[:2], bool)
    inside[30:150, 20:230] = True
    patch = Patch(frame(2)[:200, :240].astype(np.float32), inside.astype(np.float32), 3, 5)
    before, now = (frame(seed)[:100, :100, 0].astype(np.float32) for seed in (3, 4))

    def figures() -> list[float]:
        of_whole, of_corner = fineness(rgb, inside), fineness(rgb[:6, :6], np.ones((6, 6), bool))
        shown, own = compare_detail(patch, frame(1))
        several = (of_whole, of_corner, shown, own)
        return [value for each in several for value in (each.variance, each.quiet)] + [temporal_noise(before, now)]

    plain = figures()
    with using(loops):
        found = figures()
    assert found == pytest.approx(plain, rel=1e-4)
    assert found != plain, "the loops were not used"
