"""Light and colour of rendered skin follow the frame's own, as its texture does (`texture`).

A generator's skin grows lighter and darker with every number that steers it: between two frames of a resting head whole
cheeks changed by twice as much as filmed ones. What a frame's skin looks like is filmed: the same skin, moved to where
it is wanted, says how light the rendered one has to be. Lips and all between them have no filmed counterpart; they get
the running mean of what the face around them asks for. Constants are ours.
"""

from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from engine.editing.compositing import recoloured, shrunk, spread_change
from engine.editing.settling import share_in

_SPREAD: Final = 4.0
"""Standard deviation of the kernel that spreads the change, in eighths of the region's px: 32 px of the crop.

With 72 px patches of skin still flickered (1.38 for 1.34 on one clip, 1.20 for 1.18 on another), with 16 px no less."""
_FAR: Final = 9.0
"""The same for lips, which are lit as the face around them is, not as the skin beside them."""
_FOLLOWED: Final = 0.15
"""Share of a new frame in the running change of what has no filmed counterpart, in 40 ms (`settling`)."""
_SUDDEN: Final = 0.06
"""Mean change of light, of a range of 2, beyond which a frame's own is taken, at twice this wholly."""


@dataclass(frozen=True, slots=True)
class Light:
    """What has to be added to the rendered region of one frame of a shot, [1,3,h/8,w/8] each."""

    skin: Tensor
    """Where the frame shows the same skin."""
    lips: Tensor
    """Elsewhere: a running mean."""

    @classmethod
    def following(
        cls, last: Self | None, picture: Tensor, filmed: Tensor, mask: Tensor, skin: Tensor, elapsed_s: float
    ) -> Self:
        """Take in a frame.

        Args:
            last: of the frame before; None at the begin of a shot.
            picture: [1,3,h,w] rendered, -1...1.
            filmed: [1,3,h,w] the frame's own region, its landmarks moved to where they are wanted (`texture.carried`).
            mask: [1,1,h,w] what the edit may replace.
            skin: [1,1,h,w] where the two show the same skin, 0...1 (`texture.skin`).
            elapsed_s: media time since the frame before, in s.

        Raises:
            ShapeError: sizes that do not belong together.
        """
        weight = mask * (4 * (1 - mask) + skin)
        near, far = (spread_change(picture, filmed, weight, spread) for spread in (_SPREAD, _FAR))
        return cls(near, followed(None if last is None else last.lips, far, elapsed_s))

    def onto(self, picture: Tensor, skin: Tensor) -> Tensor:
        """The picture [1,3,h,w] in the frame's light; `skin` as in `following`."""
        return recoloured(picture, torch.lerp(self.lips, self.skin, shrunk(skin)))


def followed(last: Tensor | None, change: Tensor, elapsed_s: float) -> Tensor:
    """A running change of colour: a share of the new one, more of it where the light changes as a whole.

    Light that is switched is followed at once.

    Args:
        last: the running change before; None at the begin of a shot.
        change: [1,3,h,w] this frame's.
        elapsed_s: media time since the frame before, in s.
    """
    if last is None:
        return change
    jump = float((change - last).mean().abs())
    sudden = min(1.0, max(0.0, jump / _SUDDEN - 1))
    share = share_in(elapsed_s, _FOLLOWED)
    return torch.lerp(last, change, share + (1 - share) * sudden)
