"""Enrolment: from a clip of a speaker to a profile."""

import copy
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.editing.calibration import Sample, measure_response, measure_sharpness
from engine.editing.features import MOUTH_COUNT, FeatureModel
from engine.editing.inversion import InversionConfig, invert
from engine.editing.keeping import Kept, fit_key
from engine.editing.mouth import MOUTH_UNITS, OPENING, mouth_shape, rest_face
from engine.editing.observation import Observation, observe, region_picture
from engine.editing.perceptual import PerceptualLoss
from engine.editing.placement import FIELD, place_region
from engine.editing.preview import draw_preview
from engine.editing.profile import SpeakerProfile
from engine.editing.rendering import SpeakerRenderer
from engine.editing.tuning import TuningConfig, TuningFrame, tune, tuned_parameters
from engine.editing.unseen import completed, known_share
from engine.editing.verdict import assess, teeth_area
from engine.errors import NoFaceError
from engine.generators.encoder_start import start_code
from engine.generators.encoders import FaceEncoder
from engine.generators.identity import generator_hash
from engine.generators.protocol import Generator, Region
from engine.generators.stats import WStatistics
from engine.media import VideoFrame
from engine.tracking.alignment import crop_from_rgb, quad_transform
from engine.tracking.backends import Tracker
from engine.tracking.mesh import MeshNet

Report = Callable[[str, int, int], None]
"""Takes what is being done, how much of it is done, and how much there is (0: unknown)."""

_LEAST_FRAMES: Final = 5
_CALIBRATION_FRAMES: Final = 6
_STORED: Final = 320
_TEETH_FRAMES: Final = 24
"""Of so many frames, those with the widest mouths, teeth are looked for."""
_COVARIANCE_FLOOR: Final = 0.04
"""Variance that every mouth number has at least, in its unit squared."""


@dataclass(frozen=True, slots=True)
class EnrolConfig:
    """How much work an enrolment does."""

    quality: str = "draft"
    """Name of the preset."""
    frames: int = 64
    """Frames that are fitted, chosen for variety of pose and mouth."""
    inversion: InversionConfig = field(default_factory=InversionConfig)
    """The first code."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    """The joint fit."""

    @classmethod
    def preset(cls, quality: str) -> "EnrolConfig":
        """Preset by name: draft (minutes on two cores), full (three times that) or compact (a small profile)."""
        if quality == "draft":
            return cls()
        if quality == "full":
            tuning = TuningConfig(steps=1400)
            return cls("full", 140, InversionConfig(shared_steps=60, row_steps=60), tuning)
        if quality == "compact":
            return cls("compact", tuning=TuningConfig(steps=400, compact=True))
        raise ValueError(f"unknown quality {quality!r}; expected draft, full or compact")


@dataclass(frozen=True, slots=True)
class EnrolParts:
    """Networks that an enrolment uses."""

    generator: Generator
    """Untuned; not changed."""
    statistics: WStatistics
    """Its whitened W."""
    directions: tuple[Tensor, Tensor]
    """[2,R,K] and [8,R,K]: its own directions of head angles and mouth numbers; zero when they are not known."""
    perceptual: PerceptualLoss
    """The distance of the fit."""
    mesh: MeshNet
    """Face mesh of the control loop."""
    tracker: Tracker
    """Follows the face."""
    encoder: FaceEncoder | None = None
    """Where the inversion starts, if the user has one."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a tracked frame."""

    observation: Observation
    field: Tensor
    """[3,h,w] uint8: the part of the crop inside which the region lies."""
    coarse: Tensor
    """[1,3,Q,Q] float in -1...1."""
    sample: Sample | None


def collect(frames: Iterable[VideoFrame], parts: EnrolParts, report: Report) -> tuple[list[_Seen], dict[str, int]]:
    """Track a clip; keep at most `_STORED` frames, evenly spaced, whatever its length.

    Raises:
        NoFaceError: too few frames have a face that can be edited.
    """
    kept: list[_Seen] = []
    reasons: dict[str, int] = {}
    stride, sample_stride, count = 1, 1, 0
    for index, frame in enumerate(frames):
        rgb = frame.rgb()
        result = parts.tracker.track(rgb, frame.seconds)
        reasons[result.reason] = reasons.get(result.reason, 0) + 1
        report("looking at the speaker", index + 1, 0)
        if result.face is None:
            continue
        if count % stride == 0:
            observation = observe(rgb, result.face)
            size = (FIELD.height, FIELD.width)
            picture = ((region_picture(rgb, observation, FIELD.top, FIELD.left, size)[0] + 1) * 127.5).round()
            side = parts.generator.coarse_resolution
            coarse = crop_from_rgb(rgb, quad_transform(result.face.quad, side)[0], side) * 2 - 1
            sample = Sample(rgb, result.face, observation) if count % sample_stride == 0 else None
            kept.append(_Seen(observation, picture.clamp(0, 255).to(torch.uint8), coarse, sample))
            if len(kept) > _STORED:
                kept, stride = kept[::2], stride * 2
            kept, thinned = _thin_samples(kept)
            sample_stride *= 2 if thinned else 1
        count += 1
    if count < _LEAST_FRAMES:
        seen = ", ".join(f"{reason}: {n}" for reason, n in sorted(reasons.items())) or "no pictures at all"
        raise NoFaceError(
            f"only {count} frames show a face that can be edited ({seen}); at least {_LEAST_FRAMES} are needed. Choose "
            "a part of the video with one face of 50 px or more, turned less than 45 degrees."
        )
    return kept, reasons


