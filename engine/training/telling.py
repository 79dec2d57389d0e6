"""Trains the mood network and finds the chance from which emotions are shown, so that neutral speech stays neutral.

That chance, and the figures of voices that training knows otherwise, are found with networks that were not trained on
those voices: voices are parted into folds. Held-out voices take no part in anything here but their own figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import BadInputError
from engine.speech.emotions import EMOTIONS
from engine.speech.mood import (
    APART_SCALE,
    FAR_SCALE,
    FRAME_UNITS,
    LATEST,
    POOLED,
    UNITS,
    Decision,
    Judgement,
    MoodNet,
    MoodTeller,
    length_input,
)
from engine.speech.utterance import FEATURES, STATISTICS
from engine.training.mood_evaluation import (
    MoodFigures,
    SentenceFigures,
    evaluate_mood,
    name_sentences,
    sentence_figures,
)
from engine.training.moods import WINDOWS, Amounts, Material, make_stream, material_of
from engine.training.performances import Programme, Speaker, read_speakers
from engine.training.running import Progress, descend, require_at_least

FALSE_SHARE: Final = 0.06
"""Share of neutral speech of voices in other folds that may be shown in an emotion; held-out voices get more."""
HELD_OUT: Final = Programme(speakers=3, known=2, unseen=12, unseen_by=3)
"""What held-out voices say."""

_NEUTRAL_WEIGHT: Final = 0.6
_LEAST_CERTAIN: Final = 0.2
_SETTLED: Final = 10  # judgements
_CALM: Final = 4  # windows of a reference in one step


@dataclass(frozen=True)
class MoodConfig:
    """One training run."""

    members: int = 3
    """Networks whose answers are averaged."""
    steps: int = 1200
    """Optimiser steps of each."""
    groups: int = 16
    """References of a step."""
    batch: int = 12
    """Windows of a step against each reference."""
    learning_rate: float = 3.0e-3
    """Peak learning rate of AdamW; falls to zero in a straight line."""
    weight_decay: float = 0.1
    """Decoupled weight decay."""
    noise: float = 0.3
    """Gaussian noise on the distances, in spreads."""
    smoothing: float = 0.05
    """Share of every label that is spread over all emotions."""
    folds: int = 4
    """Parts of the voices."""
    streams: int = 1
    """Streams of every training speaker that find the chance; half of all are neutral throughout."""
    judged: int = 4
    """Streams of each held-out speaker that change, and as many that stay neutral, for the figures."""
    seed: int = 1
    """Seed of weights and material."""

    def __post_init__(self) -> None:
        """Checks the ranges."""
        require_at_least(1, self, "members", "steps", "groups", "batch", "streams", "judged")
        require_at_least(2, self, "folds")


class _Net(nn.Module):
    """One member of `MoodNet` with gradients."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, FRAME_UNITS[0])
        self.second = nn.Linear(*FRAME_UNITS)
        self.inner = nn.Linear(STATISTICS + POOLED + 1, UNITS)
        self.outer = nn.Linear(UNITS, len(EMOTIONS) + 1)
        self.dropout = nn.Dropout(0.2)

    def pool(self, read: Tensor) -> Tensor:
        """read: [B, READ, D + 1] -> [B, P]."""
        voiced = read[..., FEATURES]
        answers = torch.tanh(self.second(torch.relu(self.first(read[..., :FEATURES]))))
        late = voiced * (voiced.flip(1).cumsum(1).flip(1) <= LATEST)
        means = [(answers * part[..., None]).sum(1) / part.sum(1, keepdim=True).clamp(min=1) for part in (voiced, late)]
        return torch.cat(means, dim=1)

    def forward(self, far: Tensor, apart: Tensor, length: Tensor) -> Tensor:
        """far: [B, S], apart: [B, P], length: [B] -> [B, E + 1]."""
        inputs = torch.cat([FAR_SCALE * far, APART_SCALE * apart, length[:, None]], dim=1)
        answer: Tensor = self.outer(self.dropout(torch.tanh(self.inner(self.dropout(inputs)))))
        return answer


