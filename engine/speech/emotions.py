"""The eight emotions, their intensity, and changes between them without a jump.

An emotion is a row of eight shares that add up to 1: `happy` at intensity 0.4 is 0.4 happy and 0.6 neutral. Every state
between two emotions is such a row as well, so that blending is moving along a line.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import FRAME_RATE

EMOTIONS: Final = ("neutral", "angry", "contempt", "disgusted", "fear", "happy", "sad", "surprised")
"""Order of the shares."""
AUTO: Final = "auto"
"""Stands for the emotion that is heard in the voice."""
CHOICES: Final = (*EMOTIONS, AUTO)
"""What may be asked for."""
BLEND_S: Final = 0.6
"""Seconds from one emotion to the next, unless another time is asked for."""
LONGEST_BLEND_S: Final = 10.0
"""Most seconds that may be asked for."""

Shares = NDArray[np.float32]


def emotion_shares(name: str, intensity: float = 1.0) -> Shares:
    """The shares [8] of an emotion at an intensity of 0 ... 1."""
    if name not in EMOTIONS:
        raise BadInputError(f"emotion is {name!r}, expected one of {', '.join(EMOTIONS)}")
    if not 0.0 <= intensity <= 1.0:
        raise BadInputError(f"intensity is {intensity}, expected 0 ... 1")
    shares = np.zeros(len(EMOTIONS), np.float32)
    shares[0] = 1.0 - intensity
    shares[EMOTIONS.index(name)] += intensity
    return shares


def check_choice(name: str, intensity: float) -> None:
    """Raises `BadInputError` unless `name` is one of `CHOICES` and intensity 0 ... 1."""
    if name not in CHOICES:
        raise BadInputError(f"emotion is {name!r}, expected one of {', '.join(CHOICES)}")
    emotion_shares(EMOTIONS[0] if name == AUTO else name, intensity)


@dataclass
class EmotionBlend:
    """The emotion of a stream over time: begins neutral, and moves in a straight line to what is chosen."""

    current: Shares = field(default_factory=lambda: emotion_shares("neutral"))
    """[8] what the face shows."""
    target: Shares = field(default_factory=lambda: emotion_shares("neutral"))
    """[8] what was chosen."""
    left: int = 0
    """Frames until it is reached."""

    def choose(self, name: str, intensity: float = 1.0, blend_s: float = BLEND_S) -> None:
        """Sets the emotion of the frames that follow, reached in `blend_s` seconds (0: at once)."""
        if not 0.0 <= blend_s <= LONGEST_BLEND_S:
            raise BadInputError(f"blend_s is {blend_s}, expected 0 ... {LONGEST_BLEND_S:g} seconds")
        self.target = emotion_shares(name, intensity)
        self.left = max(1, round(blend_s * FRAME_RATE))

    def follow(self, frames: int) -> Shares:
        """The shares [frames, 8] of the next control frames."""
        shown = np.empty((frames, len(EMOTIONS)), np.float32)
        for index in range(frames):
            self.current = self.current + (self.target - self.current) / np.float32(max(1, self.left))
            self.left = max(0, self.left - 1)
            shown[index] = self.current
        return shown
