"""How well a trained model does on voices it never heard, and the constants of effort on the voices it knows.

The whole model is measured as it dubs: network, effort, inertia and voice activity.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.activity import ActivityDetector
from engine.speech.controls import CONTROLS, FRAME_RATE, FaceBasis, activations
from engine.speech.model import SpeechModel
from engine.training.audio import SAMPLE_RATE
from engine.training.dataset import Item
from engine.training.loop import predict

_JAW, _CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")
_ROUND = 0.03
_Pair = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]  # predicted, wanted motion; wanted closing


@dataclass(frozen=True)
class VoiceFigures:
    """Figures of one held-out voice."""

    voice: str
    """Its name."""
    seconds: float
    """Length of its speech."""
    opening_r: float
    """Correlation of predicted and wanted inner-lip opening; 0 where one of them does not vary."""
    opening_rmse: float
    """Root mean square error of the opening, inter-ocular distances."""
    mouth_error: float
    """Mean distance of the 20 mouth points from their targets, inter-ocular distances."""
    closed_share: float
    """Share of all wanted dips to rest (labials, and what closes by coarticulation) at which the predicted opening is
    under the rest's plus 0.02."""
    labials_met: float
    """Share of labials alone (m, b, p) at which it is, from a frame before to two after; 0.02 is about a tenth of the
    way from rest to wide open."""
    width_r: float
    """Correlation of predicted and wanted distance between the corners of the mouth."""
    rounding: float
    """Share of the wanted narrowing that is shown where the mouth should be rounded by 0.03 or more; 0 without."""

    def as_dict(self) -> dict[str, float | str]:
        """For a JSON report."""
        return asdict(self)


def opening_of(displacement: NDArray[np.float32], rest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner-lip opening [T] of displacements [T, 68, 3] on a rest face [68, 3], inter-ocular distances."""
    gap = (rest[66] - rest[62]) + displacement[:, 66] - displacement[:, 62]
    return np.asarray(np.linalg.norm(gap, axis=1), np.float32)


def correlation(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Pearson's r of two rows [T]; 0 where one of them does not vary."""
    return float(np.corrcoef(a, b)[0, 1]) if min(np.ptp(a), np.ptp(b)) > 0.0 else 0.0


def _closures(wanted: NDArray[np.float32], predicted: NDArray[np.float32], rest: float) -> tuple[int, int]:
    """(closures wanted, closures met): a met one closes from a frame before to two after, as lips have mass."""
    middle = wanted[1:-1]
    dips = 1 + np.flatnonzero((middle < rest + 0.01) & (middle <= wanted[:-2]) & (middle < wanted[2:]))
    dips = dips[(dips > 5) & (dips < len(wanted) - 6)]
    around = [(wanted[dip - 5 : dip + 6].max() > rest + 0.04, dip) for dip in dips]
    chosen = [dip for moved, dip in around if moved]
    met = sum(bool(predicted[dip - 1 : dip + 3].min() < rest + 0.02) for dip in chosen)
    return len(chosen), met


def _labials(closing: NDArray[np.float32], opening: NDArray[np.float32], rest: float) -> tuple[int, int]:
    """(labials, labials met) from the wanted share of closing [T] and the predicted opening [T]."""
    edges = np.flatnonzero(np.diff(np.pad((closing > 0.5).astype(np.int8), 1)))
    spans = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    met = sum(bool(opening[max(0, begin - 1) : end + 2].min() < rest + 0.02) for begin, end in spans)
    return len(spans), met


def _narrowing(displacement: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much narrower than at rest the mouth is: [T] of displacements [T, 68, 3]."""
    return np.asarray(displacement[:, 48, 0] - displacement[:, 54, 0])


def evaluate(model: SpeechModel, items: Iterable[Item]) -> list[VoiceFigures]:
    """Figures per voice of recordings with targets."""
    basis = model.basis
    by_voice: dict[str, list[_Pair]] = {}
    for item in items:
        predicted = model.offline(item.samples).displacement
        wanted = basis.move(activations(item.controls))
        shared = min(len(predicted), len(wanted))
        by_voice.setdefault(item.voice, []).append(
            (predicted[:shared], wanted[:shared], item.controls[:shared, _CLOSE])
        )
    if not by_voice:
        raise BadInputError("no held-out recordings to evaluate on; name voices of the corpus in held_out")
    return [_figures(voice, pairs, basis) for voice, pairs in sorted(by_voice.items())]


def effort_constants(model: SpeechModel, items: Iterable[Item], seconds_each: float = 30.0) -> dict[str, float]:
    """Means and spreads of the network's jaw and of effort while somebody speaks: the constants of effort.py.

    Takes the first `seconds_each` of every voice among `items`, its recordings in a row as in a stream.
    """
    by_voice: dict[str, list[NDArray[np.float32]]] = {}
    wanted = int(seconds_each * SAMPLE_RATE)
    for item in items:
        heard = by_voice.setdefault(item.voice, [])
        heard.append(item.samples[: max(0, wanted - sum(map(len, heard)))])
    if not by_voice:
        raise BadInputError("no recordings to measure effort on; all voices of the corpus are held out")
    jaws, levels = [], []
    for pieces in by_voice.values():
        samples = np.concatenate(pieces)
        speaking = np.array(ActivityDetector(model.activity).push(samples), bool)
        controls, effort = predict(model.network, model.encoder, samples, len(speaking))
        jaws.append(controls[:, _JAW].numpy()[speaking])
        levels.append(effort[speaking])
    jaw, level = np.concatenate(jaws), np.concatenate(levels)
    return {
        "voices": len(by_voice),
        "speaking_s": len(jaw) / FRAME_RATE,
        "effort_mean": float(level.mean()),
        "effort_spread": float(level.std()),
        "jaw_mean": float(jaw.mean()),
        "jaw_spread": float(jaw.std()),
    }


def _figures(voice: str, pairs: list[_Pair], basis: FaceBasis) -> VoiceFigures:
    openings = [(opening_of(predicted, basis.rest), opening_of(wanted, basis.rest)) for predicted, wanted, _ in pairs]
    rest = float(np.linalg.norm(basis.rest[66] - basis.rest[62]))
    dips = np.sum([_closures(wanted, predicted, rest) for predicted, wanted in openings], axis=0)
    closing = [pair[2] for pair in pairs]
    labials = np.sum([_labials(row, pair[0], rest) for row, pair in zip(closing, openings, strict=True)], axis=0)
    predicted = np.concatenate([pair[0] for pair in openings])
    wanted = np.concatenate([pair[1] for pair in openings])
    distances = [np.linalg.norm(a[:, 48:] - b[:, 48:], axis=2).ravel() for a, b, _ in pairs]
    narrow, asked = (np.concatenate([_narrowing(pair[side]) for pair in pairs]) for side in (0, 1))
    round_ = asked > _ROUND
    return VoiceFigures(
        voice,
        len(wanted) / FRAME_RATE,
        correlation(predicted, wanted),
        float(np.sqrt(np.mean(np.square(predicted - wanted)))),
        float(np.concatenate(distances).mean()),
        float(dips[1] / max(1, dips[0])),
        float(labials[1] / max(1, labials[0])),
        correlation(narrow, asked),
        float(narrow[round_].mean() / asked[round_].mean()) if round_.any() else 0.0,
    )
