"""The mouth controls that the network predicts, and the landmarks that they move."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError

CONTROLS: Final = (
    "jaw", "close", "funnel", "pucker", "stretch", "lower_down", "upper_up", "roll_lower", "press",
)  # fmt: skip
"""Order of the control vector. `close` is the share of the jaw's opening that the lips take back, 0 ... 1."""

FRAME_RATE: Final = 50
"""Control frames per second; frame k is at k / 50 s."""

_JAW, _CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")


def activations(controls: NDArray[np.float32]) -> NDArray[np.float32]:
    """[..., CONTROLS] controls -> face-unit activations, which move the landmarks linearly.

    Only closing differs: lips can take back no more than the jaw's own opening, so its activation is close x jaw.
    """
    if controls.shape[-1] != len(CONTROLS):
        raise ShapeError(f"controls are {controls.shape}, expected [..., {len(CONTROLS)}]: {', '.join(CONTROLS)}")
    active = np.array(controls, np.float32)
    active[..., _CLOSE] *= active[..., _JAW]
    return active


@dataclass(frozen=True)
class FaceBasis:
    """How the face units move the 68 points; head frame, in inter-ocular distances."""

    rest: NDArray[np.float32]
    """[68, 3] mean rest face, mouth closed."""
    displacement: NDArray[np.float32]
    """[CONTROLS, 68, 3] displacement at full activation."""

    def __post_init__(self) -> None:
        """Checks the shapes."""
        shapes = (self.rest.shape, self.displacement.shape)
        if shapes != ((68, 3), (len(CONTROLS), 68, 3)):
            raise ShapeError(f"face basis has shapes {shapes}, expected [68, 3] and [{len(CONTROLS)}, 68, 3]")

    def move(self, active: NDArray[np.float32]) -> NDArray[np.float32]:
        """active: [..., CONTROLS] activations -> displacement [..., 68, 3]."""
        return np.asarray(np.tensordot(active, self.displacement, 1), np.float32)
