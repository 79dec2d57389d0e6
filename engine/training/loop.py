"""The training loop: losses, schedule, checkpoints, resume. Hyper-parameters are chosen on held-out voices only."""

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.errors import BadInputError
from engine.speech.controls import CONTROLS, FRAME_RATE, FaceBasis
from engine.speech.encoding import Encoding, SoundEncoding
from engine.speech.features import SAMPLE_RATE
from engine.speech.network import SpeechNet
from engine.speech.whisper import CHUNK, WhisperEncoder
from engine.training.config import TrainConfig
from engine.training.dataset import Batch, Item, Pool

logger = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Called with a line of text and the share done, 0 ... 1."""

_JAW, _CLOSE = CONTROLS.index("jaw"), CONTROLS.index("close")
_UNIT = 20.0


@dataclass(frozen=True)
class Losses:
    """The terms of one step, unweighted."""

    landmarks: Tensor
    opening: Tensor
    velocity: Tensor

    def total(self, config: TrainConfig) -> Tensor:
        """The weighted sum."""
        return self.landmarks + config.opening_weight * self.opening + config.velocity_weight * self.velocity


def activations(controls: Tensor) -> Tensor:
    """[..., CONTROLS] controls -> face-unit activations: closing takes back the jaw's own opening."""
    parts = list(controls.unbind(-1))
    parts[_CLOSE] = parts[_CLOSE] * parts[_JAW]
    return torch.stack(parts, dim=-1)


class Objective(nn.Module):
    """Errors of landmarks, opening and velocity, in units of 0.05 inter-ocular distances."""

    def __init__(self, basis: FaceBasis) -> None:
        """Takes the landmarks that the controls move; only jaw and mouth count."""
        super().__init__()
        moving = torch.from_numpy(basis.displacement[:, list(range(4, 13)) + list(range(48, 68))])
        opening = torch.from_numpy(basis.displacement[:, 66] - basis.displacement[:, 62])[:, 1]
        self.register_buffer("moving", moving.reshape(len(CONTROLS), -1) * _UNIT)
        self.register_buffer("opening", opening * _UNIT)

    def forward(self, predicted: Tensor, wanted: Tensor) -> Losses:
        """predicted, wanted: [B, T, CONTROLS] controls."""
        difference = activations(predicted) - activations(wanted)
        points = difference @ self.get_buffer("moving")
        gap = difference @ self.get_buffer("opening")
        return Losses(
            points.square().mean(),
            gap.square().mean(),
            (points[:, 1:] - points[:, :-1]).square().mean(),
        )


def losses_of(network: SpeechNet, batch: Batch, objective: Objective) -> Losses:
    """Losses of a batch; the answer for frame t is read `delay` frames later."""
    delay = network.config.delay
    predicted = network(batch.inputs, network.initial_state(len(batch.inputs)))[:, delay:]
    losses: Losses = objective(predicted, batch.controls[:, : batch.controls.shape[1] - delay])
    return losses


def learning_rate(config: TrainConfig, step: int) -> float:
    """Linear warm-up over 5 % of the steps, then a cosine to zero."""
    warm = max(1, config.steps // 20)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    return 0.5 * config.learning_rate * (1.0 + math.cos(math.pi * (step - warm) / max(1, config.steps - warm)))


def _decayed(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Parameter groups: matrices with weight decay, vectors without."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def train(
    pool: Pool, basis: FaceBasis, config: TrainConfig, folder: Path, progress: Progress | None = None
) -> SpeechNet:
    """Trains on a pool; resumes from `folder`/checkpoint.pt when it is there.

    The material of step n depends on the seed and n only, so that an interrupted run that resumes at a checkpoint sees
    what an uninterrupted one sees.
    """
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    network = SpeechNet(config.network).train()
    mean, deviation = pool.statistics()
    network.set_statistics(mean, deviation)
    objective = Objective(basis)
    optimiser = torch.optim.AdamW(_decayed(network, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.98))
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pt"
    begin = _resume(checkpoint, network, optimiser) if checkpoint.exists() else 0
    average = 0.0
    for step in range(begin, config.steps):
        rng = np.random.default_rng([config.seed, step])
        torch.manual_seed(config.seed * 1_000_003 + step)
        batch = pool.batch(config.batch, int(config.window_s * FRAME_RATE), rng)
        batch = Batch(batch.inputs + config.input_noise * deviation * torch.randn_like(batch.inputs), batch.controls)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        losses = losses_of(network, batch, objective)
        loss = losses.total(config)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stub lacks the annotation
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        average = loss.item() if step == begin else 0.97 * average + 0.03 * loss.item()
        if progress is not None:
            text = f"step {step + 1} loss {average:.4f} opening {losses.opening.item():.4f}"
            progress(text, (step + 1) / config.steps)
        if (step + 1) % config.checkpoint_steps == 0 or step + 1 == config.steps:
            _save(checkpoint, network, optimiser, step + 1)
    return network.eval()


def _save(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer, step: int) -> None:
    """Writes a checkpoint, whole or not at all."""
    partial = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step}, partial)
    partial.replace(path)


def _resume(path: Path, model: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Loads a checkpoint; returns the step to go on with."""
    try:
        saved = torch.load(path, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise BadInputError(f"{path} does not fit this configuration: {error}; delete it to begin anew") from error
    step = int(saved["step"])
    logger.info("resuming at step %d", step)
    return step


@torch.inference_mode()
def predict(
    network: SpeechNet, encoder: WhisperEncoder, samples: NDArray[np.float32], frames: int
) -> tuple[Tensor, NDArray[np.float32]]:
    """The network's own controls [frames, CONTROLS] of one recording and their effort [frames]. samples: [N]."""
    delay = network.config.delay
    silence = np.zeros((delay + 2 * CHUNK) * SAMPLE_RATE // FRAME_RATE, np.float32)
    inputs, effort = SoundEncoding(Encoding.begin(encoder)).push(np.concatenate([samples, silence]))
    answer: Tensor = network(inputs, network.initial_state())[0, delay : delay + frames]
    return answer, effort[0, : len(answer)]


def held_out_items(items: Iterable[Item], config: TrainConfig) -> list[Item]:
    """The recordings that were not trained on."""
    return [item for item in items if item.voice in config.held_out]
