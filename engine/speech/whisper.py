"""The Whisper encoder: our own module, and a reader for weights in CTranslate2's format.

Only the encoder is used, as a source of features that were learnt from real speech. Letters: B batch, F mel
frames (10 ms), P positions (20 ms, P = F / 2), D width (384 in the tiny model).
"""

import math
import struct
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import ShapeError, WeightsFormatError

MEL_BANDS = 80
"""Mel bands of the input (Whisper tiny to medium)."""

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

    def forward(self, x: Tensor) -> Tensor:
        """x: [B, P, D] -> [B, P, D]; every position attends to every other."""
        batch, positions, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, positions, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x + cast(Tensor, self.project(mixed.transpose(1, 2).reshape(batch, positions, width)))
        return x + cast(Tensor, self.contract(functional.gelu(self.expand(self.mlp_norm(x)))))


class WhisperEncoder(nn.Module):
    """Whisper's audio encoder, of any number of layers; windows shorter than 30 s are allowed."""

    def __init__(
        self,
        width: int = 384,  # D
        heads: int = 6,  # attention heads
        layers: int = 4,  # transformer layers kept
        positions: int = 1500,  # longest window, 20 ms each
        normed: bool = True,  # whether the last layer norm is applied (False for features of an inner layer)
    ) -> None:
        """Random weights; `load_encoder` fills them."""
        super().__init__()
        self.conv1 = nn.Conv1d(MEL_BANDS, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width) if normed else nn.Identity()
        self.register_buffer("encodings", torch.zeros(positions, width))
        self.width = width

    def forward(self, mel: Tensor) -> Tensor:
        """mel: [B, 80, F] Whisper's scaled log-mel, F even -> features [B, F / 2, D]."""
        if mel.ndim != 3 or mel.shape[1] != MEL_BANDS or mel.shape[2] % 2:
            raise ShapeError(f"mel is {tuple(mel.shape)}, expected [B, {MEL_BANDS}, F] with F even; pad the window")
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        encodings = cast(Tensor, self.encodings)
        if x.shape[1] > encodings.shape[0]:
            raise ShapeError(f"window of {x.shape[1]} positions, at most {encodings.shape[0]} expected; shorten it")
        x = x + encodings[: x.shape[1]]
        for block in self.blocks:
            x = block(x)
        return cast(Tensor, self.norm(x))


_PARTS = {
    "attention_norm": "self_attention/layer_norm",
    "qkv": "self_attention/linear_0",
    "project": "self_attention/linear_1",
    "mlp_norm": "ffn/layer_norm",
    "expand": "ffn/linear_0",
    "contract": "ffn/linear_1",
}


def load_encoder(path: Path, layers: int | None = None) -> WhisperEncoder:
    """Builds the encoder from a CTranslate2 Whisper `model.bin`; `layers` keeps only the first ones."""
    variables = read_ctranslate2(path, "encoder/")
    present = len({name.split("/")[1] for name in variables if name.startswith("encoder/layer_")} - {"layer_norm"})
    kept = present if layers is None else layers
    if not 1 <= kept <= present:
        raise WeightsFormatError(f"{path} holds {present} encoder layers, {kept} wanted")
    state: dict[str, Tensor] = {}
    for conv in ("conv1", "conv2"):
        for part in ("weight", "bias"):
            state[f"{conv}.{part}"] = variables[f"encoder/{conv}/{part}"]
    for index in range(kept):
        for ours, theirs in _PARTS.items():
            names = ("gamma", "beta") if ours.endswith("norm") else ("weight", "bias")
            for part, name in zip(("weight", "bias"), names, strict=True):
                state[f"blocks.{index}.{ours}.{part}"] = variables[f"encoder/layer_{index}/{theirs}/{name}"]
    normed = kept == present
    if normed:
        state["norm.weight"] = variables["encoder/layer_norm/gamma"]
        state["norm.bias"] = variables["encoder/layer_norm/beta"]
    state["encodings"] = variables["encoder/position_encodings/encodings"]
    heads = int(variables["encoder/num_heads"].item())
    encoder = WhisperEncoder(state["encodings"].shape[1], heads, kept, state["encodings"].shape[0], normed)
    encoder.load_state_dict(state)
    return encoder.eval().requires_grad_(False)


def mel_filters(sample_rate: int = 16_000, n_fft: int = 400, bands: int = MEL_BANDS) -> Tensor:
    """Slaney-style triangular mel filters, area-normalised: [bands, n_fft // 2 + 1] float32."""

    def to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * np.exp((mel - 15.0) * math.log(6.4) / 27.0))

    top = 15.0 + 27.0 * math.log(sample_rate / 2 / 1000.0) / math.log(6.4)
    edges = to_hz(np.linspace(0.0, top, bands + 2))
    bins = np.linspace(0.0, sample_rate / 2, n_fft // 2 + 1)
    rising = (bins[None, :] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None, :]) / (edges[2:] - edges[1:-1])[:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(triangles.astype(np.float32))


class Teacher:
    """Whisper's encoder as a source of features: [P, D] every 20 ms of a whole recording."""

    def __init__(self, path: Path) -> None:
        """Loads a CTranslate2 Whisper `model.bin`."""
        self._encoder = load_encoder(path)
        self._filters = mel_filters()
        self._window = torch.hann_window(400)
        self.width = self._encoder.width

    @torch.inference_mode()
    def features(self, samples: NDArray[np.float32], longest_s: float = 28.0) -> NDArray[np.float32]:
        """samples: [N] at 16 kHz -> [ceil(N / 320), D]; row k is at k / 50 s. Long recordings go in pieces."""
        wanted = math.ceil(len(samples) / 320)
        piece = int(longest_s * 50) * 320
        rows = [self._piece(samples[begin : begin + piece]) for begin in range(0, len(samples), piece)]
        return np.concatenate(rows)[:wanted]

    def _piece(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        wanted = math.ceil(len(samples) / 320)
        padded = torch.zeros((wanted + 50) * 320)
        padded[: len(samples)] = torch.from_numpy(np.ascontiguousarray(samples, np.float32))
        spectrum = torch.stft(padded, 400, 160, window=self._window, center=True, return_complex=True)[:, :-1]
        mel = torch.log10((self._filters @ spectrum.abs().square()).clamp(min=1e-10))
        mel = (torch.maximum(mel, mel.max() - 8.0) + 4.0) / 4.0
        features: Tensor = self._encoder(mel[None])
        return np.asarray(features[0, :wanted].numpy(), np.float32)
