"""The networks that trackers look with, for whoever chooses what they run on (`engine.tracking.running`)."""

import hashlib
import inspect
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from engine import weights
from engine.tracking.detector import FaceDetector
from engine.tracking.mesh import MESH_SIZE, MeshNet
from engine.tracking.running import MESH, detector


@dataclass(frozen=True)
class TrackerNetwork:
    """One of them. Its weights never change."""

    name: str
    """As `engine.tracking.running` has it."""
    network: nn.Module
    """Takes [1,3,size,size], gives a tuple; eager."""
    size: int
    """Side of its picture in px."""
    low: float = 0.0
    """What black is for it; white is 1."""

    @cached_property
    def form(self) -> tuple[object, ...]:
        """All that decides what it computes, as plain values: digests of its weights and of the code that has them."""
        return "contiguous", self.size, *identity(self.network)

    def picture(self, seen: Tensor) -> Tensor:
        """A picture [1,3,H,W] in 0...1 as the network takes it: [1,3,size,size], contiguous whatever it was before."""
        small = nn.functional.interpolate(seen, size=(self.size, self.size), mode="area")
        return torch.lerp(torch.tensor(self.low), torch.tensor(1.0), small).contiguous()


def tracker_networks(mesh: MeshNet) -> tuple[TrackerNetwork, ...]:
    """A loaded face mesh, and the detectors for near and far faces.

    Raises:
        WeightsError: public weights cannot be had.
    """
    found = [TrackerNetwork(MESH, mesh, MESH_SIZE)]
    for name in ("detector-short", "detector-full"):
        one = FaceDetector(weights.path(name))
        found.append(TrackerNetwork(detector(one.size), one.net, one.size, -1.0))
    return tuple(found)


def identity(network: nn.Module) -> tuple[str, str]:
    """All that decides what a network computes: digests of its weights and of the code that has them."""
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    files = {Path(inspect.getfile(type(each))) for each in network.modules() if not _is_torch(each)}
    code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files)))
    return digest.hexdigest(), code.hexdigest()


def _is_torch(module: nn.Module) -> bool:
    return type(module).__module__.split(".")[0] == "torch"
