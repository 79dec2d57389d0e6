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
    """One of them. Its weights are in its file and never change."""

    name: str
    """As `engine.tracking.running` has it."""
    network: nn.Module
    """Takes [1,3,size,size], gives a tuple; eager."""
    size: int
    """Side of its picture in px."""
    path: Path
    """Its file."""
    low: float = 0.0
    """What black is for it; white is 1."""

    @cached_property
    def form(self) -> tuple[object, ...]:
        """All that decides what it computes, as plain values: digests of its file and of the code that reads it."""
        files = {Path(inspect.getfile(type(each))) for each in self.network.modules() if not _is_torch(each)}
        code = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files)))
        return self.size, hashlib.sha256(self.path.read_bytes()).hexdigest(), code.hexdigest()

    def picture(self, seen: Tensor) -> Tensor:
        """A picture [1,3,H,W] in 0...1 as the network takes it: [1,3,size,size]."""
        small = nn.functional.interpolate(seen, size=(self.size, self.size), mode="area")
        return torch.lerp(torch.tensor(self.low), torch.tensor(1.0), small)


def tracker_networks(mesh: MeshNet) -> tuple[TrackerNetwork, ...]:
    """The face mesh, as it was loaded from the catalogue's file, and the detectors for near and far faces.

    Raises:
        WeightsError: public weights cannot be had.
    """
    found = [TrackerNetwork(MESH, mesh, MESH_SIZE, weights.path("mesh"))]
    for name in ("detector-short", "detector-full"):
        path = weights.path(name)
        one = FaceDetector(path)
        found.append(TrackerNetwork(detector(one.size), one.net, one.size, path, -1.0))
    return tuple(found)


def _is_torch(module: nn.Module) -> bool:
    return type(module).__module__.split(".")[0] == "torch"
