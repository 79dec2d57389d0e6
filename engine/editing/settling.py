"""Running means that do not depend on the frame rate: shares of a new frame are told for 40 ms.

A first-order low pass that takes a share a of each frame at one rate has gone 1 - (1 - a)^n of the way after n frames;
at another rate each frame gets the share that leads as far in the same time.
"""

from typing import Final

from engine.errors import BadInputError

FRAME_S: Final = 0.04
"""Time for which shares are told, and that is taken to have gone by before the first frame of a shot, in s."""


def share_in(elapsed_s: float, share: float) -> float:
    """Share of the way to a new frame that is gone in a time.

    Args:
        elapsed_s: media time since the frame before, in s; more than 0.
        share: the same for `FRAME_S`, 0...1.

    Returns:
        0...1; exactly `share` where `elapsed_s` is `FRAME_S`.

    Raises:
        BadInputError: a time of nothing or less, or no share.
    """
    if not elapsed_s > 0.0 or not 0.0 <= share <= 1.0:
        raise BadInputError(f"elapsed_s is {elapsed_s} and share {share}; expected more than 0, and 0 to 1")
    return 1.0 - kept_in(elapsed_s, 1.0 - share)


def kept_in(elapsed_s: float, share: float) -> float:
    """Share that is left after a time of what loses all but `share` in `FRAME_S`: 0...1."""
    return float(share ** (elapsed_s / FRAME_S))
