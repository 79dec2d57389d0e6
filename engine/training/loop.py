"""The training loop: schedule, checkpoints, resume, logs. Hyper-parameters are chosen on held-out voices only."""

import logging
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from engine.errors import BadInputError
from engine.files import atomic_path
from engine.speech.controls import FRAME_RATE, FaceBasis
from engine.speech.emotions import emotion_shares
from engine.speech.encoding import Encoding, SoundEncoding
from engine.speech.features import SAMPLE_RATE
from engine.speech.network import SpeechNet
from engine.speech.whisper import CHUNK, WhisperEncoder
from engine.training.config import TrainConfig
from engine.training.dataset import Batch, Item, Pool
from engine.training.disentangle import Decoder, Objective, step_losses
from engine.training.events import EventLog
from engine.training.running import Progress

logger = logging.getLogger(__name__)

_YOUNG: Final = 10.0
"""Steps after which half of the average stays at a step, however long it is to be."""


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up over 5 % of the steps, then a cosine to zero."""
    warm = max(1, config.steps // 20)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return 0.5 * config.learning_rate * (1.0 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm)))


def averaged(network: SpeechNet, decay: float) -> AveragedModel:
    """A moving average of a network's weights, `decay` of which stays at every step; less in the first steps."""

    def blend(average: Tensor, newest: Tensor, count: Tensor | int) -> Tensor:
        """The average after `count` earlier ones."""
        kept = min(decay, float(count) / (float(count) + _YOUNG))
        return average.lerp(newest, 1.0 - kept)

    return AveragedModel(network, avg_fn=blend)


def _decayed(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Parameter groups: matrices with weight decay, vectors without."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def train(
    pool: Pool,
    paired: Pool | None,
    basis: FaceBasis,
    config: TrainConfig,
    folder: Path,
    progress: Progress | None = None,
    filmed: Pool | None = None,
) -> SpeechNet:
    """Trains on pools; resumes from `folder`/checkpoint.pt when it is there. Gives the averaged weights.

    `filmed` segments, where there are any, take the place of `config.filmed_share` of the windows of `pool`.

    The material of step n depends on the seed and n only, so that an interrupted run that resumes at a checkpoint sees
    what an uninterrupted one sees, on any device. Losses are logged in TensorBoard's format.
    """
    device = _device(config)
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    network = SpeechNet(config.network).train()
    decoder = Decoder(config.network)
    both = nn.ModuleDict({"network": network, "decoder": decoder}).to(device)
    mean, deviation = pool.statistics()
    network.set_statistics(mean, deviation)
    objective = Objective(basis).to(device)
    optimiser = torch.optim.AdamW(_decayed(both, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.98))
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    average = averaged(network, config.averaging)
    run = _Run(both, average, optimiser)
    begin = run.resume(checkpoint) if checkpoint.exists() else 0
    pairs = config.pairs if paired is not None else 0
    with EventLog(folder) as log:
        for step in range(begin, config.steps):
            torch.manual_seed(config.seed * 1_000_003 + step)
            batch = _material(pool, paired if pairs else None, filmed, config, step)
            noisy = batch.inputs + config.input_noise * deviation * torch.randn_like(batch.inputs)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(config, step)
            batch = replace(batch, inputs=noisy).on(device)
            losses = step_losses(network, decoder, objective, batch, pairs, config, step)
            _descend(sum(losses.values(), torch.zeros(())), both, optimiser)
            average.update_parameters(network)
            values = {name: value.item() for name, value in losses.items()}
            log.add(step + 1, values)
            if progress is not None:
                progress(_line(step + 1, values), (step + 1) / config.steps)
            if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.steps:
                run.save(checkpoint, step + 1)
    return cast(SpeechNet, average.module).cpu().eval()


def _device(config: TrainConfig) -> torch.device:
    """Where a run computes."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise BadInputError('device is "cuda", but torch sees no GPU; set it to "cpu", or install torch with CUDA')
    return torch.device(config.device)


def _material(pool: Pool, paired: Pool | None, filmed: Pool | None, config: TrainConfig, step: int) -> Batch:
    """Windows of a step: neutral ones and filmed ones first, then the pairs."""
    rng = np.random.default_rng([config.seed, step])
    frames = int(config.window_s * FRAME_RATE)
    jitter = round(config.time_jitter_ms * FRAME_RATE / 1000)
    films = 0 if filmed is None else round(config.filmed_share * config.batch)
    batches = [pool.batch(config.batch - films, frames, rng, jitter)] if films < config.batch else []
    if filmed is not None and films:
        batches.append(filmed.batch(films, frames, rng))
    if paired is not None:
        batches.append(paired.pair_batch(config.pairs, frames, rng, jitter))
    return Batch.joined(batches)


def _descend(loss: Tensor, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """One step down."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks the annotation
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimiser.step()


def _line(step: int, values: dict[str, float]) -> str:
    return f"step {step} loss {sum(values.values()):.4f} lips {values['lips']:.4f} naming {values['naming']:.4f}"


@dataclass(frozen=True)
class _Run:
    """What a checkpoint holds."""

    model: nn.Module
    average: AveragedModel
    optimiser: torch.optim.Optimizer

    def save(self, path: Path, step: int) -> None:
        """Writes a checkpoint, whole or not at all."""
        states = {name: holder.state_dict() for name, holder in vars(self).items()}
        with atomic_path(path) as part:
            torch.save({**states, "step": step}, part)

    def resume(self, path: Path) -> int:
        """Loads a checkpoint; returns the step to go on with."""
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            step = int(saved["step"])
            for name, holder in vars(self).items():
                holder.load_state_dict(saved[name])
        except (OSError, EOFError, KeyError, TypeError, RuntimeError, ValueError, UnpicklingError) as error:
            raise BadInputError(f"{path} does not fit this configuration: {error}; delete it to begin anew") from error
        logger.info("resuming at step %d", step)
        return step


def neutral_shares(inputs: Tensor) -> Tensor:
    """Shares [B, T, EMOTIONS] of a neutral voice for inputs [B, T, 390]."""
    return torch.from_numpy(emotion_shares("neutral")).expand(*inputs.shape[:2], -1)


@torch.inference_mode()
def predict(
    network: SpeechNet, encoder: WhisperEncoder, samples: NDArray[np.float32], frames: int
) -> tuple[Tensor, NDArray[np.float32]]:
    """The network's own controls [frames, CONTROLS] of one recording and their effort [frames]. samples: [N]."""
    delay = network.config.delay
    silence = np.zeros((delay + 2 * CHUNK) * SAMPLE_RATE // FRAME_RATE, np.float32)
    inputs, effort = SoundEncoding(Encoding.begin(encoder)).push(np.concatenate([samples, silence]))
    with network.initial_state() as state:
        answer: Tensor = network(inputs, state, neutral_shares(inputs)).controls[0, delay : delay + frames]
    return answer, effort[0, : len(answer)]


def held_out_items(items: Iterable[Item], config: TrainConfig, seconds_each: float = 60.0) -> list[Item]:
    """Recordings that were not trained on: of each voice as many in a row as its first `seconds_each` need."""
    taken = dict.fromkeys(config.held_out, 0.0)
    chosen = []
    for item in items:
        if taken.get(item.voice, seconds_each) < seconds_each:
            taken[item.voice] += len(item.controls) / FRAME_RATE
            chosen.append(item)
    return chosen
