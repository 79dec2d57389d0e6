"""How sharp a browser's picture is on a link that carries it, and what becomes of it on one that does not.

A real Chromium watches the presenter and her source side by side: the largest picture that the page asks for.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bench.live_events import until
from bench.live_page import DESKTOP, drawn, opened, root_of
from bench.live_sessions import PROFILE, session_of
from bench.marking import MarkingEngine
from bench.relay import LossyRelay
from streaming.engines import LocalEngine
from streaming.live.config import SessionConfig
from streaming.live.session import LiveDubSession
from streaming.live.sources import SourceSpec, VoiceSpec
from streaming.server.settings import PRESENTER

if TYPE_CHECKING:
    from playwright.async_api import Page

NARROW_BITS: Final = 2_000_000.0
"""About a third of what the picture needs."""
_PRESENTED: Final = SessionConfig(SourceSpec("presenter"), VoiceSpec("presenter"), PROFILE, PRESENTER)
_COMPARED: Final = "H264 compare"
_SETTLE_S: Final = 10.0
_STEP_S: Final = 0.5
_WIDE_SHARE: Final = 0.9
_PATIENCE_S: Final = 60.0
_ASK: Final = """async () => {
    for (const report of (await window.peers.at(-1).getStats()).values())
        if (report.type === "inbound-rtp" && report.kind === "video") return report;
    return null;
}"""


@dataclass(frozen=True)
class Seen:
    """What a browser has counted of its video since the connection's start."""

    at: float
    """When it was asked, in seconds of the loop's clock."""
    bytes: int
    """Of packets."""
    pictures: int
    """Decoded."""
    quantiser: int
    """Sum over the pictures; 20 is hardly to be seen in one, from 35 on there are blocks."""
    frozen_s: float
    """Time in which the picture stood still."""
    lost: int
    """Packets."""

    @classmethod
    def of(cls, at: float, report: dict[str, Any]) -> "Seen":
        """Read a browser's report."""
        return cls(
            at,
            bytes=int(report.get("bytesReceived", 0)),
            pictures=int(report.get("framesDecoded", 0)),
            quantiser=int(report.get("qpSum", 0)),
            frozen_s=float(report.get("totalFreezesDuration", 0.0)),
            lost=int(report.get("packetsLost", 0)),
        )


def between(first: Seen, last: Seen) -> dict[str, Any]:
    """Figures of the time from one report to another."""
    seconds, pictures = last.at - first.at, last.pictures - first.pictures
    return {
        "received_kbps": round(8 * (last.bytes - first.bytes) / seconds / 1000),
        "pictures_per_second": round(pictures / seconds, 1),
        "quantiser": round((last.quantiser - first.quantiser) / pictures, 1) if pictures else None,
        "frozen_share": round((last.frozen_s - first.frozen_s) / seconds, 3),
        "packets_lost": last.lost - first.lost,
    }


async def sharp(seconds: float) -> dict[str, Any]:
    """The real engine on a link that carries everything, on a machine that has no time to spare."""
    async with session_of(LocalEngine(), _PRESENTED) as (session, url), opened(root_of(url), DESKTOP) as shown:
        await drawn(shown, 1)
        await asyncio.sleep(_SETTLE_S)
        first, rates = await seen(shown), await _rates(session, seconds)
        figures = between(first, await seen(shown))
        delay_ms = session.as_dict()["stats"]["delay_ms"]
    return {"delay_ms": delay_ms, **figures, **of_rates(rates)}


async def narrow(seconds: float) -> dict[str, Any]:
    """A link of 2 Mb/s with a queue of 0.3 s, after and before one that carries everything."""
    relay, loop = LossyRelay(), asyncio.get_running_loop()
    async with relay.open(), session_of(MarkingEngine(10.0), _PRESENTED) as (session, url):
        async with opened(root_of(url), DESKTOP, via=relay) as shown:
            await drawn(shown, 1)
            await asyncio.sleep(_SETTLE_S)
            marks = [await seen(shown)]
            relay.bits_per_second = NARROW_BITS
            await asyncio.sleep(_SETTLE_S)
            marks.append(await seen(shown))
            rates = await _rates(session, seconds)
            marks.append(await seen(shown))
            relay.bits_per_second, widened = None, loop.time()
            full = session.pictures("H264", "compare").encoder.full_rate
            grown = await until(lambda: _rate(session)[0] * 1000 >= _WIDE_SHARE * full, _PATIENCE_S)
            took = loop.time() - widened
    return {
        "link_kbps": round(NARROW_BITS / 1000),
        "first_10_s": between(marks[0], marks[1]),
        "after_that": {**between(marks[1], marks[2]), **of_rates(rates)},
        "wide_again_to_full_rate_s": round(took, 1) if grown else None,
    }


async def seen(shown: "Page") -> Seen:
    """What the browser has counted until now."""
    return Seen.of(asyncio.get_running_loop().time(), await shown.evaluate(_ASK))


def of_rates(rates: Sequence[tuple[int, int | None]]) -> dict[str, Any]:
    """The encoder's rate and the queue on the link over some time."""
    queues = [queue for _, queue in rates if queue is not None]
    return {
        "encoder_kbps": {"least": min(rate for rate, _ in rates), "last": rates[-1][0]},
        "queue_ms_p50": round(float(np.median(queues))) if queues else None,
    }


async def _rates(session: LiveDubSession, seconds: float) -> list[tuple[int, int | None]]:
    found = []
    for _ in range(max(1, round(seconds / _STEP_S))):
        await asyncio.sleep(_STEP_S)
        found.append(_rate(session))
    return found


def _rate(session: LiveDubSession) -> tuple[int, int | None]:
    """What the encoder may spend in kb/s, and how long packets wait for the viewer in ms."""
    told = session.as_dict()
    return told["encoder_kbps"][_COMPARED], told["links"][0]["queue_ms"] if told["links"] else None
