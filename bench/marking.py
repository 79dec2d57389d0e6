"""An engine for measurements: paints each picture as bright as the voice is loud at its time, in a stated time."""

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import BadInputError
from engine.evaluation import MeasuredFrame
from engine.media import AudioChunk, VideoFrame
from streaming.dubbing import Session
from streaming.engines import Features, OpenedSession, Profile, Quality, Tracker
from streaming.screen import Report

QUIET, LOUD = 40, 220
LOOK_AHEAD_MS = 150.0
_KEEP = 48_000


class MarkingSession:
    """Paints rows from a quarter to the half of a picture; the timecode above stays."""

    def __init__(self, cost_ms: float) -> None:
        """Every picture takes so long."""
        self.effort = 0
        self._cost_s = cost_ms / 1000
        self._voice, self._before = np.zeros(0, np.float32), 0
        self._waiting: deque[VideoFrame] = deque()

    def set_emotion(self, name: str, intensity: float = 1.0) -> None:
        """It has none."""
        raise BadInputError(f"emotion {name}: a measuring engine has none")

    def push_audio(self, chunk: AudioChunk) -> None:
        """Hear voice."""
        self._voice = np.concatenate([self._voice, chunk.samples])
        if len(self._voice) > 2 * _KEEP:
            self._before += _KEEP
            self._voice = self._voice[_KEEP:]

    def end_audio(self) -> None:
        """Live sessions do not end their voice."""

    def push_video(self, frame: VideoFrame) -> None:
        """Take a picture."""
        self._waiting.append(frame)

    def end_video(self) -> None:
        """Live sessions do not end their pictures."""

    def ready(self) -> list[MeasuredFrame]:
        """Paint the pictures whose voice is there."""
        done = []
        heard_s = (self._before + len(self._voice)) / 16000
        while self._waiting and self._waiting[0].seconds + LOOK_AHEAD_MS / 1000 <= heard_s:
            frame = self._waiting.popleft()
            at = round(frame.seconds * 16000) - self._before
            part = self._voice[max(0, at - 160) : at + 160]
            level = min(1.0, float(np.sqrt(np.square(part).mean())) / 0.35)
            luma = frame.planes[0].copy()
            luma[luma.shape[0] // 4 : luma.shape[0] // 2] = round(QUIET + (LOUD - QUIET) * level)
            time.sleep(self._cost_s)
            done.append(MeasuredFrame(replace(frame, planes=(luma, *frame.planes[1:])), frame, speaking=0.0))
        return done


class MarkingProfile:
    """Nobody's profile."""

    preview = np.zeros((8, 8, 3), np.uint8)
    rest_opening = 0.0
    notes: Mapping[str, Any] = {}

    def save(self, path: Path) -> None:
        """There is nothing to save."""
        raise BadInputError(f"{path}: a measuring engine has no profiles")


class MarkingEngine:
    """Makes marking sessions.

    Args:
        cost_ms: time that one picture takes.
    """

    def __init__(self, cost_ms: float) -> None:
        """Every session costs this."""
        self._cost_ms = cost_ms

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = ""
    ) -> Profile:
        """It learns nobody."""
        raise BadInputError("a measuring engine enrols nobody")

    def load(self, path: Path) -> Profile:
        """Any file is a profile."""
        return MarkingProfile()

    def session(
        self, profile: Profile, effort: int | None, tracker: Tracker, emotion: str = "neutral", intensity: float = 1.0
    ) -> Session:
        """A session for files."""
        return MarkingSession(self._cost_ms)

    def features(self) -> Features:
        """No efforts."""
        return Features(default_effort=0, max_effort=0)

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        """A live session."""
        return OpenedSession(MarkingSession(self._cost_ms), LOOK_AHEAD_MS)

    def compile(self, profile: Profile, effort: int, report: Report) -> Mapping[str, Any]:
        """There is nothing to compile."""
        raise BadInputError("a measuring engine compiles nothing")
