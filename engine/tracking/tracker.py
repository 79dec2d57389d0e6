"""Following one face through a video: where it is, its landmarks and pose, and when it cannot be edited and why."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from engine import weights
from engine.errors import ShapeError
from engine.tracking.alignment import crop_from_rgb, transform_points
from engine.tracking.cuts import CutDetector
from engine.tracking.detector import Detection, FaceDetector
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.mesh import MESH_SIZE, MeshNet
from engine.tracking.pose import OUTER_EYE_CORNERS, HeadPose, head_pose
from engine.tracking.running import MESH, passed
from engine.tracking.smoothing import QuadSmoother
from engine.tracking.steadying import CropView, MeshSteadier

Reason = Literal["ok", "no_face", "turned_away", "cut", "too_small", "covered"]
"""Why a frame has no usable face; "cut": none on the first frame after a cut."""

_FACE_SCORE: Final = 2.5
"""Mesh score (logit) below which there is no face in the crop: pictures without faces score below -3."""
_COVERED_SCORE: Final = 12.0
"""Mesh score below which a face is taken to be partly covered: free faces score above 16, half faces -2 to 16,
a covered mouth 5 to 18."""
_UNCOVERED_SCORE: Final = 15.0
"""Mesh score at which a covered face counts as free again."""
_FULL_SCORE: Final = 22.0
"""Mesh score that counts as full confidence."""
_TURNED_DEG: Final = 45.0
"""Yaw beyond which a face is not edited: half of the mouth is hidden, and the mesh guesses it."""
_BACK_DEG: Final = 41.0
"""Yaw within which a face that had turned away is edited again."""
_MIN_IOD_PX: Final = 36.0
"""Smallest distance of the eyes' outer corners: a face about 75 px high from hair to chin, its mouth 24 px wide."""
_ENOUGH_IOD_PX: Final = 39.0
"""Distance at which a face that was too small is edited again."""
_CROP_MARGIN: Final = 1.5
"""Side of the mesh crop over the longer side of the mesh."""
_CROP_SLACK: Final = 0.06
"""A crop is kept while the new one is within this part of its side (centre, size) ..."""
_TURN_SLACK: Final = math.radians(4.0)
"""... and within this angle: a crop at rest gives steadier points."""
_REMEMBER_SECONDS: Final = 2.0
"""How long a lost face's place is kept, to tell it from others when faces are found again."""
_JUMP_IOD: Final = 0.5
"""A face that moves farther than this from one frame to the next ..."""
_JUMP_SECONDS: Final = 0.2
"""... no longer apart than this, has been cut, whatever the rest of the picture says."""
_STILL: Final = (168, 6, *OUTER_EYE_CORNERS)
"""Mesh points by which motion is judged: between and beside the eyes."""
_REFINE_PASSES: Final = 2
"""Mesh passes on a newly found face, each with the crop of the one before."""


@dataclass(frozen=True, slots=True)
class TrackedFace:
    """The followed face in one frame."""

    points: NDArray[np.float32]
    """[68,3] px of the frame: the 68 landmarks of `mesh`, z away from the camera; lips as measured in this frame."""
    pose: HeadPose
    """Where the head is and how it is turned, from `mesh`."""
    quad: NDArray[np.float64]
    """[4,2] px: the smoothed FFHQ crop (top left, bottom left, bottom right, top right)."""
    iod_px: float
    """Distance of the eyes' outer corners in space: as `pose.iod_px`."""
    confidence: float
    """0 to 1, from the mesh network's score."""
    mesh: NDArray[np.float32]
    """[468,3] px of the frame: the whole mesh, as measured; of a tracker that steadies, x and y of jaw, brows, nose and
    eyes and of the points that give the pose follow the skin by optical flow (`steadying`)."""


@dataclass(frozen=True, slots=True)
class TrackResult:
    """What the tracker says of one frame."""

    face: TrackedFace | None
    """The face to edit; None when there is none fit for it."""
    reason: Reason
    """"ok" with a face, otherwise why there is none."""
    cut: bool
    """Whether this is the first frame after a cut (or the very first): nothing carries over from the frame before."""


