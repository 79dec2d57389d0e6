"""Filmed lips as mouth controls: what a network that learns from films is to give.

Landmarks in the head frame, less the speaker's rest face, are what the controls of the face basis would have moved:
they are found by least squares within the controls' ranges, frame by frame. People differ in how far they open; a
speaker's motion is scaled to the usual opening, so that the network learns when lips move and not who is filmed.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError, ShapeError
from engine.speech.controls import CONTROLS, FRAME_RATE, FaceBasis, activations

MOVED: Final = np.r_[4:13, 48:68]
"""Rows of the points that count: chin and mouth."""
STEADY: Final = np.r_[27:48]
"""Rows of nose and eyes: what moves them as well is the head, or the tracker."""
CLOSED_SHARE: Final = 0.1
"""Share of a speaker's frames, those with the narrowest lips, whose median face is the rest."""
LARGEST_SCALE: Final = 2.5
"""Speakers' motion is scaled by at most this, up or down."""
LONGEST_CLOSURE_S: Final = 0.3
"""Lips that close for longer than this rest; those that close for less do so for a sound."""
SHUT: Final = 0.02
"""Inner-lip opening over the rest's under which lips are closed."""
OPEN: Final = 0.05
"""Inner-lip opening over the rest's over which they are open."""

_SWEEPS: Final = 60
_RIDGE: Final = 1e-3
_CHIN_WEIGHT, _DEPTH_WEIGHT, _GAP_WEIGHT = 0.5, 0.5, 3.0
_JAW, _CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")
_LEAST_JAW: Final = 0.02
_MOUTH: Final = 48

Rows = NDArray[np.float32]


def known_frames(head: Rows) -> NDArray[np.bool_]:
    """Which of [T, 68, 3] landmarks are known: [T]."""
    if head.ndim != 3 or head.shape[1:] != (68, 3):
        raise ShapeError(f"landmarks are {head.shape}, expected [T, 68, 3] in the head frame")
    return np.asarray(np.isfinite(head).all(axis=(1, 2)))


def gap(points: Rows) -> Rows:
    """Inner-lip opening [...] of landmarks [..., 68, 3]."""
    return np.asarray(np.linalg.norm(points[..., 66, :] - points[..., 62, :], axis=-1), np.float32)


def rest_face(head: Rows) -> Rows:
    """The face [68, 3] of a speaker at rest: the median of the frames with the narrowest lips; head: [T, 68, 3]."""
    faces = head[known_frames(head)]
    if not len(faces):
        raise BadInputError("got no frame with a face, expected at least one; leave the clip out")
    count = max(1, round(CLOSED_SHARE * len(faces)))
    return np.asarray(np.median(faces[np.argsort(gap(faces))[:count]], axis=0), np.float32)


def displacement(head: Rows, rest: Rows) -> Rows:
    """What moved from the rest face [68, 3], less what nose and eyes did: [T, 68, 3]; unknown frames stay NaN."""
    moved = head - rest
    return np.asarray(moved - moved[:, STEADY].mean(axis=1, keepdims=True), np.float32)


def style_scale(moved: list[Rows], usual: float) -> float:
    """Factor that brings a speaker's opening to the usual one.

    Args:
        moved: displacements [T, 68, 3] of the speaker's clips, NaN where unknown.
        usual: opening over the rest that a tenth of the corpus's frames pass.
    """
    faces = np.concatenate([rows[known_frames(rows)] for rows in moved])
    if not len(faces) or usual <= 0:
        raise BadInputError(f"got {len(faces)} known frames and a usual opening of {usual}, expected more than 0")
    own = float(np.percentile(faces[:, 66, 1] - faces[:, 62, 1], 90))
    return float(np.clip(usual / max(abs(own), 1e-6), 1 / LARGEST_SCALE, LARGEST_SCALE))


def usual_opening(controls: Rows, basis: FaceBasis) -> float:
    """Opening over the rest that a tenth of the frames of `controls` [..., CONTROLS] pass: the corpus's own style."""
    opened = activations(controls) @ (basis.displacement[:, 66, 1] - basis.displacement[:, 62, 1])
    return float(np.percentile(opened, 90))


