"""Figures for Prometheus, in its text format."""

import os
from typing import Final

from streaming.server.manager import Sessions

_GAUGES: Final = (
    ("delay_ms", "delay_seconds", 1e-3, "Delay from media time to the viewers"),
    ("fps_in", "input_frames_per_second", 1.0, "Pictures that come, a second"),
    ("fps_out", "output_frames_per_second", 1.0, "Pictures sent, a second"),
    ("fps_edited", "edited_frames_per_second", 1.0, "Edited pictures sent, a second"),
    ("edit_ms_p95", "edit_seconds_p95", 1e-3, "Time of one edit, 95 of 100"),
    ("av_offset_ms", "av_offset_seconds", 1e-3, "How much earlier sound is sent than its pictures"),
    ("voice_held_ms", "voice_held_seconds", 1e-3, "Voice that waits to be played"),
)
_COUNTERS: Final = (
    ("frames_in", "input_frames_total", "Pictures that came"),
    ("released", "output_frames_total", "Pictures sent"),
    ("edited", "edited_frames_total", "Edited pictures sent"),
    ("skipped", "skipped_frames_total", "Pictures left out because their edit would have been late"),
    ("late", "late_frames_total", "Pictures finished too late, not sent"),
    ("sound_blocks", "sound_blocks_total", "Blocks of 20 ms of sound sent"),
    ("stalls", "stalls_total", "Times that the process was held up for more than a second"),
)


def exposition(sessions: Sessions) -> str:
    """All figures of all sessions."""
    running, preparation = sessions.all(), sessions.around.preparation
    preparing = preparation.progress is not None
    lines = [
        *_metric("sessions", "gauge", "Sessions that run", [("", len(running))]),
        *_metric("sessions_total", "counter", "Sessions begun", [("", sessions.started)]),
        *_metric("ready_speakers", "gauge", "Speakers whose sessions begin at once", [("", len(preparation.ready))]),
        *_metric("preparing", "gauge", "Whether a speaker is being made ready", [("", preparing)]),
        *_metric("resident_memory_bytes", "gauge", "Memory of the process", [("", resident_bytes())]),
    ]
    viewers = [(_label(s.id), float(len(s.viewers))) for s in running]
    lines += _metric("viewers", "gauge", "WHEP connections", viewers)
    figures = [(_label(s.id), s.as_dict()["stats"]) for s in running]
    for key, name, factor, text in _GAUGES:
        values = [(label, stats[key] * factor) for label, stats in figures if stats and stats[key] is not None]
        lines += _metric(name, "gauge", text, values)
    for key, name, text in _COUNTERS:
        lines += _metric(name, "counter", text, [(label, stats[key]) for label, stats in figures if stats])
    return "\n".join(lines) + "\n"


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _metric(name: str, kind: str, text: str, values: list[tuple[str, float]]) -> list[str]:
    if not values:
        return []
    head = [f"# HELP livedub_{name} {text}.", f"# TYPE livedub_{name} {kind}"]
    return head + [f"livedub_{name}{label} {value:g}" for label, value in values]


def _label(session: str) -> str:
    return f'{{session="{session}"}}'
