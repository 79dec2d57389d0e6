"""Jaw and lips have mass: they follow what speech asks of them as a critically damped system does.

Task dynamics (Saltzman and Munhall 1989) models articulators as critically damped springs of second order; the jaw is
slower than the lips. The filter is causal: it costs no look-ahead. It delays the jaw by twice its time constant, as
muscles do: real lips lag the sounds that the network hears. Lips that close are there at once: a closure is short, and
the fastest thing that a mouth does; with mass, many would begin and not arrive.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, FRAME_RATE

JAW_S: Final = 0.020
"""Time constant of the jaw (natural frequency 8 Hz)."""
LIPS_S: Final = 0.015
"""Time constant of the lips (10.6 Hz)."""

_CLOSE: Final = CONTROLS.index("close")
_SHARE: Final = np.array(
    [1.0 - np.exp(-1.0 / FRAME_RATE / (JAW_S if name == "jaw" else LIPS_S)) for name in CONTROLS], np.float32
)


@dataclass
class Inertia:
    """The motion of the mouth from frame to frame; starts at rest."""

    drive: NDArray[np.float32] = field(default_factory=lambda: np.zeros(len(CONTROLS), np.float32))
    """[CONTROLS] the force, which follows what is asked for."""
    place: NDArray[np.float32] = field(default_factory=lambda: np.zeros(len(CONTROLS), np.float32))
    """[CONTROLS] where the mouth is, which follows the force."""

    def follow(self, controls: NDArray[np.float32]) -> NDArray[np.float32]:
        """controls: [T, CONTROLS] asked for -> [T, CONTROLS] as jaw and lips follow, within the same range."""
        if controls.ndim != 2 or controls.shape[1] != len(CONTROLS):
            raise ShapeError(f"controls are {controls.shape}, expected [T, {len(CONTROLS)}]")
        moved = np.empty(controls.shape, np.float32)
        for index, wanted in enumerate(controls):
            self.drive = self.drive + _SHARE * (wanted - self.drive)
            self.place = self.place + _SHARE * (self.drive - self.place)
            moved[index] = self.place
        moved[:, _CLOSE] = np.maximum(moved[:, _CLOSE], controls[:, _CLOSE])
        return moved
