"""What a profile can be trusted with: a score of the enrolment and its weak points in plain words.

The score is the mean of nine shares, 0...1 each, of what a good clip has: an opening mouth, teeth, closed lips, rounded
and spread lips, a head that turns, a large face, enough frames, usable frames, and a picture that answers when a mouth
is asked for. Shares, weights and limits are ours; it says how much a profile had to learn from, not how good a dub is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.editing.mouth import MOUTH_UNITS, OPENING
from engine.editing.observation import Observation
from engine.errors import ShapeError

WIDTH: Final = 1
"""Index of the mouth's width in the mouth numbers."""
INNER_LIPS: Final = slice(60, 68)
"""Landmarks around what shows between the lips."""
_LUMA: Final = np.array([0.299, 0.587, 0.114])
_BRIGHT: Final = 0.7
"""Brightness of teeth over that of the lower face, at least."""
_PALE: Final = 0.35
"""Saturation of teeth, at most; lips, tongue and gums have more."""
_WEIGHTS: Final[Mapping[str, float]] = {
    "opening": 2.0,
    "teeth": 1.5,
    "closed lips": 1.0,
    "rounding": 1.5,
    "poses": 1.0,
    "size": 1.0,
    "frames": 1.0,
    "usable frames": 1.0,
    "answer": 2.0,
}
_OPENING_IOD: Final = (0.05, 0.12)
"""Range of openings under which the mouth hardly opens, and that of lively speech, in eye distances."""
_TEETH_IOD2: Final = (0.003, 0.008)
"""Area of teeth under which none were seen, and with which they are known, in squared eye distances."""
_CLOSED_IOD: Final = (0.015, 0.04)
"""Smallest opening of lips that close, and over which they never do; the mesh reads 0.012 for closed lips."""
_WIDTH_IOD: Final = (0.05, 0.14)
_YAW_DEG: Final = (6.0, 25.0)
_SIZE_PX: Final = (50.0, 120.0)
_FRAMES: Final = (40, 120)
_USABLE: Final = (0.7, 1.0)
_ANSWER: Final = (0.4, 0.8)
_LEAST_SQUARES: Final = 1e-6
"""Sum of squares of the clip's openings under which they say nothing of what goes with them."""
_GOOD, _FAIR = 75, 50


@dataclass(frozen=True, slots=True)
class Assessment:
    """What can be said of an enrolment."""

    score: int
    """0...100."""
    shares: dict[str, float]
    """0...1 each, what the score is made of."""
    verdicts: list[str]
    """The weak points, in plain words, the most important first."""

    @property
    def grade(self) -> str:
        """The score in a word."""
        return "good" if self.score >= _GOOD else "fair" if self.score >= _FAIR else "poor"


def teeth_area(picture: NDArray[np.uint8], points: NDArray[np.floating]) -> float:
    """How much of what shows between the lips is as bright and pale as teeth are.

    Args:
        picture: [h,w,3] uint8, the lower face.
        points: [68,2] landmarks in px of the picture.

    Returns:
        Area in squared inter-ocular distances.

    Raises:
        ShapeError: another shape.
    """
    if picture.ndim != 3 or picture.shape[2] != 3 or points.shape != (68, 2):
        raise ShapeError(f"got picture {picture.shape} and points {points.shape}; expected [h,w,3] and [68,2]")
    eye = float(np.hypot(*(points[45] - points[36])))
    shown = picture[_inside(points[INNER_LIPS], picture.shape[:2])].astype(np.float64)
    if not len(shown) or eye == 0:
        return 0.0
    skin = float(np.median(picture.reshape(-1, 3)[::7] @ _LUMA))
    pale = (shown.max(1) - shown.min(1)) / np.maximum(shown.max(1), 1) < _PALE
    return float(((shown @ _LUMA > _BRIGHT * skin) & pale).sum()) / eye**2


