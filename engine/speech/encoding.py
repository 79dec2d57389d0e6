"""From sound to the network's input: mel frames, then chunks through the Whisper encoder, beside their loudness."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.errors import BadInputError, ShapeError
from engine.speech.features import CHANNELS, FeatureState, effort, extract
from engine.speech.whisper import CHUNK, CHUNKS, MEL_BANDS, EncoderStream, WhisperEncoder

_BEFORE = 2


def silent_frames(batch: int, count: int) -> NDArray[np.float32]:
    """[B, count, CHANNELS] mel frames of the silence before a stream."""
    frames = np.full((batch, count, CHANNELS), -0.625, np.float32)
    frames[:, :, MEL_BANDS:] = (-4.0, -6.5, 0.0)
    return frames


class Encoded(NamedTuple):
    """What the network and the jaw hear of B streams, T positions of 20 ms."""

    inputs: Tensor
    """[B, T, 390] for the network: encoder features, loudness channels of two mel frames."""
    effort: NDArray[np.float32]
    """[B, T] level of the bands that follow the mouth, 10 dB over the running level."""


@dataclass
class Encoding:
    """Mel frames in, network inputs out, for B streams side by side; the state is bounded."""

    stream: EncoderStream
    """The Whisper encoder's stream."""
    frames: NDArray[np.float32]
    """[B, f, CHANNELS] mel frames that still wait, or are needed again."""
    chunk: int = CHUNK
    """Positions that are encoded together, one of `CHUNKS`."""

    @classmethod
    def begin(cls, encoder: WhisperEncoder, batch: int = 1, chunk: int = CHUNK) -> "Encoding":
        """The state before the first sound."""
        if chunk not in CHUNKS:
            raise BadInputError(f"chunk is {chunk} positions, expected one of {CHUNKS}")
        return cls(EncoderStream(encoder), silent_frames(batch, _BEFORE), chunk)

    @torch.inference_mode()
    def push(self, frames: NDArray[np.float32]) -> Encoded:
        """frames: [B, F, CHANNELS] -> what all chunks that they complete hold, T a multiple of `chunk`."""
        if frames.ndim != 3 or frames.shape[0] != self.frames.shape[0] or frames.shape[2] != CHANNELS:
            raise ShapeError(f"frames are {frames.shape}, expected [{self.frames.shape[0]}, F, {CHANNELS}]")
        self.frames = np.concatenate([self.frames, frames], axis=1)
        step = 2 * self.chunk
        chunks = max(0, (self.frames.shape[1] - step - 3) // step + 1)
        own = self.frames[:, _BEFORE : _BEFORE + chunks * step]
        side = own[:, :, MEL_BANDS:].reshape(len(own), chunks * self.chunk, 2 * (CHANNELS - MEL_BANDS))
        mel = torch.from_numpy(self.frames[:, :, :MEL_BANDS].copy())
        encoded = [self.stream.step(mel[:, at * step : (at + 1) * step + 3]) for at in range(chunks)]
        self.frames = self.frames[:, chunks * step :].copy()
        empty = torch.zeros(len(own), 0, self.stream.encoder.width)
        inputs = torch.cat([torch.cat(encoded or [empty], dim=1), torch.from_numpy(side.copy())], dim=2)
        return Encoded(inputs, effort(own).reshape(len(own), chunks * self.chunk, 2).mean(axis=2))


@dataclass
class SoundEncoding:
    """One sound stream: samples in, network inputs out."""

    encoding: Encoding
    """The encoder's side."""
    features: FeatureState = field(default_factory=FeatureState)
    """The spectrum's side."""

    def push(self, samples: NDArray[np.float32]) -> Encoded:
        """samples: [N] float32, 16 kHz, cleaned -> what the chunks that they complete hold, B = 1."""
        return self.encoding.push(extract(samples, self.features)[None])
