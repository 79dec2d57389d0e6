"""What a tracker's networks run on: themselves, or what a session has chosen for them (`engine.editing.compiled`).

Nobody's tracker uses anything else unasked: within `running`, in that thread, a network whose name was given something
else is replaced by it. A tracker asks no gradients; who does (W+ steps, of the face mesh) keeps using the module.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

Runner = Callable[..., tuple[Tensor, ...]]
"""Takes a network's picture, gives its results."""

MESH: Final = "face mesh"
"""Name of the face mesh."""
_NONE: Final[Mapping[str, Runner]] = MappingProxyType({})
_CHOSEN: Final[ContextVar[Mapping[str, Runner]]] = ContextVar("livedub_tracker_networks", default=_NONE)


def detector(size: int) -> str:
    """Name of the detector that takes pictures of `size` px."""
    return f"face detector {size} px"


def passed(name: str, network: nn.Module, picture: Tensor) -> tuple[Tensor, ...]:
    """What a network says of a picture [1,3,S,S], without gradient, by what it runs on here.

    Args:
        name: the network's.
        network: used where nothing was chosen for that name.
        picture: in the network's own range.
    """
    runner = _CHOSEN.get().get(name, network)
    with torch.inference_mode():
        return runner(picture)


@contextmanager
def running(chosen: Mapping[str, Runner]) -> Iterator[None]:
    """Within this block, in this thread, trackers' networks are replaced by what was chosen for their names."""
    token = _CHOSEN.set(chosen)
    try:
        yield
    finally:
        _CHOSEN.reset(token)
