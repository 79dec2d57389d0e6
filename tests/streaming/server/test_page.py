"""The page in a real Chromium: begun by keyboard, before and after side by side, sound, camera, plain words.

Needs playwright and a Chromium: $LIVEDUB_CHROMIUM, or chromium on the path.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from streaming.engines import Engine
from tests.streaming.server.serving import Client, serving

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.slow

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-first-run", "--allow-loopback-in-peer-connection", "--autoplay-policy=no-user-gesture-required",
)  # fmt: skip
FAKE_DEVICES = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PIXEL = """([x, y]) => { const c = document.getElementById("picture");
  return [...c.getContext("2d").getImageData(Math.round(c.width * x), Math.round(c.height * y), 1, 1).data]; }"""


MOVE_SLIDER = """(value) => { const slider = document.getElementById("slider");
  slider.value = value;
  slider.dispatchEvent(new Event("input")); }"""
LOUDEST = """async () => { const context = new AudioContext(), analyser = context.createAnalyser();
  context.createMediaStreamSource(document.getElementById("player").srcObject).connect(analyser);
  const samples = new Float32Array(analyser.fftSize); let most = 0;
  for (let i = 0; i < 150 && most < 0.1; i++) {
    await new Promise((done) => setTimeout(done, 40));
    analyser.getFloatTimeDomainData(samples);
    most = Math.max(most, ...samples.map(Math.abs));
  }
  return most; }"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


@asynccontextmanager
async def opened(
    profile: Path, *flags: str, engine: Engine | None = None, wait: bool = True, **settings: Any
) -> AsyncIterator[tuple[Client, "Page", list[str]]]:
    """A server, its page in a browser, and what the page complained about or asked for outside."""
    chromium = os.environ.get("LIVEDUB_CHROMIUM") or shutil.which("chromium")
    playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    if chromium is None:
        pytest.skip("no Chromium: install it, or name it in LIVEDUB_CHROMIUM")
    trouble: list[str] = []
    async with serving(profile, engine, **settings) as client, playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=chromium, args=[*FLAGS, *flags])
        page = await browser.new_page(viewport={"width": 1200, "height": 900})
        own = (client.server.address, "data:", "blob:")
        page.on("pageerror", lambda error: trouble.append(f"error: {error}"))
        page.on("request", lambda r: None if r.url.startswith(own) else trouble.append(f"outside: {r.url}"))
        await page.goto(client.server.address)
        if wait:
            await page.wait_for_selector("#speaker option", state="attached")
        try:
            yield client, page, trouble
        finally:
            await browser.close()


async def pictures(page: "Page", more: int, seconds: float = 60) -> None:
    """Wait until the page has drawn so many more pictures."""
    count = "Number(document.getElementById('picture').dataset.pictures || 0)"
    begin = await page.evaluate(count)
    async with asyncio.timeout(seconds):
        while await page.evaluate(count) < begin + more:
            assert not await page.is_visible("#error"), await page.inner_text("#error")
            await page.wait_for_timeout(50)


async def says(page: "Page", place: str, words: str, seconds: float = 20) -> None:
    """Wait until a place of the page says something."""
    async with asyncio.timeout(seconds):
        while words not in (await page.text_content(place) or ""):
            await page.wait_for_timeout(50)


