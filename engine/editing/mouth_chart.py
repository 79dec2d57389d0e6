"""The twelve mouths of the preview's chart, as displacements of the eight mouth numbers from rest (`editing.mouth`)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

CHART: Final[dict[str, tuple[float, ...]]] = {
    "closed": (0.0, 0, 0, 0, 0, 0, 0, 0),
    "ajar": (0.8, 0, 0.1, 0.6, 0.5, 0, 0, 0.3),
    "open": (1.6, 0, 0.2, 1.2, 1.0, 0, 0, 0.6),
    "wide open": (2.4, 0, 0.3, 1.8, 1.5, 0, 0, 0.9),
    "pouted": (0.1, -1.6, 0.1, 0.1, 0.1, 0.1, 0, 0.1),
    "rounded": (0.6, -1.2, 0.1, 0.5, 0.4, 0.1, 0, 0.3),
    "rounded, open": (1.4, -1.2, 0.2, 1.0, 0.8, 0.1, 0, 0.5),
    "lower lip to the teeth": (0.3, 0.3, -0.4, -0.6, 0.1, 0, 0, -0.5),
    "spread": (0.6, 1.0, 0.1, 0.5, 0.4, -0.2, 0, 0.3),
    "spread, open": (1.4, 1.0, 0.1, 1.0, 0.8, -0.2, 0, 0.5),
    "smile": (0.0, 1.2, -0.3, -0.2, 0, -0.8, 0, -0.2),
    "corners down": (0.0, -0.3, 0.1, 0.1, 0, 0.8, 0, 0.1),
}
"""Name -> displacement in units of the mouth numbers, in the order of the chart, four a row."""


def chart_shapes() -> list[NDArray[np.float64]]:
    """The displacements, [8] each."""
    return [np.array(shape, np.float64) for shape in CHART.values()]