def material(speakers: Sequence[Speaker], seed: int, amounts: Amounts | None = None) -> list[Material]:
    """Windows of each speaker."""
    chosen = amounts or Amounts()
    return [material_of(each, chosen, np.random.default_rng([seed, index])) for index, each in enumerate(speakers)]


def usual_variance(parts: Sequence[Material]) -> NDArray[np.float64]:
    """[S] mean variance of the statistics within the references."""
    return np.asarray(np.concatenate([part.variance for part in parts]).mean(axis=0))


def fit(
    parts: Sequence[Material],
    usual: NDArray[np.float64],
    config: MoodConfig,
    certain: float,
    members: int | None = None,
    progress: Progress | None = None,
) -> MoodNet:
    """Trains `members` networks (by default those of the configuration), each from other first weights."""
    joined = Material.joined(parts) if parts else None
    if joined is None or not (joined.emotion > 0).any():
        raise BadInputError("no emotional speech to train on; build the corpus, or check the held-out voices")
    batches = _Batches(joined, usual, config)
    nets = []
    for member in range(members or config.members):
        torch.manual_seed(config.seed + member)
        net = _Net().train()
        draw = torch.Generator().manual_seed(config.seed + member)
        descend(net, config, partial(batches.loss, net, draw), f"moods {member + 1}", progress)
        nets.append(net)
    return _plain(nets, usual, certain)


class _Batches:
    """Draws steps of training: some references, and windows against each."""

    def __init__(self, rows: Material, usual: NDArray[np.float64], config: MoodConfig) -> None:
        self._far = torch.from_numpy(rows.distances(usual))
        self._read, self._calm = torch.from_numpy(rows.read), torch.from_numpy(rows.calm)
        self._emotion, self._level = torch.from_numpy(rows.emotion), torch.from_numpy(rows.level).float()
        self._length = torch.tensor([length_input(int(count)) for count in rows.voiced.tolist()])
        against = torch.from_numpy(rows.against)
        found = [(index, torch.where(against == index)[0]) for index in range(len(rows.mean))]
        self._groups = [(index, places) for index, places in found if len(places)]
        self._config = config

    def loss(self, net: _Net, draw: torch.Generator) -> Tensor:
        """Of windows drawn anew."""
        config = self._config
        rows, calm = [], []
        for place in torch.randint(len(self._groups), (config.groups,), generator=draw).tolist():
            reference, places = self._groups[place]
            rows.append(places[torch.randint(len(places), (config.batch,), generator=draw)])
            calm.append(self._calm[reference][torch.randperm(WINDOWS, generator=draw)[:_CALM]])
        chosen = torch.cat(rows)
        pooled = net.pool(torch.cat([self._read[chosen], *calm]).float())
        usual = pooled[len(chosen) :].reshape(config.groups, _CALM, POOLED).mean(dim=1)
        apart = pooled[: len(chosen)] - usual.repeat_interleave(config.batch, dim=0)
        noise = config.noise * torch.randn(len(chosen), STATISTICS, generator=draw)
        answer = net(self._far[chosen] + noise, apart, self._length[chosen])
        return _loss(answer, self._emotion[chosen], self._level[chosen], config.smoothing)


def _loss(answer: Tensor, emotion: Tensor, level: Tensor, smoothing: float) -> Tensor:
    """Cross-entropies of emotion, and of its strength where there is one."""
    share = torch.ones(len(EMOTIONS))
    share[0] = _NEUTRAL_WEIGHT
    named = functional.cross_entropy(answer[:, :-1], emotion, weight=share, label_smoothing=smoothing)
    strength = functional.binary_cross_entropy_with_logits(answer[:, -1], level / 3.0, reduction="none")
    return named + (strength * (emotion > 0)).mean()


def _plain(nets: Sequence[_Net], usual: NDArray[np.float64], certain: float) -> MoodNet:
    parts: dict[str, NDArray[np.float32]] = {}
    for name in ("first", "second", "inner", "outer"):
        layers = [getattr(net, name) for net in nets]
        parts[name] = np.stack([layer.weight.detach().numpy().T for layer in layers]).astype(np.float32)
        parts[f"{name}_bias"] = np.stack([layer.bias.detach().numpy() for layer in layers]).astype(np.float32)
    return MoodNet(**parts, usual=usual, certain=certain)


