"""Connections: what closes them and who is told, ICE servers in words, what an offer holds."""

import asyncio
import logging

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription
from hypothesis import given, settings
from hypothesis import strategies as st

import streaming.rtc as rtc_module
from bench.receiver import NO_SERVERS, connected
from engine.errors import BadInputError
from streaming import aiortc_compat
from streaming.rtc import IceServer, OfferError, Peer, offers, without_hidden

pytestmark = pytest.mark.unit

WORDS = st.text(st.characters(categories=("L", "N"), max_codepoint=0x17F), min_size=1, max_size=12)


@pytest.fixture(autouse=True)
def loopback() -> None:
    """Connections stay on this machine."""
    aiortc_compat.apply()
    aiortc_compat.use_host_addresses(["127.0.0.1"])


async def viewer() -> tuple[RTCPeerConnection, str]:
    """Someone who wants video, and his offer."""
    peer = RTCPeerConnection(NO_SERVERS)
    peer.addTransceiver("video", direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    return peer, peer.localDescription.sdp


def test_a_connection_that_is_not_up_in_time_is_closed_and_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtc_module, "_CONNECT_S", 0.05)

    async def main() -> None:
        ended, told = asyncio.Event(), list[str]()

        def closed() -> None:
            """Note it."""
            told.append("closed")
            ended.set()

        peer = Peer((), closed)
        async with asyncio.timeout(20):
            await ended.wait()
        await peer.aclose()
        await peer.aclose()
        assert (peer.state, told) == ("closed", ["closed"])

    asyncio.run(main())


def test_a_connection_that_is_up_stays_and_ends_when_the_other_end_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtc_module, "_CONNECT_S", 5.0)

    async def main() -> None:
        ended = asyncio.Event()
        peer = Peer((), ended.set)
        peer.connection.addTransceiver("video", "sendonly")
        other, offer = await viewer()
        await peer.offered(offer)
        await other.setRemoteDescription(RTCSessionDescription(await peer.answer(), "answer"))
        await connected(peer.connection, other)
        assert not ended.is_set()
        assert peer._deadline.cancelled()
        await other.close()
        async with asyncio.timeout(20):
            await ended.wait()
        await peer.aclose()

    asyncio.run(main())


@pytest.mark.parametrize("line", ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:"])
def test_an_offer_without_its_keys_is_refused_by_name(line: str) -> None:
    async def main() -> None:
        other, offer = await viewer()
        peer = Peer((), lambda: None)
        cut = "".join(each for each in offer.splitlines(keepends=True) if not each.startswith(line))
        with pytest.raises(OfferError, match=f"has no {line[2:-1]}"):
            await peer.offered(cut)
        await peer.aclose()
        await other.close()

    asyncio.run(main())


def test_offers_that_are_broken_in_any_place_are_refused_and_never_crash() -> None:
    async def main() -> int:
        other, offer = await viewer()
        lines, refused = offer.splitlines(keepends=True), 0
        for index in range(len(lines)):
            for broken in ([*lines[:index], *lines[index + 1 :]], [*lines[:index], "a=\x00\r\n", *lines[index + 1 :]]):
                peer = Peer((), lambda: None)
                try:
                    await peer.offered("".join(broken))
                    await peer.answer()
                except OfferError as error:
                    assert "expected" in str(error).lower() or "Offer H.264" in str(error)
                    refused += 1
                await peer.aclose()
        await other.close()
        return refused

    assert asyncio.run(main()) > 4


@settings(max_examples=60, deadline=None)
@given(WORDS, WORDS, WORDS, st.integers(1, 65535), st.sampled_from(["", "?transport=udp", "?transport=tcp"]))
def test_turn_servers_are_read_and_their_passwords_never_shown(
    user: str, password: str, host: str, port: int, way: str
) -> None:
    server = IceServer.parse(f"turn:{user}:{password}@{host}:{port}{way}")
    assert (server.url, server.username, server.credential) == (f"turn:{host}:{port}{way}", user, password)
    assert f"credential={password!r}" not in repr(server)
    assert server.link().startswith(f'<turn:{host}:{port}{way}>; rel="ice-server"; username="{user}"; credential=')


@pytest.mark.parametrize("text", ["stun:host", "stun:host:3478", "stuns:host:5349"])
def test_stun_servers_need_no_user(text: str) -> None:
    server = IceServer.parse(text)
    assert (server.url, server.username, server.credential) == (text, None, None)
    assert server.link() == f'<{text}>; rel="ice-server"'


@settings(max_examples=80, deadline=None)
@given(st.text(max_size=40))
def test_anything_else_is_refused_without_repeating_a_password(text: str) -> None:
    try:
        server = IceServer.parse(f"turn:{text}")
    except BadInputError as error:
        assert len(text) < 6 or f"turn:{text}" not in str(error)
    else:
        assert server.username
        assert server.credential


def test_codecs_are_looked_for_in_their_own_medium() -> None:
    sdp = "v=0\r\nm=audio 9 X 96\r\na=rtpmap:96 opus/48000/2\r\nm=video 9 X 97\r\na=rtpmap:97 h264/90000\r\n"
    assert offers(sdp, "video", "H264")
    assert offers(sdp, "audio", "opus")
    assert not offers(sdp, "audio", "H264")
    assert not offers(sdp, "video", "VP8")
    assert not offers(sdp, "video", "H26")
    assert not offers("", "video", "H264")


def test_only_hidden_candidates_are_left_out() -> None:
    lines = ["v=0", "a=candidate:1 1 udp 1 10.0.0.1 5 typ host", "a=candidate:1 1 udp 1 x.local 5 typ host", "m=video"]
    assert without_hidden("\r\n".join(lines) + "\r\n").splitlines() == [lines[0], lines[1], lines[3]]


def test_a_stun_server_alone_is_not_expected_to_relay(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        peer = Peer((IceServer("stun:127.0.0.1:9"),), lambda: None)
        assert peer.relayed is None
        await peer.aclose()

    with caplog.at_level(logging.WARNING, logger="streaming.rtc"):
        asyncio.run(main())
    assert not [record for record in caplog.records if record.name == "streaming.rtc"]
