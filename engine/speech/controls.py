"""The mouth controls and expressions that the network predicts, and the landmarks that they move."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError

CONTROLS: Final = (
    "jaw", "close", "funnel", "pucker", "stretch", "lower_down", "upper_up", "roll_lower", "press",
)  # fmt: skip
"""Order of the control vector. `close` is the share of the jaw's opening that the lips take back, 0 ... 1."""

EXPRESSIONS: Final = (
    "smile", "frown", "smirk", "sneer", "squint", "wide", "cheeks", "brow_inner", "brow_outer", "brow_down",
)  # fmt: skip
"""Order of the expression vector, by which emotions move brows, lids, cheeks and the corners of the mouth."""

FRAME_RATE: Final = 50
"""Control frames per second; frame k is at k / 50 s."""

DECIDED: Final = (0.4, 0.75)
"""Predicted shares of closing between which lips go from open to closed."""

_JAW, _CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")


def decide(controls: NDArray[np.float32]) -> NDArray[np.float32]:
    """[..., CONTROLS] predicted controls -> [..., CONTROLS] with lips that close or do not.

    A small predicted share is doubt, not lips that are a little closed: those hardly exist.
    """
    low, high = DECIDED
    decided = np.array(controls, np.float32)
    decided[..., _CLOSE] = np.clip((controls[..., _CLOSE] - low) / (high - low), 0.0, 1.0)
    return decided


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
    expression: NDArray[np.float32] = field(default_factory=lambda: np.zeros((len(EXPRESSIONS), 68, 3), np.float32))
    """[EXPRESSIONS, 68, 3] displacement at full expression; zero where faces have none."""

    def __post_init__(self) -> None:
        """Checks the shapes."""
        shapes = (self.rest.shape, self.displacement.shape, self.expression.shape)
        if shapes != ((68, 3), (len(CONTROLS), 68, 3), (len(EXPRESSIONS), 68, 3)):
            raise ShapeError(
                f"face basis has shapes {shapes}, expected [68, 3], [{len(CONTROLS)}, 68, 3], "
                f"[{len(EXPRESSIONS)}, 68, 3]"
            )

    def move(self, active: NDArray[np.float32], expression: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """active: [..., CONTROLS] activations, expression: [..., EXPRESSIONS] -> displacement [..., 68, 3]."""
        moved = np.tensordot(active, self.displacement, 1)
        if expression is not None:
            moved = moved + np.tensordot(expression, self.expression, 1)
        return np.asarray(moved, np.float32)
