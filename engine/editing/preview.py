"""A picture of what a profile can do, so that a user sees it before using it."""

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.editing.calibration import Sample
from engine.editing.compositing import lower_face_mask, match_colour, sharpen
from engine.editing.mouth import mouth_shape
from engine.editing.observation import CROP, region_picture
from engine.editing.profile import SpeakerProfile
from engine.editing.rendering import SpeakerRenderer
from engine.generators.protocol import Generator
from engine.generators.stats import WStatistics

_TILE: Final = 256
_SHAPES: Final = (
    (0.0, 0, 0, 0, 0, 0, 0, 0),
    (0.8, 0, 0.1, 0.6, 0.5, 0, 0, 0.3),
    (1.6, 0, 0.2, 1.2, 1.0, 0, 0, 0.6),
    (2.4, 0, 0.3, 1.8, 1.5, 0, 0, 0.9),
    (0.6, -1.2, 0.1, 0.5, 0.4, 0.1, 0, 0.3),
    (1.4, -1.2, 0.2, 1.0, 0.8, 0.1, 0, 0.5),
    (0.6, 1.0, 0.1, 0.5, 0.4, -0.2, 0, 0.3),
    (1.4, 1.0, 0.1, 1.0, 0.8, -0.2, 0, 0.5),
)
"""Displacements of the eight mouth numbers from rest: closed, three openings, two rounded, two spread."""


def draw_preview(
    profile: SpeakerProfile,
    renderer: SpeakerRenderer,
    untuned: Generator,
    code: Tensor,
    sample: Sample,
    statistics: WStatistics,
) -> NDArray[np.uint8]:
    """Source, inversion, tuned, rest; below them eight mouth shapes.

    Args:
        profile: the speaker.
        renderer: their generator.
        untuned: the generator before tuning.
        code: [R,K] whitened code of the inversion.
        sample: the frame to show.
        statistics: whitened W.

    Returns:
        [H,W,3] uint8.
    """
    seen, region = sample.observation, profile.region
    crop = region_picture(sample.rgb, seen, 0, 0, (CROP, CROP))
    source = crop[:, :, region.slices[0], region.slices[1]]
    features = profile.features(seen)
    rest = mouth_shape(profile.rest_head)

    def laid_over(mouth: NDArray[np.float64]) -> Tensor:
        """The crop with these mouth numbers [8] laid over it: [1,3,1024,1024]."""
        mask = lower_face_mask(seen, seen.points, region)
        found = sharpen(
            match_colour(renderer.region(renderer.anchor(features, mouth)), source, mask), profile.sharpening
        )
        whole = crop.clone()
        whole[:, :, region.slices[0], region.slices[1]] += mask * (found - source)
        return whole

    with torch.no_grad():
        inverted = functional.interpolate(untuned.coarse(statistics.decode(code)[None]), size=(_TILE, _TILE))
        top = [_tile(crop), inverted, _tile(laid_over(seen.mouth)), _tile(laid_over(renderer.asked(rest)))]
        chart = [
            _tile(laid_over(renderer.asked(rest + np.array(shape)))[:, :, region.slices[0], region.slices[1]])
            for shape in _SHAPES
        ]
    rows = [torch.cat(top, 3), torch.cat(chart[:4], 3), torch.cat(chart[4:], 3)]
    picture = ((torch.cat(rows, 2)[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return picture.permute(1, 2, 0).contiguous().numpy()


def _tile(picture: Tensor) -> Tensor:
    return functional.interpolate(picture, size=(_TILE, _TILE), mode="bilinear", antialias=True, align_corners=False)