def _thin_samples(kept: list[_Seen]) -> tuple[list[_Seen], bool]:
    """Whole frames are large: of too many, every second one is let go. Gives what is kept, and whether any went."""
    held = [i for i, item in enumerate(kept) if item.sample is not None]
    if len(held) <= 2 * _CALIBRATION_FRAMES:
        return kept, False
    drop = set(held[1::2])
    return [replace(item, sample=None) if i in drop else item for i, item in enumerate(kept)], True


def choose(rows: NDArray[np.float64], count: int, first: int) -> list[int]:
    """Indices of `count` rows of [N,D] that are far from one another, `first` among them (Gonzalez 1985)."""
    chosen = [first]
    nearest = ((rows - rows[first]) ** 2).sum(1)
    while len(chosen) < min(count, len(rows)) and nearest.max() > 0:
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, ((rows - rows[chosen[-1]]) ** 2).sum(1))
    return chosen


def pixel_weight(observation: Observation, region: Region) -> Tensor:
    """How much each pixel of the region counts in the fit: the mouth four times the skin. [1,h,w]."""
    mouth = observation.points[48:68]
    centre, reach = mouth.mean(0), np.maximum(np.ptp(mouth, axis=0) * np.array([0.75, 0.95]), 40.0)
    ys = region.top + torch.arange(region.height) + 0.5
    xs = region.left + torch.arange(region.width) + 0.5
    far = ((xs[None, :] - centre[0]) / reach[0]) ** 2 + ((ys[:, None] - centre[1]) / reach[1]) ** 2
    return (1 + 3 * torch.exp(-far))[None].to(torch.float32)


def enroll_speaker(
    frames: Iterable[VideoFrame], parts: EnrolParts, config: EnrolConfig, report: Report, kept: Kept | None = None
) -> SpeakerProfile:
    """Make a profile from a clip.

    Args:
        frames: pictures of the speaker in order.
        parts: networks.
        config: how much work.
        report: progress.
        kept: where the fit is kept while it runs, and taken up when it was broken off.

    Raises:
        NoFaceError: too few frames have a usable face.
        BadInputError: the encoder belongs to another generator.
    """
    begin = time.monotonic()
    seen, reasons = collect(frames, parts, report)
    observations = [item.observation for item in seen]
    model = FeatureModel.fit(observations)
    mouths = np.stack([item.mouth for item in observations])
    mean = mouths.mean(0)
    features = torch.stack([model(item) for item in observations])
    rows = np.concatenate([features.numpy(), mouths - mean], axis=1)
    centre = int((rows**2).sum(1).argmin())
    chosen = choose(rows, config.frames, centre)
    if kept is not None:
        kept.open(fit_key(generator_hash(parts.generator.module()), config, torch.from_numpy(rows), *parts.directions))
    code = _code(parts, config.inversion, seen[centre].coarse, report, kept)
    inputs = torch.from_numpy(rows.astype(np.float32))
    region = place_region(observations)
    fitted = [
        TuningFrame(_cut(seen[i].field, region), inputs[i], pixel_weight(observations[i], region)) for i in chosen
    ]
    generator = copy.deepcopy(parts.generator)
    start = _first_slopes(model.count, parts.directions)
    result = tune(
        generator, parts.statistics, parts.perceptual, region, code, start, fitted, config.tuning,
        lambda done, total: report("learning the face", done, total), kept,
    )  # fmt: skip
    before = tuned_parameters(parts.generator)
    changed = {
        name: (value.detach() - before[name]).to(torch.float16)
        for name, value in tuned_parameters(generator, config.tuning.compact).items()
        if config.tuning.weight_rate > 0
    }
    rest = rest_face(np.stack([item.head for item in observations]))
    low, high = np.quantile(mouths, (0.01, 0.99), axis=0)
    at_rest = mouth_shape(rest)
    profile = SpeakerProfile(
        generator=generator_hash(parts.generator.module()),
        quality=config.quality,
        region=region,
        base=parts.statistics.decode(result.base),
        slopes=torch.einsum("frk,kd->frd", result.slopes, parts.statistics.basis),
        features=model,
        rest_head=rest,
        mouth_low=np.minimum(low, at_rest),
        mouth_high=np.maximum(high, at_rest),
        response=np.eye(MOUTH_COUNT),
        response_at_zero=mean,
        mouth_mean=mean,
        mouth_covariance=np.cov(mouths.T) + _COVARIANCE_FLOOR * np.eye(MOUTH_COUNT),
        grain=0.0,
        sharpening=0.0,
        weights=changed,
        preview=np.zeros((1, 1, 3), np.uint8),
        notes={},
    )
    own = torch.einsum("frk,kd->frd", parts.directions[1], parts.statistics.basis)
    profile = _calibrated(completed(profile, known_share(mouths), own), parts, seen, report)
    notes = _notes(profile, seen, result.losses, reasons, len(chosen), time.monotonic() - begin)
    if not any(bool(part.any()) for part in parts.directions):
        notes["verdicts"].append("the generator's own directions are not known: mouths that the clip lacks are missing")
    shown = seen[centre].sample or next(item.sample for item in seen if item.sample is not None)
    renderer = SpeakerRenderer(profile, parts.generator)
    picture = draw_preview(profile, renderer, parts.generator, code, shown, parts.statistics)
    return replace(profile, preview=picture, notes=notes)


