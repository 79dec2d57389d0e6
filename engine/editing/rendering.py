"""A speaker's own generator: from features and mouth numbers to the region's pixels."""

import copy
import math
from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.features import MOUTH_COUNT
from engine.editing.mouth import MOUTH_UNITS, OPENING
from engine.editing.profile import SpeakerProfile
from engine.editing.tuning import tuned_parameters
from engine.errors import ProfileError, ShapeError
from engine.generators.identity import generator_hash
from engine.generators.protocol import Generator

_PRIOR: Final = 0.02
"""Weight of how unusual a mouth is for the speaker beside how far the picture is from its target.

With 0.05 openings followed their targets less (by one judge r 0.965 to 0.974 for 0.970 to 0.981 on two clips and the
presenter, who moved a fifth less); with 0.01 skin flickered on a third clip."""
_UNUSUAL: Final = 7.0
"""Largest Mahalanobis distance of an asked-for mouth from the clip's mean one."""
_OPENING_GAIN: Final = 1.25
"""How much wider and tighter than wanted an opening is asked for, around the clip's mean one.

The response was measured by the mesh and inverted with a prior; networks that never steered an edit see 15-30 % less
of an opening than was wanted."""
_PRESSED: Final = 0.015 / MOUTH_UNITS[OPENING]
"""How much further than closed lips are asked to close: the mesh reads lips that touch and lips that are almost closed
alike, a viewer does not."""
_CLOSING: Final = 0.03 / MOUTH_UNITS[OPENING]
"""Opening above rest, from which on lips are not pressed."""


class SpeakerRenderer:
    """The generator with a profile's weights, and the way from mouth numbers to w.

    Args:
        profile: the speaker.
        generator: the untuned generator; copied when the profile has weights of its own.

    Raises:
        ProfileError: the profile was made with another generator.
    """

    def __init__(self, profile: SpeakerProfile, generator: Generator) -> None:
        """Lays the profile's weights over the generator's."""
        found = generator_hash(generator.module())
        if found != profile.generator:
            raise ProfileError(
                f"the profile was made with generator {profile.generator}, this one is {found}; import that generator "
                "(`livedub weights import`), or enrol the speaker again"
            )
        self.profile: Final = profile
        self.generator: Final = copy.deepcopy(generator) if profile.weights else generator
        parameters = tuned_parameters(self.generator) if profile.weights else {}
        if set(profile.weights) - set(parameters):
            raise ProfileError("the profile holds weights that its generator has not; enrol the speaker again")
        with torch.no_grad():
            for name, change in profile.weights.items():
                if change.shape != parameters[name].shape:
                    raise ProfileError(f"{name} is {tuple(change.shape)}, expected {tuple(parameters[name].shape)}")
                parameters[name].add_(change.to(torch.float32))
        self._fast: Callable[..., tuple[Tensor, ...]] | None = None
        self._precision: Final = np.asarray(np.linalg.inv(profile.mouth_covariance), np.float64)
        gram = profile.response.T @ profile.response + _PRIOR * self._precision
        self._solve: Final = np.linalg.solve(gram, profile.response.T)

    def anchor(self, features: Tensor, mouth: NDArray[np.float64]) -> Tensor:
        """Code of a frame: features [F-8] and mouth numbers [8] as measured or asked for -> [R,512]."""
        change = torch.from_numpy((mouth - self.profile.mouth_mean).astype(np.float32))
        moved: Tensor = torch.tensordot(torch.cat([features, change]), self.profile.slopes, 1)
        return self.profile.base + moved

    def reached_for(self, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mouth numbers [8] to aim at, so that viewers see the wanted ones: wider and tighter; closed lips pressed.

        Raises:
            ShapeError: not eight numbers.
        """
        if np.shape(wanted) != (MOUTH_COUNT,):
            raise ShapeError(f"mouth numbers have shape {np.shape(wanted)}, expected [{MOUTH_COUNT}]")
        profile = self.profile
        aim = np.array(wanted, np.float64)
        above = max(0.0, float(aim[OPENING]) - profile.rest_opening / float(MOUTH_UNITS[OPENING]))
        mean = float(profile.mouth_mean[OPENING])
        aim[OPENING] = mean + _OPENING_GAIN * (aim[OPENING] - mean) - _PRESSED * max(0.0, 1.0 - above / _CLOSING)
        return aim

    def asked(self, target: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mouth numbers to ask for so that the picture shows `target` [8].

        The measured response, inverted with the speaker's own mouths as prior (Levenberg 1944 with that metric): of all
        mouths that come near the target the one that this person is most likely to make.
        """
        profile = self.profile
        return self.held(profile.mouth_mean + self._solve @ (target - profile.response_at_zero))

    def step(self, missing: NDArray[np.float64]) -> NDArray[np.float64]:
        """Change of the asked-for numbers [8] that makes up for what the picture misses: one Gauss-Newton step."""
        return np.asarray(self._solve @ missing, np.float64)

    def held(self, mouth: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mouth numbers no more unusual than the generator was fitted for: drawn towards the mean where needed."""
        away = mouth - self.profile.mouth_mean
        distance = math.sqrt(max(0.0, float((away @ self._precision) @ away)))
        return np.asarray(self.profile.mouth_mean + away * min(1.0, _UNUSUAL / max(distance, 1e-9)), np.float64)

    def use(self, runner: Callable[..., tuple[Tensor, ...]]) -> None:
        """Render with `runner`, w [R,512] -> ([1,3,h,w],), wherever no gradient is asked for."""
        self._fast = runner

    def eager(self, w: Tensor) -> tuple[Tensor, ...]:
        """The reference of all backends: w [R,512] -> ([1,3,h,w],)."""
        return (self.generator.region(w[None], self.profile.region),)

    def region(self, w: Tensor) -> Tensor:
        """Pixels of the region: w [R,512] -> [1,3,h,w] in about -1...1."""
        if self._fast is not None and not (torch.is_grad_enabled() and w.requires_grad):
            return self._fast(w)[0]
        return self.eager(w)[0]
