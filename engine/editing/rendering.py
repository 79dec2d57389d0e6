"""A speaker's own generator: from features and mouth numbers to the region's pixels."""

import copy
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.profile import SpeakerProfile, generator_hash
from engine.editing.tuning import tuned_parameters
from engine.errors import ProfileError
from engine.generators.mobile import MobileStyleGAN

_DAMPING: Final = 0.15
"""Trust in the asked-for numbers beside the measured response, when both disagree."""


class SpeakerRenderer:
    """The generator with a profile's weights, and the way from mouth numbers to w.

    Args:
        profile: the speaker.
        generator: the untuned generator; copied when the profile has weights of its own.

    Raises:
        ProfileError: the profile was made with another generator.
    """

    def __init__(self, profile: SpeakerProfile, generator: MobileStyleGAN) -> None:
        """Lays the profile's weights over the generator's."""
        found = generator_hash(generator)
        if found != profile.generator:
            raise ProfileError(
                f"the profile was made with generator {profile.generator}, this one is {found}; enrol the speaker again"
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
        self._solve = _solver(profile.response)

    def anchor(self, features: Tensor, mouth: NDArray[np.float64]) -> Tensor:
        """Code of a frame: features [F-8] and mouth numbers [8] as measured or asked for -> [R,512]."""
        change = torch.from_numpy((mouth - self.profile.mouth_mean).astype(np.float32))
        moved: Tensor = torch.tensordot(torch.cat([features, change]), self.profile.slopes, 1)
        return self.profile.base + moved

    def asked(self, target: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mouth numbers to ask for so that the picture shows `target` [8]: the measured response, inverted."""
        profile = self.profile
        shown = profile.response_at_zero + profile.response @ (target - profile.mouth_mean)
        return self.held(target + self._solve @ (target - shown))

    def step(self, missing: NDArray[np.float64]) -> NDArray[np.float64]:
        """Change of the asked-for numbers [8] that makes up for what the picture misses: one Gauss-Newton step."""
        change: NDArray[np.float64] = self._solve @ missing
        return change

    def held(self, mouth: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mouth numbers within what the profile can show, with some room for the response's gain."""
        room = 0.35 * (self.profile.mouth_high - self.profile.mouth_low)
        held: NDArray[np.float64] = np.clip(mouth, self.profile.mouth_low - room, self.profile.mouth_high + room)
        return held

    def region(self, w: Tensor) -> Tensor:
        """Pixels of the region: w [R,512] -> [1,3,h,w] in about -1...1."""
        return self.generator.region(w[None], self.profile.region)


def _solver(response: NDArray[np.float64]) -> NDArray[np.float64]:
    """Damped inverse of the response [8,8] (Levenberg 1944): small where the picture hardly answers."""
    gram = response.T @ response
    return np.linalg.solve(gram + _DAMPING * np.eye(len(gram)), response.T).astype(np.float64)
