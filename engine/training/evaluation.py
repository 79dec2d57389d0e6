"""How well a trained network does on voices it never heard: the figures that choose between runs."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import FRAME_RATE, FaceBasis, activations
from engine.speech.model import SpeechModel
from engine.training.dataset import Item
from engine.training.loop import predict


@dataclass(frozen=True)
class VoiceFigures:
    """Figures of one held-out voice."""

    voice: str
    """Its name."""
    seconds: float
    """Length of its speech."""
    opening_r: float
    """Correlation of predicted and wanted inner-lip opening."""
    opening_rmse: float
    """Root mean square error of the opening, inter-ocular distances."""
    mouth_error: float
    """Mean distance of the 20 mouth points from their targets, inter-ocular distances."""
    closed_share: float
    """Share of wanted closures (labials) at which the predicted opening is under the rest's plus 0.02."""

    def as_dict(self) -> dict[str, float | str]:
        """For a JSON report."""
        return asdict(self)


def opening_of(displacement: NDArray[np.float32], rest: NDArray[np.float32]) -> NDArray[np.float32]:
    """Inner-lip opening [T] of displacements [T, 68, 3] on a rest face [68, 3], inter-ocular distances."""
    gap = (rest[66] - rest[62]) + displacement[:, 66] - displacement[:, 62]
    return np.asarray(np.linalg.norm(gap, axis=1), np.float32)


def _closures(wanted: NDArray[np.float32], predicted: NDArray[np.float32], rest: float) -> tuple[int, int]:
    """(closures wanted, closures met): a met one closes within a frame of the wanted one."""
    middle = wanted[1:-1]
    dips = 1 + np.flatnonzero((middle < rest + 0.01) & (middle <= wanted[:-2]) & (middle < wanted[2:]))
    dips = dips[(dips > 5) & (dips < len(wanted) - 6)]
    around = [(wanted[dip - 5 : dip + 6].max() > rest + 0.04, dip) for dip in dips]
    chosen = [dip for moved, dip in around if moved]
    met = sum(bool(predicted[dip - 1 : dip + 2].min() < rest + 0.02) for dip in chosen)
    return len(chosen), met


def evaluate(model: SpeechModel, items: Iterable[Item]) -> list[VoiceFigures]:
    """Figures per voice of recordings with targets."""
    basis = model.basis
    by_voice: dict[str, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    for item in items:
        answer = predict(model.network, model.encoder, item.samples, len(item.controls))
        predicted = basis.move(activations(answer.numpy()))
        wanted = basis.move(activations(item.controls))
        shared = min(len(predicted), len(wanted))
        by_voice.setdefault(item.voice, []).append((predicted[:shared], wanted[:shared]))
    if not by_voice:
        raise BadInputError("no held-out recordings to evaluate on; name voices of the corpus in held_out")
    return [_figures(voice, pairs, basis) for voice, pairs in sorted(by_voice.items())]


def _figures(
    voice: str, pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]], basis: FaceBasis
) -> VoiceFigures:
    openings = [(opening_of(predicted, basis.rest), opening_of(wanted, basis.rest)) for predicted, wanted in pairs]
    rest = float(np.linalg.norm(basis.rest[66] - basis.rest[62]))
    counts = np.sum([_closures(wanted, predicted, rest) for predicted, wanted in openings], axis=0)
    predicted = np.concatenate([pair[0] for pair in openings])
    wanted = np.concatenate([pair[1] for pair in openings])
    distances = [np.linalg.norm(a[:, 48:] - b[:, 48:], axis=2).ravel() for a, b in pairs]
    return VoiceFigures(
        voice,
        len(wanted) / FRAME_RATE,
        float(np.corrcoef(predicted, wanted)[0, 1]),
        float(np.sqrt(np.mean(np.square(predicted - wanted)))),
        float(np.concatenate(distances).mean()),
        float(counts[1] / max(1, counts[0])),
    )
