"""The speech stream: equal to offline, resting in silence, bounded, robust; and the shipped weights."""

from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.errors import BadInputError, WeightsError, WeightsFormatError
from engine.speech import SpeechModel, auto, load_speech_model, whisper
from engine.speech.controls import CONTROLS, EXPRESSIONS, FaceBasis
from engine.speech.model import SHIPPED, look_ahead_ms, save_speech_model, within
from engine.speech.network import NetworkConfig, SpeechNet
from engine.speech.whisper import WhisperEncoder
from engine.training.audio import read_audio
from engine.training.dsp import resample
from engine.training.evaluation import correlation, opening_of
from tests.engine.speech.test_mood import high_pitch_is_happy, syllables


def _voice(seconds: float, level: float = 0.1) -> NDArray[np.float32]:
    times = np.arange(int(seconds * 16_000)) / 16_000
    harmonics = sum(np.sin(2 * np.pi * 140 * k * times) / k for k in range(1, 20))
    return (level * (0.55 + 0.45 * np.sin(2 * np.pi * 4 * times)) * harmonics).astype(np.float32)


def _basis() -> FaceBasis:
    rng = np.random.default_rng(0)
    shapes = ((68, 3), (len(CONTROLS), 68, 3), (len(EXPRESSIONS), 68, 3))
    rest, displacement, expression = (rng.standard_normal(shape).astype(np.float32) for shape in shapes)
    return FaceBasis(rest, displacement, expression)


@pytest.fixture(scope="module")
def model() -> SpeechModel:
    torch.manual_seed(0)
    encoder = WhisperEncoder(width=384, heads=6, layers=1)
    return SpeechModel(encoder, SpeechNet(NetworkConfig(content=16, width=24, memory=16, feeling=12)), _basis())


@pytest.mark.unit
@settings(deadline=None, max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 24_000), max_size=8))
def test_stream_equals_offline_for_any_cut(model: SpeechModel, cuts: list[int]) -> None:
    sound = np.concatenate([_voice(1.0), np.zeros(8_000, np.float32)])
    track = model.offline(sound)
    with model.stream() as stream:
        edges = [0, *sorted(cuts), len(sound)]
        for begin, end in zip(edges[:-1], edges[1:], strict=True):
            stream.push(sound[begin:end])
        stream.end_input()
        for index in range(0, len(track.times), 3):
            frame = stream.at(float(track.times[index]))
            np.testing.assert_allclose(frame.displacement, track.displacement[index], atol=1e-5)
            assert frame.speaking == pytest.approx(float(track.speaking[index]), abs=1e-6)


@pytest.mark.unit
def test_no_more_is_ready_than_the_look_ahead_allows(model: SpeechModel) -> None:
    with model.stream() as stream:
        for _ in range(100):
            stream.push(_voice(0.013))
        heard = 100 * int(0.013 * 16_000) / 16_000
        assert heard - stream.ready_until_s <= model.look_ahead_ms / 1000 + 0.02
        assert stream.ready_until_s < heard
        with pytest.raises(BadInputError, match="not ready"):
            stream.at(heard)


@pytest.mark.unit
def test_silence_rests_exactly(model: SpeechModel) -> None:
    track = model.offline(np.zeros(32_000, np.float32))
    assert np.abs(track.displacement).max() == 0.0
    assert track.speaking.max() == 0.0


@pytest.mark.unit
def test_the_mouth_rests_after_the_end(model: SpeechModel) -> None:
    track = model.offline(_voice(1.0))
    assert track.times[-1] >= 1.3
    assert np.abs(track.displacement[30]).max() > 0
    assert np.abs(track.displacement[-1]).max() == 0.0
    assert np.abs(track.at(99.0).displacement).max() == 0.0
    with model.stream() as stream:
        stream.push(_voice(1.0))
        stream.end_input()
        assert stream.ready_until_s == float("inf")
        assert np.abs(stream.at(99.0).displacement).max() == 0.0


@pytest.mark.unit
def test_sound_after_the_end_is_refused(model: SpeechModel) -> None:
    stream = model.stream()
    stream.end_input()
    stream.end_input()
    with pytest.raises(BadInputError, match="new stream"):
        stream.push(np.zeros(10, np.float32))


@pytest.mark.unit
def test_an_empty_recording_gives_a_resting_mouth(model: SpeechModel) -> None:
    track = model.offline(np.zeros(0, np.float32))
    assert np.abs(track.at(0.0).displacement).max() == 0.0


