"""LSE-C and LSE-D: how well lips and sound go together, by SyncNet (Prajwal et al. 2020, arXiv 2008.10010).

The picture at every 1/25 s, cut out around the face, and the sound are embedded in windows of five pictures; the
distance of each window to the sound up to 15 pictures earlier and later is averaged over the run. LSE-D is the least of
these 31 means, LSE-C by how much it lies under their median; where it lies is the offset. So do the authors of SyncNet
and of the two figures.

Ours: the face's square follows from the tracked eyes and nose instead of a detector of its own (S3FD), so that no edit
of the mouth moves it; a picture is the nearest in time; a window without a face in each of its pictures is left out.
Figures are to be compared with one another; those of papers were taken with another face detector.
"""

from collections import deque
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.errors import ShapeError
from engine.evaluation.figures import NotMeasured, require_shape
from engine.evaluation.judges import face_box
from engine.evaluation.mfcc import mfcc
from engine.evaluation.syncnet import PICTURES, SIDE, WINDOWS, SyncNet
from engine.media import VideoFrame

RATE: Final = 25
"""Pictures a second that SyncNet was trained on."""
SHIFTS: Final = 15
"""Pictures that the sound is moved by, either way."""
LEAST_WINDOWS: Final = 25
"""Windows below which nothing is stated: a second."""
LSE: Final = ("lse_c", "lse_d", "lse_offset_ms")
"""Keys of the figures."""
_AT_ONCE: Final = 8
_PER_PICTURE: Final = 4
"""Windows of sound a picture."""
_SAMPLES_PER_PICTURE: Final = 640
_BELOW: Final = 1.8
"""How far the cut reaches below the face's middle, in half sides of its square."""
_BESIDE: Final = 1.4
"""How far it reaches to the left and right."""
_GREY: Final = 110
"""What lies outside the picture."""
_LARGER: Final = 1.1
"""The square of S3FD over that of `face_box`, about: it holds the forehead."""
_HIGHER: Final = 0.05
"""How much higher its middle is, in sides of `face_box`."""