def _rows(moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """[N, 68, 3] displacements as weighted rows [N, K]: chin, mouth, and the inner-lip opening once more."""
    weight = np.where(MOVED[:, None] < _MOUTH, _CHIN_WEIGHT, 1.0) * np.array([1.0, 1.0, _DEPTH_WEIGHT])
    points = (moved[:, MOVED] * weight).reshape(len(moved), weight.size)
    opened = moved[:, 66, 1] - moved[:, 62, 1]
    return np.concatenate([points, _GAP_WEIGHT * opened[:, None]], axis=1)


def fit_activations(moved: Rows, basis: FaceBasis) -> Rows:
    """Activations [T, CONTROLS] that move the basis most like displacements [T, 68, 3]; unknown frames give zeros.

    Least squares by coordinate descent, each activation within 0 ... 1. Closing is the share of the jaw that lips take
    back, so that jaw without closing and jaw with closing are what is sought, each by itself.
    """
    known = known_frames(moved)
    units = basis.displacement.astype(np.float64)
    units[_CLOSE] += units[_JAW]
    columns, rows = _rows(units), _rows(moved[known].astype(np.float64))
    square = columns @ columns.T
    square += _RIDGE * np.trace(square) / len(square) * np.eye(len(square))
    product = rows @ columns.T
    found = np.zeros((len(rows), len(CONTROLS)))
    for _ in range(_SWEEPS):
        for unit, own in enumerate(np.diag(square)):
            left = product[:, unit] - found @ square[unit] + found[:, unit] * own
            found[:, unit] = np.clip(left / own, 0.0, 1.0)
    found[:, _JAW] = np.minimum(found[:, _JAW] + found[:, _CLOSE], 1.0)
    active = np.zeros((len(moved), len(CONTROLS)), np.float32)
    active[known] = found
    return active


def closures(opened: Rows, known: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames [T] in which lips close for a sound: shut for at most `LONGEST_CLOSURE_S` between two openings.

    Args:
        opened: [T] opening over the rest's, at `FRAME_RATE`.
        known: [T] where it is known; next to an unknown frame nothing counts as a closure.
    """
    shut = known & (opened < SHUT)
    edges = np.flatnonzero(np.diff(np.pad(shut.astype(np.int8), 1)))
    found = np.zeros(len(opened), bool)
    near = round(LONGEST_CLOSURE_S * FRAME_RATE)
    for begin, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        before, after = slice(max(0, begin - near), begin), slice(end, end + near)
        beside = all(known[side].all() and (opened[side] > OPEN).any() for side in (before, after))
        found[begin:end] = beside and end - begin <= near
    return found


def controls_of(moved: Rows, basis: FaceBasis, rate: float) -> tuple[Rows, NDArray[np.bool_]]:
    """Mouth controls of a filmed clip.

    Args:
        moved: [K, 68, 3] displacements at `rate` frames a second, NaN where unknown.
        basis: the landmarks that the controls move.
        rate: of the film.

    Returns:
        Controls [T, CONTROLS] at `FRAME_RATE` and whether each is known [T]: between two known frames of the film.
    """
    at = np.arange(int((len(moved) - 1) * FRAME_RATE / rate) + 1) * rate / FRAME_RATE
    low = at.astype(int)
    high = np.minimum(low + 1, len(moved) - 1)
    share = (at - low).astype(np.float32)[:, None]
    seen = known_frames(moved)
    known = seen[low] & (seen[high] | (share[:, 0] == 0.0))
    active = fit_activations(moved, basis)
    controls = active[low] * (1.0 - share) + active[high] * share
    opened = controls @ (basis.displacement[:, 66, 1] - basis.displacement[:, 62, 1])
    taken = np.where(controls[:, _JAW] > _LEAST_JAW, controls[:, _CLOSE] / np.maximum(controls[:, _JAW], _LEAST_JAW), 0)
    controls[:, _CLOSE] = np.where(closures(opened, known), 1.0, np.clip(taken, 0.0, 1.0))
    return np.asarray(controls * known[:, None], np.float32), known