@pytest.mark.unit
def test_nan_clipping_and_dc_give_finite_frames(model: SpeechModel) -> None:
    sound = _voice(1.0, level=3.0) + np.float32(0.3)
    sound[5_000:5_100] = np.nan
    sound[9_000] = np.inf
    track = model.offline(sound)
    assert np.isfinite(track.displacement).all()


@pytest.mark.unit
def test_a_long_stream_stays_bounded_and_forgets_what_is_old(model: SpeechModel) -> None:
    stream = model.stream(keep_s=2.0)
    for _ in range(60):
        stream.push(_voice(0.5))
    assert len(stream.rows()) <= 200
    assert np.isfinite(stream.at(stream.ready_until_s).displacement).all()
    with pytest.raises(BadInputError, match="not held"):
        stream.at(1.0)


def _state_bytes(value: object, seen: set[int]) -> int:
    """Bytes of all arrays and tensors that a stream holds, its networks left out."""
    if id(value) in seen or isinstance(value, torch.nn.Module | SpeechModel):
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray | torch.Tensor):
        return int(value.nbytes)
    if isinstance(value, list | tuple | deque):
        return sum(_state_bytes(item, seen) for item in value) + 8 * len(value)
    return sum(_state_bytes(item, seen) for item in vars(value).values()) if hasattr(value, "__dict__") else 0