def cut_face(rgb: NDArray[np.uint8], points: NDArray[np.floating]) -> Tensor:
    """The part of a picture that SyncNet looks at.

    Args:
        rgb: [H,W,3] uint8.
        points: [68,2] landmarks in px.

    Returns:
        [3,224,224] uint8 RGB.

    Raises:
        NotMeasured: there is no square around these points, or it lies outside the picture.
    """
    require_shape("rgb", rgb, None, None, 3)
    centre, side = face_box(points)
    half = side / 2 * _LARGER
    x, y = float(centre[0]), float(centre[1]) - _HIGHER * side
    top, bottom = int(np.floor(y - half)), int(np.floor(y + _BELOW * half))
    left, right = int(np.floor(x - _BESIDE * half)), int(np.floor(x + _BESIDE * half))
    height, width = rgb.shape[:2]
    if bottom - top < 2 or min(bottom, height) <= max(top, 0) or min(right, width) <= max(left, 0):
        raise NotMeasured("the face's square lies outside the picture")
    inside = rgb[max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
    around = ((max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0)), (0, 0))
    whole = torch.from_numpy(np.pad(inside, around, constant_values=_GREY)).permute(2, 0, 1)[None].float()
    small = functional.interpolate(whole, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return small[0].round().clamp(0, 255).to(torch.uint8)


class LipSync:
    """Takes a run's pictures one by one and ends with its figures; memory holds five pictures and the embeddings.

    Args:
        net: SyncNet with its weights.
    """

    def __init__(self, net: SyncNet) -> None:
        """Begins a run."""
        self._net: Final = net
        self._last: tuple[float, Tensor | None] | None = None
        self._ticks = 0
        self._recent: deque[Tensor | None] = deque(maxlen=PICTURES)
        self._waiting: list[tuple[int, Tensor]] = []
        self._embedded: dict[int, Tensor] = {}

    def add(self, frame: VideoFrame, tracked: NDArray[np.floating] | None) -> None:
        """Takes one picture, in order of time; `tracked` [68,2]: landmarks of its source, None without a face."""
        cut = None
        if tracked is not None:
            try:
                cut = cut_face(frame.rgb(), tracked)
            except NotMeasured:
                cut = None
        if self._last is not None:
            self._show_until((self._last[0] + frame.seconds) / 2)
        self._last = (frame.seconds, cut)

    def _show_until(self, seconds: float) -> None:
        """The last picture is the nearest one up to here."""
        assert self._last is not None
        while self._ticks / RATE <= seconds:
            self._recent.append(self._last[1])
            self._ticks += 1
            window = [picture for picture in self._recent if picture is not None]
            if len(window) == PICTURES:
                self._waiting.append((self._ticks - PICTURES, torch.stack(window)))
                if len(self._waiting) == _AT_ONCE:
                    self._embed()

    def _embed(self) -> None:
        if self._waiting:
            found = self._net.lips(torch.stack([window for _, window in self._waiting]))
            self._embedded |= {index: row for (index, _), row in zip(self._waiting, found, strict=True)}
            self._waiting.clear()

    def finish(self, speech: NDArray[np.floating]) -> dict[str, Any]:
        """Figures of the run with its sound.

        Args:
            speech: [N] mono at 16 kHz from the first picture's time on, -1...1.

        Returns:
            `figures` (see `LSE`), `windows` that were measured, and `left_out` for want of a face; where nothing can
            be said, figures of None and the reason as `not_measured`.
        """
        if self._last is not None:
            self._show_until(self._last[0] + 0.5 / RATE)
            self._last = None
        self._embed()
        possible = max(0, min(self._ticks, len(speech) // _SAMPLES_PER_PICTURE) - PICTURES)
        known = [index for index in sorted(self._embedded) if index < possible]
        counted = {"windows": len(known), "left_out": possible - len(known)}
        if len(known) < LEAST_WINDOWS:
            reason = f"{len(known)} windows of five pictures with a face and sound; at least {LEAST_WINDOWS} are needed"
            return without(reason) | counted
        coefficients = torch.from_numpy(mfcc(speech))
        windows = coefficients.unfold(0, WINDOWS, _PER_PICTURE)[:possible].transpose(1, 2)
        sound = torch.cat([self._net.sound(part) for part in torch.split(windows, 64)])
        lips = torch.stack([self._embedded[index] for index in known])
        confidence, distance, offset = compare(lips, sound, known)
        values = (round(confidence, 4), round(distance, 4), 1000 * offset / RATE)
        return {"figures": dict(zip(LSE, values, strict=True)), **counted, "not_measured": {}}


def without(reason: str) -> dict[str, Any]:
    """What `LipSync.finish` gives where nothing can be measured."""
    return {"figures": dict.fromkeys(LSE), "windows": 0, "left_out": 0, "not_measured": dict.fromkeys(LSE, reason)}


def compare(lips: Tensor, sound: Tensor, places: list[int]) -> tuple[float, float, int]:
    """Confidence, distance and offset of a run.

    Args:
        lips: [M,D] embeddings of pictures.
        sound: [N,D] embeddings of the sound, one a picture.
        places: [M] the picture that each of `lips` begins with, 0...N-1.

    Returns:
        LSE-C, LSE-D, and by how many pictures the lips are behind the sound.

    Raises:
        ShapeError: shapes that do not fit, or no embeddings.
    """
    fits = lips.ndim == sound.ndim == 2 and lips.shape[1:] == sound.shape[1:] and len(lips) == len(places) > 0
    if not fits or not 0 <= min(places) <= max(places) < len(sound):
        raise ShapeError(
            f"got lips {list(lips.shape)} at {len(places)} places and sound {list(sound.shape)}; expected [M,D], M "
            "places within the sound, and [N,D]"
        )
    padded = functional.pad(sound, (0, 0, SHIFTS, SHIFTS))
    first = torch.tensor(places)
    means = torch.stack(
        [functional.pairwise_distance(lips, padded[first + shift]).mean() for shift in range(2 * SHIFTS + 1)]
    )
    least = int(means.argmin())
    return float(means.median() - means[least]), float(means[least]), SHIFTS - least
