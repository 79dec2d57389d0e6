"""What the eight emotions do to a face at full intensity: expressions, and how far the jaw goes.

Written from the action units of basic emotions (Ekman and Friesen 1978), with half the strength that actors show: the
face is to talk as well. Contempt is one-sided.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.speech.controls import CONTROLS, EXPRESSIONS
from engine.speech.emotions import EMOTIONS

EXPRESSION: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType(
    {
        "neutral": {},
        "angry": {"brow_down": 0.8, "squint": 0.4, "sneer": 0.25, "frown": 0.15},
        "contempt": {"smirk": 0.5, "squint": 0.2},
        "disgusted": {"sneer": 0.7, "brow_down": 0.4, "squint": 0.3, "frown": 0.2},
        "fear": {"brow_inner": 0.8, "brow_outer": 0.3, "wide": 0.7},
        "happy": {"smile": 0.5, "cheeks": 0.5, "squint": 0.2},
        "sad": {"brow_inner": 0.7, "brow_down": 0.15, "frown": 0.4},
        "surprised": {"brow_inner": 0.8, "brow_outer": 0.8, "wide": 0.6},
    }
)
"""Emotion -> expressions, 0 ... 1."""

JAW: Final[Mapping[str, float]] = MappingProxyType(
    {
        "neutral": 1.0,
        "angry": 1.25,
        "contempt": 0.85,
        "disgusted": 0.95,
        "fear": 1.1,
        "happy": 1.1,
        "sad": 0.75,
        "surprised": 1.3,
    }  # fmt: skip
)
"""Emotion -> factor on the jaw."""

_TABLE: Final = np.array(
    [[EXPRESSION[emotion].get(name, 0.0) for name in EXPRESSIONS] for emotion in EMOTIONS], np.float32
)
_FACTORS: Final = np.array([JAW[emotion] for emotion in EMOTIONS], np.float32)
_OPENING: Final = [CONTROLS.index("jaw"), CONTROLS.index("lower_down")]


def expression_of(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """shares: [..., EMOTIONS] adding up to 1 -> wanted expressions [..., EXPRESSIONS]."""
    if shares.shape[-1] != len(EMOTIONS):
        raise ShapeError(f"shares are {shares.shape}, expected [..., {len(EMOTIONS)}]")
    return np.asarray(shares @ _TABLE, np.float32)


def emotional_controls(controls: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """controls: [T, CONTROLS] of neutral speech, shares: [EMOTIONS] -> [T, CONTROLS] as spoken in the emotion."""
    if controls.shape[-1] != len(CONTROLS) or shares.shape != (len(EMOTIONS),):
        raise ShapeError(f"controls {controls.shape}, shares {shares.shape}; expected [T, {len(CONTROLS)}], [8]")
    moved = np.array(controls, np.float32)
    moved[:, _OPENING] = np.clip(moved[:, _OPENING] * float(shares @ _FACTORS), 0.0, 1.0)
    return moved