def _inside(corners: NDArray[np.floating], size: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels [h,w] whose centre lies within a polygon: lines to the right cross it an odd number of times."""
    ys, xs = np.indices(size) + 0.5
    found = np.zeros(size, np.bool_)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 != y1:
            found ^= ((y0 > ys) != (y1 > ys)) & (xs < (x1 - x0) * (ys - y0) / (y1 - y0) + x0)
    return found


def assess(
    observations: Sequence[Observation],
    teeth: Sequence[float],
    iod_px: Sequence[float],
    reasons: Mapping[str, int],
    response: NDArray[np.float64],
) -> Assessment:
    """Score an enrolment and name its weak points.

    Args:
        observations: the clip's tracked frames.
        teeth: `teeth_area` of frames, those with open mouths among them.
        iod_px: inter-ocular distance of frames in px of the video.
        reasons: frames by what the tracker said of them, "ok" for usable ones.
        response: [8,8] mouth numbers measured on the picture per mouth number asked for.

    Raises:
        ShapeError: nothing to judge by.
    """
    if not observations or not len(iod_px) or response.shape != (8, 8):
        raise ShapeError(
            f"got {len(observations)} observations, {len(iod_px)} sizes, response {response.shape}; "
            "expected at least one of each and [8,8]"
        )
    mouths = np.stack([item.mouth for item in observations]) * MOUTH_UNITS
    low, high = np.quantile(mouths, (0.02, 0.98), axis=0)
    yaw = float(np.ptp([item.pose.yaw_deg for item in observations]))
    size, usable = float(np.median(iod_px)), reasons.get("ok", 0) / max(1, sum(reasons.values()))
    shown, answer = max(teeth, default=0.0), _answer(response, mouths / MOUTH_UNITS)
    opens, closes, widens = float(high[OPENING] - low[OPENING]), float(low[OPENING]), float(high[WIDTH] - low[WIDTH])
    found: list[tuple[str, float, bool, str]] = [
        ("answer", _share(answer, *_ANSWER), answer < _ANSWER[0],
         f"the picture answers with {max(0.0, answer):.0%} of an asked opening: mouths move too little"),
        ("teeth", _share(shown, 0, _TEETH_IOD2[1]), shown < _TEETH_IOD2[0],
         "teeth were never visible in the clip: they are the generator's guess"),
        ("opening", _share(opens, 0, _OPENING_IOD[1]), opens < _OPENING_IOD[0],
         "the mouth hardly opens in the clip: open vowels are the generator's guess"),
        ("closed lips", 1 - _share(closes, *_CLOSED_IOD), closes > _CLOSED_IOD[1],
         "the lips never close in the clip: closed lips are the generator's guess"),
        ("rounding", _share(widens, 0, _WIDTH_IOD[1]), widens < _WIDTH_IOD[0],
         "the lips are never rounded or spread in the clip: both are the generator's guess"),
        ("poses", _share(yaw, 0, _YAW_DEG[1]), yaw < _YAW_DEG[0],
         f"the head turns by {yaw:.0f} degrees only: other poses are guessed"),
        ("size", _share(size, 0, _SIZE_PX[1]), size < _SIZE_PX[0],
         f"the face is small ({size:.0f} px between the eyes): its detail is the generator's guess"),
        ("frames", _share(len(observations), 0, _FRAMES[1]), len(observations) < _FRAMES[0],
         f"few frames ({len(observations)}): poses and mouths outside them are guessed"),
        ("usable frames", _share(usable, 0, _USABLE[1]), usable < _USABLE[0],
         f"only {usable:.0%} of the frames show a usable face"),
    ]  # fmt: skip
    shares = {name: round(share, 3) for name, share, _, _ in found}
    mean = sum(_WEIGHTS[name] * share for name, share in shares.items()) / sum(_WEIGHTS.values())
    return Assessment(round(100 * mean), shares, [words for _, _, weak, words in found if weak])


def _answer(response: NDArray[np.float64], mouths: NDArray[np.float64]) -> float:
    """How much of an opening shows when it is asked for as this speaker makes it: with all that goes with it.

    The slope of the shown opening over the asked one, over the clip's own mouths [N,8]. A speaker's openings go with
    lips and corners that move, too; asked for alone they are mouths that nobody makes.
    """
    away = mouths - mouths.mean(0)
    together = away.T @ away[:, OPENING]
    if together[OPENING] < _LEAST_SQUARES:
        return float(response[OPENING, OPENING])
    return float(response[OPENING] @ together / together[OPENING])


def _share(value: float, none: float, whole: float) -> float:
    return float(np.clip((value - none) / (whole - none), 0.0, 1.0))
