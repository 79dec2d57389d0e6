"""WHIP as OBS Studio speaks it: its offer's form, the token, what its library needs in the answer, hanging up."""

import asyncio
import re
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.rtcrtpparameters import RTCRtpCodecCapability
from aiortc.rtcrtpsender import RTCRtpSender

from bench.devices import RecordedMicrophone, StampingCamera, swelling
from bench.live_sessions import ramp
from bench.receiver import NO_SERVERS, connected
from streaming.clock import LoopClock
from streaming.ingest.webrtc import brings, with_start_bitrate
from tests.streaming.server.obs import obs_offer
from tests.streaming.server.serving import Client, serving

pytestmark = pytest.mark.unit

TOKEN = "a token of OBS's own"
SDP = {"Content-Type": "application/sdp", "Authorization": f"Bearer {TOKEN}", "User-Agent": "Mozilla/5.0 (OBS-Studio)"}
WHIP = {"source": {"kind": "whip"}, "voice": {"kind": "whip"}, "consent": True, "delay_ms": 600}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


def h264() -> list[RTCRtpCodecCapability]:
    return [codec for codec in RTCRtpSender.getCapabilities("video").codecs if codec.name == "H264"]


async def studio() -> RTCPeerConnection:
    """A connection that sends sound and pictures of 320 x 240, as OBS orders them."""
    clock, peer = LoopClock(), RTCPeerConnection(NO_SERVERS)
    peer.addTransceiver(RecordedMicrophone(clock, swelling(60)), "sendonly")
    video = peer.addTransceiver(StampingCamera(clock, [ramp(320, 240).planes[0].astype("uint8")]), "sendonly")
    video.setCodecPreferences(h264())
    await peer.setLocalDescription(await peer.createOffer())
    return peer


def media_of(answer: str) -> list[str]:
    return re.split(r"^m=", answer, flags=re.MULTILINE)[1:]


def check_answer(answer: str, offer: str) -> None:
    """What libdatachannel needs: the media in their order, the payload types that were offered, our keys and ways."""
    assert [part.split(" ")[0] for part in media_of(answer)] == ["audio", "video"]
    assert re.findall(r"^a=mid:(\S+)", answer, re.MULTILINE) == re.findall(r"^a=mid:(\S+)", offer, re.MULTILINE)
    offered = [set(line.split()[3:]) for line in re.findall(r"^m=.*", offer, re.MULTILINE)]
    taken = [set(line.split()[3:]) for line in re.findall(r"^m=.*", answer, re.MULTILINE)]
    assert taken == offered
    assert "a=group:BUNDLE 0 1" in answer
    for part in media_of(answer):
        assert "a=recvonly" in part
        assert "a=rtcp-mux" in part
        assert re.search(r"^a=ice-ufrag:\S+", part, re.MULTILINE)
        assert re.search(r"^a=fingerprint:sha-256 ", part, re.MULTILINE)
        assert re.search(r"^a=setup:(active|passive)\r?$", part, re.MULTILINE)
    assert "a=candidate:" in media_of(answer)[0]
    assert re.search(r"^a=fmtp:\d+ .*packetization-mode=1", answer, re.MULTILINE)


def test_pictures_and_sound_of_obs_come_in_and_go_out_edited(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile) as client:
            created = await client.call("POST", "/api/sessions", WHIP)
            place = created.body["links"]["self"]
            peer = await studio()
            offer = obs_offer(peer.localDescription.sdp)
            answer = await client.call("POST", f"{place}/whip", data=offer, headers=SDP)
            assert answer.status == 201, answer.body
            assert answer.headers["Content-Type"].startswith("application/sdp")
            check_answer(answer.body, offer)
            await peer.setRemoteDescription(RTCSessionDescription(answer.body, "answer"))
            await connected(peer)
            await client.when(place, lambda now: bool(now["stats"]) and now["stats"]["edited"] >= 10)
            session = client.server.sessions.all()[0]
            assert session.as_dict()["publishers"] == 1
            ended = await client.call("DELETE", answer.headers["Location"], headers=SDP)
            assert (ended.status, session.as_dict()["publishers"]) == (200, 0)
            await peer.close()

    asyncio.run(main())


def test_obs_without_its_token_is_refused_and_says_so(profile: Path) -> None:
    async def main() -> None:
        async with serving(profile, token=TOKEN) as client:
            headers = {**SDP, "Authorization": "Bearer wrong"}
            answer = await client.call("POST", "/api/sessions/x/whip", data="v=0", headers=headers)
            assert (answer.status, answer.body["error"]["message"]) == (401, "the bearer token is missing or wrong")

    asyncio.run(main())


async def offered(client: Client, offer: str) -> int:
    """The status of the answer to an offer, in a session that wants pictures and sound."""
    created = await client.call("POST", "/api/sessions", WHIP)
    place = created.body["links"]["self"]
    answer = await client.call("POST", f"{place}/whip", data=offer, headers=SDP)
    await client.call("DELETE", place)
    return answer.status


def test_offers_of_obs_that_lack_something_are_refused_or_answered_but_never_break_the_server(profile: Path) -> None:
    async def main() -> dict[str, int]:
        async with serving(profile) as client:
            peer = await studio()
            whole = obs_offer(peer.localDescription.sdp)
            kinds = {
                "whole": whole,
                "no fingerprint": re.sub(r"a=fingerprint.*\r\n", "", whole),
                "no user": re.sub(r"a=ice-ufrag.*\r\n", "", whole),
                "no bundle": re.sub(r"a=group:BUNDLE.*\r\n", "", whole),
                "av1 only": whole.replace("H264/90000", "AV1/90000"),
                "sound only": whole.partition("m=video")[0].replace("BUNDLE 0 1", "BUNDLE 0"),
                "cut short": whole[: len(whole) // 2],
            }
            found = {name: await offered(client, offer) for name, offer in kinds.items()}
            assert (await client.call("GET", "/healthz")).body == {"ok": True}
            assert (await client.call("GET", "/api/sessions")).body == {"sessions": []}
            await peer.close()
            return found

    found = asyncio.run(main())
    assert [name for name, status in found.items() if status == 201] == ["whole", "no bundle", "sound only"]
    assert {status for status in found.values() if status != 201} == {400}


def test_the_start_bitrate_is_told_for_the_payload_types_of_obs() -> None:
    answer = "v=0\r\nm=video 9 X 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=recvonly\r\n"
    lines = with_start_bitrate(answer).splitlines()
    assert [line for line in lines if "x-google" in line] == [
        "a=fmtp:96 packetization-mode=1;x-google-start-bitrate=2500;x-google-min-bitrate=800"
    ]
    assert lines[-1] == "a=recvonly"
    vp8 = with_start_bitrate("v=0\r\nm=video 9 X 97\r\na=rtpmap:97 VP8/90000\r\n").splitlines()
    assert vp8[-1].startswith("a=fmtp:97 x-google-start-bitrate")
    assert brings("v=0\r\nm=video 0 X 96\r\na=inactive\r\n", "video") is False
