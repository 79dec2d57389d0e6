"""The HTTP API: what it takes, what it refuses and how, limits, the page, shutting down."""

import asyncio
import io
import threading
from pathlib import Path
from typing import Any

import pytest

from engine.errors import BadInputError
from streaming.engines import OpenedSession, Profile
from streaming.server.app import WEB
from streaming.server.settings import ServerSettings
from tests.streaming.clips import make_wav, tone
from tests.streaming.fakes import FakeEngine
from tests.streaming.server.serving import Client, serving

pytestmark = pytest.mark.unit

PRESENTER = {"source": {"kind": "presenter"}, "delay_ms": 400}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


def test_a_session_from_its_beginning_to_its_end(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await client.begin(**PRESENTER)
            shown = (await client.call("GET", place)).body
            assert (shown["speaker"], shown["edited_with"], shown["stats"]["delay_ms"]) == ("ann", "livedub", 400)
            listed = (await client.call("GET", "/api/sessions")).body["sessions"]
            assert [each["id"] for each in listed] == [shown["id"]]
            assert (await client.call("DELETE", place)).status == 204
            assert (await client.call("GET", place)).status == 404
            assert (await client.call("DELETE", place)).status == 404

    asyncio.run(main())


def test_effort_and_voice_change_while_it_runs(profile: Path, tmp_path: Path) -> None:
    engine = FakeEngine()

    async def main() -> None:
        async with serving(profile, engine) as client:
            place = await client.begin(**PRESENTER, effort=2)
            sound = await client.upload(make_wav(tmp_path / "v.wav", tone(0.5, 16000), 16000))
            body = {"effort": 3, "voice": {"kind": "file", "upload": sound, "repeat": False}}
            changed = await client.call("PATCH", place, body)
            assert (changed.status, changed.body["effort"], changed.body["voice"]) == (200, 3, "file")
            happy = (await client.call("PATCH", place, {"emotion": "happy"})).body
            assert (happy["emotion"], happy["intensity"]) == ("happy", 1.0)
            less = (await client.call("PATCH", place, {"intensity": 0.5})).body
            assert (less["emotion"], less["intensity"]) == ("happy", 0.5)
            for wrong in ({"emotion": "bored"}, {"intensity": 2}, {"intensity": True}, {}):
                assert (await client.call("PATCH", place, wrong)).status == 400
            assert (await client.call("POST", f"{place}/interrupt")).status == 204
            assert (await client.call("PATCH", place, {"voice": {"kind": "presenter"}})).status == 200

    asyncio.run(main())
    assert engine.asked == [(2, "mesh")]
    assert engine.live_sessions[0].emotions == [("happy", 1.0), ("happy", 0.5)]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"source": {"kind": "whip"}}, "consent is needed"),
    ({"source": {"kind": "whip"}, "consent": "yes"}, "consent is needed"),
    ({"source": {"kind": "tv"}}, "source.kind is 'tv'; expected one of presenter, file, url, camera, whip"),
    ({"source": {"kind": "file", "upload": "../../etc/passwd"}, "consent": True}, "no file of this name"),
    ({"source": {"kind": "file"}, "consent": True}, "source.upload: got NoneType"),
    ({"source": {"kind": "url", "url": "file:///etc/passwd"}, "consent": True}, "expected an address with rtsp://"),
    ({"source": {"kind": "url", "url": "http://10.0.0.1/x"}, "consent": True}, "expected an address with rtsp://"),
    ({"speaker": "bob"}, "speaker is 'bob'; expected one of ann"),
    ({"effort": 99}, "effort is 99; expected a whole number from 0 to 4"),
    ({"effort": True}, "effort is True"),
    ({"emotion": "bored"}, "emotion is 'bored'; expected one of neutral, happy"),
    ({"intensity": -1}, "intensity is -1"),
    ({"delay_ms": 410}, "multiple of 20"),
    ({"colour": "red"}, "unknown colour"),
    ({"voice": {"kind": "file", "upload": 5}}, "voice.upload: got int"),
    ({"voice": {"kind": "none", "repeat": 1}}, "voice.repeat is 1"),
    ({"voice": {"kind": "url", "url": "file:///etc/passwd"}}, "voice.url: expected an address with rtsp://"),
    ({"source": {"kind": "camera"}, "consent": True}, "offers no camera of its own"),
    ({"source": []}, "source: got list, expected an object"),
]


