"""Takes a run's frames one by one and ends with its report.

Memory stays bounded: of every frame only its readings are kept (about 1 KB with a judge), of pictures only the last
one. Landmarks are compared in the eye frame of the *source* frame (origin between the outer eye corners, unit the
inter-ocular distance, both by the tracker), so head motion and zoom drop out.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.evaluation import figures as f
from engine.evaluation.judges import Judge, check_reading
from engine.evaluation.machine import describe_machine, versions
from engine.evaluation.pictures import MotionCompensation, gradient_across, laplacian_variance, luma, outside_changed
from engine.evaluation.report import Report, percentiles
from engine.evaluation.summary import Measurements, Reading, openings, summarise
from engine.media import VideoFrame

IDENTITY_EVERY: Final = 5
"""Of so many edited frames two neighbours are described."""


class EditedFrameLike(Protocol):
    """What the collector reads of an edited frame (the engine's `EditedFrame` has it)."""

    @property
    def frame(self) -> VideoFrame:
        """The finished picture."""

    @property
    def source(self) -> VideoFrame:
        """The picture as it came."""

    @property
    def edited(self) -> bool:
        """Whether it was edited."""

    @property
    def reason(self) -> str:
        """Why it passed through, or "edited"."""

    @property
    def effort(self) -> int:
        """Optimisation steps."""

    @property
    def target(self) -> NDArray[np.float32] | None:
        """[68,2] where the landmarks should be, frame pixels."""

    @property
    def tracked(self) -> NDArray[np.float32] | None:
        """[68,2] the tracker's landmarks of the source, frame pixels."""

    @property
    def mask(self) -> NDArray[np.float32] | None:
        """[h,w] soft mask 0..1."""

    @property
    def mask_origin(self) -> tuple[int, int]:
        """Its (top, left)."""

    @property
    def speaking(self) -> float:
        """Smoothed voice activity 0..1."""

    @property
    def stages_ms(self) -> Mapping[str, float]:
        """Time of every stage."""


class Collector:
    """Measures a run while it goes: `add` every frame, then `finish`."""

    def __init__(
        self,
        judge: Judge | None = None,
        *,
        witness: Judge | None = None,
        rest_opening: float | None = None,
        identity_every: int = IDENTITY_EVERY,
    ) -> None:
        """Begins a run.

        Args:
            judge: reads landmarks and identity; without one those figures are not measured.
            witness: a judge of another kind: a mouth counts as open in silence only where both say so; where
                the witness cannot read a frame, the judge alone decides.
            rest_opening: the speaker's inner-lip opening at rest in the tracker's convention, inter-ocular distances
                (from the profile); by default the median of the targets of silent frames.
            identity_every: of so many edited frames the first two are described (a distance each, and one pair of
                neighbours), which is most of the time of judging; 1: all are.
        """
        if identity_every < 1:
            raise ShapeError(f"identity_every: got {identity_every}, expected at least 1")
        self._judge = judge
        self._witness = witness
        self._identity_every = identity_every
        self._measured = Measurements(judged=judge is not None, rest_opening=rest_opening)
        self._last_luma: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        self._last_descriptors: tuple[f.Series, f.Series] | None = None
        self._motion = MotionCompensation()

    def add(self, frame: EditedFrameLike) -> None:
        """Measures one frame; every frame of the run comes, in order of time."""
        measured = self._measured
        measured.times.append(frame.source.seconds)
        measured.speaking.append(float(frame.speaking))
        for stage, milliseconds in frame.stages_ms.items():
            measured.stages[stage].append(float(milliseconds))
        changed, total = outside_changed(frame.frame, frame.source, frame.mask, frame.mask_origin)
        measured.changed += changed
        measured.outside += total
        measured.readings.append(None)
        if not frame.edited:
            measured.passed[frame.reason] += 1
            self._last_luma = self._last_descriptors = None
            return
        measured.effort[frame.effort] += 1
        self._add_region(frame)
        if self._judge is not None:
            measured.readings[-1] = self._read(frame, self._judge)

    def _add_region(self, frame: EditedFrameLike) -> None:
        """Seam, sharpness and flicker of one edited frame, edited and source."""
        edited, source = luma(frame.frame), luma(frame.source)
        before, self._last_luma = self._last_luma, (edited, source)
        if frame.mask is None:
            return
        place, pairs = (frame.mask, frame.mask_origin), self._measured.pairs
        pairs["seam"].append((gradient_across(edited, *place), gradient_across(source, *place)))
        pairs["sharpness"].append((laplacian_variance(edited, *place), laplacian_variance(source, *place)))
        if before is not None:
            residual = self._motion.residual
            pairs["flicker"].append((residual(before[0], edited, *place), residual(before[1], source, *place)))

    def _read(self, frame: EditedFrameLike, judge: Judge) -> Reading | None:
        """What the judge reads on one edited frame and its source; None, and counted, where it cannot."""
        if frame.tracked is None or frame.target is None:
            self._leave_out("no tracked landmarks or no target")
            return None
        edited_rgb, source_rgb = frame.frame.rgb(), frame.source.rgb()
        try:
            source = judge.landmarks(source_rgb, frame.tracked)
            check_reading(source, frame.tracked)
            edited = judge.landmarks(edited_rgb, frame.tracked)
        except f.NotMeasured as error:
            self._leave_out(str(error))
            return None
        if (self._measured.edited - 1) % self._identity_every < 2:
            self._add_identity(judge.descriptor(edited_rgb, edited), judge.descriptor(source_rgb, source))
        else:
            self._last_descriptors = None
        eyes = f.eye_frame(frame.tracked)
        points = (frame.tracked, frame.target, source, edited)
        tracked, wanted, own, shown = (f.to_eye_frame(p[f.MOUTH], eyes) for p in points)
        return Reading(tracked, wanted, own, shown, self._witnessed(source_rgb, edited_rgb, frame.tracked, eyes))

    def _witnessed(
        self,
        source: NDArray[np.uint8],
        edited: NDArray[np.uint8],
        tracked: NDArray[np.float32],
        eyes: NDArray[np.complex128],
    ) -> tuple[f.Series, f.Series] | None:
        """The mouths [20,2] of the source and the finished picture to the witness; None where it cannot tell."""
        if self._witness is None:
            return None
        try:
            own, shown = (self._witness.landmarks(rgb, tracked) for rgb in (source, edited))
            check_reading(own, tracked)
        except f.NotMeasured:
            return None
        return f.to_eye_frame(own[f.MOUTH], eyes), f.to_eye_frame(shown[f.MOUTH], eyes)

    def _leave_out(self, reason: str) -> None:
        self._measured.unread[reason] += 1
        self._last_descriptors = None

    def _add_identity(self, edited: f.Series, source: f.Series) -> None:
        """Distance to the source, and similarity to the frame before when that was edited, too."""
        last, self._last_descriptors = self._last_descriptors, (edited, source)
        self._measured.distances.append(f.identity_distance(edited[None], source[None]))
        if last is not None:
            self._measured.pairs["tl_id"].append((f.cosine(edited, last[0]), f.cosine(source, last[1])))

    def openings(self) -> dict[str, list[float | None]]:
        """Openings of all frames so far over time, to be drawn: seconds, target, shown, filmed."""
        return openings(self._measured)

    def finish(self, command: str = "", **extra: Any) -> Report:
        """The report of all frames so far.

        Args:
            command: the command that made the run.
            extra: further top-level entries of the JSON.
        """
        measured, summary = self._measured, summarise(self._measured)
        return Report(
            figures=summary.figures,
            not_measured=summary.not_measured,
            counted=summary.counted,
            details=summary.details,
            left_out=dict(measured.unread),
            frames=len(measured.times),
            edited=measured.edited,
            passed_through=dict(measured.passed),
            effort=dict(measured.effort),
            stages_ms={stage: percentiles(times) for stage, times in measured.stages.items()},
            versions=versions(),
            machine=describe_machine(),
            command=command,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            extra=extra,
        )
