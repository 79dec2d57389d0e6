"""The speech model from its files: what is shipped, what is damaged, and the closing detector within a stream."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save_file

from engine.errors import BadInputError, WeightsError, WeightsFormatError
from engine.speech import LOOK_AHEADS_MS, load_speech_model, model
from engine.speech.closing import JAW_HELD, ClosingNet
from engine.speech.controls import CONTROLS, DECIDED, EXPRESSIONS, FaceBasis
from engine.speech.model import SpeechModel, look_ahead_ms, save_speech_model, within
from engine.speech.mood import SHIPPED as MOOD
from engine.speech.mood import read_mood_net
from engine.speech.network import DELAYS, NetworkConfig, SpeechNet
from engine.speech.whisper import CHUNKS, WhisperEncoder
from streaming.cli import build_parser
from tests.engine.speech.test_mood import syllables

pytestmark = pytest.mark.unit

SMALL = NetworkConfig(content=16, width=24, memory=16, feeling=12)
Parts = dict[str, NDArray[np.float32]]


@pytest.fixture(autouse=True)
def small_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the public encoder, which needs no network then."""

    def made(path: Path) -> WhisperEncoder:
        torch.manual_seed(0)
        return WhisperEncoder(width=384, heads=6, layers=1)

    monkeypatch.setattr("engine.weights.path", Path)
    monkeypatch.setattr(model, "load_encoder", made)


def basis() -> FaceBasis:
    rng = np.random.default_rng(0)
    shapes = ((68, 3), (len(CONTROLS), 68, 3), (len(EXPRESSIONS), 68, 3))
    rest, displacement, expression = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return FaceBasis(rest, displacement, expression)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A small model's file."""
    torch.manual_seed(1)
    save_speech_model(tmp_path / "speech.safetensors", SpeechNet(SMALL), basis(), {"voices": "made"})
    return tmp_path / "speech.safetensors"


def test_the_shipped_model_hears_as_far_ahead_as_the_help_says() -> None:
    shipped = load_speech_model()
    assert (shipped.look_ahead_ms, shipped.closing is not None) == (113, True)
    options = {action.dest: action for action in build_parser()._actions}["command"].choices
    assert options is not None
    for command in ("dub", "serve"):
        [option] = [each for each in options[command]._actions if each.dest == "look_ahead"]  # type: ignore[index]
        assert f"(default: {shipped.look_ahead_ms})" in option.help


@pytest.mark.parametrize("limit", [*LOOK_AHEADS_MS][::7])
def test_no_look_ahead_is_longer_than_asked_and_lips_close_by_the_detector_where_they_can(limit: int) -> None:
    """Of the settings that the detector serves, or of all where it serves none: the largest chunk, then the delay."""
    chunk, delay = within(limit)
    assert look_ahead_ms(delay, chunk) <= limit
    served = [each for each in CHUNKS if look_ahead_ms(1, each) <= limit]
    assert (delay > 0) == bool(served)
    assert chunk == max(served or [each for each in CHUNKS if look_ahead_ms(DELAYS[0], each) <= limit])
    assert all(look_ahead_ms(each, chunk) > limit for each in DELAYS if each > delay)


def test_a_limit_reaches_the_model_and_too_short_a_one_is_refused() -> None:
    for limit, chunk, delay in ((40, 1, 0), (59, 2, 0), (60, 1, 1), (80, 2, 1), (100, 2, 2), (200, 4, 5)):
        made = load_speech_model(limit_ms=limit)
        assert (made.chunk, made.delay, made.look_ahead_ms <= limit) == (chunk, delay, True)
        assert (made.closing is None) == (delay == 0), "without delay the sound after a frame is not there yet"
    with pytest.raises(BadInputError, match="look-ahead of 39 ms, expected at least 40 ms"):
        load_speech_model(limit_ms=39)