def test_what_cannot_be_is_refused_in_plain_words(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            for body, words in REFUSED:
                answer = await client.call("POST", "/api/sessions", body)
                assert (answer.status, words in answer.body["error"]["message"]) == (400, True), (body, answer.body)
            assert (await client.call("GET", "/api/sessions")).body == {"sessions": []}

    asyncio.run(main())


def test_bodies_that_are_something_else(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            json_type = {"Content-Type": "application/json"}
            broken = await client.call("POST", "/api/sessions", data=b"{", headers=json_type)
            assert (broken.status, "not JSON" in broken.body["error"]["message"]) == (400, True)
            deep = await client.call("POST", "/api/sessions", data=b"[" * 100_000, headers=json_type)
            assert deep.status == 400
            huge = await client.call("POST", "/api/sessions", data=b" " * 300_000, headers=json_type)
            assert huge.status == 413
            plain = await client.call("POST", "/api/sessions", data=b"{}", headers={"Content-Type": "text/plain"})
            assert plain.status == 415
            assert (await client.call("PUT", "/api/sessions")).status == 405
            assert (await client.call("GET", "/api/nothing")).status == 404

    asyncio.run(main())


def test_offers_that_are_none(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await client.begin(**PRESENTER)
            sdp = {"Content-Type": "application/sdp"}
            for kind in ("whep", "whip"):
                for offer in (b"", b"hello", b"\xff\xfe", b"v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"):
                    answer = await client.call("POST", f"{place}/{kind}", data=offer, headers=sdp)
                    assert answer.status == 400, (kind, offer, answer.body)
                assert (await client.call("POST", f"{place}/{kind}", data=b"v=0")).status == 415
                assert (await client.call("DELETE", f"{place}/{kind}/nobody")).status == 404
                assert (await client.call("PATCH", f"{place}/{kind}/nobody")).status == 405
            answer = await client.call("POST", f"{place}/whep?view=all", data=b"v=0", headers=sdp)
            assert (answer.status, "view is 'all'" in answer.body["error"]["message"]) == (400, True)
            assert (await client.call("GET", place)).body["viewers"] == 0

    asyncio.run(main())


def test_a_viewer_that_comes_too_early_is_told_to_come_again(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            answer = await client.call("POST", "/api/sessions", {"source": {"kind": "whip"}, "consent": True})
            place = answer.body["links"]["self"]
            early = await client.call("POST", f"{place}/whep", data=b"v=0", headers={"Content-Type": "application/sdp"})
            assert (early.status, early.headers["Retry-After"]) == (503, "1")
            assert "the session is" in early.body["error"]["message"]

    asyncio.run(main())


def test_sessions_are_limited(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile, max_sessions=1) as client:
            place = await client.begin(**PRESENTER)
            full = await client.call("POST", "/api/sessions", PRESENTER)
            assert (full.status, "as many as are allowed" in full.body["error"]["message"]) == (429, True)
            await client.call("DELETE", place)
            await client.begin(**PRESENTER)

    asyncio.run(main())


def test_uploads_are_limited_and_the_oldest_goes(profile: Path) -> None:
    async def main() -> None:
        raw = {"Content-Type": "application/octet-stream"}
        async with serving(profile, max_upload_mb=1, max_uploads=2) as client:
            big = await client.call("POST", "/api/uploads", data=io.BytesIO(b"x" * 1_500_000), headers=raw)
            assert big.status == 413
            empty = await client.call("POST", "/api/uploads", data=b"", headers=raw)
            assert empty.status == 400
            names = []
            for _ in range(3):
                sent = await client.call("POST", "/api/uploads", data=b"no sound", headers=raw)
                names.append(sent.body["upload"])
            messages = [
                (await client.call("POST", "/api/sessions", {"voice": {"kind": "file", "upload": n}})).body["error"]
                for n in names
            ]
            assert "no file of this name" in messages[0]["message"]
            assert [message["kind"] for message in messages[1:]] == ["MediaError", "MediaError"]

    asyncio.run(main())


def test_a_voice_that_is_no_sound_is_refused_and_nothing_is_left(profile: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            text = tmp_path / "t"
            text.write_text("not a sound")
            name = await client.upload(text)
            answer = await client.call("POST", "/api/sessions", {"voice": {"kind": "file", "upload": name}})
            assert (answer.status, answer.body["error"]["kind"]) == (400, "MediaError")
            assert answer.body["error"]["message"].startswith("the file that was sent: not a readable media file")
            place = await client.begin(**PRESENTER)
            changed = await client.call("PATCH", place, {"voice": {"kind": "file", "upload": name}})
            assert changed.body["error"]["message"].startswith("the file that was sent: not a readable media file")
            await client.call("DELETE", place)
            assert (await client.call("GET", "/api/sessions")).body == {"sessions": []}

    asyncio.run(main())


def test_a_token_is_needed_where_one_is_set(profile: Path) -> None:
    token = "t" * 16

    async def main() -> None:
        async with serving(profile, token=token) as client:
            for given in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": token}):
                answer = await client.call("GET", "/api/sessions", headers=given)
                assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, 'Bearer realm="livedub"')
                assert (await client.call("GET", "/metrics", headers=given)).status == 401
            right = {"Authorization": f"Bearer {token}"}
            assert (await client.call("GET", "/api/sessions", headers=right)).status == 200
            assert (await client.call("GET", "/")).status == 200

    asyncio.run(main())


def test_beyond_loopback_a_token_is_required() -> None:
    with pytest.raises(BadInputError, match="LIVEDUB_TOKEN"):
        ServerSettings(host="0.0.0.0")
    assert ServerSettings(host="0.0.0.0", token="x" * 16).token
    with pytest.raises(BadInputError, match="at least 16"):
        ServerSettings(token="short")
    assert "x" * 16 not in repr(ServerSettings(token="x" * 16))


def test_other_pages_and_other_names_are_kept_out(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            foreign = await client.call("GET", "/api/sessions", headers={"Origin": "http://evil.example"})
            assert foreign.status == 403
            assert "Access-Control-Allow-Origin" not in foreign.headers
            rebound = await client.call("GET", "/api/sessions", headers={"Host": "evil.example:80"})
            assert rebound.status == 403
            own = await client.call("GET", "/api/sessions", headers={"Origin": client.server.address.rstrip("/")})
            assert own.status == 200

    asyncio.run(main())


def test_calls_are_limited(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile, calls_per_minute=5) as client:
            statuses = [(await client.call("GET", "/api/sessions")).status for _ in range(8)]
            assert statuses[:5] == [200] * 5
            assert statuses[-1] == 429

    asyncio.run(main())


async def described(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = (await client.call("GET", "/api/openapi.json")).body
    return found


def test_the_description_has_every_address_and_what_the_engine_offers(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            api = await described(client)
            router = client.server._runner.app.router
            served = {r.resource.canonical for r in router.routes() if r.resource is not None}
            served -= {"/", "/web/{name}", "/api/openapi.json"}
            assert served == set(api["paths"])
            new = api["components"]["schemas"]["NewSession"]["properties"]
            assert new["effort"]["maximum"] == 4
            engine = (await client.call("GET", "/api/engine")).body
            assert (engine["emotions"], engine["max_effort"]) == (["neutral", "happy"], 4)
            assert engine["speakers"] == ["ann"]

    asyncio.run(main())


def test_a_server_makes_its_speakers_ready_and_a_session_of_theirs_waits_for_that(profile: Path) -> None:
    """The engine's answer and the figures tell it; the session needs one trial edit instead of three."""
    slow = SlowEngine()

    async def main() -> None:
        async with serving(profile, slow, ready=("ann",)) as client:
            engine = (await client.call("GET", "/api/engine")).body
            assert (engine["ready"], engine["preparing"]["what"]) == ([], "preparing ann")
            assert "livedub_preparing 1\n" in (await client.call("GET", "/metrics")).body
            answer = await client.call("POST", "/api/sessions", PRESENTER)
            place = answer.body["links"]["self"]
            waiting = await client.when(place, lambda now: now["loading"] is not None)
            assert waiting["loading"]["what"] == "preparing ann"
            slow.go_on.set()
            opened = await client.when(place, lambda now: (now["loading"] or {}).get("what") != "preparing ann")
            assert (opened["loading"] or {"total": 2})["total"] == 2
            await client.when(place, lambda now: now["state"] == "running")
            engine = (await client.call("GET", "/api/engine")).body
            assert (engine["ready"], engine["preparing"]) == (["ann"], None)
            assert "livedub_ready_speakers 1\n" in (await client.call("GET", "/metrics")).body

    asyncio.run(main())


class SlowEngine(FakeEngine):
    """Takes its time to begin."""

    def __init__(self) -> None:
        """Until it is told to go on."""
        super().__init__()
        self.go_on = threading.Event()

    def live(self, profile: Profile, effort: int | None) -> OpenedSession:
        assert self.go_on.wait(60)
        return super().live(profile, effort)


def test_only_speakers_that_are_known_can_be_made_ready(profile: Path) -> None:
    profile.write_text("full")
    with pytest.raises(BadInputError, match="make ready: got bob, eve"):
        ServerSettings(speakers={"ann": profile}, ready=("eve", "ann", "bob"))


def test_the_page_comes_out_of_the_package_and_asks_for_nothing_outside(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            page = await client.call("GET", "/")
            assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
            for name in ("../pyproject.toml", "..%2fcli.py", "index", ".html", "%2e%2e/app.py"):
                assert (await client.call("GET", f"/web/{name}")).status in (403, 404)

    asyncio.run(main())
    for file in WEB.iterdir():
        assert "http://" not in (text := file.read_text()).replace("http://www.w3.org/2000/svg", ""), file
        assert "https://" not in text, file


def test_figures_for_prometheus(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await client.begin(**PRESENTER)
            text = (await client.call("GET", "/metrics")).body
            name = place.rsplit("/", 1)[1]
            assert "livedub_sessions 1\n" in text
            assert f'livedub_delay_seconds{{session="{name}"}} 0.4\n' in text
            assert (await client.call("GET", "/healthz")).body == {"ok": True}

    asyncio.run(main())


def test_turn_servers_and_their_credentials_are_told(profile: Path) -> None:
    from streaming.rtc import IceServer

    server = IceServer.parse("turn:ann:secret@turn.local:3478?transport=udp")

    async def main() -> None:
        async with serving(profile, ice_servers=(server,)) as client:
            place = await client.begin(**PRESENTER)
            answer = await client.call("OPTIONS", f"{place}/whep")
            assert answer.status == 204
            assert answer.headers["Link"] == (
                '<turn:turn.local:3478?transport=udp>; rel="ice-server"; username="ann"; credential="secret"; '
                'credential-type="password"'
            )

    asyncio.run(main())
    assert "secret" not in repr(server)
    for wrong in ("turn:host", "http://x", "turn:a:b@", "stun:"):
        with pytest.raises(BadInputError, match="ICE server"):
            IceServer.parse(wrong)


def test_a_taken_port_is_said_in_one_line(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            port = int(client.server.address.rsplit(":", 1)[1].strip("/"))
            with pytest.raises(BadInputError, match="cannot listen on"):
                async with serving(profile, port=port):
                    raise AssertionError("it listens")

    asyncio.run(main())
