"""Twenty minutes with a camera and a microphone whose clocks are off, one fast, one slow: sync, rate, memory.

A cheap engine, small pictures: what is measured is the transport and its clocks, not the edit. Sender, server and
receiver are one process: memory that grows may be any one's.
"""

import asyncio
import gc
from typing import Any, Final

import numpy as np

from bench.devices import RecordedMicrophone, StampingCamera, swelling
from bench.live_figures import offset_of, slope_per_minute, sound_gaps
from bench.live_sessions import BY_WHIP, publish, session_of
from bench.marking import MarkingEngine
from bench.receiver import Received, watching
from engine.errors import BackendError
from streaming.server.metrics import resident_bytes
from streaming.virtual_time import VirtualClock

PPM: Final = 200.0
WINDOW_S: Final = 30.0
"""Figures are taken over so long each."""
_SETTLED_MIN: Final = 2.0
"""Memory counts from here on: caches are filled by then."""
_SIZE: Final = (288, 512)
_RATE: Final = 12
_EVERY: Final = 8
"""Of so many rows and columns of a picture one is kept until the window ends: what is noted shall weigh little beside
what is measured."""


async def long(seconds: float) -> dict[str, Any]:
    """Sync and memory over a long time (aim: 1200 seconds).

    Raises:
        BackendError: the viewer was lost; there is nothing to tell of sync then.
    """
    windows: list[dict[str, Any]] = []
    across = np.tile(np.linspace(60, 180, _SIZE[1], dtype=np.uint8), (_SIZE[0], 1))
    async with session_of(MarkingEngine(5.0), BY_WHIP, wait=False) as (session, url):
        camera = StampingCamera(VirtualClock(PPM), [across], _RATE)
        microphone = RecordedMicrophone(VirtualClock(-PPM), swelling(60), again=True)
        peer = await publish(session, camera, microphone)
        await session.when_editing()
        async with watching(url, every=_EVERY) as got:
            await got.seen(10)
            loop = asyncio.get_running_loop()
            begin = loop.time()
            while loop.time() - begin < seconds:
                at = loop.time()
                await asyncio.sleep(WINDOW_S)
                windows.append(figures_of(got, (loop.time() - begin) / 60, loop.time() - at))
                if windows[-1]["pictures_per_second"] == 0:
                    raise BackendError(f"the viewer saw nothing for {WINDOW_S:.0f} s: its connection was lost")
        stats = session.as_dict()["stats"]
        await peer.close()
    offsets = [w["av_offset_ms"] for w in windows if w["av_offset_ms"] is not None]
    parts = {
        "from_minute_2": [w for w in windows if w["minute"] >= _SETTLED_MIN],
        "second_half": windows[len(windows) // 2 :],
        "last_quarter": windows[3 * len(windows) // 4 :],
    }
    minutes = {name: [w["minute"] for w in part] for name, part in parts.items()}
    return {
        "ppm": {"camera": PPM, "microphone": -PPM},
        "av_offset_start_ms": windows[0]["av_offset_ms"],
        "av_offset_end_ms": windows[-1]["av_offset_ms"],
        "av_offset_least_ms": min(offsets),
        "av_offset_most_ms": max(offsets),
        "memory_mb": {"first": windows[0]["memory_mb"], "last": windows[-1]["memory_mb"]},
        "memory_mb_per_minute": {
            name: slope_per_minute(minutes[name], [w["memory_mb"] for w in part]) for name, part in parts.items()
        },
        "objects_per_minute": {
            name: slope_per_minute(minutes[name], [w["objects"] for w in part]) for name, part in parts.items()
        },
        "first_frames_apart_ms": round((got.clocks["video"] - got.clocks["audio"]) * 1000, 1),
        "delay_ms": stats["delay_ms"],
        "stalls": stats["stalls"],
        "stalled_ms": stats["stalled_ms"],
        "late": stats["late"],
        "skipped": stats["skipped"],
        "windows": windows,
    }


def figures_of(got: Received, minute: float, seconds: float) -> dict[str, Any]:
    """Figures of what came in the last seconds, which is forgotten then.

    Memory grows in steps where the heap is cut up, and without end where something is kept: the objects tell which.
    """
    figures = {
        "minute": round(minute, 2),
        "av_offset_ms": offset_of(got, 0, len(got.pictures)),
        "pictures_per_second": round(len(got.pictures) / seconds, 2),
        "sound_gaps": sound_gaps(got),
        "memory_mb": round(resident_bytes() / 2**20, 1),
        "objects": len(gc.get_objects()),
    }
    got.pictures.clear()
    got.sounds.clear()
    return figures
