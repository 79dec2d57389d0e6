"""Reads the mouth on an edited picture, before it is put back: the face mesh on the frame with the region laid over."""

import functools
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.graphs import View
from engine.editing.mouth import mouth_shape
from engine.editing.observation import Observation, landmarks_of, mesh_crop
from engine.editing.stepping import Runner
from engine.generators.protocol import Region
from engine.tracking.alignment import crop_from_rgb, warp
from engine.tracking.mesh import MESH_SIZE, MeshNet
from engine.tracking.pose import to_head
from engine.tracking.tracker import TrackedFace


class MouthMeter:
    """One frame's source and mask as the face mesh sees them, ready to have any region laid over.

    The network is the tracker's own: what it says of an edit is a control signal, never a figure of quality.

    Args:
        net: the face mesh.
        rgb: [H,W,3] uint8, the frame.
        face: what the tracker says of it.
        observation: the same in the speaker's coordinates.
        region: the part of the crop that is rendered.
        mask: [1,1,h,w] of the region.
        fast: measures in place of the eager network where no gradient is asked for (`graphs.measured`).
    """

    def __init__(
        self,
        net: MeshNet,
        rgb: NDArray[np.uint8],
        face: TrackedFace,
        observation: Observation,
        region: Region,
        mask: Tensor,
        fast: Runner | None = None,
    ) -> None:
        """Cuts source and mask to the mesh's crop."""
        self._fast: Final = fast
        self._region: Final = region
        self._net: Final = net
        self._pose: Final = observation.pose
        self._crop: Final = mesh_crop(face)
        shift = np.eye(3)
        shift[:2, 2] = (-region.left, -region.top)
        self._matrix: Final = shift @ observation.frame_to_crop @ self._crop
        self._source: Final = crop_from_rgb(rgb, self._crop, MESH_SIZE)
        self._mask: Final = warp(mask, self._matrix, MESH_SIZE)

    @functools.cached_property
    def view(self) -> View:
        """The same as tensors, for compiled forms."""
        return View.of(self._matrix, self._crop, self._source, self._mask, self._region)

    def points(self, picture: Tensor) -> Tensor:
        """Landmarks of the frame with `picture` [1,3,h,w] laid over: [1,68,3] px of the frame; differentiable."""
        patch = warp(picture, self._matrix, MESH_SIZE) * 0.5 + 0.5
        composite = self._source + self._mask * (patch.clamp(0, 1) - self._source)
        return landmarks_of(self._net(composite)[0], self._crop)

    def mouth(self, picture: Tensor) -> NDArray[np.float64]:
        """The eight mouth numbers of the frame with `picture` laid over."""
        with torch.no_grad():
            found = self.points(picture) if self._fast is None else self._fast(picture, *self.view.tensors)
        return mouth_shape(to_head(found[0].numpy(), self._pose))
