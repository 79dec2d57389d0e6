"""Live dubbing measured at a WebRTC receiver: delay, sync, rates.

`python -m bench live [--only NAME ...] [--seconds N]`: a server and its viewer in one process, in real time:
- sync_fast, sync_slow: pictures painted by an engine of stated cost: are voice and picture still together;
- camera: a stamped camera and a microphone by WHIP, out by WHEP: from capture to the viewer's decoder;
- presenter: the real engine on the shipped presenter.
The receiver decodes in the same process, on the same cores: everything is an upper bound.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import wave
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from aiortc import RTCPeerConnection, RTCSessionDescription
from numpy.typing import NDArray

from bench.devices import RecordedMicrophone, StampingCamera, read_stamp, swelling
from bench.machine import header, read_json, write_json
from bench.marking import MarkingEngine
from bench.receiver import NO_SERVERS, Received, watching
from streaming.clock import MS, LoopClock
from streaming.engines import Engine, LocalEngine
from streaming.live.config import SessionConfig
from streaming.live.media import SOUND_RATE
from streaming.live.session import LiveDubSession
from streaming.live.sources import DEMO_DATA, SourceSpec, VoiceSpec
from streaming.server.app import Server
from streaming.server.settings import PRESENTER, ServerSettings

OUT: Final = Path(__file__).with_name("results") / "live.json"
_PLAIN: Final = 6.0
"""Largest standard deviation of a painted band after coding."""
PROFILE: Final = DEMO_DATA / "presenter.safetensors"


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the figures as JSON; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench live", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(RUNS), default=list(RUNS), help="which runs")
    parser.add_argument("--seconds", type=float, default=30.0, help="length of a run")
    parser.add_argument("--out", type=Path, default=OUT, help="results; runs that are not measured now are kept")
    options = parser.parse_args(arguments)
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))
    head = header("python -m bench live")
    runs = kept_runs(options.out, head)
    for name in options.only:
        about = {"date": header("")["date"], "load_average_before": round(os.getloadavg()[0], 1)}
        figures = asyncio.run(RUNS[name](options.seconds))
        runs[name] = {**about, "seconds": options.seconds, **figures}
        sys.stdout.write(f"{name}: {figures}\n")
        sys.stdout.flush()
        write_json(options.out, {**head, "runs": runs})
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
        async with _session(MarkingEngine(cost_ms), config) as (session, url):
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
    clock = LoopClock()
    config = SessionConfig(SourceSpec("whip"), VoiceSpec("whip"), PROFILE, PRESENTER)
    async with _session(MarkingEngine(10.0), config, wait=False) as (session, url):
        peer = RTCPeerConnection(NO_SERVERS)
        across = np.linspace(60, 180, 640, dtype=np.uint8)
        peer.addTrack(StampingCamera(clock, [np.tile(across, (480, 1))]))
        peer.addTrack(RecordedMicrophone(clock, swelling(seconds + 30)))
        await peer.setLocalDescription(await peer.createOffer())
        _, answer = await session.publish(peer.localDescription.sdp)
        await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
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
        "of_that_beyond_the_delay_ms": percentiles(delays - stats["delay_ms"]),
        "av_offset_start_ms": offset_of(got, 0, half),
        "av_offset_end_ms": offset_of(got, half, len(got.pictures)),
        "sound_gaps": sound_gaps(got),
    }


async def presenter(seconds: float) -> dict[str, Any]:
    """The real engine, the shipped presenter and speech."""
    clock = LoopClock()
    config = SessionConfig(SourceSpec("presenter"), VoiceSpec("presenter"), PROFILE, PRESENTER)
    begun = clock.now()
    async with _session(LocalEngine(), config) as (session, url):
        running_s = (clock.now() - begun) / 1e9
        await asyncio.sleep(10.0)
        joined = clock.now()
        async with watching(url) as got:
            await got.when(lambda: bool(got.pictures), 60)
            first_ms = (clock.now() - joined) / MS
            await asyncio.sleep(seconds)
        stats = session.as_dict()["stats"]
    return {
        **_of_stats(stats),
        "begin_to_running_s": round(running_s, 2),
        "join_to_first_picture_ms": round(first_ms),
        "edit_ms_p50": stats["edit_ms_p50"],
        "edit_ms_p95": stats["edit_ms_p95"],
        "efforts": stats["efforts"],
        "released_av_offset_ms": stats["av_offset_ms"],
        "sound_gaps": sound_gaps(got),
    }


RUNS: Final = {"sync_fast": sync_fast, "sync_slow": sync_slow, "camera": camera, "presenter": presenter}


@asynccontextmanager
async def _session(
    engine: Engine, config: SessionConfig, wait: bool = True
) -> AsyncIterator[tuple[LiveDubSession, str]]:
    """A server with one session, and its address."""
    async with Server(ServerSettings(port=0), engine) as server:
        session = await server.sessions.begin(config)
        if wait:
            await session.when_editing()
        yield session, f"{server.address}api/sessions/{session.id}"


def _of_stats(stats: dict[str, Any]) -> dict[str, Any]:
    counts = ("frames_in", "released", "edited", "passed_through", "skipped", "late", "stalls")
    wanted = ("delay_ms", "fps_in", "fps_edited", *counts)
    return {key: stats[key] for key in wanted}


def percentiles(values: Sequence[float] | NDArray[np.float64]) -> dict[str, float] | None:
    """p50, p95, p99 of values; None without any."""
    if len(values) == 0:
        return None
    return {f"p{q}": round(float(np.percentile(values, q)), 1) for q in (50, 95, 99)}


def sound_gaps(got: Received) -> int:
    """Pieces of sound that are missing between those that came."""
    times = np.asarray([at for _, at, _ in got.sounds])
    return int(np.rint(np.diff(times) / 0.02 - 1).clip(0).sum())


def offset_of(got: Received, first: int, last: int) -> float | None:
    """`av_offset_ms` of some of the pictures and all the sound; None for too few."""
    if last - first < 8:
        return None
    pictures = [(at, luma) for _, at, luma in got.pictures[first:last]]
    return av_offset_ms(pictures, [(at, samples) for _, at, samples in got.sounds])


def write_wav(path: Path, samples: NDArray[np.float32]) -> Path:
    """Write mono sound at 48 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def av_offset_ms(
    pictures: Sequence[tuple[float, NDArray[np.uint8]]], sounds: Sequence[tuple[float, NDArray[np.float32]]]
) -> float:
    """How much earlier sound is than its pictures, in ms: + = sound early.

    Pictures that are not painted (they passed through) are left out. The others must be as bright as the voice is loud
    (root mean square over 20 ms) at their time. The offset is the shift within +-150 ms at which brightness and
    loudness agree best.

    Args:
        pictures: (time in s, [H,W] luma) of each picture.
        sounds: (time in s, [N] mono at 48 kHz) of each piece; what is missing counts as silence.
    """
    bands = [(at, luma[luma.shape[0] // 4 : luma.shape[0] // 2]) for at, luma in pictures]
    painted = [(at, float(band.mean())) for at, band in bands if band.std() < _PLAIN]
    times, bright = np.asarray([at for at, _ in painted]), np.asarray([level for _, level in painted])
    begin, end = sounds[0][0], sounds[-1][0]
    sound = np.zeros(round((end - begin) * SOUND_RATE) + len(sounds[-1][1]))
    for at, samples in sounds:
        place = round((at - begin) * SOUND_RATE)
        sound[place : place + len(samples)] = samples[: len(sound) - place]
    power = np.concatenate([[0.0], np.cumsum(np.square(sound))])
    shifts = np.arange(-150.0, 150.5, 0.5)
    errors = [_misfit(times - shift / 1000 - begin, bright, power) for shift in shifts]
    return float(shifts[int(np.argmin(errors))])


def _misfit(places: NDArray[Any], bright: NDArray[Any], power: NDArray[Any]) -> float:
    """Share of the brightness that loudness at these places (s of the sound) does not explain."""
    middle = np.rint(places * SOUND_RATE).astype(int)
    inside = (middle >= 480) & (middle < len(power) - 481)
    middle, seen = middle[inside], bright[inside]
    loud = np.sqrt(np.maximum(0.0, power[middle + 480] - power[middle - 480]) / 960)
    if len(seen) < 8 or seen.std() == 0 or loud.std() == 0:
        return np.inf
    return 1.0 - float(np.corrcoef(loud, seen)[0, 1])
