"""Telling a cut from motion: the picture's coarse layout changes as a whole from one frame to the next."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

_ROWS: Final = 18
_COLUMNS: Final = 32
_CUT_DIFFERENCE: Final = 14.0
"""Mean change of the cells (0..255, RGB) above which two frames may be of different shots."""
_CUT_CORRELATION: Final = 0.75
"""Correlation of the two layouts below which they are: a flash or a fade changes the level, not the layout."""
_SAMPLES: Final = 4
"""Pixels averaged each way per cell."""


class CutDetector:
    """Says of each frame whether it begins a new shot."""

    def __init__(self) -> None:
        """Begin before the first frame."""
        self._last: NDArray[np.float32] | None = None
        self._shape: tuple[int, ...] = ()

    def reset(self) -> None:
        """Forget the last frame: the next one begins a shot."""
        self._last = None

    def __call__(self, rgb: NDArray[np.uint8]) -> bool:
        """Take the next frame, [H,W,3] uint8; True for the first one, after a cut, and when the size changes."""
        layout = _layout(rgb)
        last, self._last = self._last, layout
        same_size, self._shape = rgb.shape == self._shape, rgb.shape
        if last is None or not same_size:
            return True
        if float(np.abs(layout - last).mean()) < _CUT_DIFFERENCE:
            return False
        one, other = layout - layout.mean(), last - last.mean()
        norm = float(np.linalg.norm(one) * np.linalg.norm(other))
        return norm == 0 or float((one * other).sum()) / norm < _CUT_CORRELATION


def _layout(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[18,32,3]: mean colours of a grid of cells, from a regular choice of pixels."""
    rows = (np.arange(_ROWS * _SAMPLES) + 0.5) * rgb.shape[0] / (_ROWS * _SAMPLES)
    columns = (np.arange(_COLUMNS * _SAMPLES) + 0.5) * rgb.shape[1] / (_COLUMNS * _SAMPLES)
    picked = rgb[rows.astype(np.intp)[:, None], columns.astype(np.intp)[None, :]].astype(np.float32)
    cells: NDArray[np.float32] = picked.reshape(_ROWS, _SAMPLES, _COLUMNS, _SAMPLES, 3).mean(axis=(1, 3))
    return cells
