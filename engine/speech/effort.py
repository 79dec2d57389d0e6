"""Vocal effort moves the jaw beside articulation.

People open wider on loud and stressed syllables, whatever the sound (Schulman 1989), and the area of the mouth follows
the envelope of the second and third formants better than that of all sound (Grant and Seitz 2000). A network that
learnt from rules says which sound is spoken better than how hard. Effort, the level of those bands over the running
level, therefore acts twice: it scales the network's jaw, so that both vary alike (one standard deviation of effort
changes the jaw by the share of its mean that one standard deviation of the network's own jaw is), and it adds one
standard deviation of jaw for each standard deviation of effort. Where lips close, nothing is added and closing takes
back the rest. The constants are means and spreads of both over the training voices; `livedub train evaluate` measures
them again.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS

EFFORT_MEAN: Final = -4.22
"""Mean of the effort while somebody speaks, 10 dB over the running level."""
EFFORT_SPREAD: Final = 0.97
"""Its standard deviation."""
JAW_MEAN: Final = 0.129
"""Mean of the network's jaw control while somebody speaks."""
JAW_SPREAD: Final = 0.061
"""Its standard deviation."""
WIDEST: Final = 0.6
"""Jaw that is approached but never passed: 1.4 times that of an open vowel at usual effort."""
_MOST: Final = 2.5
"""Largest factor on the jaw."""
_JAW: Final = CONTROLS.index("jaw")
_CLOSE: Final = CONTROLS.index("close")


def open_by_effort(controls: NDArray[np.float32], effort: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the jaw by effort and add to it.

    Args:
        controls: [T,CONTROLS] of the network.
        effort: [T] of the same frames, 10 dB over the running level (`features.effort`).

    Returns:
        [T,CONTROLS] with another jaw, within 0 ... WIDEST.
    """
    if controls.ndim != 2 or controls.shape[1] != len(CONTROLS) or effort.shape != controls.shape[:1]:
        raise ShapeError(f"controls {controls.shape} and effort {effort.shape}; expected [T, {len(CONTROLS)}], [T]")
    over = (effort - EFFORT_MEAN) / EFFORT_SPREAD
    factor = np.clip(1.0 + JAW_SPREAD / JAW_MEAN * over, 0.0, _MOST)
    added = JAW_SPREAD * np.clip(over, -3.0, 3.0) * (1.0 - controls[:, _CLOSE])
    opened = np.array(controls, np.float32)
    opened[:, _JAW] = WIDEST * np.tanh(np.maximum(controls[:, _JAW] * factor + added, 0.0) / WIDEST)
    return opened
