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
from engine.editing.mouth_chart import chart_shapes
from engine.editing.observation import CROP, region_picture
from engine.editing.profile import SpeakerProfile
from engine.editing.rendering import SpeakerRenderer
from engine.generators.protocol import Generator
from engine.generators.stats import WStatistics

_TILE: Final = 256
_A_ROW: Final = 4


def draw_preview(
    profile: SpeakerProfile,
    renderer: SpeakerRenderer,
    untuned: Generator,
    code: Tensor,
    sample: Sample,
    statistics: WStatistics,
) -> NDArray[np.uint8]:
    """Source, inversion, tuned, rest; below them the twelve mouths of the chart (`engine.editing.mouth_chart`).

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
            _tile(laid_over(renderer.asked(rest + shape))[:, :, region.slices[0], region.slices[1]])
            for shape in chart_shapes()
        ]
    rows = [torch.cat(tiles, 3) for tiles in (top, *(chart[n : n + _A_ROW] for n in range(0, len(chart), _A_ROW)))]
    picture = ((torch.cat(rows, 2)[0].clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return picture.permute(1, 2, 0).contiguous().numpy()


def _tile(picture: Tensor) -> Tensor:
    return functional.interpolate(picture, size=(_TILE, _TILE), mode="bilinear", antialias=True, align_corners=False)
