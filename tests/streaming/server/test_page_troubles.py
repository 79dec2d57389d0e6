"""The page in a real Chromium: by keyboard alone, on a phone, and what it says in each kind of trouble.

Needs playwright and a Chromium: $LIVEDUB_CHROMIUM, or chromium on the path.
"""

import asyncio
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from streaming.engines import OpenedSession, Profile
from streaming.rtc import IceServer
from tests.streaming.fakes import FakeEngine
from tests.streaming.server.test_page import opened, pictures, says

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

pytestmark = pytest.mark.slow

FOCUSED = """() => { const e = document.activeElement, s = getComputedStyle(e);
  const name = e.id || (e.name && `${e.name}=${e.value}`) || e.tagName;
  return [name, s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2]; }"""
SMALL = """() => [...document.querySelectorAll("button, select, label:has(> input[type=radio])")]
  .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 44).map((e) => e.id || e.textContent)"""
UNNAMED = """() => [...document.querySelectorAll("button, input, select, canvas[role], progress")]
  .filter((e) => !(e.labels?.length || e.getAttribute("aria-label") || e.textContent.trim())).map((e) => e.outerHTML)"""
IN_SIGHT = """(id) => { const box = document.getElementById(id).getBoundingClientRect();
  return box.top > -20 && box.top < innerHeight / 2 || box.bottom <= innerHeight && box.top >= 0; }"""
OVERFLOW = "document.documentElement.scrollWidth - innerWidth"


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


def without_candidates(sdp: str) -> str:
    """An offer or answer that does not say where its sender is."""
    return "".join(line for line in sdp.splitlines(keepends=True) if "candidate" not in line)


async def tabbed(page: "Page", most: int = 40) -> list[str]:
    """What the tab key reaches from the top of the page, each of it seen to be chosen."""
    reached: list[str] = []
    await page.evaluate("document.activeElement.blur()")
    for _ in range(most):
        await page.keyboard.press("Tab")
        name, is_seen = await page.evaluate(FOCUSED)
        if name == "BODY" or name in reached:
            break
        assert is_seen, f"{name}: nothing shows that it is chosen"
        reached.append(name)
    return reached


def test_everything_can_be_done_by_keyboard_and_has_a_name(profile: Path) -> None:
    async def main() -> None:
        async with opened(profile) as (client, page, trouble):
            idle = await tabbed(page)
            wanted = ["source=presenter", "speaker", "voice=presenter", "effort", "emotion", "intensity", "start"]
            assert idle == wanted
            assert await page.evaluate(UNNAMED) == []
            await page.focus("input[name=source][value=presenter]")
            await page.keyboard.press("ArrowDown")
            assert await page.is_checked("input[name=source][value=whip]")
            assert await page.is_visible("#consent-row")
            await page.keyboard.press("ArrowUp")
            await page.focus("#start")
            await page.keyboard.press("Enter")
            await pictures(page, 5)
            await page.focus("#slider")
            for _ in range(3):
                await page.keyboard.press("ArrowLeft")
            assert await page.input_value("#slider") == "97"
            await page.focus("#emotion")
            await page.keyboard.press("ArrowDown")
            async with asyncio.timeout(20):
                while client.server.sessions.all()[0].config.emotion != "happy":
                    await page.wait_for_timeout(50)
            await page.focus("#sound")
            await page.keyboard.press("Space")
            assert await page.get_attribute("#sound", "aria-pressed") == "true"
            await page.focus("#stop")
            await page.keyboard.press("Enter")
            await says(page, "#status", "not running")
            assert trouble == []

    asyncio.run(main())


@pytest.mark.parametrize(("width", "height"), [(320, 568), (390, 844)])
def test_on_a_phone_nothing_is_cut_off_and_everything_is_large_enough_for_a_finger(
    profile: Path, width: int, height: int
) -> None:
    async def main() -> None:
        async with opened(profile) as (_, page, _trouble):
            await page.set_viewport_size({"width": width, "height": height})
            assert await page.evaluate(OVERFLOW) <= 0
            assert await page.evaluate(SMALL) == []
            await page.check("input[name=source][value=url]")
            await page.fill("#source-url", "rtsp://" + "a-very-long-name." * 12)
            await page.click("#start")
            await page.wait_for_selector("#error:visible")
            assert "consent is needed" in await page.inner_text("#error")
            assert await page.evaluate(OVERFLOW) <= 0
            assert await page.evaluate(IN_SIGHT, "error")
            await page.check("input[name=source][value=presenter]")
            assert not await page.is_visible("#error")
            await page.click("#start")
            await pictures(page, 5)
            assert await page.evaluate(IN_SIGHT, "picture")
            assert await page.evaluate(OVERFLOW) <= 0
            assert await page.evaluate(SMALL) == []
            shown = await page.locator("#picture").bounding_box()
            assert shown is not None
            assert width - 40 <= shown["width"] <= width

    asyncio.run(main())


