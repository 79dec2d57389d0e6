"""Figures for Prometheus, in its text format.

Names follow its conventions: base units (seconds, bytes, ratios), counters end in `_total`, what the process itself
uses has the usual names. Rates are left to queries: `rate(livedub_edited_frames_total[1m])`.
"""

import os
import resource
import time
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Any, Final

from streaming.server.manager import Sessions

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""What the text is, as Prometheus asks for it."""

_STARTED: Final = time.time()

_GAUGES: Final = (
    ("delay_ms", "delay_seconds", 1e-3, "Delay from media time to the viewers"),
    ("av_offset_ms", "av_offset_seconds", 1e-3, "How much earlier sound is sent than its pictures"),
    ("voice_held_ms", "voice_held_seconds", 1e-3, "Voice that waits to be played"),
    ("overloaded", "overloaded", 1.0, "Whether edits do not keep the delay at present: 1 or 0"),
)
_COUNTERS: Final = (
    ("frames_in", "input_frames_total", 1.0, "Pictures that came"),
    ("released", "output_frames_total", 1.0, "Pictures sent"),
    ("edited", "edited_frames_total", 1.0, "Edited pictures sent"),
    ("skipped", "skipped_frames_total", 1.0, "Pictures left out because their edit would have been late"),
    ("late", "late_frames_total", 1.0, "Pictures finished too late, not sent"),
    ("sound_blocks", "sound_blocks_total", 1.0, "Blocks of 20 ms of sound sent"),
    ("stalls", "stalls_total", 1.0, "Times that the process was held up for more than a second"),
    ("stalled_ms", "stalled_seconds_total", 1e-3, "Time lost by that"),
    ("source_restarts", "source_restarts_total", 1.0, "Times that the source's clock began anew"),
)
_QUANTILES: Final = (("0.5", "edit_ms_p50"), ("0.95", "edit_ms_p95"))

Sample = tuple[Mapping[str, str], float]
"""Labels and a value."""


def exposition(sessions: Sessions) -> str:
    """All figures of all sessions."""
    running, preparation = sessions.all(), sessions.around.preparation
    usage = resource.getrusage(resource.RUSAGE_SELF)
    lines = [
        *_one("livedub_build_info", "gauge", "The version that runs", 1, version=metadata.version("livedub")),
        *_one("livedub_sessions", "gauge", "Sessions that run", len(running)),
        *_one("livedub_sessions_started_total", "counter", "Sessions begun", sessions.started),
        *_one("livedub_ready_speakers", "gauge", "Speakers whose sessions begin at once", len(preparation.ready)),
        *_one("livedub_preparing", "gauge", "Whether a speaker is being made ready", bool(preparation.progress)),
        *_one("process_resident_memory_bytes", "gauge", "Resident memory size in bytes", resident_bytes()),
        *_one("process_cpu_seconds_total", "counter", "User and system CPU time in seconds",
              usage.ru_utime + usage.ru_stime),
        *_one("process_start_time_seconds", "gauge", "Start time since the unix epoch in seconds", _STARTED),
    ]  # fmt: skip
    told = [(session.id, session.as_dict()) for session in running]
    viewers = [({"session": session.id}, len(session.viewers)) for session in running]
    sent = [
        ({"session": name, "stream": stream}, count)
        for name, tells in told
        for stream, count in tells["sent_bytes"].items()
    ]
    lines += _metric("livedub_viewers", "gauge", "WHEP connections", viewers)
    lines += _metric("livedub_sent_bytes_total", "counter", "Encoded pictures, before they go to each viewer", sent)
    return "\n".join([*lines, *_of_stats([(name, tells["stats"]) for name, tells in told if tells["stats"]])]) + "\n"


def _of_stats(told: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What the sessions that run tell of their pictures and sound."""
    figures, lines = [({"session": name}, stats) for name, stats in told], []
    for kind, table in (("gauge", _GAUGES), ("counter", _COUNTERS)):
        for key, name, factor, text in table:
            values = [(label, stats[key] * factor) for label, stats in figures if stats[key] is not None]
            lines += _metric(f"livedub_{name}", kind, text, values)
    passed = [
        ({**label, "reason": reason}, count)
        for label, stats in figures
        for reason, count in stats["passed_through"].items()
    ]
    lines += _metric("livedub_passed_frames_total", "counter", "Pictures sent untouched, by the reason", passed)
    if figures:
        lines += _head(
            "livedub_edit_seconds", "summary", "Time of one edit; of the last seconds where a quantile is named"
        )
    for label, stats in figures:
        known = [({**label, "quantile": q}, stats[key] / 1000) for q, key in _QUANTILES if stats[key] is not None]
        lines += [_line("livedub_edit_seconds", *sample) for sample in known]
        lines.append(_line("livedub_edit_seconds_sum", label, stats["edits_ms"] / 1000))
        lines.append(_line("livedub_edit_seconds_count", label, stats["edits"]))
    return lines


def resident_bytes() -> int:
    """Memory of this process; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _one(name: str, kind: str, text: str, value: float, **labels: str) -> list[str]:
    return _metric(name, kind, text, [(labels, value)])


def _metric(name: str, kind: str, text: str, values: Iterable[Sample]) -> list[str]:
    lines = [_line(name, *sample) for sample in values]
    return [*_head(name, kind, text), *lines] if lines else []


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}.", f"# TYPE {name} {kind}"]


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{shown}}} {_number(value)}" if shown else f"{name} {_number(value)}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    """Whole numbers with every digit: counters grow large."""
    return str(int(value)) if float(value).is_integer() else repr(round(float(value), 9))
