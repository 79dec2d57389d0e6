"""How the made-up presenter moves: speech to mouth, blinks, head; every curve from fixed seeds.

Letters: T frames of the video, N samples at 16 kHz.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engine.errors import BadInputError, ShapeError
from engine.speech.controls import FRAME_RATE, FaceBasis, activations
from engine.training.articulation import articulate
from engine.training.audio import SAMPLE_RATE
from engine.training.voices import Phone, Utterance

FPS: Final = 25
"""Frames per second of the presenter's video."""

BLINK: Final = (0.0, 0.45, 1.0, 0.9, 0.6, 0.3, 0.1)
"""How far the lids are closed in the frames of a blink: quick to close, slower to open."""

_MOUTH: Final = slice(48, 68)
_LARGEST: Final = 1.1
_VISIBLE: Final = 0.025


@dataclass(frozen=True, slots=True)
class Speech:
    """What the presenter says.

    Attributes:
        samples: [N] float32 in [-1, 1], 16 kHz mono.
        phones: sounds with their times.
    """

    samples: NDArray[np.float32]
    phones: tuple[Phone, ...]


def joined(utterances: Sequence[Utterance], lead_s: float, gap_s: float, seconds: float) -> Speech:
    """Puts sentences one behind the other with silence around them.

    Args:
        utterances: the sentences.
        lead_s: silence before the first.
        gap_s: silence between two.
        seconds: length of the whole.

    Raises:
        BadInputError: the sentences are longer than that.
    """
    samples = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    phones: list[Phone] = []
    start = lead_s
    for utterance in utterances:
        begin = round(start * SAMPLE_RATE)
        behind = begin + len(utterance.samples)
        if behind > len(samples):
            raise BadInputError(f"speech ends at {behind / SAMPLE_RATE:.2f} s of {seconds:.2f} s; say less")
        samples[begin:behind] = utterance.samples
        phones.extend(Phone(phone.ipa, phone.start + start, phone.end + start) for phone in utterance.phones)
        start = behind / SAMPLE_RATE + gap_s
    return Speech(samples, tuple(phones))


def mouth_displacement(speech: Speech, basis: FaceBasis, frames: int) -> NDArray[np.float64]:
    """Displacement of the landmarks in every frame, [T,68,3], head frame."""
    controls = articulate(speech.samples, speech.phones)
    moves = basis.move(activations(controls)).reshape(len(controls), -1)
    times, wanted = np.arange(len(controls)) / FRAME_RATE, np.arange(frames) / FPS
    columns = [np.interp(wanted, times, column) for column in moves.T]
    return np.stack(columns, 1).reshape(frames, 68, 3)


def mouth_amounts(wanted: NDArray[np.float64], moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Amounts of mouth moves, none negative, that come nearest to displacements of the mouth's points.

    Args:
        wanted: [T,68,3] displacement of every frame.
        moves: [M,68,3] displacement of every move at full strength, M at most 6.

    Returns:
        [T,M], each within 0 and 1.1.
    """
    if wanted.ndim != 3 or moves.ndim != 3 or wanted.shape[1:] != (68, 3) or moves.shape[1:] != (68, 3):
        raise ShapeError(f"displacements are {wanted.shape} and {moves.shape}; expected [T,68,3] and [M,68,3]")
    target = wanted[:, _MOUTH, :2].reshape(len(wanted), -1)
    columns = moves[:, _MOUTH, :2].reshape(len(moves), -1)
    best = np.zeros((len(wanted), len(moves)))
    least = np.square(target).sum(1)
    for count in range(1, len(moves) + 1):
        for chosen in itertools.combinations(range(len(moves)), count):
            part = columns[list(chosen)]
            amounts = np.linalg.lstsq(part.T, target.T, rcond=None)[0].T
            missed = np.square(target - amounts @ part).sum(1)
            better = (amounts >= 0).all(1) & (missed < least)
            best[better] = 0.0
            best[np.ix_(better, list(chosen))] = amounts[better]
            least[better] = missed[better]
    return np.minimum(best, _LARGEST)


def amounts_for(
    openings: NDArray[np.float64], tried: Sequence[float], measured: Sequence[float], most: float
) -> NDArray[np.float64]:
    """Amounts of a move that give wanted openings of the lips: generated lips part late and not evenly.

    Args:
        openings: [T] wanted, in IOD; 0 is the mouth at rest.
        tried: rising amounts above 0, in parts of the move.
        measured: opening at each, in IOD. Those below a visible gap are skipped: there the mesh only guesses.
        most: largest amount.

    Raises:
        BadInputError: no amount that was tried opens the lips.
    """
    visible = [(gap, amount) for amount, gap in zip(tried, measured, strict=True) if gap > _VISIBLE]
    if not visible:
        raise BadInputError(f"openings {list(measured)} at amounts {list(tried)}; expected one above {_VISIBLE} IOD")
    gaps = np.maximum.accumulate([0.0, *(gap for gap, _ in visible)])
    return np.minimum(np.interp(openings, gaps, [0.0, *(amount for _, amount in visible)]), most)


def blinks(frames: int, seconds: Sequence[float]) -> NDArray[np.float64]:
    """How far the lids are closed in every frame, [T] in 0...1, with blinks that begin at `seconds`."""
    closed = np.zeros(frames)
    for start in seconds:
        first = round(start * FPS)
        part = np.array(BLINK[: max(0, frames - first)])
        closed[first : first + len(part)] = np.maximum(closed[first : first + len(part)], part)
    return closed


def wander(frames: int, seed: int, slowest_hz: float = 0.12, fastest_hz: float = 0.7) -> NDArray[np.float64]:
    """A smooth random curve, [T], mean 0 and largest value 1: waves whose size falls with their frequency."""
    random = np.random.default_rng(seed)
    times = np.arange(frames) / FPS
    curve = np.zeros(frames)
    for frequency in np.geomspace(slowest_hz, fastest_hz, 6):
        curve += np.sin(2 * np.pi * (frequency * times + random.random())) * (slowest_hz / frequency) ** 0.7
    curve -= curve.mean()
    return np.asarray(curve / np.abs(curve).max())


def nods(speech: Speech, frames: int, smooth_s: float = 0.16) -> NDArray[np.float64]:
    """Head beats that follow the voice: its smoothed amplitude without its slow part, [T], largest value 1."""
    hop = SAMPLE_RATE // FPS
    padded = np.pad(speech.samples, (0, max(0, frames * hop - len(speech.samples))))[: frames * hop]
    level = np.sqrt(np.square(padded.reshape(frames, hop), dtype=np.float64).mean(1))
    curve = _smoothed(level, smooth_s * FPS) - _smoothed(level, 5 * smooth_s * FPS)
    return np.asarray(curve / max(1e-9, float(np.abs(curve).max())))


def _smoothed(curve: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Convolution with a Gaussian of that standard deviation in frames, edges held."""
    reach = int(np.ceil(3 * width))
    kernel = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / width))
    return np.convolve(np.pad(curve, reach, mode="edge"), kernel / kernel.sum(), mode="valid")
