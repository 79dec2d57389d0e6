"""Live dubbing measured at a WebRTC receiver: delay, sync, rates.

`python -m bench live [--only NAME ...] [--seconds N]`: a server and its viewer in one process, in real time:
- sync_fast, sync_slow: pictures painted by an engine of stated cost: are voice and picture still together;
- camera: a stamped camera and a microphone by WHIP, out by WHEP: from capture to the viewer's decoder;
- presenter: the real engine on the shipped presenter;
- loss: 1, 5 and 20 % of all datagrams lost on the way to a viewer, 5 % on the way of a camera;
- events: viewers come, go and vanish, the source ends and changes its size, the face leaves and comes back;
- first: from connecting to the first edited picture, with a known profile;
- enrolment: a face is learnt on air; minutes, only when it is named; `--seconds` is how long pictures are taken;
- gstreamer: webrtcbin as viewer and as camera; only when it is named, for 20 seconds or more;
- page: from the camera to the page in a real Chromium; only when it is named;
- sharp, narrow: bitrate and quality in Chromium where the link carries it, and where not; only when they are named;
- long: clocks that are off, for `--seconds 1200`; only when it is named.
The receiver decodes in the same process, on the same cores: everything is an upper bound.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from bench.devices import read_stamp, swelling
from bench.live_enrol import enrolment
from bench.live_events import events, until
from bench.live_figures import offset_of, percentiles, sound_gaps, split_of
from bench.live_first import first
from bench.live_gstreamer import gstreamer
from bench.live_links import narrow, sharp
from bench.live_long import long
from bench.live_loss import loss
from bench.live_page import page, pictures_of_the_page
from bench.live_report import page_of
from bench.live_sessions import BY_WHIP, PROFILE, devices, publish, session_of, write_wav
from bench.machine import header, read_json, write_json
from bench.marking import LOOK_AHEAD_MS, MarkingEngine
from bench.receiver import watching
from engine.errors import BackendError
from streaming.clock import MS, LoopClock
from streaming.engines import LocalEngine
from streaming.live.config import SessionConfig
from streaming.live.sources import SourceSpec, VoiceSpec
from streaming.server.settings import PRESENTER

OUT: Final = Path(__file__).with_name("results") / "live.json"


def main(arguments: list[str] | None = None) -> int:
    """Measure, write the figures as JSON and a page for people beside it; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench live", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(USUAL), help="which runs")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a run")
    parser.add_argument("--out", type=Path, default=OUT, help="results; runs that are not measured now are kept")
    parser.add_argument(
        "--pictures", type=Path, metavar="FOLDER", help="save pictures of the page, and measure nothing"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
    if options.pictures is not None:
        asyncio.run(pictures_of_the_page(options.pictures))
        return 0
    words = sys.argv[2:] if arguments is None else arguments
    head = header(" ".join(["python -m bench live", *words]))
    runs = kept_runs(options.out, head)
    for name in options.only:
        about = {"date": header("")["date"], "load_average_before": round(os.getloadavg()[0], 1)}
        figures = asyncio.run(RUNS[name](options.seconds))
        runs[name] = {**about, "seconds": options.seconds, **figures}
        sys.stdout.write(f"{name}: {figures}\n")
        sys.stdout.flush()
        write_json(options.out, {**head, "runs": runs})
        options.out.with_suffix(".md").write_text(page_of(runs), encoding="utf-8")
    sys.stdout.write(f"wrote {options.out}\n")
    return 0


def kept_runs(path: Path, head: Mapping[str, Any]) -> dict[str, Any]:
    """Runs of a result file that this machine measured with these versions; others have no place beside new ones."""
    if not path.exists():
        return {}
    known = read_json(path)
    same = all(known.get(key) == head[key] for key in ("machine", "versions"))
    runs: dict[str, Any] = known["runs"] if same else {}
    return runs


async def sync_fast(seconds: float) -> dict[str, Any]:
    """An engine that takes 10 ms a picture."""
    return await _sync(seconds, 10.0, None)


async def sync_slow(seconds: float) -> dict[str, Any]:
    """An engine that takes 300 ms a picture: the frame rate falls, delay and sync stay."""
    return await _sync(seconds, 300.0, None)


async def _sync(seconds: float, cost_ms: float, delay_ms: int | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        voice = write_wav(Path(folder) / "voice.wav", swelling(60))
        config = SessionConfig(SourceSpec("presenter"), VoiceSpec("file", voice), PROFILE, PRESENTER, delay_ms=delay_ms)
        async with session_of(MarkingEngine(cost_ms), config) as (session, url):
            async with watching(url) as got:
                await asyncio.sleep(seconds)
            stats = session.as_dict()["stats"]
    half = len(got.pictures) // 2
    return {
        "cost_ms": cost_ms,
        **_of_stats(stats),
        "av_offset_start_ms": offset_of(got, 0, half),
        "av_offset_end_ms": offset_of(got, half, len(got.pictures)),
        "sound_gaps": sound_gaps(got),
        "interval_ms": percentiles(np.diff([at for at, _, _ in got.pictures]) * 1000),
    }


async def camera(seconds: float) -> dict[str, Any]:
    """A camera of 640 x 480 at 25 pictures a second, an engine of 10 ms."""
    async with session_of(MarkingEngine(10.0), BY_WHIP, wait=False) as (session, url):
        peer = await publish(session, *devices(seconds=seconds + 30))
        await session.when_running()
        async with watching(url) as got:
            await asyncio.sleep(seconds)
        stats = session.as_dict()["stats"]
        await peer.close()
    stamped = [(at, found) for at, _, luma in got.pictures if (found := read_stamp(luma)) is not None]
    delays = np.asarray([at * 1000 - found[0] for at, found in stamped])
    half = len(got.pictures) // 2
    return {
        **_of_stats(stats),
        "timecodes_read": round(len(stamped) / max(1, len(got.pictures)), 4),
        "capture_to_viewer_ms": percentiles(delays),
        "of_that_beyond_the_delay_ms": (beyond := percentiles(delays - stats["delay_ms"])),
        "split_ms": split_of(stats, LOOK_AHEAD_MS, beyond),
        "av_offset_start_ms": offset_of(got, 0, half),
        "av_offset_end_ms": offset_of(got, half, len(got.pictures)),
        "sound_gaps": sound_gaps(got),
    }


async def presenter(seconds: float) -> dict[str, Any]:
    """The real engine, the shipped presenter and speech; then the same with the face looked for in every picture."""
    found, plain = await _presented(seconds, True), await _presented(seconds, False)
    compared = ("delay_ms", "fps_edited", "edit_ms_p50", "edit_ms_p95", "faces_known")
    return {**found, "with_every_face_looked_for": {key: plain[key] for key in compared}}


async def _presented(seconds: float, looks_ahead: bool) -> dict[str, Any]:
    clock = LoopClock()
    voice = VoiceSpec("presenter")
    config = SessionConfig(SourceSpec("presenter"), voice, PROFILE, PRESENTER, looks_ahead=looks_ahead)
    begun = clock.now()
    async with session_of(LocalEngine(), config) as (session, url):
        running_s = (clock.now() - begun) / 1e9
        known = session.faces
        if known is not None and not await until(lambda: len(known) == known.total, 120):
            raise BackendError(f"{len(known)} of {known.total} faces are known after two minutes; is the machine busy?")
        await asyncio.sleep(10.0)
        joined = clock.now()
        async with watching(url) as got:
            await got.when(lambda: bool(got.pictures), 60)
            first_ms = (clock.now() - joined) / MS
            await asyncio.sleep(seconds)
        told = session.as_dict()
        stats = told["stats"]
    return {
        **_of_stats(stats),
        "begin_to_running_s": round(running_s, 2),
        "join_to_first_picture_ms": round(first_ms),
        "edit_ms_p50": stats["edit_ms_p50"],
        "edit_ms_p95": stats["edit_ms_p95"],
        "efforts": stats["efforts"],
        "faces_known": told["faces_known"],
        "released_av_offset_ms": stats["av_offset_ms"],
        "sound_gaps": sound_gaps(got),
    }


def _of_stats(stats: dict[str, Any]) -> dict[str, Any]:
    counts = ("frames_in", "released", "edited", "passed_through", "skipped", "late", "stalls")
    wanted = ("delay_ms", "fps_in", "fps_edited", *counts)
    return {key: stats[key] for key in wanted}


RUNS: Final = {
    "sync_fast": sync_fast, "sync_slow": sync_slow, "camera": camera, "presenter": presenter, "loss": loss,
    "events": events, "first": first, "enrolment": enrolment, "gstreamer": gstreamer, "long": long, "page": page,
    "sharp": sharp, "narrow": narrow,
}  # fmt: skip
NAMED: Final = ("enrolment", "gstreamer", "long", "page", "sharp", "narrow")
"""Runs that take long or need more than this package."""
USUAL: Final = tuple(name for name in RUNS if name not in NAMED)
"""Runs that are made when none is named."""
