"""Where in the aligned crop a speaker's region lies: as small as holds the mouth, the jaw and the skin they move.

The time of a render follows the region's area, and heads differ: one clip's chin ends 50 crop px above another's, and a
head that is turned shows its mouth 70 px beside the crop's middle. The rule and its sizes are ours.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from engine.editing.compositing import lower_face_hull
from engine.editing.observation import Observation
from engine.generators.protocol import Region

FIELD: Final = Region(560, 192, 464, 640)
"""Part of a 1024-px aligned FFHQ crop inside which regions lie."""
WIDTH: Final = 384
"""Width of every region in crop px: a wide mouth (250) and the cheeks that follow it."""
HEIGHTS: Final = (256, 400)
"""Least and greatest height of a region in crop px; of a taller lower face (a head bent far) the top is left out."""
STEP: Final = 16
"""Alignment in crop px; a multiple of what the generators ask for."""
_MARGIN: Final = 4.0
_TAIL: Final = 0.02
"""Share of the frames whose lower face may reach over each side."""


def place_region(observations: Sequence[Observation]) -> Region:
    """The region of a clip: centred on mouth and chin, from the base of the nose to below the lowest chin.

    Args:
        observations: the clip's frames, at least one.

    Returns:
        A region inside `FIELD`, aligned to `STEP`.
    """
    hulls = [lower_face_hull(seen.points, seen.points) for seen in observations]
    middles = [(float(seen.points[48:68, 0].mean()) + float(seen.points[8, 0])) / 2 for seen in observations]
    top = float(np.quantile([hull[:, 1].min() for hull in hulls], _TAIL)) - _MARGIN
    bottom = float(np.quantile([hull[:, 1].max() for hull in hulls], 1 - _TAIL)) + _MARGIN
    least, greatest = HEIGHTS
    end = int(np.clip(math.ceil(bottom / STEP) * STEP, FIELD.top + least, FIELD.top + FIELD.height))
    begin = int(np.clip(math.floor(top / STEP) * STEP, max(FIELD.top, end - greatest), end - least))
    left = round((float(np.median(middles)) - WIDTH / 2) / STEP) * STEP
    left = int(np.clip(left, FIELD.left, FIELD.left + FIELD.width - WIDTH))
    return Region(begin, left, end - begin, WIDTH)