class Slow(FakeEngine):
    """Begins a live dub when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.let = threading.Event()

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        assert self.let.wait(60)
        return super().live(profile, effort)


def test_loading_shows_what_is_done_and_how_far_it_is(profile: Path) -> None:
    engine = Slow()

    async def main() -> None:
        async with opened(profile, engine=engine) as (_, page, _trouble):
            await page.click("#start")
            await says(page, "#status", "loading: opening the speaker's profile (0 of 4)")
            assert await page.is_visible("#load-bar")
            engine.let.set()
            await pictures(page, 3)
            await says(page, "#status", "live")
            assert not await page.is_visible("#load-bar")

    asyncio.run(main())


def test_the_page_says_how_far_the_server_is_before_anything_is_begun(profile: Path) -> None:
    engine = Slow()

    async def main() -> None:
        async with opened(profile, engine=engine, ready=("ann",)) as (_, page, trouble):
            await says(page, "#status", "not running; the server is preparing ann (0 of 4)")
            assert await page.text_content("#hint") == "Choose a source and press Start."
            await page.click("#start")
            await says(page, "#hint", "loading: preparing ann (0 of 4)")
            engine.let.set()
            await pictures(page, 3)
            await page.click("#stop")
            await says(page, "#status", "ready")
            assert trouble == []

    asyncio.run(main())


def test_after_a_failure_nothing_of_the_session_before_is_left_to_see(profile: Path) -> None:
    """Not its figures, its mark or its last picture; what was stopped and begun again at once runs."""
    blank = """() => { const c = document.getElementById("picture");
      return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.every((value) => value === 0); }"""

    async def main() -> None:
        async with opened(profile, "--use-fake-ui-for-media-stream", ready=("ann",)) as (client, page, trouble):
            await page.click("#start")
            await pictures(page, 3)
            await page.click("#stop")
            await page.click("#start")
            await pictures(page, 3)
            assert not await page.evaluate(blank)
            await page.click("#stop")
            await page.check("input[name=source][value=whip]")
            await page.check("#consent")
            await page.click("#start")
            await says(page, "#error", "No camera or microphone was found")
            await says(page, "#status", "ready")
            assert [await page.is_visible(part) for part in ("#graphs", "#mark", "#compare", "#playback")] == [
                False
            ] * 4
            assert await page.evaluate(blank) and await page.is_visible("#hint")
            assert (await client.call("GET", "/api/sessions")).body["sessions"] == []
            assert trouble == []

    asyncio.run(main())


def test_a_browser_that_may_not_use_the_camera_says_so(profile: Path) -> None:
    async def main() -> None:
        async with opened(profile, "--use-fake-device-for-media-stream") as (client, page, _):
            await page.check("input[name=source][value=whip]")
            await page.check("#consent")
            await page.click("#start")
            await says(page, "#error", "The browser may not use the camera or microphone")
            assert (await client.call("GET", "/api/sessions")).body["sessions"] == []

    asyncio.run(main())


def test_what_is_missing_or_too_large_is_said_before_anything_is_sent(profile: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(1_100_000))
    text = tmp_path / "text.wav"
    text.write_text("no sound")

    async def main() -> None:
        async with opened(profile, max_upload_mb=1) as (client, page, _):
            await page.check("input[name=source][value=file]")
            await page.click("#start")
            await says(page, "#error", "Choose a video file first.")
            await page.set_input_files("#source-file", large)
            await page.click("#start")
            await says(page, "#error", "larger than 1 MB")
            await page.check("input[name=source][value=presenter]")
            await page.check("input[name=voice][value=file]")
            await page.set_input_files("#voice-file", text)
            await page.click("#start")
            await says(page, "#error", "the file that was sent: not a readable media file")
            assert (await client.call("GET", "/api/sessions")).body["sessions"] == []
            assert await page.is_enabled("#start")

    asyncio.run(main())


def test_a_full_server_a_lost_token_and_a_server_that_is_gone_are_said(profile: Path) -> None:
    async def main() -> None:
        async with opened(profile, max_sessions=1) as (client, page, _):
            first = await client.begin(source={"kind": "presenter"}, voice={"kind": "none"}, delay_ms=400)
            await page.click("#start")
            await says(page, "#error", "as many as are allowed")
            await client.call("DELETE", first)
            await page.click("#start")
            await pictures(page, 5)
            await client.server._close()
            await says(page, "#error", "The server does not answer. Is livedub still running?", 30)
            assert await page.is_enabled("#start")
        async with opened(profile, token="t" * 16, wait=False) as (client, page, _):
            await says(page, "#error", "The server wants a token: open this page as /#token=YOUR-TOKEN.")

    asyncio.run(main())


@pytest.mark.parametrize(("servers", "words"), [
    ((), "Behind a firewall the server needs --ice-server"),
    ((IceServer.parse("turn:ann:right@127.0.0.1:9?transport=tcp"),), "its TURN server gave no address"),
])  # fmt: skip
def test_where_no_way_leads_to_the_server_the_page_says_why(
    profile: Path, servers: tuple[IceServer, ...], words: str
) -> None:
    async def main() -> None:
        async with opened(profile, ice_servers=servers) as (_, page, _trouble):

            async def elsewhere(route: "Route") -> None:
                """Let the offer lead nowhere, and the answer to a port where nobody listens."""
                offer = without_candidates(route.request.post_data or "")
                answer = await route.fetch(post_data=offer)
                sdp = without_candidates(await answer.text())
                nowhere = "a=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n"
                await route.fulfill(response=answer, body=sdp + nowhere)

            await page.route("**/whep*", elsewhere)
            await page.click("#start")
            await says(page, "#error", words, 90)

    asyncio.run(main())
