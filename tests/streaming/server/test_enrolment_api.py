"""A new face over the API: it passes through while it is learnt, then it is edited; it can be saved and picked."""

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from engine.errors import NoFaceError
from engine.media import VideoFrame
from streaming.engines import Profile, Quality, Tracker
from streaming.screen import Report
from tests.streaming.clips import gradient, make_video
from tests.streaming.fakes import FakeEngine
from tests.streaming.server.serving import Client, serving

pytestmark = pytest.mark.unit


class Picky(FakeEngine):
    """Sees no face anywhere."""

    def enroll(
        self, frames: Iterable[VideoFrame], quality: Quality, tracker: Tracker, report: Report, generator: str = ""
    ) -> Profile:
        raise NoFaceError(f"{len(list(frames))} frames, nobody to be seen")


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


def clip(folder: Path) -> Path:
    """A second of pictures."""
    return make_video(folder / "c.mp4", [gradient(i, 64, 48) for i in range(25)])


async def body(client: Client, folder: Path, **more: Any) -> dict[str, Any]:
    """What begins a session of a person."""
    upload = await client.upload(await asyncio.to_thread(clip, folder))
    return {"source": {"kind": "file", "upload": upload}, "consent": True, "delay_ms": 400, **more}


def test_a_new_face_passes_through_is_learnt_edited_saved_and_picked(profile: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(profile, FakeEngine(), profiles=tmp_path / "kept") as client:
            asked = await body(client, tmp_path, enroll={"name": "bob", "seconds": 1})
            place = await client.begin(**asked)
            passing = await client.when(place, lambda now: "enrolling" in now["stats"]["passed_through"])
            assert passing["speaker"] == "ann"
            assert passing["stats"]["edited"] == 0
            assert passing["enrolment"]["phase"] in ("looking", "learning")
            refused = await client.call("PATCH", place, {"speaker": "ann"})
            assert (refused.status, "is being learnt" in refused.body["error"]["message"]) == (400, True)
            second = await client.call("POST", "/api/sessions", {**asked, "enroll": {"name": "eve"}})
            assert (second.status, "one is learnt at a time" in second.body["error"]["message"]) == (429, True)
            done = await client.when(place, lambda now: now["stats"]["edited"] > 5, 240)
            assert (done["speaker"], done["enrolment"]["phase"]) == ("bob", "done")
            assert (await client.call("GET", "/api/engine")).body["speakers"] == ["ann", "bob"]
            saved = await client.call("GET", "/api/speakers/bob")
            assert (saved.status, saved.body) == (200, "draft")
            assert saved.headers["Content-Disposition"].endswith("bob.safetensors")
            assert (await client.call("PATCH", place, {"speaker": "ann"})).body["speaker"] == "ann"
            assert (await client.call("GET", "/api/speakers/nobody")).status == 400

    asyncio.run(main())
    record = json.loads((tmp_path / "kept" / "bob.json").read_text())
    assert record["consent"]["by"] == "127.0.0.1"
    assert (tmp_path / "kept" / "bob.safetensors").read_text() == "draft"


def test_a_face_that_cannot_be_learnt_goes_on_passing_through_and_says_why(profile: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(profile, Picky()) as client:
            asked = await body(client, tmp_path, enroll={"name": "bob", "seconds": 1})
            place = await client.begin(**asked)
            failed = await client.when(place, lambda now: now["enrolment"]["phase"] == "failed", 240)
            assert "nobody to be seen" in failed["enrolment"]["problem"]
            later = await client.when(place, lambda now: "not_enrolled" in now["stats"]["passed_through"])
            assert (later["state"], later["stats"]["edited"]) == ("running", 0)
            assert (await client.call("GET", "/api/engine")).body["speakers"] == ["ann"]
            assert (await client.call("PATCH", place, {"speaker": "ann"})).status == 200
            await client.when(place, lambda now: now["stats"]["edited"] > 0)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("enroll", "words"),
    [
        ({}, "enroll.name"),
        ({"name": "../x"}, "speaker's name"),
        ({"name": "ann"}, "already"),
        ({"name": "bob", "seconds": 0}, "enroll.seconds"),
        ({"name": "bob", "quality": "best"}, "enroll.quality"),
        ({"name": "bob", "more": 1}, "unknown more"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(profile: Path, enroll: dict[str, Any], words: str) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            answer = await client.call("POST", "/api/sessions", {"enroll": enroll})
            assert (answer.status, words in answer.body["error"]["message"]) == (400, True), answer.body
            both = await client.call("POST", "/api/sessions", {"enroll": {"name": "bob"}, "speaker": "ann"})
            assert "expected one of them" in both.body["error"]["message"]
            assert (await client.call("GET", "/api/sessions")).body["sessions"] == []

    asyncio.run(main())
