"""Self-reconstruction: a clip dubbed with its own sound, compared with itself.

The field's figures, all on the square around the source's face (2.6 inter-ocular distances): PSNR, SSIM, a learnt
distance; and on the judge's landmarks, in the source's eye frame: LMD (Chen et al. 2018, arXiv 1803.10404) of the mouth
and of all 68 points, and the same of their velocities (Zhou et al. 2020, arXiv 2004.12992), in inter-ocular distances.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from engine.evaluation import figures as f
from engine.evaluation.judges import Judge, check_reading
from engine.evaluation.likeness import Picture, psnr, ssim
from engine.evaluation.strips import face_square, resized
from engine.media import VideoFrame

RECONSTRUCTION: Final = ("psnr_db", "ssim", "lpips_st", "lmd", "lmd_face", "lmd_velocity")
"""Keys of the figures."""
LEARNT_EVERY: Final = 3
"""Of so many frames one is looked at by the learnt distance, which costs more than all else."""
LEARNT_PX: Final = 256
"""Side of the face square for the learnt distance."""

Distance = Callable[[Picture, Picture], float]
"""Of two pictures [H,W,3]."""


class Reconstruction:
    """Compares a run with its own source: `add` every frame in order, then `finish`.

    Args:
        judge: reads landmarks; None: figures on landmarks are not measured.
        distance: a learnt distance; None: not measured.
    """

    def __init__(self, judge: Judge | None, distance: Distance | None) -> None:
        """Begins a run."""
        self._judge: Final = judge
        self._distance: Final = distance
        self._values: dict[str, list[float]] = {key: [] for key in RECONSTRUCTION}
        self._left_out: Counter[str] = Counter()
        self._last: f.Series | None = None
        self._frames = 0

    def add(self, frame: VideoFrame, source: VideoFrame, tracked: NDArray[np.floating] | None) -> None:
        """Compares one frame with its source; `tracked` are the tracker's landmarks [68,2] of the source, if any."""
        if tracked is None:
            self._skip("no face tracked")
            return
        ours, own = frame.rgb(), source.rgb()
        top, left, side = face_square(tracked, source.height, source.width)
        cut = (slice(top, top + side), slice(left, left + side))
        a, b = np.ascontiguousarray(ours[cut]), np.ascontiguousarray(own[cut])
        self._values["psnr_db"].append(psnr(a, b))
        if side > 11:
            self._values["ssim"].append(ssim(a, b))
        if self._distance is not None and self._frames % LEARNT_EVERY == 0:
            shown = [resized(picture, LEARNT_PX, LEARNT_PX) for picture in (a, b)]
            self._values["lpips_st"].append(self._distance(shown[0], shown[1]))
        self._frames += 1
        if self._judge is not None:
            self._landmarks(self._judge, ours, own, tracked)

    def _landmarks(self, judge: Judge, ours: Picture, own: Picture, tracked: NDArray[np.floating]) -> None:
        try:
            source = judge.landmarks(own, tracked)
            check_reading(source, tracked)
            edited = judge.landmarks(ours, tracked)
        except f.NotMeasured as error:
            self._skip(str(error))
            return
        eyes = f.eye_frame(tracked)
        missed = f.to_eye_frame(edited, eyes) - f.to_eye_frame(source, eyes)
        self._values["lmd_face"].append(_mean_length(missed))
        self._values["lmd"].append(_mean_length(missed[f.MOUTH]))
        if self._last is not None:
            self._values["lmd_velocity"].append(_mean_length((missed - self._last)[f.MOUTH]))
        self._last = missed

    def _skip(self, reason: str) -> None:
        self._left_out[reason] += 1
        self._last = None

    def finish(self) -> dict[str, Any]:
        """Figures with their frames, and the reasons of those that were not measured."""
        reasons = {
            "lpips_st": "no learnt distance given" if self._distance is None else "no face was tracked",
            **dict.fromkeys(("lmd", "lmd_face", "lmd_velocity"), "no judge" if self._judge is None else "no reading"),
        }
        found = {key: values for key, values in self._values.items() if values}
        return {
            "figures": {key: float(f"{np.mean(found[key]):.6g}") if key in found else None for key in RECONSTRUCTION},
            "frames": {key: len(values) for key, values in found.items()},
            "not_measured": {k: reasons.get(k, "no face was tracked") for k in RECONSTRUCTION if k not in found},
            "left_out": dict(self._left_out),
        }


def _mean_length(vectors: f.Series) -> float:
    return float(np.linalg.norm(vectors, axis=1).mean())