class FaceTracker:
    """Follows one face: found by a detector, then from its own mesh of the frame before.

    At a cut, and whenever the face is lost, the detectors look again in the same frame: first for near faces, then for
    far ones. Of several faces the one nearest to the last place of the followed face is taken for two seconds after it
    was lost, afterwards the largest. Keep one tracker per video, and give it frames in order.
    """

    def __init__(self, mesh: Path, detector_short: Path, detector_full: Path, *, steadied: bool = True) -> None:
        """Load the networks.

        Args:
            mesh: file of the face mesh.
            detector_short: file of the detector for near faces.
            detector_full: file of the detector for far faces.
            steadied: whether points follow the skin by optical flow (`steadying`), as edits need it. Where mouths are
                measured they must not: the mesh's errors move lips and head together, and cancel out between them.

        Raises:
            WeightsError: a file cannot be read, or holds another network.
        """
        self._net: Final = MeshNet(mesh).eval()
        self._detectors: Final = (FaceDetector(detector_short), FaceDetector(detector_full))
        self._cuts: Final = CutDetector()
        self._steadied: Final = steadied
        self.reset()

    @classmethod
    def from_cache(cls, *, steadied: bool = True) -> "FaceTracker":
        """A tracker with the public weights of the catalogue, fetched when they are not cached."""
        return cls(*(weights.path(name) for name in ("mesh", "detector-short", "detector-full")), steadied=steadied)

    def reset(self) -> None:
        """Forget the video so far: the next frame is the first of another."""
        self._cuts.reset()
        self._state = _State()
        self._seconds = -math.inf

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        """Find the followed face in the next frame.

        Args:
            rgb: [H,W,3] uint8, upright.
            seconds: media time of the frame, later than that of the frame before.

        Returns:
            The face, or why there is none.

        Raises:
            ShapeError: the picture has another form, or the time does not rise.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
            raise ShapeError(f"frame has shape {rgb.shape} and type {rgb.dtype}, expected [H, W, 3] uint8")
        if not seconds > self._seconds:
            raise ShapeError(f"frame at {seconds} s follows one at {self._seconds} s; expected rising times")
        self._seconds = seconds
        cut = self._cuts(rgb)
        if cut:
            self._state = _State()
        found = self._follow(rgb) or self._find(rgb)
        if found is None:
            return self._without("cut" if cut else "no_face", cut)
        jump = self._state.jumped(found.mesh, seconds)
        if jump:
            self._state.begin_anew()
        self._state.mesh, self._state.seconds = found.mesh, seconds
        mesh = self._steady(rgb, found) if self._steadied else found.mesh
        return self._judge(mesh, found.score, cut or jump)

    def _steady(self, rgb: NDArray[np.uint8], found: "_Fit") -> NDArray[np.float64]:
        """The mesh of a face that was found, steadied; the frame is kept for the next one, as that will be cropped."""
        steadier, matrix = self._state.steadier, found.next_crop.matrix()
        mesh = steadier.steady(found.view, found.mesh, self._seconds)
        stays = np.array_equal(matrix, found.view.matrix)
        view = found.view if stays else CropView.of(crop_from_rgb(rgb, matrix, MESH_SIZE), matrix)
        steadier.remember(view, mesh, self._seconds)
        return mesh

    def _judge(self, mesh: NDArray[np.float64], score: float, cut: bool) -> TrackResult:
        """Decide whether a face that was found can be edited."""
        state = self._state
        pose = head_pose(mesh)
        state.covered = score < (_UNCOVERED_SCORE if state.covered else _COVERED_SCORE)
        state.turned = abs(pose.yaw_deg) > (_BACK_DEG if state.turned else _TURNED_DEG)
        state.small = pose.iod_px < (_ENOUGH_IOD_PX if state.small else _MIN_IOD_PX)
        if state.small:
            return self._without("too_small", cut)
        if state.turned:
            return self._without("turned_away", cut)
        if state.covered:
            return self._without("covered", cut)
        points = mesh_to_68(mesh)
        face = TrackedFace(
            points=points.astype(np.float32),
            pose=pose,
            quad=state.smoother(points, pose, self._seconds),
            iod_px=pose.iod_px,
            confidence=min(score / _FULL_SCORE, 1.0),
            mesh=mesh.astype(np.float32),
        )
        return TrackResult(face=face, reason="ok", cut=cut)

    def _without(self, reason: Reason, cut: bool) -> TrackResult:
        """A result without a face; smoothing and steadying begin anew with the next one."""
        self._state.begin_anew()
        return TrackResult(face=None, reason=reason, cut=cut)

    def _follow(self, rgb: NDArray[np.uint8]) -> "_Fit | None":
        """The face in the crop of the frame before; None when there was none or the face has left it."""
        return self._fit(rgb, self._state.crop) if self._state.crop is not None else None

    def _find(self, rgb: NDArray[np.uint8]) -> "_Fit | None":
        """A face found by the detectors; None without one."""
        for detector in self._detectors:
            for detection in self._in_order(detector.detect(rgb)):
                fitted = self._fit(rgb, _crop_of_detection(detection))
                for _ in range(_REFINE_PASSES - 1):
                    fitted = self._follow(rgb)
                if fitted is not None:
                    return fitted
        return None

    def _in_order(self, faces: list[Detection]) -> list[Detection]:
        """Faces in the order in which to try them."""
        last = self._state.mesh
        if last is not None and self._seconds - self._state.seconds <= _REMEMBER_SECONDS:
            place = last[:, :2].mean(0)
            return sorted(faces, key=lambda face: float(np.linalg.norm(face.centre - place)))
        return sorted(faces, key=lambda face: -face.size)

    def _fit(self, rgb: NDArray[np.uint8], crop: "_Crop") -> "_Fit | None":
        """Run the mesh on a crop and set the crop of the next pass; None when it holds no face."""
        matrix = crop.matrix()
        picture = crop_from_rgb(rgb, matrix, MESH_SIZE)
        points, score = passed(MESH, self._net, picture)
        if float(score) < _FACE_SCORE:
            self._state.crop = None
            return None
        mesh = transform_points(points[0].numpy(), matrix)
        self._state.crop = crop.follow(mesh)
        return _Fit(mesh, float(score), CropView.of(picture, matrix), self._state.crop)


@dataclass(frozen=True, slots=True)
class _Fit:
    """A face that the mesh network found in a crop."""

    mesh: NDArray[np.float64]
    """[468,3] px of the frame, as measured."""
    score: float
    """Logit of its being a face."""
    view: CropView
    """The crop."""
    next_crop: "_Crop"
    """Where to look for it in the next frame."""


@dataclass(slots=True)
class _State:
    """What is carried from frame to frame within one shot."""

    mesh: NDArray[np.float64] | None = None
    """[468,3] px: the last mesh of the followed face, as measured."""
    seconds: float = -math.inf
    """When that was."""
    crop: "_Crop | None" = None
    """Where to look next; None: ask the detectors."""
    small: bool = False
    covered: bool = False
    turned: bool = False
    smoother: QuadSmoother = field(default_factory=QuadSmoother)
    steadier: MeshSteadier = field(default_factory=MeshSteadier)

    def begin_anew(self) -> None:
        """Forget what smooths and steadies: the next mesh is taken as measured."""
        self.smoother, self.steadier = QuadSmoother(), MeshSteadier()

    def jumped(self, mesh: NDArray[np.float64], seconds: float) -> bool:
        """Whether a mesh is too far from the last one for the same face in motion: a cut between similar pictures."""
        if self.mesh is None or seconds - self.seconds > _JUMP_SECONDS:
            return False
        moved = float(np.linalg.norm((mesh - self.mesh)[_STILL, :2].mean(0)))
        left, right = self.mesh[list(OUTER_EYE_CORNERS)]
        return moved > _JUMP_IOD * float(np.linalg.norm(right - left))


@dataclass(frozen=True, slots=True)
class _Crop:
    """A turned square of the frame that the mesh network looks at."""

    x: float
    y: float
    side: float
    angle: float

    def matrix(self) -> NDArray[np.float64]:
        """[3,3] crop px -> frame px."""
        scale = self.side / MESH_SIZE
        cos, sin = math.cos(self.angle) * scale, math.sin(self.angle) * scale
        half = MESH_SIZE / 2
        return np.array(
            [
                [cos, -sin, self.x - (cos - sin) * half],
                [sin, cos, self.y - (sin + cos) * half],
                [0.0, 0.0, 1.0],
            ]
        )

    def follow(self, mesh: NDArray[np.float64]) -> "_Crop":
        """The crop for the next frame: this one while the face sits well in it, else one around the mesh."""
        left, right = mesh[list(OUTER_EYE_CORNERS), :2]
        angle = math.atan2(right[1] - left[1], right[0] - left[0])
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        upright = mesh[:, :2] @ turn
        low, high = upright.min(0), upright.max(0)
        x, y = turn @ ((low + high) / 2)
        new = _Crop(float(x), float(y), float((high - low).max()) * _CROP_MARGIN, angle)
        slack = _CROP_SLACK * self.side
        near = math.hypot(new.x - self.x, new.y - self.y) <= slack and abs(new.side - self.side) <= slack
        level = abs(math.remainder(new.angle - self.angle, 2 * math.pi)) <= _TURN_SLACK
        return self if near and level else new


def _crop_of_detection(face: Detection) -> _Crop:
    """A first crop from a detector's box and its two eyes."""
    across = face.keys[1] - face.keys[0]
    x, y = face.centre.tolist()
    side = float(max(face.box[2:] - face.box[:2])) * _CROP_MARGIN
    return _Crop(x, y, side, math.atan2(across[1], across[0]))
