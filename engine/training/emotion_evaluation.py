"""How well emotions are told, and whether what is said survives them, on speakers that were never trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.emotions import EMOTIONS, emotion_shares
from engine.speech.encoding import Encoding, SoundEncoding
from engine.speech.model import SpeechModel
from engine.training.emotional import Sentence, read_wave
from engine.training.evaluation import correlation, opening_of
from engine.training.prosody import LEVELS

_FROM_FRAME: Final = 25
_NEUTRAL_ABOVE: Final = 1.0 - 0.5 / LEVELS[-1]


@dataclass(frozen=True)
class EmotionFigures:
    """Figures of the emotional sentences of some speakers."""

    clips: int
    """Sentences in all their renderings."""
    named: float
    """Share of clips whose emotion is told (neutral: less than half of the first level is heard)."""
    named_by_level: dict[str, float]
    """The same for each level; "neutral" for neutral clips."""
    content_kept_r: float
    """Mean correlation of the openings of a sentence spoken in an emotion and spoken neutrally, both shown neutral."""
    swap_kept_r: float
    """Mean correlation of the openings of one sound shown neutral and in each other emotion."""
    swap_moved: float
    """Mean largest motion that showing an emotion at full intensity adds to brows, lids and cheeks; inter-ocular."""

    def as_dict(self) -> dict[str, object]:
        """For a JSON report."""
        return asdict(self)


def told(shares: NDArray[np.float32]) -> str:
    """The emotion of mean shares [EMOTIONS]: the strongest, or neutral where little else is heard."""
    if shares[0] > _NEUTRAL_ABOVE:
        return EMOTIONS[0]
    return EMOTIONS[1 + int(shares[1:].argmax())]


@torch.inference_mode()
def heard_shares(model: SpeechModel, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean shares [EMOTIONS] that the network hears in a recording after its first half second."""
    inputs = SoundEncoding(Encoding.begin(model.encoder)).push(samples).inputs
    with model.network.initial_state() as state:
        shares = model.network.feel(inputs, state)[0].exp().numpy()
    return np.asarray(shares[min(_FROM_FRAME, len(shares) // 2) :].mean(axis=0), np.float32)


def _openings(model: SpeechModel, samples: NDArray[np.float32], emotion: str) -> NDArray[np.float32]:
    return opening_of(model.offline(samples, emotion).displacement, model.basis.rest)


def emotion_figures(model: SpeechModel, sentences: Sequence[Sentence]) -> EmotionFigures:
    """Figures of sentences that lie in all renderings."""
    right: dict[str, list[bool]] = {}
    kept, swapped = [], []
    for sentence in sentences:
        plain = read_wave(sentence.clips[("neutral", 1)])
        calm = _openings(model, plain, "neutral")
        for (emotion, level), path in sentence.clips.items():
            samples = read_wave(path)
            key = "neutral" if emotion == "neutral" else f"level_{level}"
            right.setdefault(key, []).append(told(heard_shares(model, samples)) == emotion)
            if emotion != "neutral" and level == LEVELS[-1]:
                kept.append(correlation(_openings(model, samples, "neutral"), calm))
                swapped.append(correlation(_openings(model, plain, emotion), calm))
    if not kept:
        raise BadInputError("no emotional sentences of held-out speakers; build the corpus, or name others in held_out")
    every = [answer for answers in right.values() for answer in answers]
    return EmotionFigures(
        len(every),
        float(np.mean(every)),
        {key: float(np.mean(answers)) for key, answers in sorted(right.items())},
        float(np.mean(kept)),
        float(np.mean(swapped)),
        _moved(model),
    )


@torch.inference_mode()
def _moved(model: SpeechModel) -> float:
    shares = torch.from_numpy(np.stack([emotion_shares(name) for name in EMOTIONS[1:]]))[:, None]
    expression = model.network.expression(model.network.emotion_code(shares))[:, 0].numpy()
    moved = np.tensordot(expression, model.basis.expression, 1)
    return float(np.linalg.norm(moved[:, :48], axis=2).max(axis=1).mean())