def test_a_saved_model_is_the_same_to_half_precision(saved: Path) -> None:
    torch.manual_seed(1)
    network, again = SpeechNet(SMALL), load_speech_model(saved)
    assert again.network.config == SMALL
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.network.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    for one, other in zip(vars(again.basis).values(), vars(basis()).values(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert not any(parameter.requires_grad for parameter in again.network.parameters())
    assert list(saved.parent.iterdir()) == [saved], "nothing half-written beside it"


def rewritten(path: Path, change: Callable[[Parts], Parts], **header: str) -> None:
    """The file with other tensors or words in its header."""
    with safe_open(path, framework="np") as file:
        notes, parts = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    save_file(change(parts), path, {**notes, **header})


def test_files_that_are_missing_or_something_else_say_what_to_do(saved: Path) -> None:
    with pytest.raises(WeightsError, match="not there, expected the speech weights; reinstall, or name another file"):
        load_speech_model(saved.with_name("none"))
    rewritten(saved, lambda parts: parts, format="another")
    with pytest.raises(WeightsFormatError, match="has format 'another', expected 'livedub-speech"):
        load_speech_model(saved)
    saved.write_bytes(saved.read_bytes()[:-9])
    with pytest.raises(WeightsFormatError, match="is not a safetensors file: .*; fetch or train it again"):
        load_speech_model(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda parts: {name: parts[name] for name in parts if name != "basis.rest"},
        lambda parts: {name: parts[name] for name in list(parts)[1:]},
        lambda parts: {**parts, "network.another": np.zeros(3, np.float32)},
        lambda parts: {**parts, "basis.rest": parts["basis.rest"][:60]},
        lambda parts: {**parts, "basis.displacement": parts["basis.displacement"][:-1]},
        lambda parts: {name: value[..., :-1].copy() if "network" in name else value for name, value in parts.items()},
    ],
    ids=["no rest face", "a part less", "a part more", "fewer landmarks", "fewer controls", "narrower"],
)
def test_parts_that_do_not_fit_are_refused_on_loading(saved: Path, change: Callable[[Parts], Parts]) -> None:
    rewritten(saved, change)
    with pytest.raises(WeightsFormatError, match="(?s)does not hold a speech model: .*; train it again"):
        load_speech_model(saved)


@pytest.mark.parametrize(("word", "value"), [("memory", "x"), ("width", "-3"), ("content", "7"), ("dropout", "")])
def test_sizes_in_the_header_that_cannot_be_are_refused(saved: Path, word: str, value: str) -> None:
    rewritten(saved, lambda parts: parts, **{word: value})
    with pytest.raises(WeightsFormatError, match="does not hold a speech model"):
        load_speech_model(saved)


@pytest.mark.parametrize("name", ["first", "second_bias", "inner", "inner_bias", "outer", "outer_bias", "usual"])
def test_a_mood_network_of_other_sizes_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(MOOD.read_bytes())
    rewritten(path, lambda parts: {**parts, name: parts[name][:-1].copy()})
    with pytest.raises(WeightsFormatError, match="does not hold a mood network: .*shapes .*; train it again"):
        read_mood_net(path)


class Deciding(ClosingNet):
    """Says the same of every frame: lips close, or do not."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.logit = logit

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        return torch.full(windows.shape[:-1], self.logit)


def speech_model(closing: ClosingNet | None, delay: int = 2, chunk: int = 4) -> SpeechModel:
    """A small model that moves the mouth; the detector is given."""
    torch.manual_seed(3)
    encoder = WhisperEncoder(width=384, heads=6, layers=1)
    return SpeechModel(encoder, SpeechNet(SMALL), basis(), delay=delay, chunk=chunk, closing=closing)


def columns(made: SpeechModel, sound: NDArray[np.float32]) -> NDArray[np.float32]:
    """[T, CONTROLS] of a whole recording."""
    with made.stream() as stream:
        stream.push(sound)
        stream.end_input()
        return stream.rows()[:, : len(CONTROLS)]


@settings(deadline=None, max_examples=6)
@given(cuts=st.lists(st.integers(0, 24_000), max_size=6), chunk=st.sampled_from(CHUNKS), delay=st.sampled_from(DELAYS))
def test_with_a_detector_a_stream_is_the_same_however_it_is_cut(cuts: list[int], chunk: int, delay: int) -> None:
    torch.manual_seed(0)
    made, sound = speech_model(ClosingNet().eval(), delay, chunk), syllables(1.5, 140.0)
    whole = columns(made, sound)
    with made.stream() as stream:
        for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(sound)], strict=True):
            stream.push(sound[begin:end])
        stream.end_input()
        parts = stream.rows()[:, : len(CONTROLS)]
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_the_detector_alone_says_whether_lips_close_and_a_sure_one_holds_the_jaw() -> None:
    sound, jaw = syllables(1.5, 140.0), CONTROLS.index("jaw")
    doubt = DECIDED[0]
    logits = (-20.0, float(np.log(doubt / (1 - doubt))), 20.0)
    opened, half, shut = (columns(speech_model(Deciding(logit)), sound) for logit in logits)
    speaking = opened[:, jaw] > 1e-3
    assert speaking.sum() > 20
    close = CONTROLS.index("close")
    assert np.abs(opened[:, close]).max() == 0.0, "whatever the network itself says of closing"
    np.testing.assert_allclose(shut[speaking, close], shut[speaking, jaw], rtol=1e-3)
    np.testing.assert_allclose(half[speaking, jaw], (1 - doubt * JAW_HELD) * opened[speaking, jaw], rtol=2e-3)
    assert (shut[:, jaw] <= half[:, jaw] + 1e-6).all() and shut[:, jaw].sum() < 0.5 * opened[:, jaw].sum()


def test_without_delay_no_detector_is_asked() -> None:
    sound = syllables(1.0, 140.0)
    without = columns(speech_model(None, delay=0), sound)
    np.testing.assert_array_equal(columns(speech_model(Deciding(20.0), delay=0), sound), without)
    assert speech_model(Deciding(20.0), delay=0).closing is None
