"""What the picture really shows when a mouth is asked for: measured at enrolment, used in every frame."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from engine.editing.compositing import lower_face_mask, match_colour, sharpen, to_frame
from engine.editing.detail import GRAIN_LIMIT, LAPLACIAN_GAIN, compare_detail
from engine.editing.meter import MouthMeter
from engine.editing.observation import Observation, region_picture
from engine.editing.rendering import SpeakerRenderer
from engine.tracking.mesh import MeshNet
from engine.tracking.tracker import TrackedFace

_TRIES: Final = (0.0, 0.3, 0.6, 0.9)
"""Shares of sharpening that are tried: more brings out the generator's own grid."""


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

    Mouths are moved along the principal axes of the clip's own mouths, by one standard deviation, towards the mean:
    that is where they will be asked for.

    Returns:
        [8,8] shown per asked, and [8] what is shown when the mean mouth is asked for.
    """
    profile = renderer.profile
    spread, axes = np.linalg.eigh(profile.mouth_covariance)
    moves = axes * np.sqrt(spread)
    jacobians, shown, asked = [], [], []
    for done, sample in enumerate(samples):
        seen = sample.observation
        features = profile.features(seen)
        mask = lower_face_mask(seen, seen.points, profile.region)
        meter = MouthMeter(mesh, sample.rgb, sample.face, seen, profile.region, mask)
        mouth = renderer.held(seen.mouth)
        signs = np.where((mouth - profile.mouth_mean) @ moves > 0, -1.0, 1.0)
        with torch.no_grad():
            start = meter.mouth(renderer.region(renderer.anchor(features, mouth)))
            changes = [
                meter.mouth(renderer.region(renderer.anchor(features, mouth + sign * move))) - start
                for sign, move in zip(signs, moves.T, strict=True)
            ]
        jacobians.append(np.stack(changes, axis=1) @ np.linalg.inv(moves * signs))
        shown.append(start)
        asked.append(mouth)
        progress(done + 1, len(samples))
    response = np.mean(jacobians, axis=0)
    offsets = [s - response @ (a - profile.mouth_mean) for s, a in zip(shown, asked, strict=True)]
    at_zero = np.mean(offsets, axis=0)
    return response, at_zero


def measure_sharpness(renderer: SpeakerRenderer, samples: Sequence[Sample]) -> tuple[float, float]:
    """What makes the clip's own mouths, rendered, as sharp as filmed: sharpening first, then noise.

    A dub begins with it (`engine.editing.detail` follows what it shows). Sharpness is the variance of the Laplacian
    inside the mask at the frame's own resolution (Pech-Pacheco et al. 2000).

    Returns:
        Share of high frequencies to add, and standard deviation of the noise to add in grey levels.
    """
    pairs = np.array([[_sharpness(renderer, sample, share) for share in _TRIES] for sample in samples])
    curve = np.maximum.accumulate(np.median(pairs[:, :, 0] / pairs[:, :, 1], axis=0))
    if curve[0] >= 1:
        return 0.0, 0.0
    share = float(np.interp(1.0, curve, _TRIES))
    missing = float(np.median(pairs[:, 0, 1])) * max(0.0, 1.0 - float(curve[-1]))
    return share, min(GRAIN_LIMIT, float(np.sqrt(missing / LAPLACIAN_GAIN)))


def _sharpness(renderer: SpeakerRenderer, sample: Sample, share: float) -> tuple[float, float]:
    """Variance of the Laplacian of the rendered and of the filmed mouth."""
    profile, seen = renderer.profile, sample.observation
    region = profile.region
    mask = lower_face_mask(seen, seen.points, region)
    source = region_picture(sample.rgb, seen, region.top, region.left, (region.height, region.width))
    with torch.no_grad():
        picture = renderer.region(renderer.anchor(profile.features(seen), seen.mouth))
        picture = sharpen(match_colour(picture, source, mask), share)
        patch = to_frame(picture, mask, seen, region, (sample.rgb.shape[0], sample.rgb.shape[1]))
    shown, own = compare_detail(patch, sample.rgb)
    return shown.variance, max(own.variance, 1e-6)
