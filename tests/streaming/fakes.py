"""An engine that edits by a script: enough to test everything around the real one."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.generators.library import DEFAULT
from engine.media import AudioChunk, VideoFrame, blend_rgb
from streaming.cli import main
from streaming.dubbing import Session
from streaming.engines import Engine, Features, OpenedSession, Profile, Quality, Tracker
from streaming.screen import Report
from tests.streaming.scripted import LOOK_AHEAD_MS, FakeEdit, ScriptedSession


class FakeProfile:
    """A profile that is a line of text."""

    preview = np.full((8, 8, 3), 90, np.uint8)
    rest_opening = 0.012
    notes: Mapping[str, Any] = {}

    def __init__(self, quality: str) -> None:
        self.quality = quality

    def save(self, path: Path) -> None:
        path.write_text(self.quality)


class FakeSession:
    """Paints a grey square; hands pictures out three later, as an engine with look-ahead does."""

    backend: Mapping[str, Any] = {"backend": "eager", "reason": "scripted"}
    speech_notes: Mapping[str, Any] = {"look_ahead_ms": 113, "alignment": "geometric"}

    def __init__(self, reasons: Mapping[int, str], effort: int, interrupt_at: int | None) -> None:
        self.heard: list[AudioChunk] = []
        self.audio_ended = self.video_ended = False
        self.reasons, self.effort, self.interrupt_at = reasons, effort, interrupt_at
        self.seen = 0
        self._waiting: list[FakeEdit] = []

    def push_audio(self, chunk: AudioChunk) -> None:
        assert not self.audio_ended
        self.heard.append(chunk)

    def end_audio(self) -> None:
        self.audio_ended = True

    def push_video(self, frame: VideoFrame) -> None:
        assert not self.video_ended
        if self.seen == self.interrupt_at:
            raise KeyboardInterrupt
        reason = self.reasons.get(self.seen, "edited")
        self.seen += 1
        if reason != "edited":
            self._waiting.append(FakeEdit(frame, frame, False, reason, 0, None))
            return
        mask = np.ones((16, 16), np.float32)
        patch = np.full((16, 16, 3), 128, np.uint8)
        self._waiting.append(FakeEdit(blend_rgb(frame, patch, mask, 8, 8), frame, True, reason, self.effort, mask))

    def end_video(self) -> None:
        self.video_ended = True

    def ready(self) -> Sequence[FakeEdit]:
        keep = 0 if self.video_ended else 3
        out, self._waiting = self._waiting[: len(self._waiting) - keep], self._waiting[len(self._waiting) - keep :]
        return out


class FakeEngine:
    """Enrols and dubs as its script says."""

    def __init__(
        self,
        reasons: Mapping[int, str] | None = None,
        enroll_error: Exception | None = None,
        interrupt_at: int | None = None,
    ) -> None:
        self.reasons, self.enroll_error, self.interrupt_at = reasons or {}, enroll_error, interrupt_at
        self.enrolled: list[tuple[int, Quality, Tracker]] = []
        self.generators: list[str] = []
        self.sessions: list[FakeSession] = []
        self.live_sessions: list[ScriptedSession] = []
        self.asked: list[tuple[int | None, Tracker]] = []
        self.moods: list[tuple[str, float]] = []
        self.compiled: list[tuple[str, int]] = []

    def __getstate__(self) -> dict[str, Any]:
        """What goes with it into another process."""
        return {**vars(self), "sessions": [], "live_sessions": []}

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = DEFAULT
    ) -> Profile:
        if self.enroll_error is not None:
            raise self.enroll_error
        count = 0
        for _ in frames:
            count += 1
            report("enrolling", count, 0)
        self.enrolled.append((count, quality, tracker))
        self.generators.append(generator)
        return FakeProfile(quality)

    def load(self, path: Path) -> Profile:
        return FakeProfile(path.read_text())

    def session(
        self, profile: Profile, effort: int | None, tracker: Tracker, emotion: str = "neutral", intensity: float = 1.0
    ) -> Session:
        self.asked.append((effort, tracker))
        self.moods.append((emotion, intensity))
        self.sessions.append(FakeSession(self.reasons, 2 if effort is None else effort, self.interrupt_at))
        return self.sessions[-1]

    def compile(self, profile: Profile, effort: int, report: Report) -> Mapping[str, Any]:
        assert isinstance(profile, FakeProfile)
        self.compiled.append((profile.quality, effort))
        report("compiling", 1, 1)
        trials = [{"name": name, "ms": ms} for name, ms in (("eager", 40.0), ("aoti bf16", 16.0))]
        told = {"backend": "aoti bf16", "reason": "asked for", "trials": trials}
        return {"2": told | {"mouth measurement": {**told, "backend": "eager"}}}

    def features(self) -> Features:
        return Features(default_effort=1, max_effort=4, emotions=("neutral", "happy"))

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        self.asked.append((effort, "mesh"))
        session = ScriptedSession()
        session.effort = 1 if effort is None else effort
        self.live_sessions.append(session)
        return OpenedSession(session, LOOK_AHEAD_MS)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def values(self) -> dict[str, Any]:
        """The JSON object on stdout."""
        loaded: dict[str, Any] = json.loads(self.out)
        return loaded


def livedub(*words: object, engine: Engine | None = None, answer: str | None = None) -> Outcome:
    """Run a command line; `answer` is what a person at a terminal types, None: there is no terminal."""
    out, err = io.StringIO(), io.StringIO()
    stdin = io.StringIO() if answer is None else Terminal(answer + "\n")
    status = main([str(word) for word in words], engine or FakeEngine(), stdin, out, err)
    return Outcome(status, out.getvalue(), err.getvalue())
