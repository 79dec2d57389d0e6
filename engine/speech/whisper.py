"""The Whisper encoder as a live stream: our own module, and a reader for weights in CTranslate2's format.

Only the encoder is used, as a source of features that were learnt from real speech. Letters: B batch, P positions of
20 ms, D width (384 in the tiny model).
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError

MEL_BANDS: Final = 80
"""Mel bands of the input (Whisper tiny to medium)."""
CHUNK: Final = 4
"""Positions (20 ms each) that are encoded together unless a shorter chunk is asked for."""
CHUNKS: Final = (1, 2, CHUNK)
"""Chunks that there are: a shorter one is answered sooner and hears less of what follows."""
MEL_CONTEXT: Final = 2 * CHUNK + 3
"""Mel frames that one chunk needs: its own 2 CHUNK, two before and one after."""
PAST: Final = 128
"""Positions before its chunk that a position attends to (2.56 s)."""
RESTART: Final = 1200
"""Positions after which a state hands over to a fresh one."""
WARM_UP: Final = 128
"""Positions that a fresh state hears before it takes over; RESTART + WARM_UP stays below Whisper's 1500."""

_CONTEXTS: Final = tuple(2 * chunk + 3 for chunk in CHUNKS)
_FORMAT_VERSION = 6
_DTYPES: dict[int, str] = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}


class _Reader:
    """A cursor over the bytes of a CTranslate2 model file."""

    def __init__(self, data: bytes, source: Path) -> None:
        self._data = data
        self._at = 0
        self._source = source

    def number(self, code: str) -> int:
        """The next little-endian integer of struct format `code`."""
        return int(struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0])

    def text(self) -> str:
        """The next length-prefixed, zero-terminated string."""
        return self.take(self.number("H"))[:-1].decode("utf-8", errors="replace")

    def take(self, count: int) -> bytes:
        """The next `count` bytes."""
        end = self._at + count
        if end > len(self._data):
            raise WeightsFormatError(
                f"{self._source} ends after {len(self._data)} bytes where {end} are needed: the file is truncated; "
                "fetch it again"
            )
        piece = self._data[self._at : end]
        self._at = end
        return piece


