"""Mouths that a clip does not show: the generator's own, as far as the speaker's say nothing.

Who listens, or mumbles, gives a fit little to learn a mouth from: what it learns instead is the tracker's noise, and a
mouth that is then asked to open stays shut or turns grey. So the less a clip's mouth opens the more of the generator's
own directions is kept, the more freely mouths are asked for, and the farther they may open. Limits are ours; how speech
moves a mouth is what the speech network does with the shipped demo's voice.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.mouth import MOUTH_UNITS, OPENING, mouth_shape
from engine.editing.profile import SpeakerProfile
from engine.errors import ShapeError

_RANGE_IOD: Final = (0.02, 0.12)
"""Range of a clip's openings in which nothing is known of how the mouth opens, and from which on all is."""
_LEAST_OPENING_IOD: Final = 0.11
"""How far above rest every mouth may open: as in lively speech."""
_SPOKEN: Final = np.array([0.8, -0.1, -0.05, 0.65, 0.45, 0.3, 0.0, 0.5])
"""[8] how the mouth numbers move together in speech, one standard deviation."""
_APART: Final = 0.15
"""Standard deviation of each number by itself beside that."""
_QUANTILES: Final = (0.02, 0.98)


def known_share(mouths: NDArray[np.float64]) -> float:
    """How much a clip tells of its speaker's opening mouth, 0...1.

    Args:
        mouths: [N,8] mouth numbers of its frames.

    Raises:
        ShapeError: another shape, or no frames.
    """
    if mouths.ndim != 2 or mouths.shape[1] != len(MOUTH_UNITS) or not len(mouths):
        raise ShapeError(f"mouth numbers have shape {mouths.shape}; expected [N,{len(MOUTH_UNITS)}], N at least 1")
    reach = float(np.ptp(np.quantile(mouths[:, OPENING], _QUANTILES))) * float(MOUTH_UNITS[OPENING])
    return float(np.clip((reach - _RANGE_IOD[0]) / (_RANGE_IOD[1] - _RANGE_IOD[0]), 0.0, 1.0))


def completed(profile: SpeakerProfile, known: float, own: Tensor) -> SpeakerProfile:
    """A fitted profile whose unseen mouths are the generator's; to be calibrated after it.

    Args:
        profile: as the fit has left it.
        known: how much its clip tells, 0...1 (`known_share`).
        own: [8,R,D] the generator's own directions of the mouth numbers; where they are zero, they are not known, and
            the fit's stay.

    Raises:
        ShapeError: directions of another shape than the profile's.
    """
    count = len(MOUTH_UNITS)
    if own.shape != profile.slopes[-count:].shape:
        raise ShapeError(f"directions are {tuple(own.shape)}; expected {tuple(profile.slopes[-count:].shape)}")
    slopes = profile.slopes.clone()
    if bool(own.any()):
        slopes[-count:] = own.lerp(profile.slopes[-count:], known)
    spoken = np.outer(_SPOKEN, _SPOKEN) + _APART**2 * np.eye(count)
    high = profile.mouth_high.copy()
    widest = mouth_shape(profile.rest_head)[OPENING] + _LEAST_OPENING_IOD / MOUTH_UNITS[OPENING]
    high[OPENING] = max(high[OPENING], widest)
    covariance = profile.mouth_covariance + (1 - known) * spoken
    return replace(profile, slopes=slopes, mouth_high=high, mouth_covariance=covariance)
