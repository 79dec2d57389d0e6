"""The dubbing voice: where it comes from. Asked for 20 ms at a time, it always answers, with silence if need be."""

from collections import deque
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streaming.live.media import BLOCK, SOUND_RATE, silence

_RAMP: Final = 240
"""Samples of a fade that is not heard as a click: 5 ms."""


class Voice(Protocol):
    """A source of the dubbing voice."""

    kind: str
    """What it is, for the statistics."""

    def pull(self) -> NDArray[np.float32]:
        """The next block: [960] float32 in [-1, 1] at 48 kHz; silence where there is nothing."""

    def interrupt(self) -> None:
        """Forget what waits to be played."""

    @property
    def held_ms(self) -> float:
        """Sound that waits to be played."""


class NoVoice:
    """Silence."""

    kind = "none"
    held_ms = 0.0

    def pull(self) -> NDArray[np.float32]:
        """Silence."""
        return silence()

    def interrupt(self) -> None:
        """Nothing waits."""


class RecordedVoice:
    """A recording, once or again and again.

    Args:
        samples: [N] float32 mono at 48 kHz.
        pause_s: silence before it begins anew; None: it is played once.
    """

    kind = "file"

    def __init__(self, samples: NDArray[np.float32], pause_s: float | None) -> None:
        """Begin at its start."""
        self._samples, self._at = samples, 0
        self._length = None if pause_s is None else max(BLOCK, len(samples) + round(pause_s * SOUND_RATE))

    @property
    def held_ms(self) -> float:
        """What is left of it."""
        return max(0, len(self._samples) - self._at) * 1000 / SOUND_RATE

    @property
    def ended(self) -> bool:
        """Whether it was played to its end and does not begin anew."""
        return self._length is None and self._at >= len(self._samples)

    def pull(self) -> NDArray[np.float32]:
        """The next block."""
        out = silence()
        filled = 0
        while filled < BLOCK:
            part = self._samples[self._at : self._at + BLOCK - filled]
            out[filled : filled + len(part)] = part
            step = BLOCK - filled
            if self._length is not None:
                step = min(step, self._length - self._at)
            self._at += step
            filled += step
            if self._length is not None and self._at >= self._length:
                self._at = 0
        return out

    def interrupt(self) -> None:
        """Go to its end."""
        self._at = len(self._samples)


class PlayOut:
    """Sound that programs send faster than it is played: a bounded buffer, played evenly, cleared at once.

    Args:
        capacity_s: how much may wait.
    """

    kind = "stream"

    def __init__(self, capacity_s: float = 30.0) -> None:
        """Begin empty."""
        self.capacity_ms = capacity_s * 1000
        self.played = 0
        """Samples played since the start."""
        self.cleared = 0
        """Samples that were let go by interruptions."""
        self._parts: deque[NDArray[np.float32]] = deque()
        self._held = 0
        self._sounding = False

    @property
    def held_ms(self) -> float:
        """Sound that waits."""
        return self._held * 1000 / SOUND_RATE

    @property
    def room_ms(self) -> float:
        """Sound that may still be sent now."""
        return self.capacity_ms - self.held_ms

    def push(self, samples: NDArray[np.float32]) -> bool:
        """Take sound [N] at 48 kHz; False: it does not fit and none of it was taken."""
        if self.held_ms + len(samples) * 1000 / SOUND_RATE > self.capacity_ms:
            return False
        if len(samples):
            self._parts.append(np.clip(np.nan_to_num(samples), -1.0, 1.0).astype(np.float32))
            self._held += len(samples)
        return True

    def pull(self) -> NDArray[np.float32]:
        """The next block; where the sound runs out it is faded, so that nothing clicks."""
        out = silence()
        filled = 0
        while filled < BLOCK and self._parts:
            part = self._parts[0]
            take = min(len(part), BLOCK - filled)
            out[filled : filled + take] = part[:take]
            filled += take
            if take == len(part):
                self._parts.popleft()
            else:
                self._parts[0] = part[take:]
        self._held -= filled
        self.played += filled
        if filled < BLOCK and self._sounding:
            _fade_out(out[:filled])
        if filled and not self._sounding:
            _fade_in(out[:filled])
        self._sounding = filled == BLOCK
        return out

    def interrupt(self) -> None:
        """Let go what waits."""
        self.cleared += self._held
        self._parts.clear()
        self._held = 0


