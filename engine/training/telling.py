"""Trains the mood network and finds the chance from which emotions are shown, so that neutral speech stays neutral.

That chance is found on voices that the network which it is tried with was not trained on: voices are parted into folds.
Held-out voices take no part in anything here but the figures.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import BadInputError
from engine.speech.emotions import EMOTIONS
from engine.speech.mood import STATISTICS, UNITS, Decision, Judgement, MoodNet, MoodTeller
from engine.training.emotional import Sentence
from engine.training.moods import SNR_DB, Heard, Stream, Voice, hear, make_stream, read_voices, usual_variance
from engine.training.prosody import LEVELS
from engine.training.running import Progress, descend, require_at_least

FALSE_SHARE: Final = 0.06
"""Share of neutral speech of voices in other folds that may be shown in an emotion; held-out voices get more."""

_NEUTRAL_WEIGHT: Final = 0.3  # judgements of neutral speech are the most
_LEAST_CERTAIN: Final = 0.2
_SETTLED: Final = 10  # judgements
_LATE: Final = 150  # frames


@dataclass(frozen=True)
class MoodConfig:
    """One training run."""

    streams: int = 24
    """Streams of every voice that has renderings."""
    calm_streams: int = 4
    """Streams of every other voice, all neutral."""
    steps: int = 1500
    """Optimiser steps."""
    batch: int = 512
    """Judgements per step."""
    learning_rate: float = 3.0e-3
    """Peak learning rate of AdamW; falls to zero in a straight line."""
    weight_decay: float = 0.02
    """Decoupled weight decay."""
    noise: float = 0.3
    """Gaussian noise on the distances, in spreads."""
    smoothing: float = 0.05
    """Share of every label that is spread over all emotions."""
    folds: int = 4
    """Parts of the voices."""
    judged: int = 12
    """Streams of each held-out voice that change, and as many that stay neutral, for the figures."""
    seed: int = 1
    """Seed of weights and material."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        require_at_least(1, self, "streams", "calm_streams", "steps", "batch", "judged")
        require_at_least(2, self, "folds")


