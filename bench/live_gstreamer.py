"""GStreamer's webrtcbin as WHEP viewer and as WHIP camera of a session, in a process of its own.

Needs the system's packages of GStreamer with webrtcbin (plugins base, good, bad, ugly, libav, nice) and python3-gi.
"""

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from bench.live_sessions import BY_WHIP, filmed, session_of
from bench.marking import MarkingEngine
from engine.errors import BackendError

PYTHON: Final = "/usr/bin/python3"
"""The system's Python: GStreamer's bindings are made for it."""
_PEER: Final = Path(__file__).with_name("gstreamer_peer.py")


async def gstreamer(seconds: float) -> dict[str, Any]:
    """As a viewer for some seconds, then as a camera; on this machine's own addresses: libnice leaves loopback out."""
    async with filmed(MarkingEngine(5.0), 320, 240, ice_hosts=()) as (session, url):
        viewer = await peer("whep", f"{url}/whep", seconds)
        codecs = session.as_dict()["encoders"]
    async with session_of(MarkingEngine(5.0), BY_WHIP, wait=False, ice_hosts=()) as (session, url):
        camera, came = await asyncio.gather(peer("whip", f"{url}/whip", seconds), _came(session.as_dict, seconds))
    return {"viewer": {**viewer, "encoders": codecs}, "camera": {**camera, **came}}


async def peer(role: str, url: str, seconds: float) -> dict[str, Any]:
    """Run the other end; gives what it saw.

    Raises:
        BackendError: it failed.
    """
    arguments = (PYTHON, str(_PEER), role, url, str(seconds))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*arguments, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(seconds + 60):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        last = err.decode(errors="replace").strip().splitlines()[-1:] or ["no word"]
        raise BackendError(f"GStreamer as {role}: {last[0]}. Is webrtcbin installed, and python3-gi?")
    found: dict[str, Any] = json.loads(out)
    return found


async def _came(state: Any, seconds: float) -> dict[str, Any]:
    """What the session got from the camera, looked at shortly before it leaves."""
    await asyncio.sleep(seconds)
    now = state()
    stats = now["stats"] or {}
    return {"publishers": now["publishers"], "state_of_session": now["state"],
            **{key: stats.get(key) for key in ("frames_in", "edited", "fps_in")}}  # fmt: skip
