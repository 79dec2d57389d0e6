"""The emotion of a stream's frames: chosen by name, or told from the voice (`auto`)."""

from collections import deque
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.emotions import AUTO, BLEND_S, EMOTIONS, EmotionBlend, Shares, check_choice
from engine.speech.intonation import HOP
from engine.speech.mood import NEUTRAL, SHIPPED, Mood, MoodTeller, read_mood_net

AUTO_BLEND_S: Final = 1.0
"""Seconds from one emotion to the next when they are told from the voice."""

_LATE: Final = 2  # control frames between a frame of intonation and the one that is sure to be answered after it


class ShownEmotion:
    """What the face shows, frame by frame; begins neutral. The voice is listened to from the first `auto` on."""

    def __init__(self, weights: Path = SHIPPED) -> None:
        """`weights` are those of the mood network, read when `auto` is chosen."""
        self._weights = weights
        self._blend = EmotionBlend()
        self._teller: MoodTeller | None = None
        self._moods: deque[Mood] = deque()
        self._told: Mood | None = None
        self._is_auto = False
        self._intensity = 1.0
        self._heard = 0
        self._answered = 0
        self._sum = np.zeros(len(EMOTIONS))

    @property
    def shown(self) -> dict[str, float]:
        """Mean share of each emotion in the frames so far; empty before the first."""
        if not self._answered:
            return {}
        return {name: round(float(share), 4) for name, share in zip(EMOTIONS, self._sum / self._answered, strict=True)}

    def choose(self, name: str, intensity: float = 1.0, blend_s: float = BLEND_S) -> None:
        """Sets the emotion of the frames that follow.

        Args:
            name: one of `CHOICES`.
            intensity: 0 ... 1; with `auto` a factor on the strength that is heard.
            blend_s: seconds until it is reached; `auto` blends in its own time.

        Raises:
            BadInputError: there is no such emotion, or a value is out of range.
            WeightsError: the mood network's weights are not there.
        """
        check_choice(name, intensity)
        if name != AUTO:
            self._blend.choose(name, intensity, blend_s)
        elif self._teller is None:
            self._teller = MoodTeller(read_mood_net(self._weights))
            self._moods.extend([NEUTRAL] * (-(-self._heard // HOP) + _LATE - self._answered))
        self._is_auto, self._intensity, self._told = name == AUTO, intensity, None

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Takes the stream's sound: [N] float32, 16 kHz, cleaned."""
        self._heard += len(samples)
        if self._teller is not None:
            self._moods.extend(self._teller.push(samples))

    def follow(self, frames: int) -> Shares:
        """The shares [frames, EMOTIONS] of the next control frames, whose sound was heard."""
        if self._teller is None:
            rows = self._blend.follow(frames)
        elif len(self._moods) < frames:
            raise ShapeError(f"{frames} frames asked, expected at most {len(self._moods)}: their sound was not heard")
        else:
            told = [self._moods.popleft() for _ in range(frames)]
            rows = self._blend.follow(frames) if not self._is_auto else self._follow_voice(told)
        self._answered += frames
        self._sum += rows.sum(axis=0)
        return rows

    def _follow_voice(self, told: list[Mood]) -> Shares:
        """Shares of frames in the mood that was told at each."""
        rows = np.empty((len(told), len(EMOTIONS)), np.float32)
        for index, mood in enumerate(told):
            if mood != self._told:
                self._told = mood
                self._blend.choose(mood.emotion, mood.level * self._intensity, AUTO_BLEND_S)
            rows[index] = self._blend.follow(1)[0]
        return rows