Judged = list[tuple[Judgement, int]]
"""The judgements of a stream, with what was spoken."""


def judge_streams(net: MoodNet, speaker: Speaker, changing: Sequence[bool], rng: np.random.Generator) -> list[Judged]:
    """What a network makes of streams of a speaker: some change their emotion, the others are neutral throughout."""
    rows = []
    for emotional in changing:
        stream, teller = make_stream(speaker, rng, emotional, vary=False), MoodTeller(net)
        row: Judged = []
        for frame, emotion in zip(stream.frames, stream.emotion.tolist(), strict=True):
            before = teller.judged
            teller.take(frame)
            if teller.judged is not None and teller.judged is not before:
                row.append((teller.judged, emotion))
        rows.append(row)
    return rows


def false_share(judged: Sequence[Judged], certain: float) -> float:
    """Share of judgements of neutral speech at which an emotion is shown, the first two seconds after one left out."""
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


def least_certain(judged: Sequence[Sequence[Judged]]) -> float:
    """The least chance at which neutral speech is shown neutral often enough. judged: streams of every voice."""
    low, high = _LEAST_CERTAIN, 1.0
    for _ in range(7):
        middle = 0.5 * (low + high)
        if np.mean([false_share(voice, middle) for voice in judged]) <= FALSE_SHARE:
            high = middle
        else:
            low = middle
    return round(high, 3)


def in_folds(
    speakers: Sequence[Speaker],
    parts: Sequence[Material],
    usual: NDArray[np.float64],
    config: MoodConfig,
    progress: Progress | None = None,
) -> tuple[float, SentenceFigures]:
    """Each voice heard by a network that does not know it -> chance to show from, figures of unseen sentences."""
    voices = [name for name, _ in groupby(speakers, lambda each: each.voice)]
    judged: dict[str, list[Judged]] = {name: [] for name in voices}
    named = []
    for fold in range(config.folds):
        out = set(voices[fold :: config.folds])
        rest = [part for part, speaker in zip(parts, speakers, strict=True) if speaker.voice not in out]
        net = fit(rest, usual, config, 0.5, 1, progress)
        for index, speaker in enumerate(speakers):
            if speaker.voice in out:
                rng = np.random.default_rng([config.seed, index])
                changing = [(index + number) % 2 == 0 for number in range(config.streams)]
                judged[speaker.voice] += judge_streams(net, speaker, changing, rng)
                named += name_sentences(net, speaker, rng)
    return least_certain(list(judged.values())), sentence_figures(named)


@dataclass(frozen=True)
class Trained:
    """What a run gives."""

    net: MoodNet
    """The network."""
    held_out: SentenceFigures
    """Unseen sentences of held-out voices, each named as a whole."""
    in_folds: SentenceFigures
    """Unseen sentences of the other voices, named by networks that know neither the voice nor the text."""
    streams: MoodFigures
    """Streams of held-out voices."""


def train_mood(
    corpus: Path,
    folder: Path,
    held_out: Sequence[str],
    config: MoodConfig,
    programme: Programme | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains on all voices of a corpus but those held out; acted speech is kept in `folder`."""
    known = read_speakers(corpus, folder, lambda name: name not in held_out, programme or Programme(), progress)
    parts = material(known, config.seed)
    usual = usual_variance(parts)
    certain, folds = in_folds(known, parts, usual, config, progress)
    net = fit(parts, usual, config, certain, progress=progress)
    figures = evaluate_held_out(net, corpus, folder, held_out, config, progress)
    return Trained(net, figures[0], folds, figures[1])


def evaluate_held_out(
    net: MoodNet,
    corpus: Path,
    folder: Path,
    held_out: Sequence[str],
    config: MoodConfig,
    progress: Progress | None = None,
) -> tuple[SentenceFigures, MoodFigures]:
    """Figures of the held-out voices: sentences, and streams. What they say has a folder of its own."""
    speakers = read_speakers(corpus, folder / "held_out", lambda name: name in held_out, HELD_OUT, progress)
    named = [
        row
        for index, speaker in enumerate(speakers)
        for row in name_sentences(net, speaker, np.random.default_rng([config.seed, index]))
    ]
    return sentence_figures(named), evaluate_mood(net, speakers, config.judged)
