"""What a live session tells about itself: counts since its start, and rates and times of the last seconds."""

from collections import Counter, deque
from typing import Any, Final

from streaming.clock import MS, NS
from streaming.live.media import LivePicture

_WINDOW_NS: Final = 4 * NS


class Recent:
    """Values of the last four seconds."""

    def __init__(self) -> None:
        """None yet."""
        self._values: deque[tuple[int, float]] = deque(maxlen=1000)

    def add(self, now: int, value: float) -> None:
        """Note a value."""
        self._values.append((now, value))

    def quantile(self, now: int, share: float) -> float | None:
        """The value that `share` of the recent ones do not exceed; None without values."""
        values = sorted(self._fresh(now))
        return values[min(len(values) - 1, int(share * len(values)))] if values else None

    def per_second(self, now: int) -> float:
        """Values a second; since the start while that is younger than the window."""
        return round(len(self._fresh(now)) * NS / max(NS, min(now, _WINDOW_NS)), 2)

    def _fresh(self, now: int) -> list[float]:
        while self._values and self._values[0][0] <= now - _WINDOW_NS:
            self._values.popleft()
        return [value for _, value in self._values]


class LiveStats:
    """Counts and times of one session. All times that are handed in are media times in ns."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.frames_in = 0
        """Pictures that came."""
        self.released = 0
        """Pictures sent out, on time."""
        self.edited = 0
        """Of these: edited."""
        self.passed: Counter[str] = Counter()
        """Of these: reason -> passed through untouched."""
        self.efforts: Counter[int] = Counter()
        """Optimisation steps -> edited pictures that got so many."""
        self.effort: int | None = None
        """Steps of the last edited picture."""
        self.skipped = 0
        """Pictures that were not sent because editing them would have been too late."""
        self.late = 0
        """Pictures that were finished too late, and not sent."""
        self.edits = 0
        """Edits that were computed, sent or not."""
        self.edits_ms = 0.0
        """Time that they took in all."""
        self.blocks = 0
        """Blocks of sound sent out."""
        self.stalls = 0
        """How often this process was held up for more than a second."""
        self.stalled_ms = 0.0
        """Time lost by that."""
        self.overloaded = False
        """Whether the edit does not keep the delay at present."""
        self.face = "unknown"
        """What the last picture showed: edited, or the reason why not."""
        self._arrivals, self._edits, self._jobs = Recent(), Recent(), Recent()
        self._out, self._out_edited = Recent(), Recent()
        self._picture_late, self._sound_late = Recent(), Recent()

    def arrived(self, now: int) -> None:
        """A picture came."""
        self.frames_in += 1
        self._arrivals.add(now, 1.0)

    def computed(self, now: int, job_ns: int, edit_ms: float) -> None:
        """A piece of work of the compute thread has ended: with waiting for the thread, and the edit alone."""
        self.edits += 1
        self.edits_ms += edit_ms
        self._jobs.add(now, job_ns / MS)
        self._edits.add(now, edit_ms)

    def picture_released(self, now: int, due: int, picture: LivePicture) -> None:
        """A picture was sent out at `now`, to be sent at `due`."""
        self.released += 1
        self.face = picture.reason
        self._out.add(now, 1.0)
        self._picture_late.add(now, (now - due) / MS)
        if picture.edited:
            self.edited += 1
            self.efforts[picture.effort] += 1
            self.effort = picture.effort
            self._out_edited.add(now, 1.0)
        else:
            self.passed[picture.reason] += 1

    def sound_released(self, now: int, due: int) -> None:
        """A block of sound was sent out."""
        self.blocks += 1
        self._sound_late.add(now, (now - due) / MS)

    def av_offset_ms(self, now: int) -> float | None:
        """How much earlier sound is sent than its pictures: + = sound early; None while either is missing."""
        picture, sound = self._picture_late.quantile(now, 0.5), self._sound_late.quantile(now, 0.5)
        return None if picture is None or sound is None else round(picture - sound, 3)

    def as_dict(self, now: int) -> dict[str, Any]:
        """Everything as plain JSON values."""
        return {
            "frames_in": self.frames_in,
            "released": self.released,
            "edited": self.edited,
            "passed_through": dict(self.passed),
            "efforts": {str(steps): count for steps, count in sorted(self.efforts.items())},
            "effort": self.effort,
            "skipped": self.skipped,
            "late": self.late,
            "sound_blocks": self.blocks,
            "stalls": self.stalls,
            "stalled_ms": round(self.stalled_ms),
            "overloaded": self.overloaded,
            "face": self.face,
            "fps_in": self._arrivals.per_second(now),
            "fps_out": self._out.per_second(now),
            "fps_edited": self._out_edited.per_second(now),
            "edits": self.edits,
            "edits_ms": round(self.edits_ms, 1),
            "edit_ms_p50": _rounded(self._edits.quantile(now, 0.5)),
            "edit_ms_p95": _rounded(self._edits.quantile(now, 0.95)),
            "job_ms_p95": _rounded(self._jobs.quantile(now, 0.95)),
            "av_offset_ms": self.av_offset_ms(now),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