def _cut(field: Tensor, region: Region) -> Tensor:
    """The region [3,h,w] of the field."""
    top, left = region.top - FIELD.top, region.left - FIELD.left
    return field[:, top : top + region.height, left : left + region.width].contiguous()


def _code(parts: EnrolParts, config: InversionConfig, coarse: Tensor, report: Report, kept: Kept | None) -> Tensor:
    """The inversion's code [R,K]: from the encoder's, where there is one; not searched again when it was kept."""
    if kept is not None and kept.code is not None:
        return kept.code
    generator, start = parts.generator, None
    if parts.encoder is not None:
        start = start_code(parts.encoder, parts.statistics, generator.rows, coarse)
    code = invert(
        generator, parts.statistics, parts.perceptual, coarse, config,
        lambda done, total: report("finding the face", done, total), start,
    )  # fmt: skip
    if kept is not None:
        kept.keep_code(code)
    return code


def _first_slopes(features: int, directions: tuple[Tensor, Tensor]) -> Tensor:
    """The generator's own directions of head angles and mouth; nothing yet for the other features: [F,R,K]."""
    angles, mouth = directions
    slopes = torch.zeros(features + MOUTH_COUNT, *mouth.shape[1:])
    slopes[: len(angles)] = angles
    slopes[features:] = mouth
    return slopes


def _calibrated(profile: SpeakerProfile, parts: EnrolParts, seen: list[_Seen], report: Report) -> SpeakerProfile:
    """Measure how the picture answers, and how sharp it is."""
    held = [item.sample for item in seen if item.sample is not None]
    spread = np.linspace(0, len(held) - 1, min(_CALIBRATION_FRAMES, len(held))).round().astype(int)
    samples = [held[i] for i in spread]
    renderer = SpeakerRenderer(profile, parts.generator)
    response, at_zero = measure_response(
        renderer, parts.mesh, samples, lambda done, total: report("measuring the mouth", done, total)
    )
    profile = replace(profile, response=response, response_at_zero=at_zero)
    sharpening, grain = measure_sharpness(renderer, samples)
    return replace(profile, sharpening=sharpening, grain=grain)


def _notes(
    profile: SpeakerProfile,
    seen: list[_Seen],
    losses: list[float],
    reasons: dict[str, int],
    fitted: int,
    seconds: float,
) -> dict[str, Any]:
    observations = [item.observation for item in seen]
    opening = np.array([item.mouth[OPENING] for item in observations]) * MOUTH_UNITS[OPENING]
    widest = np.argsort(-opening)[:_TEETH_FRAMES]
    found = assess(
        observations,
        [_teeth(seen[i], profile.region) for i in widest],
        [item.pose.iod_px for item in observations],
        reasons,
        profile.response,
    )
    tail = losses[-20:] or [float("nan")]
    return {
        "frames": reasons,
        "fitted_frames": fitted,
        "loss_first": round(float(np.mean(losses[:5] or [float("nan")])), 4),
        "loss_last": round(float(np.mean(tail)), 4),
        "opening_range_iod": round(float(np.ptp(np.quantile(opening, (0.02, 0.98)))), 4),
        "opening_response": round(float(profile.response[OPENING, OPENING]), 3),
        "sharpening": round(profile.sharpening, 3),
        "grain": round(profile.grain, 2),
        "seconds": round(seconds, 1),
        "score": found.score,
        "grade": found.grade,
        "shares": found.shares,
        "verdicts": found.verdicts,
    }


def _teeth(item: _Seen, region: Region) -> float:
    """Area of teeth that a frame shows."""
    picture = _cut(item.field, region).permute(1, 2, 0).numpy()
    return teeth_area(picture, item.observation.points - [region.left, region.top])
