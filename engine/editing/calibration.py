"""What the picture really shows when a mouth is asked for: measured at enrolment, used in every frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from engine.editing.compositing import lower_face_mask, match_colour, sharpen, to_frame
from engine.editing.meter import MouthMeter
from engine.editing.observation import Observation, region_picture
from engine.editing.rendering import SpeakerRenderer
from engine.tracking.mesh import MeshNet
from engine.tracking.tracker import TrackedFace

_DELTA: Final = 1.0
_SHARPEST: Final = 1.6
_TRIES: Final = (0.0, 0.4, 0.8, 1.2, 1.6)


@dataclass(frozen=True, slots=True)
class Sample:
    """A whole frame with its face."""

    rgb: NDArray[np.uint8]
    """[H,W,3]."""
    face: TrackedFace
    """What the tracker says of it."""
    observation: Observation
    """The same in the speaker's coordinates."""


def measure_response(
    renderer: SpeakerRenderer, mesh: MeshNet, samples: Sequence[Sample], progress: Callable[[int, int], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Jacobian of the shown mouth numbers with respect to the asked-for ones, by finite differences, mean of frames.

    Each number is moved towards the clip's mean, by one unit at least, so that no frame leaves the clip's range.

    Returns:
        [8,8] shown per asked, and [8] what is shown when the mean mouth is asked for.
    """
    profile = renderer.profile
    jacobians, shown, asked = [], [], []
    for done, sample in enumerate(samples):
        seen = sample.observation
        features = profile.features(seen)
        mask = lower_face_mask(seen, seen.points, profile.region)
        meter = MouthMeter(mesh, sample.rgb, sample.face, seen, profile.region, mask)
        with torch.no_grad():
            start = meter.mouth(renderer.region(renderer.anchor(features, seen.mouth)))
            columns = []
            for index in range(len(seen.mouth)):
                sign = 1.0 if seen.mouth[index] <= profile.mouth_mean[index] else -1.0
                moved = seen.mouth.copy()
                moved[index] += sign * _DELTA
                columns.append(
                    (meter.mouth(renderer.region(renderer.anchor(features, moved))) - start) / (sign * _DELTA)
                )
        jacobians.append(np.stack(columns, axis=1))
        shown.append(start)
        asked.append(seen.mouth)
        progress(done + 1, len(samples))
    response: NDArray[np.float64] = np.mean(jacobians, axis=0)
    offsets = [s - response @ (a - profile.mouth_mean) for s, a in zip(shown, asked, strict=True)]
    at_zero: NDArray[np.float64] = np.mean(offsets, axis=0)
    return response, at_zero


def measure_sharpening(renderer: SpeakerRenderer, samples: Sequence[Sample]) -> float:
    """Share of high frequencies to add so that the clip's own mouths, rendered, are as sharp as filmed.

    Sharpness is the variance of the Laplacian inside the mask at the frame's own resolution (Pech-Pacheco et al. 2000).
    """
    ratios = np.array([[_sharpness_ratio(renderer, sample, share) for share in _TRIES] for sample in samples])
    curve = np.median(ratios, axis=0)
    if curve[0] >= 1 or curve[-1] <= curve[0]:
        return 0.0
    return float(np.interp(1.0, np.maximum.accumulate(curve), _TRIES)) if curve[-1] > 1 else _SHARPEST


def _sharpness_ratio(renderer: SpeakerRenderer, sample: Sample, share: float) -> float:
    profile, seen = renderer.profile, sample.observation
    region = profile.region
    mask = lower_face_mask(seen, seen.points, region)
    source = region_picture(sample.rgb, seen, region.top, region.left, (region.height, region.width))
    with torch.no_grad():
        picture = renderer.region(renderer.anchor(profile.features(seen), seen.mouth))
        picture = sharpen(match_colour(picture, source, mask), share)
        patch = to_frame(picture, mask, seen, region, (sample.rgb.shape[0], sample.rgb.shape[1]))
    height, width = patch.mask.shape
    own = sample.rgb[patch.top : patch.top + height, patch.left : patch.left + width].astype(np.float32)
    inside = patch.mask > 0.9
    return _laplacian_variance(patch.rgb, inside) / max(_laplacian_variance(own, inside), 1e-6)


def _laplacian_variance(rgb: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    luma = torch.from_numpy(rgb.mean(2))[None, None]
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])[None, None]
    edges = functional.conv2d(functional.pad(luma, (1, 1, 1, 1), mode="replicate"), kernel)[0, 0].numpy()
    return float(edges[inside].var()) if inside.any() else 0.0
