"""The page in a real Chromium: from a camera's capture to the page's canvas by timecode, and pictures of the page.

Needs playwright and a Chromium: $LIVEDUB_CHROMIUM, or chromium on the path.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from bench.live_events import until
from bench.live_figures import percentiles, split_of
from bench.live_sessions import BY_WHIP, PROFILE, devices, publish, session_of
from bench.marking import LOOK_AHEAD_MS, MarkingEngine
from bench.relay import HOST, LossyRelay
from engine.errors import BackendError
from streaming.clock import LoopClock
from streaming.engines import LocalEngine
from streaming.live.config import SessionConfig
from streaming.live.sources import SourceSpec, VoiceSpec
from streaming.server.app import Server
from streaming.server.settings import PRESENTER, ServerSettings

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

FLAGS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--allow-loopback-in-peer-connection", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
DESKTOP: Final = (1200, 960)
PHONE: Final = (390, 844)
SHOT: Final = Path(__file__).with_name("results") / "live_page.png"
_KEEP_PEERS: Final = """
const Plain = window.RTCPeerConnection;
window.peers = [];
window.RTCPeerConnection = class extends Plain { constructor(...given) { super(...given); window.peers.push(this); } };
"""
_WARM_S: Final = 5.0
_PATIENCE_S: Final = 90.0
_EDITED_S: Final = 25.0
_STARTS: Final = 3


async def page(seconds: float) -> dict[str, Any]:
    """A stamped camera, seen in the page: capture to canvas; and a viewer whose browser is killed."""
    async with session_of(MarkingEngine(10.0), BY_WHIP, wait=False) as (session, url):
        peer = await publish(session, *devices(640, 480, seconds + 60))
        await session.when_editing()
        offset_ms = time.time() * 1000 - LoopClock().now() / 1e6
        async with opened(f"{root_of(url)}#bench", DESKTOP) as shown:
            await drawn(shown, 1)
            opened_ms = await shown.evaluate("performance.now()")
            await asyncio.sleep(_WARM_S)
            await shown.evaluate("window.timecodes = []")
            await asyncio.sleep(seconds)
            codes = await shown.evaluate("window.timecodes")
            killed = asyncio.get_running_loop().time()
        forgotten = await until(lambda: not session.viewers, _PATIENCE_S)
        forgotten_s = round(asyncio.get_running_loop().time() - killed, 1) if forgotten else None
        stats = session.as_dict()["stats"]
        await peer.close()
    delays = np.asarray([(at - offset_ms - code) for code, at in codes], np.float64)
    return {
        "delay_ms": stats["delay_ms"],
        "fps_out": stats["fps_out"],
        "timecodes_per_second": round(len(codes) / seconds, 2),
        "capture_to_page_ms": percentiles(delays),
        "of_that_beyond_the_delay_ms": (beyond := percentiles(delays - stats["delay_ms"])),
        "split_ms": split_of(stats, LOOK_AHEAD_MS, beyond),
        "page_asked_for_to_first_picture_ms": round(opened_ms),
        "start_pressed_to_first_picture": await _started(),
        "closed_browser_forgotten_after_s": forgotten_s,
    }


async def _started() -> list[dict[str, Any]]:
    """From pressing Start to the first picture of the presenter, on a server that is ready; what passed untouched."""
    found = []
    async with Server(ServerSettings(port=0, ice_hosts=(HOST,), ready=(PRESENTER,)), LocalEngine()) as server:
        await server.sessions.around.preparation.when_done(PRESENTER)
        async with opened(server.address, DESKTOP) as shown:
            for _ in range(_STARTS):
                begin = await shown.evaluate("performance.now()")
                await shown.click("#start")
                await drawn(shown, 1)
                took = round(await shown.evaluate("performance.now()") - begin)
                (session,) = server.sessions.all()
                stats = session.as_dict()["stats"]
                found.append({"ms": took, "delay_ms": stats["delay_ms"], "passed_through": stats["passed_through"]})
                await shown.click("#stop")
                await shown.wait_for_selector("#start:enabled")
    return found


async def pictures_of_the_page(folder: Path) -> None:
    """The page with the real engine and the shipped presenter: desktop and phone; half edited, half as filmed."""
    config = SessionConfig(SourceSpec("presenter"), VoiceSpec("presenter"), PROFILE, PRESENTER)
    async with session_of(LocalEngine(), config) as (_, url):
        for name, size in (("live_page", DESKTOP), ("live_page_phone", PHONE)):
            async with opened(root_of(url), size) as shown:
                await drawn(shown, 4)
                await asyncio.sleep(_EDITED_S)
                await shown.evaluate("document.getElementById('slider').value = 55")
                await drawn(shown, 3)
                await shown.screenshot(path=folder / f"{name}.png", full_page=name.endswith("phone"))


@asynccontextmanager
async def opened(address: str, size: tuple[int, int], via: LossyRelay | None = None) -> AsyncIterator["Page"]:
    """A page in a browser of its own; it keeps its connections in `window.peers`.

    Args:
        address: of the page.
        size: of its window, width and height.
        via: the way that packets take to its viewer; None: the direct one.

    Raises:
        BackendError: there is no browser to drive.
    """
    try:
        from playwright.async_api import async_playwright
    except ImportError as error:
        raise BackendError("the page cannot be measured without a browser: pip install playwright") from error
    chromium = os.environ.get("LIVEDUB_CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        raise BackendError("no Chromium: install it, or name it in LIVEDUB_CHROMIUM")
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        try:
            shown = await browser.new_page(viewport={"width": size[0], "height": size[1]})
            await shown.add_init_script(_KEEP_PEERS)
            if via is not None:
                await shown.route("**/whep*", partial(_through, via))
            await shown.goto(address)
            yield shown
        finally:
            await browser.close()


async def _through(relay: LossyRelay, route: "Route") -> None:
    """Let the answer's candidates lead to the relay; the browser hides its own, so the server knows no other way."""
    answer = await route.fetch()
    text = await answer.text()
    await route.fulfill(response=answer, body=relay.answer(text) if answer.ok else text)


async def drawn(shown: "Page", more: int) -> None:
    """Wait until the page has drawn so many more pictures."""
    count = "Number(document.getElementById('picture').dataset.pictures || 0)"
    begin = int(await shown.evaluate(count))
    async with asyncio.timeout(_PATIENCE_S):
        while int(await shown.evaluate(count)) < begin + more:
            await shown.wait_for_timeout(50)


def root_of(url: str) -> str:
    """The page's address from a session's."""
    return url.partition("api/")[0]
