"""Lost packets: what a viewer saw and heard while a share of all datagrams was lost both ways, and after it.

The receiver is aiortc with this project's changes; the loss begins when the first pictures are there.
"""

import asyncio
from typing import Any, Final

import numpy as np

from bench.live_figures import is_painted, percentiles, sound_gaps
from bench.live_sessions import BY_WHIP, devices, filmed, publish, session_of
from bench.marking import MarkingEngine
from bench.receiver import Received, watching
from bench.relay import LossyRelay
from streaming.clock import NS
from streaming.live.media import LivePicture, SoundBlock

SHARES: Final = (0.0, 0.01, 0.05, 0.20)
"""Nothing lost as well: what this machine does by itself at the time."""
AFTER_S: Final = 8.0
_CAMERA: Final = (320, 240)
_DAMAGED: Final = 6.0
"""Mean difference from what was filmed, in grey levels."""
_FROZEN_S: Final = 0.12
"""Pictures come every 40 ms: after three times that it stands still for the eye."""


async def loss(seconds: float) -> dict[str, Any]:
    """To the viewer: 0, 1, 5 and 20 %; and 0 and 5 % on the way of the camera."""
    found: dict[str, Any] = {f"viewer_{share:.0%}": await _to_viewer(seconds, share) for share in SHARES}
    return {**found, **{f"camera_{share:.0%}": await _from_camera(seconds, share) for share in (0.0, 0.05)}}


async def _to_viewer(seconds: float, share: float) -> dict[str, Any]:
    relay = LossyRelay()
    async with relay.open(), filmed(MarkingEngine(5.0)) as (session, url), watching(url, via=relay) as got:
        await got.seen(50)
        begin, end = await lossy(relay, share, seconds)
        viewer = next(iter(session.viewers.values())).as_dict()
        kbps = session.as_dict()["encoder_kbps"]["H264 edited"]
        await asyncio.sleep(AFTER_S)
    return {
        **seen_between(got, begin, end),
        "recovered_after_ms": recovery_ms(got, end),
        "asked_again": viewer["asked_again"],
        "key_requests": viewer["key_requests"],
        "limit_kbps": viewer["limit_kbps"],
        "encoder_kbps": kbps,
    }


async def _from_camera(seconds: float, share: float) -> dict[str, Any]:
    """What left the server; no viewer, whose decoding would take the processor from the rest."""
    relay, notes = LossyRelay(), Released()
    async with relay.open(), session_of(MarkingEngine(5.0), BY_WHIP, wait=False) as (session, _):
        peer = await publish(session, *devices(*_CAMERA, seconds + 60), via=relay)
        await session.when_editing()
        session.pipeline.outputs.append(notes)
        await asyncio.sleep(2.0)
        begin, end = await lossy(relay, share, seconds)
        await asyncio.sleep(AFTER_S)
        await peer.close()
    return {**seen_between(notes.got, begin, end), "recovered_after_ms": recovery_ms(notes.got, end)}


class Released:
    """An output that notes what leaves the server, as a receiver notes what comes."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.got = Received()
        """What left."""

    def picture(self, picture: LivePicture) -> None:
        """A picture was released; where it is damaged, its band is not plain."""
        luma = picture.frame.planes[0].astype(np.uint8).copy()
        lower = luma[luma.shape[0] // 2 :].astype(np.int16)
        if np.abs(lower - np.linspace(60, 180, luma.shape[1])).mean() > _DAMAGED:
            luma[: luma.shape[0] // 2, ::2] = 255
        self.got.pictures.append((asyncio.get_running_loop().time(), picture.media / NS, luma))

    def sound(self, block: SoundBlock) -> None:
        """Sound was released; it never gaps here: what did not come is silent."""
        self.got.sounds.append((asyncio.get_running_loop().time(), block.media / NS, block.samples))


async def lossy(relay: LossyRelay, share: float, seconds: float) -> tuple[float, float]:
    """Lose packets for some seconds; gives when that began and ended, on the receiver's clock."""
    loop = asyncio.get_running_loop()
    relay.loss, begin = share, loop.time()
    await asyncio.sleep(seconds)
    relay.loss = 0.0
    return begin, loop.time()


def seen_between(got: Received, begin: float, end: float) -> dict[str, Any]:
    """What a viewer saw and heard from one moment to another."""
    pictures = [(at, luma) for at, _, luma in got.pictures if begin <= at <= end]
    steps = np.diff([begin, *(at for at, _ in pictures), end])
    heard = Received(sounds=[sound for sound in got.sounds if begin <= sound[0] <= end])
    return {
        "pictures_per_second": round(len(pictures) / (end - begin), 2),
        "damaged_share": round(sum(not is_painted(luma) for _, luma in pictures) / max(1, len(pictures)), 4),
        "interval_ms": percentiles(steps * 1000),
        "longest_freeze_ms": round(float(steps.max()) * 1000),
        "frozen_share": round(float(steps[steps > _FROZEN_S].sum() / (end - begin)), 4),
        "sound_lost_share": round(sound_gaps(heard) / max(1, len(heard.sounds) + sound_gaps(heard)), 4),
    }


def recovery_ms(got: Received, end: float) -> int:
    """From the end of the loss until the last trace of it: a damaged picture or one that stood too long."""
    later = [(at, luma) for at, _, luma in got.pictures if at >= end - _FROZEN_S]
    traces = [at for at, luma in later if not is_painted(luma)]
    traces += [b for (a, _), (b, _) in zip(later, later[1:], strict=False) if b - a > _FROZEN_S]
    return round(max([0.0, *(at - end for at in traces)]) * 1000)
