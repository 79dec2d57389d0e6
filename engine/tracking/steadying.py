"""Steadying a mesh by what the picture shows: its points tremble by half a pixel from frame to frame, skin does not.

Pyramidal Lucas-Kanade flow (Lucas and Kanade 1981; Bouguet 2001) says finely where the skin under a point went since
the frame before, but its errors add up; the mesh network's do not. A complementary filter takes the fast part from the
flow and the slow part from the mesh. It does not lag, as flow follows any motion. Where the two disagree, or flow is
not the same there and back (Kalal et al. 2010), the mesh counts as measured.

Only points that edits hang on are steadied: jaw, brows, nose, eyes, and those that give the pose. Lips are not: they
move too fast for it, and how far they are open must be what the mesh says. Letters: P steadied points.
"""

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import ShapeError
from engine.tracking.landmarks import MESH_PAIRS
from engine.tracking.mesh import MESH_POINTS, MESH_SIZE
from engine.tracking.pose import RIGID_POINTS

_KEEP_SECONDS: Final = 0.11
"""Time constant of the filter: what is faster comes from the flow, what is slower from the mesh."""
_RETURN_PX: Final = 0.3
"""Crop px between a point and where flow there and back puts it: trusted in full up to half of this, not at all from
one and a half times."""
_APART_PX: Final = 1.8
"""Crop px between flow and mesh: trusted in full up to this, not at all from twice this. A point is never moved by
more."""
_WINDOW: Final = (15, 15)
"""Crop px around a point that flow compares."""
_LEVELS: Final = 2
"""Times that both pictures are halved, to follow motion wider than the window."""
_STOP: Final = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 8, 0.02)
"""Flow ends after this many steps, or with one this short in px."""
_FACE_LANDMARKS: Final = 48
"""The first of the 68 landmarks: jaw, brows, nose, eyes; lips follow."""

STEADIED: Final = np.unique([*(number for pair in MESH_PAIRS[:_FACE_LANDMARKS] for number in pair), *RIGID_POINTS])
"""[P] numbers of the mesh points that are steadied."""


@dataclass(frozen=True, slots=True)
class CropView:
    """A crop of a frame as the mesh network sees it, in grey."""

    grey: NDArray[np.uint8]
    """[192,192]."""
    matrix: NDArray[np.float64]
    """[3,3] crop px -> frame px, continuous coordinates."""

    def __post_init__(self) -> None:
        """Checks the shapes."""
        if self.grey.shape != (MESH_SIZE, MESH_SIZE) or self.grey.dtype != np.uint8:
            got = f"shape {self.grey.shape} and type {self.grey.dtype}"
            raise ShapeError(f"grey crop has {got}, expected [{MESH_SIZE}, {MESH_SIZE}] uint8")
        if self.matrix.shape != (3, 3):
            raise ShapeError(f"matrix of the crop has shape {self.matrix.shape}, expected [3, 3]")

    @classmethod
    def of(cls, picture: Tensor, matrix: NDArray[np.float64]) -> "CropView":
        """From the network's own picture.

        Args:
            picture: [1,3,192,192] float32 RGB in [0,1].
            matrix: [3,3] crop px -> frame px.
        """
        if tuple(picture.shape) != (1, 3, MESH_SIZE, MESH_SIZE):
            raise ShapeError(f"crop has shape {tuple(picture.shape)}, expected [1, 3, {MESH_SIZE}, {MESH_SIZE}]")
        grey = picture[0].mean(0).mul(255).round().clamp(0, 255)
        return cls(grey.numpy().astype(np.uint8), matrix)


@dataclass(frozen=True, slots=True)
class _Before:
    """The frame before."""

    view: CropView
    """Under the crop in which the next frame is looked at."""
    places: NDArray[np.float32]
    """[P,2] crop px: the steadied points."""
    seconds: float


@dataclass(slots=True)
class MeshSteadier:
    """Steadies one face's mesh, frame after frame: `steady`, then `remember` what the next frame is compared with."""

    _before: _Before | None = None

    def steady(self, view: CropView, mesh: NDArray[np.float64], seconds: float) -> NDArray[np.float64]:
        """Take a mesh as measured, give the steadied one.

        Without a frame before, or when that was remembered under another crop, the mesh stays as measured.

        Args:
            view: the crop that the mesh was measured in.
            mesh: [468,3] px of the frame, as measured.
            seconds: media time of the frame, later than that of the frame before.

        Returns:
            [468,3] px of the frame: x and y of `STEADIED` moved towards where flow puts them, all else as measured.
        """
        _check(mesh)
        before = self._before
        if before is None or not np.array_equal(before.view.matrix, view.matrix):
            return mesh
        if not seconds > before.seconds:
            raise ShapeError(f"frame at {seconds} s follows one at {before.seconds} s; expected rising times")
        measured = _in_crop(mesh, view.matrix)
        moved, trust = _flow(before.view.grey, view.grey, before.places)
        apart = np.linalg.norm(moved - measured, axis=1)
        trust = np.where(_inside(measured), trust * np.clip(2 - apart / _APART_PX, 0, 1), 0)
        share = (math.exp((before.seconds - seconds) / _KEEP_SECONDS) * trust)[:, None]
        steadied = mesh.copy()
        steadied[STEADIED, :2] += np.where(share > 0, share * (moved - measured), 0) @ view.matrix[:2, :2].T
        return steadied

    def remember(self, view: CropView, mesh: NDArray[np.float64], seconds: float) -> None:
        """Keep a frame for the next one.

        Args:
            view: the frame under the crop in which the next one is looked at.
            mesh: [468,3] px of the frame, steadied.
            seconds: its media time.
        """
        _check(mesh)
        self._before = _Before(view, _in_crop(mesh, view.matrix).astype(np.float32), seconds)


def _in_crop(mesh: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The steadied points [P,2] in continuous px of the crop."""
    return np.linalg.solve(matrix[:2, :2], (mesh[STEADIED, :2] - matrix[:2, 2]).T).T.astype(np.float64)


def _flow(
    before: NDArray[np.uint8], now: NDArray[np.uint8], places: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Where points [P,2] of the crop before are now, and how far flow itself can be trusted there, [P] 0 to 1."""
    moved, found = _followed(before, now, places)
    back, found_back = _followed(now, before, moved)
    off = np.linalg.norm(back - places, axis=1)
    seen = found & found_back & _inside(places) & _inside(moved)
    return moved, np.where(seen, np.clip(1.5 - off / _RETURN_PX, 0, 1), 0).astype(np.float64)


def _followed(
    first: NDArray[np.uint8], second: NDArray[np.uint8], places: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Where points [P,2] of the first picture are in the second, and whether they were found."""
    # OpenCV counts from the centre of the first pixel.
    begin = places - np.float32(0.5)
    moved, found, _ = cv2.calcOpticalFlowPyrLK(
        first, second, begin, begin.copy(), winSize=_WINDOW, maxLevel=_LEVELS, criteria=_STOP
    )
    return np.asarray(moved + np.float32(0.5), dtype=np.float32), np.asarray(found[:, 0] > 0)


def _inside(places: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which of the points [P,2] lie in the crop."""
    return np.asarray(((places >= 0) & (places <= MESH_SIZE)).all(1))


def _check(mesh: NDArray[np.float64]) -> None:
    """Refuse what is not a mesh."""
    if mesh.shape != (MESH_POINTS, 3):
        raise ShapeError(f"mesh has shape {mesh.shape}, expected [{MESH_POINTS}, 3]")
