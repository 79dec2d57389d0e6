"""One dub of a live session, as the compute thread sees it: voice and one picture in, finished pictures out."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from engine.media import AudioChunk, VideoFrame
from streaming.clock import MS
from streaming.dubbing import Looking
from streaming.engines import LiveSession
from streaming.ingest.paced import RecordedFrame
from streaming.ingest.sound import ENGINE_RATE
from streaming.live.known import KnownFaces
from streaming.live.media import BLOCK, BLOCK_NS, SOUND_RATE, LivePicture, SoundBlock, media_ns

_SLACK_NS: Final = 10 * MS
"""Speech that the resampler keeps back, and a little more."""


@dataclass(frozen=True)
class DubOutcome:
    """What one piece of work gave."""

    pictures: tuple[LivePicture, ...]
    """Finished pictures in order."""
    edit_ms: float
    """Time that the work took in the thread."""


class LiveDub:
    """An engine's session on the time of a live session. Synchronous; used by one thread at a time.

    The engine's time begins with the first voice that is fed. Where blocks are missing (the process was held up), the
    engine's time goes on without them, so that it never has to catch up.

    Args:
        session: the engine's session, fresh.
        look_ahead_ms: voice after a picture's time that the session needs for it.
        fade_ms: media time in which the first edited pictures go over from the untouched ones.
        faces: what is known of the pictures; None: nothing.
    """

    def __init__(
        self, session: LiveSession, look_ahead_ms: float, fade_ms: float = 0.0, faces: KnownFaces | None = None
    ) -> None:
        """Nothing is fed yet."""
        self.session = session
        self._faces = faces
        self._last_tick: int | None = None
        self._fade_ns = fade_ms * MS
        self._first_edit: int | None = None
        self.look_ahead_ns = round(look_ahead_ms * MS) + _SLACK_NS
        """Voice after a picture's time that is needed before it can be edited."""
        self.wanted_effort: int = session.effort
        """Optimisation steps that are asked for; fewer are spent when these do not fit the delay."""
        self._resampler = av.AudioResampler("flt", "mono", ENGINE_RATE)
        self._next_block: int | None = None
        self._zero = 0
        self._fed = 0
        self._last_ticks = -1
        self._sources: deque[VideoFrame] = deque()

    def feed(self, blocks: Sequence[SoundBlock], frame: VideoFrame | None, effort: int | None = None) -> DubOutcome:
        """Take the voice since the last call and a picture (or none), and give what is finished.

        `effort` is spent on it; None: what is wanted.
        """
        begin = time.perf_counter()
        self.session.effort = self.wanted_effort if effort is None else effort
        for block in blocks:
            self._hear(block)
        pictures: list[LivePicture] = []
        if frame is not None:
            self._sources.append(frame)
            ticks = frame.pts - round(Fraction(self._zero, 10**9) / frame.time_base)
            self._last_ticks = max(ticks, self._last_ticks + 1)
            self._push(replace(frame, pts=self._last_ticks))
        for done in self.session.ready():
            source = self._sources.popleft()
            finished = self._faded(source, replace(done.frame, pts=source.pts)) if done.edited else source
            pictures.append(LivePicture(finished, source, done.edited, done.reason, done.effort, done.stages_ms))
        return DubOutcome(tuple(pictures), (time.perf_counter() - begin) * 1000)

    def warm_up(self, frame: VideoFrame, edits: int = 3, done: Callable[[int], None] | None = None) -> float:
        """Edit one picture a few times in silence, before anything is fed; gives the middle one's time in ms.

        The engine's time begins with this; networks are loaded and memory is taken by it. `done` is told after each.
        """
        if self._next_block is not None:
            raise RuntimeError("a dub that is already fed cannot be warmed up")
        silent = np.zeros(ENGINE_RATE, np.float32)
        self.session.push_audio(AudioChunk(silent, ENGINE_RATE, self._fed, Fraction(1, ENGINE_RATE)))
        self._fed += len(silent)
        times = []
        tick = round(Fraction(1, 25) / frame.time_base)
        for index in range(edits):
            self._last_ticks = index * tick
            begin = time.perf_counter()
            self.session.push_video(replace(frame, pts=self._last_ticks))
            self.session.ready()
            times.append((time.perf_counter() - begin) * 1000)
            if done is not None:
                done(index + 1)
        return sorted(times)[len(times) // 2]

    def _push(self, frame: VideoFrame) -> None:
        """Hand a picture to the session, with what is known of its face."""
        known, session = None, self.session
        if self._faces is not None and isinstance(frame, RecordedFrame):
            known = self._faces.of(frame.tick, self._last_tick)
            self._last_tick = frame.tick
        if known is not None and isinstance(session, Looking):
            session.push_looked(session.look(frame, known))
        else:
            session.push_video(frame)

    def _faded(self, source: VideoFrame, edited: VideoFrame) -> VideoFrame:
        """The edited picture, or less of it while the edit fades in."""
        now = media_ns(source)
        self._first_edit = now if self._first_edit is None else self._first_edit
        elapsed = max(0, now - self._first_edit)
        return edited if elapsed >= self._fade_ns else between(source, edited, (elapsed + 20 * MS) / self._fade_ns)

    def _hear(self, block: SoundBlock) -> None:
        if self._next_block is None:
            self._zero = block.media - self._fed * 10**9 // ENGINE_RATE
        elif block.index > self._next_block:
            self._zero += (block.index - self._next_block) * BLOCK_NS
        self._next_block = block.index + 1
        sound = av.AudioFrame.from_ndarray(block.samples.reshape(1, BLOCK), "flt", "mono")
        sound.sample_rate = SOUND_RATE
        for part in self._resampler.resample(sound):
            samples: NDArray[np.float32] = np.ascontiguousarray(part.to_ndarray().reshape(-1), dtype=np.float32)
            self.session.push_audio(AudioChunk(samples, ENGINE_RATE, self._fed, Fraction(1, ENGINE_RATE)))
            self._fed += len(samples)


def between(source: VideoFrame, edited: VideoFrame, share: float) -> VideoFrame:
    """A picture with a share (0...1) of its edit; samples that the edit left alone stay as they are."""
    planes = tuple(
        (before + np.rint((after.astype(np.float32) - before) * min(1.0, share))).astype(before.dtype)
        for before, after in zip(source.planes, edited.planes, strict=True)
    )
    return replace(edited, planes=planes)


def newest_ready(frames: Sequence[VideoFrame], heard_until: int, look_ahead_ns: int) -> int:
    """How many of the frames, oldest first, have all the voice that they need."""
    count = 0
    while count < len(frames) and media_ns(frames[count]) + look_ahead_ns <= heard_until:
        count += 1
    return count