class _Net(nn.Module):
    """The network of `MoodNet` with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(STATISTICS, UNITS)
        self.outer = nn.Linear(UNITS, len(EMOTIONS) + 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, far: Tensor) -> Tensor:
        """far: [B, S] -> [B, E + 1]."""
        answer: Tensor = self.outer(self.dropout(torch.tanh(self.inner(far))))
        return answer


def material(voices: Sequence[Voice], usual: NDArray[np.float64], config: MoodConfig) -> list[list[Heard]]:
    """What a teller hears of many streams, for each voice."""
    rows = []
    for index, voice in enumerate(voices):
        rng = np.random.default_rng([config.seed, index])
        count = config.streams if voice.moods[0] else config.calm_streams
        made = (make_stream(voice, int(rng.integers(len(SNR_DB))), rng) for _ in range(count))
        rows.append([hear(stream, usual) for stream in made])
    return rows


def fit(heard: Sequence[Heard], usual: NDArray[np.float64], config: MoodConfig, certain: float) -> MoodNet:
    """Trains on judgements whose emotion is known."""
    known = [row.emotion >= 0 for row in heard]
    far = torch.from_numpy(np.concatenate([row.far[keep] for row, keep in zip(heard, known, strict=True)]))
    emotion = torch.from_numpy(np.concatenate([row.emotion[keep] for row, keep in zip(heard, known, strict=True)]))
    level = torch.from_numpy(np.concatenate([row.level[keep] for row, keep in zip(heard, known, strict=True)]))
    if not len(far) or not (emotion > 0).any():
        raise BadInputError("no emotional speech to train on; build the corpus, or check the held-out voices")
    torch.manual_seed(config.seed)
    net = _Net().train()
    draw = torch.Generator().manual_seed(config.seed)

    def loss() -> Tensor:
        """Of judgements drawn anew."""
        rows = torch.randint(len(far), (config.batch,), generator=draw)
        noisy = far[rows] + config.noise * torch.randn(config.batch, STATISTICS, generator=draw)
        return _loss(net(noisy), emotion[rows], level[rows], config.smoothing)

    descend(net, config, loss, "moods")
    return _plain(net, usual, certain)


def _loss(answer: Tensor, emotion: Tensor, level: Tensor, smoothing: float) -> Tensor:
    """Cross-entropies of emotion, and of its strength where there is one."""
    share = torch.ones(len(EMOTIONS))
    share[0] = _NEUTRAL_WEIGHT
    named = functional.cross_entropy(answer[:, :-1], emotion, weight=share, label_smoothing=smoothing)
    strength = functional.binary_cross_entropy_with_logits(answer[:, -1], level / 3.0, reduction="none")
    return named + (strength * (emotion > 0)).mean()


def _plain(net: _Net, usual: NDArray[np.float64], certain: float) -> MoodNet:
    def array(part: Tensor) -> NDArray[np.float32]:
        """Without gradients."""
        return np.ascontiguousarray(part.detach().numpy(), np.float32)

    inner, outer = net.inner, net.outer
    return MoodNet(array(inner.weight.T), array(inner.bias), array(outer.weight.T), array(outer.bias), usual, certain)


def false_share(judged: Sequence[Sequence[tuple[Judgement, int]]], certain: float) -> float:
    """Share of judgements of neutral speech at which an emotion is shown, the first two seconds after one left out.

    judged: of each stream, the judgements and what was spoken.
    """
    wrong = total = 0
    for row in judged:
        decision, since = Decision(certain), _SETTLED
        for judgement, emotion in row:
            shown = decision.follow(judgement).emotion
            since = since + 1 if emotion == 0 else 0
            if since > _SETTLED:
                total += 1
                wrong += shown != EMOTIONS[0]
    return wrong / max(1, total)


def calibrate(rows: Sequence[Sequence[Heard]], usual: NDArray[np.float64], config: MoodConfig) -> float:
    """The least chance at which neutral speech of other folds is shown neutral often enough. rows: of every voice."""
    judged: list[list[list[tuple[Judgement, int]]]] = [[] for _ in rows]
    for part in range(config.folds):
        rest = [heard for index, voice in enumerate(rows) if index % config.folds != part for heard in voice]
        net = fit(rest, usual, config, 0.5)
        for index in range(part, len(rows), config.folds):
            judged[index] = [
                [(net.judge(far), emotion) for far, emotion in zip(heard.far, heard.emotion.tolist(), strict=True)]
                for heard in rows[index]
            ]
    low, high = _LEAST_CERTAIN, 1.0
    for _ in range(7):
        middle = 0.5 * (low + high)
        if np.mean([false_share(voice, middle) for voice in judged]) <= FALSE_SHARE:
            high = middle
        else:
            low = middle
    return round(high, 3)


def train_mood(
    corpus: Path,
    sentences: Sequence[Sentence],
    held_out: Sequence[str],
    config: MoodConfig,
    progress: Progress | None = None,
) -> tuple[MoodNet, "MoodFigures"]:
    """Trains on all voices but those held out -> the network, and its figures on those."""
    voices = read_voices(corpus, sentences, lambda _: True, progress)
    known = [voice for voice in voices if voice.name not in held_out]
    usual = usual_variance(known)
    rows = material(known, usual, config)
    certain = calibrate(rows, usual, config)
    net = fit([heard for voice in rows for heard in voice], usual, config, certain)
    return net, evaluate_mood(net, [voice for voice in voices if voice.name in held_out], config.judged)


@dataclass(frozen=True)
class MoodFigures:
    """How well moods are told on voices that were never trained on."""

    streams: int
    """Streams that were heard."""
    named: dict[str, float | None]
    """Share of emotional speech that is shown in its emotion, for each level, from three seconds after it begins.

    None, here and below: there was none to measure."""
    shown: dict[str, float | None]
    """The same for any emotion."""
    false: dict[str, float | None]
    """Share of the time that speech which is neutral throughout is shown in an emotion, for each voice."""
    confusion: list[list[int]]
    """[E, E] frames: spoken x shown, in the order of `EMOTIONS`, all levels; neutral: in neutral streams."""

    def as_dict(self) -> dict[str, Any]:
        """For a JSON report."""
        return asdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """As rows of a table: each emotion, and what it was shown as."""
        return [
            {"spoken": name, **{shown: _share(count, sum(row)) for shown, count in zip(EMOTIONS, row, strict=True)}}
            for name, row in zip(EMOTIONS, self.confusion, strict=True)
        ]


def _share(count: float, total: float) -> float | None:
    """To three digits; None of nothing."""
    return round(float(count / total), 3) if total else None


def evaluate_mood(
    net: MoodNet, voices: Sequence[Voice], streams: int = MoodConfig.judged, seed: int = 7
) -> MoodFigures:
    """Follows streams of each voice as the product does: `streams` that change and as many that stay neutral."""
    confusion = np.zeros((len(EMOTIONS), len(EMOTIONS)), int)
    by_level = {level: np.zeros(3) for level in LEVELS}
    false: dict[str, float | None] = {}
    for index, voice in enumerate(voices):
        rng = np.random.default_rng([seed, index])
        quiet = np.zeros(len(EMOTIONS), int)
        for number in range(2 * streams):
            changing = number < streams
            stream = make_stream(voice, int(rng.integers(len(SNR_DB))), rng, changing, vary=False)
            for shown, emotion, level in _settled(net, stream):
                if changing and emotion:
                    confusion[emotion, shown] += 1
                    by_level[level] += (1, shown == emotion, shown > 0)
                elif not changing:
                    quiet[shown] += 1
        confusion[0] += quiet
        false[voice.name] = _share(quiet[1:].sum(), quiet.sum())
    named, any_shown = (
        {f"level_{level}": _share(row[place], row[0]) for level, row in by_level.items()} for place in (1, 2)
    )
    return MoodFigures(2 * streams * len(voices), named, any_shown, false, confusion.tolist())


def _settled(net: MoodNet, stream: Stream) -> Iterator[tuple[int, int, int]]:
    """(shown, spoken, level) of the frames from three seconds after each change, once the voice is known."""
    teller, since, last = MoodTeller(net), 0, 0
    for frame, emotion, level in zip(stream.frames, stream.emotion.tolist(), stream.level.tolist(), strict=True):
        shown = EMOTIONS.index(teller.take(frame).emotion)
        since, last = (since + 1 if emotion == last else 0), emotion
        if since > _LATE and teller.knows_the_voice:
            yield shown, emotion, level