class LiveVoice:
    """A microphone or another live sound whose clock is not ours: steady level, drift absorbed without clicks.

    The buffer is kept near its target by reading up to half a per mille faster or slower (cubic interpolation); it is
    refilled in silence when it runs dry, and shortened where it has grown far too long.

    Args:
        target_ms: how much is held against uneven arrival.
    """

    def __init__(self, kind: str, target_ms: float = 60.0) -> None:
        """Begin empty; sounds when the target is reached."""
        self.kind = kind
        self.underruns = 0
        """How often it ran dry while it sounded."""
        self.overruns = 0
        """How often it was shortened."""
        self._target = target_ms * SOUND_RATE / 1000
        self._buffer = np.zeros(0, np.float32)
        self._at = 1.0
        self._level = self._target
        self._sounding = False

    @property
    def held_ms(self) -> float:
        """Sound that waits."""
        return max(0.0, len(self._buffer) - self._at) * 1000 / SOUND_RATE

    @property
    def ratio(self) -> float:
        """How fast it is read, 1 as a rule."""
        error = (self._level - self._target) / self._target
        return 1.0 + float(np.clip(1e-3 * error, -1e-3, 1e-3))

    def push(self, samples: NDArray[np.float32]) -> None:
        """Take sound [N] at 48 kHz (by its own clock)."""
        self._buffer = np.concatenate([self._buffer, np.nan_to_num(samples).astype(np.float32)])
        limit = int(4 * self._target) + BLOCK
        if len(self._buffer) - self._at > limit + 2 * BLOCK:
            keep = int(self._target) + 2
            kept = self._buffer[-keep:].copy()
            _fade_in(kept)
            self._buffer, self._at, self._level = kept, 1.0, self._target
            self.overruns += 1

    def pull(self) -> NDArray[np.float32]:
        """The next block."""
        held = len(self._buffer) - self._at
        if not self._sounding and held < self._target:
            return silence()
        self._level += 0.02 * (held - self._level)
        ratio = self.ratio
        places = np.float64(self._at) + ratio * np.arange(BLOCK, dtype=np.float64)
        if places[-1] + 3 > len(self._buffer):
            return self._run_dry()
        out = _cubic(self._buffer, places)
        if not self._sounding:
            _fade_in(out)
            self._sounding, self._level = True, held
        self._at += ratio * BLOCK
        done = int(self._at) - 1
        self._buffer, self._at = self._buffer[done:], self._at - done
        return np.clip(out, -1.0, 1.0)

    def interrupt(self) -> None:
        """Let go what waits."""
        self._buffer, self._at, self._sounding = np.zeros(0, np.float32), 1.0, False

    def _run_dry(self) -> NDArray[np.float32]:
        """The rest, faded, then silence until the target is reached again."""
        out = silence()
        rest = self._buffer[int(self._at) :][:BLOCK]
        out[: len(rest)] = rest
        _fade_out(out[: len(rest)])
        self.interrupt()
        self.underruns += 1
        self._level = self._target
        return out


class VoiceSwitch:
    """The voice of a session: one source at a time, changed with a short fade."""

    def __init__(self) -> None:
        """Silence first."""
        self.source: Voice = NoVoice()
        self._fresh = False
        self._next: Voice | None = None

    def use(self, source: Voice) -> None:
        """Take another source from the next block on."""
        self._next = source

    def pull(self) -> NDArray[np.float32]:
        """The next block."""
        out = self.source.pull()
        if self._fresh:
            _fade_in(out)
            self._fresh = False
        if self._next is not None:
            _fade_out(out)
            self.source, self._next, self._fresh = self._next, None, True
        return out


def played_seconds(samples: int) -> float:
    """Samples at the session's rate as seconds."""
    return round(samples / SOUND_RATE, 4)


def fade_to_silence(blocks: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """The first block faded out, the others silent."""
    faded = [silence() for _ in blocks]
    if faded:
        faded[0][:_RAMP] = blocks[0][:_RAMP]
        _fade_out(faded[0][:_RAMP])
    return faded


def _cubic(samples: NDArray[np.float32], places: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values between samples by Catmull-Rom; places in 1 ... len - 3."""
    whole = places.astype(np.int64)
    t = (places - whole).astype(np.float32)
    before, left, right, after = (samples[whole + shift] for shift in (-1, 0, 1, 2))
    slope = right - before
    bend = 2 * before - 5 * left + 4 * right - after
    twist = 3 * (left - right) + after - before
    out: NDArray[np.float32] = left + np.float32(0.5) * t * (slope + t * (bend + t * twist))
    return out


def _fade_in(samples: NDArray[np.float32]) -> None:
    """The first 5 ms rise from nothing."""
    length = min(_RAMP, len(samples))
    samples[:length] *= np.linspace(0, 1, length, dtype=np.float32)


def _fade_out(samples: NDArray[np.float32]) -> None:
    """The last 5 ms fall to nothing."""
    length = min(_RAMP, len(samples))
    if length:
        samples[-length:] *= np.linspace(1, 0, length, dtype=np.float32)
