"""The Whisper encoder: reader, chunked stream, hand-over; and against an independent formulation."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.errors import ShapeError, WeightsFormatError
from engine.speech import whisper
from engine.speech.whisper import (
    CHUNK,
    CHUNKS,
    MEL_BANDS,
    MEL_CONTEXT,
    EncoderState,
    EncoderStream,
    WhisperEncoder,
    load_encoder,
    mel_filters,
    read_ctranslate2,
)


def _text(value: str) -> bytes:
    return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"


def _write_model(path: Path, version: int = 6) -> None:
    values = np.arange(6, dtype="<f2").reshape(2, 3)
    body = struct.pack("<I", version) + _text("WhisperSpec") + struct.pack("<II", 3, 2)
    for name, array, kind in (("encoder/a", values, 4), ("decoder/b", values.astype("<f4"), 0)):
        data = array.tobytes()
        body += _text(name) + struct.pack("<B", 2) + struct.pack("<II", 2, 3)
        body += struct.pack("<BI", kind, len(data)) + data
    path.write_bytes(body + struct.pack("<I", 0))


@pytest.fixture
def encoder() -> WhisperEncoder:
    torch.manual_seed(0)
    return WhisperEncoder(width=24, heads=3, layers=2).eval().requires_grad_(False)


@pytest.mark.unit
def test_reader_gives_the_wanted_variables(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    _write_model(path)
    variables = read_ctranslate2(path, "encoder/")
    assert list(variables) == ["encoder/a"]
    torch.testing.assert_close(variables["encoder/a"], torch.arange(6.0).reshape(2, 3))


@pytest.mark.unit
def test_reader_refuses_other_versions_and_stumps(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    _write_model(path, version=5)
    with pytest.raises(WeightsFormatError, match="version 5"):
        read_ctranslate2(path)
    _write_model(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WeightsFormatError, match="truncated"):
        read_ctranslate2(path)


@pytest.mark.unit
def test_a_model_without_an_encoder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    _write_model(path)
    with pytest.raises(WeightsFormatError, match="Whisper encoder"):
        load_encoder(path)


@pytest.mark.unit
def test_chunks_see_the_past_but_not_the_future(encoder: WhisperEncoder) -> None:
    mel = torch.randn(5, 1, MEL_CONTEXT, MEL_BANDS)
    changed = mel.clone()
    changed[3] += 1.0
    first, second = EncoderStream(encoder), EncoderStream(encoder)
    outputs = [(first.step(a), second.step(b)) for a, b in zip(mel, changed, strict=True)]
    for a, b in outputs[:3]:
        torch.testing.assert_close(a, b)
    assert (outputs[4][0] - outputs[4][1]).abs().max() > 1e-4


@pytest.mark.unit
@pytest.mark.parametrize("chunk", CHUNKS)
def test_chunked_attention_equals_masked_attention(encoder: WhisperEncoder, chunk: int) -> None:
    chunks = 6
    mel = torch.randn(1, 2 * chunk * chunks + 3, MEL_BANDS)
    stream = EncoderStream(encoder)
    step = 2 * chunk
    live = torch.cat([stream.step(mel[:, step * c : step * (c + 1) + 3]) for c in range(chunks)], dim=1)
    x = mel.transpose(1, 2)
    for layer, stride in ((encoder.conv1, 1), (encoder.conv2, 2)):
        taps = layer.weight.view(24, -1, 3)
        x = torch.nn.functional.gelu(torch.nn.functional.conv1d(x, taps, layer.bias, stride=stride))
    x = x.transpose(1, 2) + encoder.get_buffer("encodings")[: chunk * chunks]
    owner = torch.arange(chunk * chunks) // chunk
    allowed = owner[None, :] <= owner[:, None]
    for block in encoder.blocks:
        assert isinstance(block, whisper._Block)
        qkv = block.qkv(block.attention_norm(x)).view(1, -1, 3, 3, 8).permute(2, 0, 3, 1, 4)
        scores = (qkv[0] @ qkv[1].transpose(-1, -2)) / 8**0.5
        mixed = scores.masked_fill(~allowed, -torch.inf).softmax(-1) @ qkv[2]
        x = x + block.project(mixed.transpose(1, 2).reshape(1, -1, 24))
        x = x + block.contract(torch.nn.functional.gelu(block.expand(block.mlp_norm(x))))
    torch.testing.assert_close(live, encoder.norm(x), atol=1e-5, rtol=1e-5)


@pytest.mark.unit
def test_a_long_stream_hands_over_and_stays_bounded(encoder: WhisperEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whisper, "RESTART", 40)
    monkeypatch.setattr(whisper, "WARM_UP", 16)
    monkeypatch.setattr(whisper, "PAST", 16)
    stream = EncoderStream(encoder)
    positions = []
    for _ in range(60):
        stream.step(torch.randn(1, MEL_CONTEXT, MEL_BANDS))
        positions.append(stream.state.position)
        assert all(cache.shape[3] == 2 * 16 + CHUNK for cache in stream.state.caches)
    assert max(positions) == 40 + 16 - CHUNK
    assert positions.count(16) >= 3


@pytest.mark.unit
def test_full_buffers_keep_the_past(encoder: WhisperEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    mel = torch.randn(40, 1, MEL_CONTEXT, MEL_BANDS)
    monkeypatch.setattr(whisper, "PAST", 16)
    small, roomy = EncoderState(), EncoderState(caches=[torch.zeros(2, 1, 3, 200, 8) for _ in range(2)])
    for frames in mel:
        torch.testing.assert_close(encoder(frames, small), encoder(frames, roomy))
    assert small.filled <= 2 * 16 + CHUNK < roomy.filled


@pytest.mark.unit
def test_wrong_mel_is_refused(encoder: WhisperEncoder) -> None:
    with pytest.raises(ShapeError, match="one chunk"):
        encoder(torch.zeros(1, 4, MEL_BANDS), EncoderState())


@pytest.mark.unit
def test_mel_filters_have_unit_area_and_rising_centres() -> None:
    filters = mel_filters()
    assert filters.shape == (80, 201)
    centres = filters.argmax(dim=1)
    assert bool((centres[1:] >= centres[:-1]).all())
    areas = filters[20:].sum(dim=1) * 40.0
    torch.testing.assert_close(areas, torch.ones(60), atol=0.15, rtol=0)


@pytest.mark.slow
def test_the_public_weights_load(weights: Callable[[str], Path]) -> None:
    encoder = load_encoder(weights("whisper-tiny-en"))
    assert encoder.width == 384
    assert len(encoder.blocks) == 4
    with torch.inference_mode():
        features = encoder(torch.zeros(1, MEL_CONTEXT, MEL_BANDS), EncoderState())
    assert features.shape == (1, CHUNK, 384)
    assert bool(features.isfinite().all())
