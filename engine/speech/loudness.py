"""Loudness moves the jaw beside articulation.

People open wider on loud and stressed syllables, whatever the sound (Schulman 1989). A network that learnt from rules
says which sound is spoken better than how hard; its jaw is therefore scaled by the loudness of all bands over
the running level. Both then vary alike: one standard deviation of loudness changes the jaw by the share of its mean
that one standard deviation of the network's own jaw is. Lips that close still close. The constants are the means and
spreads of both over six and a half minutes of ten synthetic voices of the corpus.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS

LOUDNESS_MEAN: Final = -4.15
"""Mean of the band loudness (log10 mel power at the running level) while somebody speaks."""
LOUDNESS_SPREAD: Final = 1.14
"""Its standard deviation."""
JAW_MEAN: Final = 0.122
"""Mean of the network's jaw control while somebody speaks."""
JAW_SPREAD: Final = 0.081
"""Its standard deviation."""
_MOST: Final = 2.5
"""Largest factor on the jaw."""
_JAW: Final = CONTROLS.index("jaw")


def open_by_loudness(controls: NDArray[np.float32], loudness: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale the jaw by loudness.

    Args:
        controls: [T,CONTROLS] of the network.
        loudness: [T] band loudness of the same frames, 10 dB over the running level.

    Returns:
        [T,CONTROLS] with another jaw, within 0 ... 1.
    """
    if controls.ndim != 2 or controls.shape[1] != len(CONTROLS) or loudness.shape != controls.shape[:1]:
        raise ShapeError(f"controls {controls.shape} and loudness {loudness.shape}; expected [T, {len(CONTROLS)}], [T]")
    gain = JAW_SPREAD / JAW_MEAN / LOUDNESS_SPREAD
    factor = np.clip(1.0 + gain * (loudness - LOUDNESS_MEAN), 0.0, _MOST)
    opened = np.array(controls, np.float32)
    opened[:, _JAW] = np.clip(controls[:, _JAW] * factor, 0.0, 1.0)
    return opened
