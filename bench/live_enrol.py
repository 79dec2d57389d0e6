"""A face learnt while it is on air, for real: how long it takes, and what viewers get meanwhile."""

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench.live_events import Notes, until
from bench.live_figures import percentiles
from bench.live_sessions import BY_WHIP, session_of
from streaming.engines import LocalEngine
from streaming.live.enrolment import EnrolSpec
from streaming.live.session import LiveDubSession
from streaming.live.sources import SourceSpec, VoiceSpec

_LOOK_S: Final = 0.05
_AFTER_S: Final = 10.0
_FIRST_EDIT_S: Final = 120.0


async def enrolment(seconds: float) -> dict[str, Any]:
    """The shipped presenter as somebody unknown; pictures are taken for so many seconds, a draft profile is made."""
    loop, notes = asyncio.get_running_loop(), Notes()
    spec = EnrolSpec("new", seconds=seconds)
    config = replace(BY_WHIP, source=SourceSpec("presenter"), voice=VoiceSpec("presenter"), enrol=spec)
    with tempfile.TemporaryDirectory() as folder:
        async with session_of(LocalEngine(), config, profiles=Path(folder)) as (session, _):
            begun, late = loop.time(), list[float]()
            session.pipeline.outputs.append(notes)
            phases = await _watched(session, late)
            learnt = loop.time()
            stats = session.as_dict()["stats"]
            await until(lambda: any(why == "edited" for _, why in notes.seen), _FIRST_EDIT_S)
            await asyncio.sleep(_AFTER_S)
            after = session.as_dict()["stats"]
            enrolled, error = session.as_dict()["enrolment"], session.error
    media = np.asarray([at for at, why in notes.seen if why == "enrolling"])
    edited = [at for at, why in notes.seen if why == "edited"]
    return {
        "quality": spec.quality,
        "problem": enrolled["problem"] or error,
        "pictures_learnt_from": enrolled["pictures"],
        "seconds_in_all": round(learnt - begun, 1),
        "seconds_of_phases": phases,
        "pictures_per_second_meanwhile": round((len(media) - 1) / float(np.ptp(media)), 2),
        "interval_ms_meanwhile": percentiles(np.diff(media) * 1000),
        "stalls": stats["stalls"],
        "event_loop_late_ms": percentiles(np.asarray(late) * 1000),
        "last_untouched_to_first_edited_ms": round((edited[0] - media[-1]) * 1000) if edited else None,
        "edited_after": len(edited),
        "passed_through": after["passed_through"],
        "delay_ms": after["delay_ms"],
        "edit_ms_p50": after["edit_ms_p50"],
    }


async def _watched(session: LiveDubSession, late: list[float]) -> dict[str, float]:
    """Wait until the face is learnt or not; gives seconds of each phase, and how late the event loop was each time."""
    loop = asyncio.get_running_loop()
    phases: dict[str, float] = {}
    while session.is_enrolling and session.enrolment is not None:
        begin, phase = loop.time(), session.enrolment.progress.what
        await asyncio.sleep(_LOOK_S)
        late.append(loop.time() - begin - _LOOK_S)
        phases[phase] = phases.get(phase, 0.0) + loop.time() - begin
    return {what: round(seconds, 1) for what, seconds in phases.items()}
