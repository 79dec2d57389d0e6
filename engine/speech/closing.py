"""Do the lips close here? A detector of its own beside the network, for m, b and p.

The network that moves all of the mouth hears lips close less surely than a small one that is asked nothing else: two
layers on the features of four positions, from 40 ms before the frame to 20 ms after it. It needs one frame of delay;
with none the network's own answer stands. Letters: B streams, T positions of 20 ms.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError, WeightsError, WeightsFormatError
from engine.speech.controls import CONTROLS

SHIPPED: Final = Path(__file__).with_name("closing.safetensors")
"""The weights that come with the package."""
SPAN: Final = 4
"""Positions that are heard for one answer; the last is the one after the frame."""
INPUTS: Final = 390
"""Features of a position, as the network's."""
UNITS: Final = 64
"""Hidden units."""

JAW_HELD: Final = 0.7
"""Share of the jaw's opening that a sure closing takes away."""

_FORMAT = "livedub-closing-1"
_JAW: Final = CONTROLS.index("jaw")
_CLOSE: Final = CONTROLS.index("close")


class ClosingNet(nn.Module):
    """Features of `SPAN` positions -> whether lips are closed at the one before the last."""

    mean: Tensor
    """[INPUTS] of the features"""
    scale: Tensor
    """[INPUTS] one over their standard deviations"""

    def __init__(self) -> None:
        """Random weights; statistics of 0 and 1."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(INPUTS))
        self.register_buffer("scale", torch.ones(INPUTS))
        self.inner = nn.Linear(SPAN * INPUTS, UNITS)
        self.outer = nn.Linear(UNITS, 1)
        self.dropout = nn.Dropout(0.3)

    def normal(self, features: Tensor) -> Tensor:
        """[..., INPUTS] features, normalised."""
        return (features - self.mean) * self.scale

    def forward(self, windows: Tensor) -> Tensor:
        """windows: [..., SPAN * INPUTS] normalised features in order of time -> logits [...]."""
        if windows.shape[-1] != SPAN * INPUTS:
            raise ShapeError(f"windows are {tuple(windows.shape)}, expected [..., {SPAN * INPUTS}]")
        hidden = functional.gelu(self.inner(self.dropout(windows)))
        return cast(Tensor, self.outer(self.dropout(hidden)))[..., 0]


@dataclass
class ClosingState:
    """What is carried from call to call."""

    tail: Tensor | None = None
    """[1, SPAN - 1, INPUTS] normalised features before the next; None before the first."""
    early: bool = True
    """Whether the next answer is for the time before the stream, and is left out."""


def listen(network: ClosingNet, features: Tensor, state: ClosingState) -> NDArray[np.float32]:
    """Shares of closing of the frames that `features` complete. Advances `state`.

    Args:
        network: the detector.
        features: [1, T, INPUTS] of the next positions of a stream.
        state: the stream's.

    Returns:
        [T], or [T - 1] at the start: frame t is answered by position t + 1.
    """
    if features.ndim != 3 or features.shape[0] != 1 or features.shape[2] != INPUTS or not features.shape[1]:
        raise ShapeError(f"features are {tuple(features.shape)}, expected [1, T, {INPUTS}], T at least 1")
    normal = network.normal(features)
    tail = normal[:, :1].expand(-1, SPAN - 1, -1) if state.tail is None else state.tail
    joined = torch.cat([tail, normal], dim=1)
    state.tail = joined[:, -(SPAN - 1) :].clone()
    count = features.shape[1]
    windows = torch.cat([joined[:, at : at + count] for at in range(SPAN)], dim=2)
    shares = torch.sigmoid(network(windows))[0].numpy()
    first, state.early = int(state.early), False
    return np.asarray(shares[first:], np.float32)


def with_closing(controls: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Controls [T, CONTROLS] whose share of closing is `shares` [T]."""
    if controls.ndim != 2 or shares.shape != controls.shape[:1]:
        raise ShapeError(f"controls are {controls.shape}, shares {shares.shape}; expected [T, {len(CONTROLS)}], [T]")
    closed = np.array(controls, np.float32)
    closed[:, _CLOSE] = shares
    return closed


def hold_jaw(controls: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    """Controls [T, CONTROLS] whose jaw is held up where lips may close, by their shares [T] of closing.

    What is too little for closed lips still says that the mouth is not wide open.
    """
    if controls.ndim != 2 or shares.shape != controls.shape[:1]:
        raise ShapeError(f"controls are {controls.shape}, shares {shares.shape}; expected [T, {len(CONTROLS)}], [T]")
    held = np.array(controls, np.float32)
    held[:, _JAW] *= 1.0 - JAW_HELD * shares
    return held


def save_closing_net(path: Path, network: ClosingNet, notes: dict[str, str]) -> None:
    """Writes a safetensors file; matrices in half precision."""
    tensors = {
        name: (value.half() if value.ndim > 1 else value.float()).detach().contiguous()
        for name, value in network.state_dict().items()
    }
    partial = path.with_suffix(".part")
    save_file(tensors, partial, {**notes, "format": _FORMAT})
    partial.replace(path)


def read_closing_net(path: Path = SHIPPED) -> ClosingNet:
    """The network of a file that `livedub train closing` wrote; the shipped one by default."""
    if not path.is_file():
        raise WeightsError(f"{path} is not there, expected the closing weights; reinstall, or name another file")
    try:
        with safe_open(path, framework="pt") as archive:
            header = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name).float() for name in archive.keys()}  # noqa: SIM118  (not a dict)
        if header.get("format") != _FORMAT:
            raise WeightsFormatError(f"{path} has format {header.get('format')!r}, expected {_FORMAT!r}")
        network = ClosingNet()
        network.load_state_dict(tensors)
    except (SafetensorError, OSError, RuntimeError) as error:
        raise WeightsFormatError(f"{path} does not hold a closing network: {error}; train it again") from error
    return network.eval().requires_grad_(False)