@pytest.mark.unit
def test_the_state_does_not_grow_however_long_the_stream(model: SpeechModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hand-overs of the encoder come every 0.8 s here, so that 40 s have as many as 20 minutes."""
    for name, value in (("RESTART", 40), ("WARM_UP", 16), ("PAST", 16)):
        monkeypatch.setattr(whisper, name, value)
    sizes = []
    with model.stream(keep_s=1.0) as stream:
        for second in range(40):
            stream.push(_voice(1.0))
            if second % 10 == 9:
                sizes.append(_state_bytes(stream, set()))
    assert sizes[0] > 10_000
    assert max(sizes) <= 1.3 * sizes[0]


@pytest.mark.unit
def test_the_clock_holds_after_ten_hours(model: SpeechModel) -> None:
    """Frames are found by number, so that times of a long stream are as exact as those of a short one."""
    with model.stream(keep_s=2.0) as stream, model.stream(keep_s=2.0) as late:
        late._history.first = late._history.end = 10 * 3600 * 50
        for each in (stream, late):
            each.push(_voice(1.5))
        assert late.ready_until_s == pytest.approx(36_000.0 + stream.ready_until_s, abs=1e-9)
        for at in (0.4, 0.533, 1.01):
            np.testing.assert_allclose(late.at(36_000.0 + at).displacement, stream.at(at).displacement, atol=1e-5)


@pytest.mark.unit
@pytest.mark.parametrize("gap_s", [0.02, 0.2, 1.0])
def test_gaps_keep_the_clock_and_a_long_one_rests(model: SpeechModel, gap_s: float) -> None:
    """Lost sound comes as silence of its length."""
    gap = np.zeros(int(gap_s * 16_000), np.float32)
    track = model.offline(np.concatenate([_voice(1.0), gap, _voice(1.0)]))
    assert 0 <= len(track.times) - round((2.0 + gap_s + 0.4) * 50) <= 4
    assert np.isfinite(track.displacement).all()
    assert track.speaking[int((1.5 + gap_s) * 50)] > 0.99
    within = np.abs(track.at(1.0 + 0.75 * gap_s).displacement).max()
    assert (within == 0.0) == (gap_s == 1.0)


@pytest.mark.unit
def test_at_interpolates_between_frames(model: SpeechModel) -> None:
    track = model.offline(_voice(1.0))
    middle = track.at(0.51).displacement
    np.testing.assert_allclose(middle, (track.displacement[25] + track.displacement[26]) / 2, atol=1e-5)
    np.testing.assert_array_equal(track.at(-1.0).displacement, track.displacement[0])


@pytest.mark.unit
def test_an_emotion_moves_the_face_while_it_speaks_and_blends_in(model: SpeechModel) -> None:
    neutral, happy = model.offline(_voice(2.0)), model.offline(_voice(2.0), "happy", 0.7)
    difference = np.abs(happy.displacement - neutral.displacement).reshape(len(neutral.times), -1).max(axis=1)
    speaking = np.flatnonzero(neutral.speaking > 0.99)
    assert difference[speaking[-1]] > 0.01
    assert np.abs(np.diff(difference[speaking])).max() < 0.2 * difference.max()
    np.testing.assert_array_equal(happy.displacement[neutral.speaking == 0.0], 0.0)


@pytest.mark.unit
def test_the_emotion_changes_while_the_stream_runs(model: SpeechModel) -> None:
    with model.stream() as stream, model.stream() as plain:
        for stretch in range(6):
            if stretch == 3:
                stream.set_emotion("sad", 1.0, blend_s=0.2)
            for each in (stream, plain):
                each.push(_voice(0.5))
        before, after = 1.0, 2.4
        np.testing.assert_array_equal(stream.at(before).displacement, plain.at(before).displacement)
        assert np.abs(stream.at(after).displacement - plain.at(after).displacement).max() > 0.01


@pytest.mark.unit
def test_what_is_no_emotion_is_refused_while_the_stream_goes_on(model: SpeechModel) -> None:
    with model.stream() as stream:
        for words in (("bored", 1.0, 0.5), ("happy", 1.5, 0.5), ("happy", 1.0, 99.0)):
            with pytest.raises(BadInputError, match="expected"):
                stream.set_emotion(*words)
        stream.push(_voice(1.0))
        assert stream.ready_until_s > 0.5


@pytest.mark.unit
def test_a_shorter_look_ahead_is_ready_sooner(model: SpeechModel) -> None:
    short = SpeechModel(model.encoder, model.network, model.basis, delay=0)
    long = SpeechModel(model.encoder, model.network, model.basis, delay=5)
    assert (short.look_ahead_ms, long.look_ahead_ms) == (93, 193)
    ready = []
    for each in (short, long):
        with each.stream() as stream:
            stream.push(_voice(2.0))
            ready.append(stream.ready_until_s)
    assert ready[0] - ready[1] == pytest.approx(0.1, abs=1e-6)


@pytest.mark.unit
def test_the_setting_that_fits_a_look_ahead() -> None:
    """One with a delay wherever there is one; then the largest chunk that fits, with the longest delay that fits it."""
    fitting = {limit: within(limit) for limit in (40, 52, 53, 59, 60, 72, 73, 92, 93, 112, 113, 132, 133, 500)}
    assert fitting == {
        40: (1, 0), 52: (1, 0), 53: (2, 0), 59: (2, 0), 60: (1, 1), 72: (1, 1), 73: (2, 1), 92: (2, 1),
        93: (2, 2), 112: (2, 2), 113: (4, 1), 132: (4, 1), 133: (4, 2), 500: (4, 5)
    }  # fmt: skip
    assert all(look_ahead_ms(delay, chunk) <= limit for limit, (chunk, delay) in fitting.items())
    assert look_ahead_ms(1) == 113
    with pytest.raises(BadInputError, match="at least 40"):
        within(39)


@pytest.mark.unit
@pytest.mark.parametrize("chunk", [1, 2])
def test_short_chunks_are_ready_sooner_and_stream_as_offline(model: SpeechModel, chunk: int) -> None:
    """The frame is out as soon as its look-ahead is heard, and is what the whole recording gives."""
    short = SpeechModel(model.encoder, model.network, model.basis, delay=0, chunk=chunk)
    assert short.look_ahead_ms == {1: 40, 2: 53}[chunk]
    sound = _voice(1.2)
    track = short.offline(sound)
    with short.stream() as stream:
        for begin in range(0, len(sound), 333):
            stream.push(sound[begin : begin + 333])
            heard = min(len(sound), begin + 333) / 16_000
            assert heard - stream.ready_until_s <= short.look_ahead_ms / 1000 + 0.02 * chunk
        for index in range(0, 50, 5):
            np.testing.assert_allclose(stream.at(index / 50).displacement, track.displacement[index], atol=1e-5)


@pytest.mark.unit
def test_damaged_weights_say_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not there"):
        load_speech_model(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nonsense")
    with pytest.raises(WeightsFormatError, match="safetensors"):
        load_speech_model(broken)


@pytest.mark.slow
def test_written_weights_come_back(tmp_path: Path, weights: Callable[[str], Path]) -> None:
    weights("whisper-tiny-en")
    torch.manual_seed(1)
    network = SpeechNet(NetworkConfig(content=16, width=24, memory=16, feeling=12))
    path = tmp_path / "speech.safetensors"
    save_speech_model(path, network, _basis(), {"steps": "0"})
    loaded = load_speech_model(path)
    assert loaded.network.config == network.config
    np.testing.assert_array_equal(loaded.basis.rest, _basis().rest)
    torch.testing.assert_close(loaded.network.content.weight, network.content.weight, atol=1e-3, rtol=1e-2)


@pytest.fixture(scope="module")
def shipped(weights: Callable[[str], Path]) -> SpeechModel:
    weights("whisper-tiny-en")
    return load_speech_model()


@pytest.mark.slow
def test_shipped_weights_are_small(shipped: SpeechModel) -> None:
    assert SHIPPED.stat().st_size < 4_000_000
    assert shipped.look_ahead_ms <= 160


@pytest.mark.slow
def test_a_telephone_moves_the_mouth_as_the_full_band_does(shipped: SpeechModel, data_dir: Path) -> None:
    """Sound of 8 kHz, brought to 16 kHz, has nothing above 4 kHz."""
    sound = read_audio(data_dir / "speech" / "ditto_audio.wav")[: 16_000 * 8]
    narrow = resample(resample(sound, len(sound) // 2), len(sound))
    tracks = [shipped.offline(each) for each in (sound, narrow)]
    wide, thin = (opening_of(track.displacement, shipped.basis.rest) for track in tracks)
    assert correlation(wide, thin) > 0.7
    assert thin.mean() == pytest.approx(wide.mean(), rel=0.35)


@pytest.mark.slow
@pytest.mark.parametrize("limit_ms", [40, 60, 80])
def test_shorter_look_aheads_follow_the_usual_one(shipped: SpeechModel, data_dir: Path, limit_ms: int) -> None:
    """Less is known, but nothing else is said."""
    sound = read_audio(data_dir / "speech" / "ditto_audio.wav")[: 16_000 * 8]
    short = load_speech_model(limit_ms=limit_ms)
    assert short.look_ahead_ms <= limit_ms
    usual, hasty = (opening_of(m.offline(sound).displacement, m.basis.rest) for m in (shipped, short))
    shared = min(len(usual), len(hasty))
    assert correlation(usual[:shared], hasty[:shared]) > 0.75


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["sadtalker_chinese_news.wav", "sadtalker_deyu.wav", "sadtalker_fayu.wav", "ditto_audio.wav"]
)
def test_real_speech_opens_and_closes_at_plausible_rates(shipped: SpeechModel, data_dir: Path, name: str) -> None:
    track = shipped.offline(read_audio(data_dir / "speech" / name)[: 16_000 * 10])
    rest = shipped.basis.rest
    gap = track.displacement[:, 66] - track.displacement[:, 62] + (rest[66] - rest[62])
    opening = np.linalg.norm(gap, axis=1)[track.speaking > 0.9]
    assert 0.04 < opening.mean() < 0.16
    assert 0.10 < np.percentile(opening, 98) < 0.32
    turns = np.sum((opening[1:-1] > opening[:-2]) & (opening[1:-1] >= opening[2:]))
    assert 1.5 < turns / (len(opening) / 50) < 8.0


@pytest.mark.unit
def test_auto_is_the_same_however_the_sound_is_cut_and_is_told(
    model: SpeechModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A voice that becomes an octave higher after it was heard for nine seconds, and a network that hears pitch."""
    monkeypatch.setattr(auto, "read_mood_net", lambda path: high_pitch_is_happy())
    sound = np.concatenate([syllables(9.0, 120.0), syllables(5.0, 240.0)])
    track = model.offline(sound, "auto")
    with model.stream() as stream:
        stream.set_emotion("auto")
        for begin in range(0, len(sound), 3_777):
            stream.push(sound[begin : begin + 3_777])
        stream.end_input()
        moved = np.stack([stream.at(float(time)).displacement for time in track.times[::7]])
        shown = stream.shown
    np.testing.assert_allclose(moved, track.displacement[::7], atol=1e-5)
    neutral = model.offline(sound).displacement
    assert sum(shown.values()) == pytest.approx(1.0, abs=1e-3)
    assert shown["happy"] > 0.15
    assert np.abs(track.displacement - neutral)[: 8 * 50].max() == 0.0
    assert np.abs(track.displacement - neutral)[10 * 50 :].max() > 0.0