def test_presenter_by_keyboard_before_and_after_sound_and_the_end(profile: Path) -> None:
    async def main() -> None:
        async with opened(profile) as (client, page, trouble):
            for hidden in ("#consent-row", "#new-face", "#learning", "#graphs"):
                assert not await page.is_visible(hidden)
            assert await page.is_visible("#emotions")
            await page.focus("#start")
            await page.keyboard.press("Enter")
            await pictures(page, 10)
            assert await page.inner_text("#mark") == "edited with livedub"
            await page.click("#sound")
            await page.evaluate("document.getElementById('slider').value = 50")
            await pictures(page, 10)
            left, right = await page.evaluate(PIXEL, [0.3, 0.5]), await page.evaluate(PIXEL, [0.7, 0.5])
            assert sum(abs(a - b) for a, b in zip(left, right, strict=True)) > 60
            await page.evaluate("document.getElementById('player').pause()")
            line = []
            for value in (50, 100):
                await page.evaluate(MOVE_SLIDER, value)
                line.append(min(await page.evaluate(PIXEL, [0.5, 0.5])) == 255)
            assert line == [True, False]
            await page.evaluate("document.getElementById('player').play()")
            assert await page.evaluate(LOUDEST) > 0.02
            assert not await page.evaluate("document.getElementById('player').muted")
            await page.select_option("#emotion", "happy")
            session = client.server.sessions.all()[0]
            async with asyncio.timeout(20):
                while session.config.emotion != "happy":
                    await page.wait_for_timeout(50)
            assert "ms" in await page.inner_text("[data-of=delay_ms]")
            await page.set_viewport_size({"width": 390, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            await page.click("#stop")
            async with asyncio.timeout(20):
                while (await client.call("GET", "/api/sessions")).body["sessions"]:
                    await page.wait_for_timeout(50)
            await says(page, "#status", "not running")
            assert trouble == []

    asyncio.run(main())


def test_a_new_face_is_learnt_saved_and_picked_on_the_page(profile: Path) -> None:
    async def main() -> None:
        async with opened(profile) as (client, page, trouble):
            await page.select_option("#speaker", label="a new face: learn it live")
            await page.click("#start")
            await says(page, "#error", "Give the new face a name first.")
            await page.fill("#face-name", "bob")
            await page.click("#start")
            await pictures(page, 5)
            await says(page, "#learn-text", "the picture is not edited yet")
            await says(page, "#learn-text", "bob is learnt", 60)
            assert await page.input_value("#speaker") == "bob"
            async with page.expect_download() as saving:
                await page.click("#save-face")
            saved = await (await saving.value).path()
            assert saved.read_text() == "draft"
            await says(page, "[data-of=face]", "found, edited")
            await page.select_option("#speaker", "ann")
            async with asyncio.timeout(20):
                while client.server.sessions.all()[0].config.speaker != "ann":
                    await page.wait_for_timeout(50)
            assert trouble == []

    asyncio.run(main())


def test_a_session_that_runs_already_is_shown_and_left_alone(profile: Path) -> None:
    async def main() -> None:
        async with opened(profile) as (client, page, trouble):
            await client.begin()
            await page.reload()
            await pictures(page, 5)
            await page.click("#stop")
            await says(page, "#status", "not running")
            assert len((await client.call("GET", "/api/sessions")).body["sessions"]) == 1
            assert trouble == []

    asyncio.run(main())


def test_camera_and_microphone_go_through_and_back(profile: Path) -> None:
    async def main() -> None:
        async with opened(profile, *FAKE_DEVICES) as (_, page, trouble):
            await page.check("input[name=source][value=whip]")
            await page.check("input[name=voice][value=whip]")
            await page.click("#start")
            await page.wait_for_selector("#error:visible")
            assert "consent is needed" in await page.inner_text("#error")
            await page.check("#consent")
            await page.click("#start")
            await pictures(page, 20)
            assert trouble == []

    asyncio.run(main())


def test_another_voice_is_taken_while_it_runs_and_another_source_is_not(profile: Path) -> None:
    async def main() -> None:
        async with opened(profile, *FAKE_DEVICES) as (client, page, trouble):
            await page.check("input[name=voice][value=none]")
            await page.click("#start")
            await pictures(page, 5)
            assert await page.is_disabled("input[name=source][value=whip]")
            assert "Press Stop" in await page.inner_text("#held")
            session = client.server.sessions.all()[0]

            async def when(kind: str, senders: int) -> None:
                """Wait until the session has this voice and so many send to it."""
                async with asyncio.timeout(30):
                    while (session.config.voice.kind, len(session.publishers)) != (kind, senders):
                        await page.wait_for_timeout(50)

            await page.check("input[name=voice][value=whip]")
            await when("whip", 1)
            assert await page.evaluate(LOUDEST) > 0.02
            await page.check("input[name=voice][value=url]")
            await page.fill("#voice-url", "udp://127.0.0.1:9")
            await page.keyboard.press("Tab")
            await when("url", 0)
            await page.check("input[name=voice][value=whip]")
            await when("whip", 1)
            await page.click("#stop")
            await says(page, "#status", "not running")
            assert await page.is_enabled("input[name=source][value=whip]")
            assert not await page.is_visible("#held")
            assert trouble == []

    asyncio.run(main())


def test_without_a_camera_the_page_says_so(profile: Path) -> None:
    async def main() -> None:
        async with opened(profile, "--use-fake-ui-for-media-stream") as (client, page, _):
            await page.check("input[name=source][value=whip]")
            await page.check("#consent")
            await page.click("#start")
            await page.wait_for_selector("#error:visible")
            assert "No camera or microphone was found" in await page.inner_text("#error")
            assert (await client.call("GET", "/api/sessions")).body["sessions"] == []
            assert await page.is_enabled("#start")

    asyncio.run(main())
