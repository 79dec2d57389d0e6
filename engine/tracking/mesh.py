"""The face mesh network: a 192 px crop of a face to 468 points in three dimensions."""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn

from engine.errors import ShapeError, WeightsFormatError
from engine.tracking.tflite_net import TfliteNet

MESH_SIZE: Final = 192
"""Side of the network's input in px."""
MESH_POINTS: Final = 468
"""Points of the mesh."""
_ORIGIN_PX: Final = 0.1
"""Where the network counts from, as we count: with it mirrored portraits agree with the straight ones to 0.03 px of the
crop, without to 0.2."""


class MeshNet(nn.Module):
    """MediaPipe's face mesh, differentiable with respect to the picture; its weights are frozen."""

    def __init__(self, path: Path) -> None:
        """Load the network.

        Args:
            path: the original TensorFlow Lite file (`engine.weights.path("mesh")`).

        Raises:
            WeightsError: the file cannot be read, or is not this network.
        """
        super().__init__()
        self.net: Final = TfliteNet(path)
        if self.net.input_shape != (3, MESH_SIZE, MESH_SIZE):
            raise WeightsFormatError(
                f"{path} takes {self.net.input_shape}, expected a face mesh that takes (3, {MESH_SIZE}, {MESH_SIZE})"
            )

        self.origin: Tensor
        self.register_buffer("origin", torch.tensor([_ORIGIN_PX, _ORIGIN_PX, 0.0]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Find the points of a face.

        Args:
            x: [B,3,192,192] float32 RGB in [0,1], the face upright and filling about two thirds of the crop.

        Returns:
            points [B,468,3] in continuous px of the crop (x right, y down, z away from the camera in the same unit,
            zero near the middle of the head), and score [B], a logit: free faces give 17 to 35,
            pictures without faces -10.
        """
        if x.dim() != 4 or tuple(x.shape[1:]) != (3, MESH_SIZE, MESH_SIZE):
            raise ShapeError(f"mesh input has shape {tuple(x.shape)}, expected [B, 3, {MESH_SIZE}, {MESH_SIZE}]")
        points, score = self.net(x)
        points = points.reshape(-1, MESH_POINTS, 3) + self.origin
        return points, score.reshape(-1)
