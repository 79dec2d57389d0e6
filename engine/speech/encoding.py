"""From sound to the network's input: mel frames, then chunks through the Whisper encoder, beside their loudness."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import ShapeError
from engine.speech.features import BAND_LOUDNESS, CHANNELS, FeatureState, extract
from engine.speech.whisper import CHUNK, MEL_BANDS, MEL_CONTEXT, EncoderStream, WhisperEncoder

_BEFORE = 2
_STEP = 2 * CHUNK


def silent_frames(batch: int, count: int) -> NDArray[np.float32]:
    """[B, count, CHANNELS] mel frames of the silence before a stream."""
    frames = np.full((batch, count, CHANNELS), -0.625, np.float32)
    frames[:, :, MEL_BANDS:] = (-4.0, -6.5, 0.0)
    return frames


@dataclass
class Encoding:
    """Mel frames in, network inputs out, for B streams side by side; the state is bounded."""

    stream: EncoderStream
    """The Whisper encoder's stream."""
    frames: NDArray[np.float32]
    """[B, f, CHANNELS] mel frames that still wait, or are needed again."""

    @classmethod
    def begin(cls, encoder: WhisperEncoder, batch: int = 1) -> "Encoding":
        """The state before the first sound."""
        return cls(EncoderStream(encoder), silent_frames(batch, _BEFORE))

    @torch.inference_mode()
    def push(self, frames: NDArray[np.float32]) -> Tensor:
        """frames: [B, F, CHANNELS] -> inputs [B, T, 390] of all chunks that they complete, T a multiple of CHUNK."""
        if frames.ndim != 3 or frames.shape[0] != self.frames.shape[0] or frames.shape[2] != CHANNELS:
            raise ShapeError(f"frames are {frames.shape}, expected [{self.frames.shape[0]}, F, {CHANNELS}]")
        self.frames = np.concatenate([self.frames, frames], axis=1)
        ready: list[Tensor] = []
        at = 0
        while self.frames.shape[1] - at >= MEL_CONTEXT:
            piece = torch.from_numpy(self.frames[:, at : at + MEL_CONTEXT])
            encoded = self.stream.step(piece[:, :, :MEL_BANDS])
            side = piece[:, _BEFORE : _BEFORE + _STEP, MEL_BANDS:].reshape(len(piece), CHUNK, -1)
            ready.append(torch.cat([encoded, side], dim=2))
            at += _STEP
        self.frames = self.frames[:, at:].copy()
        if not ready:
            return torch.zeros(len(frames), 0, self.stream.encoder.width + 2 * (CHANNELS - MEL_BANDS))
        return torch.cat(ready, dim=1)


def band_loudness(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean band loudness of network inputs: [T,390] -> [T], 10 dB over the running level (two mel frames each)."""
    extra = CHANNELS - MEL_BANDS
    sides = inputs[:, -2 * extra :].reshape(len(inputs), 2, extra)
    return np.asarray(sides[:, :, BAND_LOUDNESS - MEL_BANDS].mean(axis=1), np.float32)


@dataclass
class SoundEncoding:
    """One sound stream: samples in, network inputs out."""

    encoding: Encoding
    """The encoder's side."""
    features: FeatureState = field(default_factory=FeatureState)
    """The spectrum's side."""

    def push(self, samples: NDArray[np.float32]) -> Tensor:
        """samples: [N] float32, 16 kHz, cleaned -> inputs [1, T, 390]."""
        return self.encoding.push(extract(samples, self.features)[None])
