"""Which tracker to use: the mesh (default), or FAN's landmarks on top of it."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError, WeightsError
from engine.tracking.smoothing import QuadSmoother
from engine.tracking.tracker import FaceTracker, TrackResult

TrackerKind = Literal["mesh", "fan"]

FanNetwork = Callable[[NDArray[np.uint8], NDArray[np.float32]], NDArray[np.float32]]
"""From a picture [H,W,3] and the mesh [468,3] of a face in it to 68 landmarks [68,2], all in px of the frame."""

_FAN_FILE: Final = "2DFAN4-11f355bf06.pth.tar"


class Tracker(Protocol):
    """What follows one face through a video."""

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        """Find the followed face in the next frame, [H,W,3] uint8, at a media time later than the one before."""
        ...

    def reset(self) -> None:
        """Forget the video so far."""
        ...


class FanTracker:
    """The mesh tracker with its 68 landmarks measured by FAN (Bulat & Tzimiropoulos 2017).

    Following, pose, depth, cuts and the reasons to pass a frame through stay the mesh's.
    """

    def __init__(self, base: FaceTracker, network: FanNetwork) -> None:
        """Combine a tracker with a landmark network."""
        self._base: Final = base
        self._network: Final = network
        self._smoother = QuadSmoother()

    def reset(self) -> None:
        """Forget the video so far."""
        self._base.reset()
        self._smoother = QuadSmoother()

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        """Find the followed face in the next frame; arguments and errors as `FaceTracker.track`."""
        result = self._base.track(rgb, seconds)
        if result.cut or result.face is None:
            self._smoother = QuadSmoother()
        if result.face is None:
            return result
        points = result.face.points.copy()
        points[:, :2] = self._network(rgb, result.face.mesh)
        quad = self._smoother(points, result.face.pose, seconds)
        return replace(result, face=replace(result.face, points=points, quad=quad))


def create_tracker(kind: TrackerKind = "mesh", device: str = "cpu", *, steadied: bool = True) -> Tracker:
    """Make a tracker with its weights.

    Args:
        kind: "mesh", which needs only the public weights of the catalogue; or "fan", which needs the package
            `face-alignment` and its weights.
        device: where FAN computes; the mesh computes on the CPU.
        steadied: see `FaceTracker`.

    Raises:
        BadInputError: there is no such kind.
        BackendError: "fan" without its package.
        WeightsError: weights are missing and cannot be fetched.
    """
    if kind == "mesh":
        return FaceTracker.from_cache(steadied=steadied)
    if kind == "fan":
        return FanTracker(FaceTracker.from_cache(steadied=steadied), load_fan(device))
    raise BadInputError(f"unknown tracker {kind!r}; expected 'mesh' or 'fan'")


def load_fan(device: str = "cpu") -> FanNetwork:
    """Load FAN's two-dimensional landmark network.

    Raises:
        BackendError: the package `face-alignment` is not installed.
        WeightsError: its weights are neither on this machine nor can they be downloaded.
    """
    try:
        package: Any = importlib.import_module("face_alignment")
    except ImportError as error:
        raise BackendError(
            f"the fan tracker needs the package face-alignment ({error}). "
            "Install it with `pip install 'livedub[fan]'`, or use the mesh tracker."
        ) from error
    try:
        fan = package.FaceAlignment(
            package.LandmarksType.TWO_D, device=device, flip_input=False, face_detector="folder", compile=False
        )
    except (OSError, RuntimeError) as error:
        place = Path(torch.hub.get_dir()) / "checkpoints" / _FAN_FILE
        raise WeightsError(
            f"FAN's weights cannot be had ({error}): no package registry carries them, face-alignment downloads them "
            f"from its author's site. On a machine with internet run any of its examples once, then copy {_FAN_FILE} "
            f"to {place}; or use the mesh tracker."
        ) from error

    def landmarks(rgb: NDArray[np.uint8], mesh: NDArray[np.float32]) -> NDArray[np.float32]:
        """The network's 68 points [68,2] in the box of the mesh, in px of the picture."""
        low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
        box = [*low.tolist(), *high.tolist()]
        found: NDArray[np.float32] = fan.get_landmarks_from_image(rgb, detected_faces=[box])[0]
        return found.astype(np.float32)

    return landmarks