def read_ctranslate2(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Reads the variables of a CTranslate2 `model.bin` (binary version 6) whose names begin with `prefix`.

    Returns name -> float32 tensor (integers stay integers). Raises `WeightsFormatError` on any other format.
    """
    reader = _Reader(path.read_bytes(), path)
    version = reader.number("I")
    if version != _FORMAT_VERSION:
        raise WeightsFormatError(
            f"{path} has CTranslate2 binary version {version}, expected {_FORMAT_VERSION}: use the catalogued file"
        )
    reader.text()  # name of the model specification
    reader.number("I")  # its revision
    variables: dict[str, Tensor] = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        shape = [reader.number("I") for _ in range(reader.number("B"))]
        kind = reader.number("B")
        payload = reader.take(reader.number("I"))
        if not name.startswith(prefix):
            continue
        if kind not in _DTYPES:
            raise WeightsFormatError(f"{path}: variable {name} has unknown type {kind}, expected one of {[*_DTYPES]}")
        values = np.frombuffer(payload, dtype=_DTYPES[kind]).reshape(shape)
        variables[name] = torch.from_numpy(values.astype(np.float32) if values.dtype.kind == "f" else values.copy())
    return variables


@dataclass
class EncoderState:
    """What the encoder carries from chunk to chunk: keys and values of the last positions of every layer."""

    position: int = 0
    """Positions taken since this state began."""
    filled: int = 0
    """Positions that the buffers hold."""
    caches: list[Tensor] = field(default_factory=list)
    """One buffer [2, B, heads, 2 PAST + CHUNK, D / heads] per layer: keys and values, the newest last."""


class _Block(nn.Module):
    """One pre-norm transformer layer. x: [B, P, D]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, 4 * width)
        self.contract = nn.Linear(4 * width, width)

    def step(self, x: Tensor, cache: Tensor, filled: int) -> Tensor:
        """x: [B, P, D] -> [B, P, D]; writes its keys and values into `cache` behind the `filled` that are there."""
        batch, positions, width = x.shape
        end = filled + positions
        qkv = self.qkv(self.attention_norm(x)).view(batch, positions, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        cache[0, :, :, filled:end] = key
        cache[1, :, :, filled:end] = value
        known = cache[:, :, :, max(0, filled - PAST) : end]
        mixed = functional.scaled_dot_product_attention(query, known[0], known[1])
        x = x + cast(Tensor, self.project(mixed.transpose(1, 2).reshape(batch, positions, width)))
        return x + cast(Tensor, self.contract(functional.gelu(self.expand(self.mlp_norm(x)))))


def _windows(x: Tensor, stride: int) -> Tensor:
    """[B, L, C] -> [B, L', 3 C]: what a convolution of three taps sees at each place, tap by tap within a channel."""
    return x.unfold(1, 3, stride).flatten(2)


class WhisperEncoder(nn.Module):
    """Whisper's audio encoder run over a live stream, chunk by chunk.

    A position attends to its own chunk and to the `PAST` positions before it, so that every position is computed once.
    Whisper knows 1500 positions: a second state is begun `WARM_UP` positions before every multiple of `RESTART` and
    takes over there.
    """

    def __init__(
        self,
        width: int = 384,  # D
        heads: int = 6,  # attention heads
        layers: int = 4,  # transformer layers
        positions: int = 1500,  # position encodings, 20 ms each
    ) -> None:
        """Random weights; `load_encoder` fills them."""
        super().__init__()
        self.conv1 = nn.Linear(3 * MEL_BANDS, width)
        self.conv2 = nn.Linear(3 * width, width)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.register_buffer("encodings", torch.zeros(positions, width))
        self.width, self.heads = width, heads

    def forward(self, mel: Tensor, state: EncoderState) -> Tensor:
        """mel: [B, 2 K + 3, 80], frames of a chunk of K positions and around it -> [B, K, D]; advances `state`.

        K is one of `CHUNKS`. Chunk c of a stream begins at position K c; it needs mel frames 2 K c - 2 ... 2 K (c + 1).
        """
        if mel.ndim != 3 or mel.shape[2] != MEL_BANDS or mel.shape[1] not in _CONTEXTS:
            raise ShapeError(f"mel is {tuple(mel.shape)}, expected [B, {MEL_CONTEXT}, {MEL_BANDS}]: one chunk")
        chunk = (mel.shape[1] - 3) // 2
        x = functional.gelu(self.conv1(_windows(mel, 1)))
        x = functional.gelu(self.conv2(_windows(x, 2)))
        x = x + cast(Tensor, self.encodings)[state.position : state.position + chunk]
        self._make_room(state, x)
        for block, cache in zip(self.blocks, state.caches, strict=True):
            x = cast(_Block, block).step(x, cache, state.filled)
        state.filled += chunk
        state.position += chunk
        return cast(Tensor, self.norm(x))

    def _make_room(self, state: EncoderState, x: Tensor) -> None:
        """Begins the buffers, or moves the newest `PAST` positions to their front when they are full."""
        if not state.caches:
            depth = self.width // self.heads
            shape = (2, len(x), self.heads, 2 * PAST + CHUNK, depth)
            state.caches = [x.new_zeros(shape) for _ in self.blocks]
        if state.filled + x.shape[1] > state.caches[0].shape[3]:
            for cache in state.caches:
                cache[:, :, :, :PAST] = cache[:, :, :, state.filled - PAST : state.filled].clone()
            state.filled = PAST


@dataclass
class EncoderStream:
    """A stream through the encoder, of any length: restarts it before its positions run out."""

    encoder: WhisperEncoder
    """The weights."""
    state: EncoderState = field(default_factory=EncoderState)
    """The state whose answers count."""
    next_state: EncoderState | None = None
    """The state that is warming up to take over."""

    def step(self, mel: Tensor) -> Tensor:
        """mel: [B, 2 K + 3, 80] of the next chunk -> features [B, K, D]."""
        if self.next_state is None and self.state.position >= RESTART:
            self.next_state = EncoderState()
        features: Tensor = self.encoder(mel, self.state)
        if self.next_state is not None:
            self.encoder(mel, self.next_state)
            if self.next_state.position >= WARM_UP:
                self.state, self.next_state = self.next_state, None
        return features


_PARTS = {
    "attention_norm": "self_attention/layer_norm",
    "qkv": "self_attention/linear_0",
    "project": "self_attention/linear_1",
    "mlp_norm": "ffn/layer_norm",
    "expand": "ffn/linear_0",
    "contract": "ffn/linear_1",
}


def load_encoder(path: Path) -> WhisperEncoder:
    """Builds the encoder from a CTranslate2 Whisper `model.bin`."""
    variables = read_ctranslate2(path, "encoder/")
    layers = len({name.split("/")[1] for name in variables if name.startswith("encoder/layer_")} - {"layer_norm"})
    try:
        state = _state_dict(variables, layers)
        heads = int(variables["encoder/num_heads"].item())
    except KeyError as error:
        raise WeightsFormatError(
            f"{path} lacks {error}, expected a Whisper encoder; use the catalogued file"
        ) from error
    encoder = WhisperEncoder(state["encodings"].shape[1], heads, layers, state["encodings"].shape[0])
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(False)


def _state_dict(variables: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """CTranslate2's names and tensors under ours."""
    state: dict[str, Tensor] = {}
    for conv in ("conv1", "conv2"):
        state[f"{conv}.weight"] = variables[f"encoder/{conv}/weight"].flatten(1)
        state[f"{conv}.bias"] = variables[f"encoder/{conv}/bias"]
    for index in range(layers):
        for ours, theirs in _PARTS.items():
            names = ("gamma", "beta") if ours.endswith("norm") else ("weight", "bias")
            for part, name in zip(("weight", "bias"), names, strict=True):
                state[f"blocks.{index}.{ours}.{part}"] = variables[f"encoder/layer_{index}/{theirs}/{name}"]
    state["norm.weight"] = variables["encoder/layer_norm/gamma"]
    state["norm.bias"] = variables["encoder/layer_norm/beta"]
    state["encodings"] = variables["encoder/position_encodings/encodings"]
    return state


def mel_filters(sample_rate: int = 16_000, n_fft: int = 400, bands: int = MEL_BANDS) -> Tensor:
    """Slaney-style triangular mel filters, area-normalised: [bands, n_fft // 2 + 1] float32."""

    def to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mel (Slaney's scale) to Hz: linear up to 1 kHz, logarithmic above."""
        return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * math.log(6.4) / 27.0))

    top = 15.0 + 27.0 * math.log(sample_rate / 2 / 1000.0) / math.log(6.4)
    edges = to_hz(np.linspace(0.0, top, bands + 2))
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    rising = (bins[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(triangles.astype(np.float32))
