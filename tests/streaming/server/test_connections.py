"""Real WebRTC connections on this machine, in real time: out, in, together, in step."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from numpy.typing import NDArray

from bench.devices import RecordedMicrophone, StampingCamera, swelling
from bench.live_figures import offset_of
from bench.receiver import NO_SERVERS, Received, connected, watching
from streaming.clock import LoopClock
from streaming.ingest.webrtc import brings
from streaming.live.media import SOUND_RATE
from streaming.rtc import without_hidden
from tests.streaming.clips import gradient, make_video
from tests.streaming.server.serving import Client, serving, write_wav

pytestmark = pytest.mark.unit


CLOCK = LoopClock()


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


def grey(level: int) -> NDArray[np.uint8]:
    """A plain picture."""
    return np.full((240, 320), level, np.uint8)


def small_clip(folder: Path) -> Path:
    """Two seconds of 160 x 120."""
    return make_video(folder / "c.mp4", [gradient(i, 160, 120) for i in range(50)])


async def begin(client: Client, folder: Path, voice: NDArray[np.float32] | None = None) -> str:
    """A session of a small clip, with a voice or none."""
    clip = await client.upload(await asyncio.to_thread(small_clip, folder))
    body: dict[str, Any] = {"source": {"kind": "file", "upload": clip}, "consent": True, "delay_ms": 600}
    if voice is not None:
        body["voice"] = {"kind": "file", "upload": await client.upload(write_wav(folder / "v.wav", voice))}
    return await client.begin(**body)


def test_a_viewer_sees_edited_pictures_and_hears_their_voice_in_step(profile: Path, tmp_path: Path) -> None:
    async def main() -> Received:
        async with serving(profile) as client:
            place = await begin(client, tmp_path, swelling(20))
            async with watching(client.url(place)) as got:
                await got.seen(80)
            assert got.headers["Livedub-Edited"] == "1"
            assert "a=x-livedub-edited:1" in got.answer
            assert "H264" in got.answer
            return got

    got = asyncio.run(main())
    steps = np.diff([at for _, at, _ in got.sounds])
    assert np.allclose(steps, 0.02)
    offset = offset_of(got, 0, len(got.pictures))
    assert offset is not None
    assert abs(offset) <= 20


def test_viewers_without_h264_get_vp8_and_several_watch_at_once(profile: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(profile, max_viewers=3) as client:
            place = await begin(client, tmp_path)
            async with (
                watching(client.url(place), prefer="VP8") as old,
                watching(client.url(place)) as new,
                watching(client.url(place), view="compare") as both,
            ):
                with pytest.raises(AssertionError, match="as many as are allowed"):
                    async with watching(client.url(place)):
                        pass
                for got in (old, new, both):
                    await got.seen(10)
                session = (await client.call("GET", place)).body
                assert session["viewers"] == 3
                assert set(session["encoders"]) == {"VP8 edited", "H264 edited", "H264 compare"}
            assert "VP8" in old.answer
            assert both.pictures[0][2].shape[1] == 2 * new.pictures[0][2].shape[1]
            await client.when(place, lambda now: now["viewers"] == 0)

    asyncio.run(main())


def test_ending_a_session_ends_its_viewers(profile: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await begin(client, tmp_path)
            async with watching(client.url(place)) as got:
                await got.seen(5)
                assert (await client.call("DELETE", place)).status == 204
                await got.when(lambda: got.ended == {"video", "audio"})

    asyncio.run(main())


async def publish(client: Client, place: str, *tracks: MediaStreamTrack) -> tuple[RTCPeerConnection, str]:
    """Send tracks over WHIP; gives the connection and its address."""
    peer = RTCPeerConnection(NO_SERVERS)
    for track in tracks:
        peer.addTrack(track)
    await peer.setLocalDescription(await peer.createOffer())
    headers = {"Content-Type": "application/sdp"}
    answer = await client.call("POST", f"{place}/whip", data=peer.localDescription.sdp, headers=headers)
    assert answer.status == 201, answer.body
    await peer.setRemoteDescription(RTCSessionDescription(answer.body, "answer"))
    return peer, answer.headers["Location"]


def test_a_camera_and_a_microphone_come_in_and_go_out_edited(profile: Path, tmp_path: Path) -> None:
    async def main() -> Received:
        async with serving(profile) as client:
            body = {"source": {"kind": "whip"}, "voice": {"kind": "whip"}, "consent": True, "delay_ms": 600}
            place = (await client.call("POST", "/api/sessions", body)).body["links"]["self"]
            devices = StampingCamera(CLOCK, [grey(60), grey(90)]), RecordedMicrophone(CLOCK, swelling(30))
            peer, address = await publish(client, place, *devices)
            await client.when(place, lambda now: now["state"] == "running")
            async with watching(client.url(place)) as got:
                await got.seen(75)
            assert (await client.call("DELETE", address)).status == 200
            assert (await client.call("GET", place)).body["publishers"] == 0
            await peer.close()
            return got

    got = asyncio.run(main())
    assert got.pictures[-1][2].shape == (240, 320)
    assert np.abs(got.sound()[-SOUND_RATE:]).max() > 0.1
    offset = offset_of(got, 0, len(got.pictures))
    assert offset is not None
    assert abs(offset) <= 20


def test_an_offer_that_brings_what_is_not_wanted_is_refused(profile: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await begin(client, tmp_path)
            peer = RTCPeerConnection(NO_SERVERS)
            peer.addTrack(RecordedMicrophone(CLOCK, swelling(1)))
            await peer.setLocalDescription(await peer.createOffer())
            headers = {"Content-Type": "application/sdp"}
            answer = await client.call("POST", f"{place}/whip", data=peer.localDescription.sdp, headers=headers)
            assert (answer.status, "wants nothing over WHIP" in answer.body["error"]["message"]) == (400, True)
            await peer.close()

    asyncio.run(main())


def test_an_offer_without_candidates_is_answered(profile: Path, tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            place = await begin(client, tmp_path)
            peer = RTCPeerConnection(NO_SERVERS)
            peer.addTransceiver("video", direction="recvonly")
            await peer.setLocalDescription(await peer.createOffer())
            lines = [line for line in peer.localDescription.sdp.splitlines() if "candidate" not in line]
            offer = "\r\n".join([*lines, ""])
            headers = {"Content-Type": "application/sdp"}
            answer = await client.call("POST", f"{place}/whep", data=offer, headers=headers)
            assert (answer.status, "a=candidate" in answer.body) == (201, True)
            await peer.setRemoteDescription(RTCSessionDescription(answer.body, "answer"))
            await client.when(place, lambda now: now["viewers"] == 1)
            await connected(peer)
            await peer.close()

    asyncio.run(main())


def test_hidden_addresses_of_browsers_are_not_looked_up() -> None:
    seen = "a=candidate:1 1 udp 2113937151 192.0.2.1 5000 typ host\r\n"
    hidden = "a=candidate:2 1 udp 2113937151 0b2c-4d.local 5001 typ host generation 0 network-cost 999\r\n"
    assert without_hidden(f"v=0\r\n{seen}{hidden}a=mid:0\r\n") == f"v=0\r\n{seen}a=mid:0\r\n"


def test_media_of_a_bundle_are_brought_though_their_port_is_zero() -> None:
    offer = "v=0\r\nm=video 9 X 96\r\na=mid:0\r\nm=audio 0 X 97\r\na=bundle-only\r\n"
    assert brings(offer, "video")
    assert brings(offer, "audio")
    refused = offer.replace("a=bundle-only\r\n", "")
    assert (brings(refused, "video"), brings(refused, "audio")) == (True, False)
