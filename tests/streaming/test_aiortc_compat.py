"""Contracts with aiortc's private parts: each fails loudly when a new aiortc changes what is relied on."""

import asyncio
import inspect
import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from aioice import ice
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCRtpSender, RTCSessionDescription, codecs
from aiortc.jitterbuffer import JitterBuffer, JitterFrame
from aiortc.rtcdtlstransport import RTCCertificate, RTCDtlsTransport
from aiortc.rtcrtpreceiver import NackGenerator
from aiortc.rtp import (
    RtcpPsfbPacket,
    RtcpReceiverInfo,
    RtcpRrPacket,
    RtcpRtpfbPacket,
    RtcpSenderInfo,
    RtcpSrPacket,
    RtpPacket,
    pack_remb_fci,
)

from bench.receiver import connected
from engine.errors import BackendError
from streaming import aiortc_compat
from streaming.virtual_time import run_virtual
from tests.streaming.passing import passes

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def applied() -> None:
    """All changes are in place."""
    aiortc_compat.apply()
    aiortc_compat.apply()


def packet(sequence: int, timestamp: int, marker: int, data: bytes = b"x") -> RtpPacket:
    made = RtpPacket(payload_type=100, marker=marker, sequence_number=sequence, timestamp=timestamp)
    made._data = data  # type: ignore[attr-defined]
    return made


def test_only_tested_releases_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _: "2.0.0")
    with pytest.raises(BackendError, match=r"aiortc 2\.0\.0 is installed; expected 1\.16"):
        aiortc_compat.apply()


def taken(buffer: JitterBuffer, *packets: RtpPacket) -> list[JitterFrame]:
    return [frame for each in packets if (frame := buffer.add(each)[1]) is not None]


def test_a_picture_is_taken_with_its_marker_and_not_one_picture_later() -> None:
    buffer = JitterBuffer(capacity=16, is_video=True)
    first = taken(buffer, packet(0, 100, 0, b"a"), packet(1, 100, 1, b"b"))
    assert [(f.data, f.timestamp) for f in first] == [(b"ab", 100)]
    assert [f.data for f in taken(buffer, packet(2, 200, 1, b"c"))] == [b"c"]


def test_a_picture_with_a_hole_waits_for_the_missing_packet() -> None:
    buffer = JitterBuffer(capacity=16, is_video=True)
    assert taken(buffer, packet(0, 100, 1, b"k")) != []
    assert taken(buffer, packet(1, 200, 0, b"a"), packet(3, 200, 1, b"c")) == []
    assert [f.data for f in taken(buffer, packet(2, 200, 0, b"b"))] == [b"abc"]


def test_sound_keeps_its_prefetch() -> None:
    buffer = JitterBuffer(capacity=16, prefetch=4)
    assert taken(buffer, *(packet(i, i * 960, 1) for i in range(4))) == []
    assert len(taken(buffer, packet(4, 4 * 960, 1))) == 1


def test_dtls_offers_rsa_suites_too() -> None:
    from aiortc.rtcdtlstransport import SRTP_PROFILES
    from OpenSSL import SSL

    context = RTCCertificate.generateCertificate()._create_ssl_context(SRTP_PROFILES)
    offered = SSL.Connection(context, None).get_cipher_list()
    assert "ECDHE-RSA-AES128-GCM-SHA256" in offered
    assert "ECDHE-ECDSA-AES128-GCM-SHA256" in offered


def test_h264_is_announced_up_to_level_5_2_with_its_profiles_kept() -> None:
    levels = [c.parameters["profile-level-id"] for c in codecs.CODECS["video"] if c.name == "H264"]
    assert levels == ["420034", "42e034"]
    offered = [c for c in RTCRtpSender.getCapabilities("video").codecs if c.name == "H264"]
    assert len(offered) == 2


def test_candidates_are_on_the_addresses_that_were_chosen() -> None:
    aiortc_compat.use_host_addresses(["127.0.0.1", "::1"])
    assert ice.get_host_addresses(use_ipv4=True, use_ipv6=True) == ["127.0.0.1", "::1"]
    assert ice.get_host_addresses(use_ipv4=True, use_ipv6=False) == ["127.0.0.1"]
    aiortc_compat.use_host_addresses([])
    assert "127.0.0.1" not in ice.get_host_addresses(use_ipv4=True, use_ipv6=False)


def test_a_connection_to_localhost_only_and_a_request_for_a_key_picture_reach_us() -> None:
    async def main() -> None:
        aiortc_compat.use_host_addresses(["127.0.0.1"])
        config = RTCConfiguration(iceServers=[])
        sending, receiving = RTCPeerConnection(config), RTCPeerConnection(config)
        asked = asyncio.Event()
        try:
            receiving.addTransceiver("video", direction="recvonly")
            transceiver = sending.addTransceiver("video", "sendonly")
            aiortc_compat.on_key_request(transceiver.sender, asked.set)
            await receiving.setLocalDescription(await receiving.createOffer())
            await sending.setRemoteDescription(RTCSessionDescription(receiving.localDescription.sdp, "offer"))
            await sending.setLocalDescription(await sending.createAnswer())
            assert "127.0.0.1" in sending.localDescription.sdp
            await receiving.setRemoteDescription(RTCSessionDescription(sending.localDescription.sdp, "answer"))
            await connected(sending, receiving)
            await receiving.getReceivers()[0]._send_rtcp_pli(transceiver.sender._ssrc)
            async with asyncio.timeout(20):
                await asked.wait()
        finally:
            await sending.close()
            await receiving.close()
            aiortc_compat.use_host_addresses([])

    asyncio.run(main())


class Ticks:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    """The clock of what waits in the compatibility layer."""
    made = Ticks()
    monkeypatch.setattr(aiortc_compat, "now", made)
    return made


def test_a_picture_that_stays_broken_is_given_up_and_a_key_picture_is_asked_for(ticks: Ticks) -> None:
    buffer = JitterBuffer(capacity=512, is_video=True)
    assert taken(buffer, packet(0, 100, 1, b"k")) != []
    assert taken(buffer, packet(1, 200, 0, b"a"), packet(3, 200, 1, b"c"), packet(4, 300, 0, b"d")) == []
    ticks.at += aiortc_compat.GAP_S - 0.01
    assert buffer.add(packet(5, 300, 1, b"e")) == (False, None)
    ticks.at += 0.02
    wants_key, frame = buffer.add(packet(6, 400, 1, b"f"))
    assert wants_key
    assert frame is not None
    assert frame.data == b"de"
    assert [f.data for f in taken(buffer, packet(7, 500, 1, b"g"))] == [b"f"]


def test_a_hole_that_is_filled_in_time_costs_nothing(ticks: Ticks) -> None:
    buffer = JitterBuffer(capacity=512, is_video=True)
    assert taken(buffer, packet(0, 100, 1, b"k")) != []
    assert taken(buffer, packet(1, 200, 0, b"a"), packet(3, 200, 1, b"c")) == []
    ticks.at += 0.2
    assert buffer.add(packet(2, 200, 0, b"b"))[1] is not None
    ticks.at += 5.0
    assert taken(buffer, packet(4, 300, 0, b"d"), packet(6, 300, 1, b"f")) == []
    ticks.at += 0.1
    assert buffer.add(packet(7, 400, 1, b"g")) == (False, None)


def test_where_nothing_after_a_hole_begins_a_picture_all_is_let_go(ticks: Ticks) -> None:
    buffer = JitterBuffer(capacity=512, is_video=True)
    assert taken(buffer, packet(0, 100, 1, b"k")) != []
    assert taken(buffer, packet(2, 200, 0, b"b")) == []
    ticks.at += 0.3
    assert buffer.add(packet(3, 200, 1, b"c")) == (True, None)
    assert [f.data for f in taken(buffer, packet(4, 300, 1, b"d"))] == [b"d"]


def test_sound_goes_on_after_a_missing_packet_without_waiting_longer() -> None:
    buffer = JitterBuffer(capacity=16, prefetch=4)
    came = [i for i in range(12) if i != 6]
    given = [(i, [f.timestamp // 960 for f in taken(buffer, packet(i, i * 960, 1))]) for i in came]
    assert given[:5] == [(0, []), (1, []), (2, []), (3, []), (4, [0])]
    assert [each for _, each in given[5:]] == [[1], [2], [3], [4], [5], [7]]


def test_packets_that_stay_missing_are_asked_for_again(ticks: Ticks) -> None:
    nack = NackGenerator()
    asked = [nack.add(packet(i, i, 1)) for i in (0, 1, 3, 4)]
    assert asked == [False, False, True, False]
    ticks.at += 0.06
    assert nack.add(packet(5, 5, 1))
    assert not nack.add(packet(6, 6, 1))
    nack.add(packet(2, 2, 1))
    ticks.at += 1
    assert not nack.add(packet(7, 7, 1))


def test_what_viewers_report_reaches_us() -> None:
    async def main() -> list[aiortc_compat.LinkReport]:
        sender = RTCRtpSender("video", Transport())  # type: ignore[arg-type]
        told: list[aiortc_compat.LinkReport] = []
        aiortc_compat.on_report(sender, told.append)
        ours, other = sender._ssrc, sender._ssrc ^ 1
        info = {"packets_lost": 3, "highest_sequence": 9, "jitter": 0, "lsr": 0, "dlsr": 0}
        reports = [RtcpReceiverInfo(ssrc=s, fraction_lost=f, **info) for s, f in ((other, 200), (ours, 64))]
        await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=reports))
        await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=reports[:1]))
        for ssrc in (other, ours):
            remb = RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=0, fci=pack_remb_fci(800_000, [ssrc]))
            await sender._handle_rtcp_packet(remb)
        await sender._handle_rtcp_packet(RtcpPsfbPacket(fmt=15, ssrc=1, media_ssrc=0, fci=b"broken"))
        nack = RtcpRtpfbPacket(fmt=1, ssrc=1, media_ssrc=ours)
        nack.lost = [4, 5]
        await sender._handle_rtcp_packet(nack)
        return told

    loss, estimate, missing = asyncio.run(main())
    assert loss == aiortc_compat.LinkReport(lost=0.25, round_trip_s=None)
    assert estimate.most_bits == pytest.approx(800_000, rel=0.01)
    assert missing == aiortc_compat.LinkReport(asked_again=2)


def test_reports_tell_the_time_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Ticks()
    monkeypatch.setattr(aiortc_compat, "wall_time", wall)

    async def main() -> list[float | None]:
        sender = RTCRtpSender("video", Transport())  # type: ignore[arg-type]
        told: list[float | None] = []
        aiortc_compat.on_report(sender, lambda report: told.append(report.round_trip_s))

        async def report(at: float, lsr: int, dlsr: float) -> None:
            """At some time the viewer tells which of our reports he has, and for how long."""
            wall.at = at
            info = RtcpReceiverInfo(sender._ssrc, 0, 0, 9, 0, lsr, round(dlsr * 65536))
            await sender._handle_rtcp_packet(RtcpRrPacket(ssrc=1, reports=[info]))

        await report(1.0, 0, 0.0)
        asked(sender, 700, 10.0)
        await report(10.25, 700, 0.125)
        asked(sender, 900, 11.0)
        await report(11.5, 700, 1.0)
        await report(11.75, 900, 0.5)
        await report(11.75, 900, 2.0)
        return told

    assert asyncio.run(main()) == [None, 0.125, 0.5, 0.25, None]


def asked(sender: RTCRtpSender, lsr: int, at: float) -> None:
    """The sender has sent a report, as aiortc notes it; the state that is looked into is there before."""
    for name, value in (("lsr", lsr), ("lsr_time", at)):
        assert hasattr(sender, f"_RTCRtpSender__{name}")
        setattr(sender, f"_RTCRtpSender__{name}", value)


def test_a_large_picture_leaves_four_packets_a_millisecond_and_lets_others_go_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, bytes]] = []

    async def note(_: Any, data: bytes) -> None:
        """In place of aiortc's own way."""
        sent.append((round(asyncio.get_running_loop().time() * 1e6) - begin, data))

    async def picture(transport: Any) -> None:
        """Packets in a row, as a sender sends them."""
        for _ in range(100):
            await transport._send_rtp(b"picture")

    async def main() -> None:
        monkeypatch.setattr(aiortc_compat, "now", asyncio.get_running_loop().time)
        transport = RTCDtlsTransport.__new__(RTCDtlsTransport)
        task = asyncio.ensure_future(picture(transport))
        await passes(0.01)
        await transport._send_rtp(b"sound")
        await task

    begin = 0
    monkeypatch.setattr(aiortc_compat, "_ORIGINAL_SEND", note)
    run_virtual(main())
    begin = sent[0][0]
    at = [each - begin for each, _ in sent]
    assert len(sent) == 101
    assert at[7] == 0
    assert max(sum(t <= each < t + 1000 for each in at) for t in at[9:]) <= 5
    assert at[-1] == pytest.approx(92 * 250, abs=500)
    sound = [data for _, data in sent].index(b"sound")
    assert at[sound] == pytest.approx(10_000, abs=1000)


def test_aiortc_by_itself_still_sends_a_picture_at_once() -> None:
    assert "sleep" not in inspect.getsource(original("_ORIGINAL_SEND"))


def test_the_senders_clock_at_the_first_frame_is_told_by_its_reports() -> None:
    async def main() -> list[float]:
        receiver = RTCRtpReceiver("video", Transport())  # type: ignore[arg-type]
        told: list[float] = []
        aiortc_compat.on_sender_report(receiver, 90000, told.append)
        mapper = getattr(receiver, "_RTCRtpReceiver__timestamp_mapper")  # noqa: B009

        async def report(seconds: float, ticks: int, packets: int = 1) -> None:
            """The sender says: at so many seconds of my clock I sent the picture of these ticks."""
            info = RtcpSenderInfo(round(seconds * 2**32), ticks % 2**32, packets, 1000)
            await receiver._handle_rtcp_packet(RtcpSrPacket(ssrc=5, sender_info=info))

        await report(100.0, 0)
        mapper.map(2**32 - 45000)
        await report(100.0, 45000)
        await report(103.0, 45000 + 2 * 90000)
        await report(101.0, 0, packets=0)
        return told

    assert asyncio.run(main()) == pytest.approx([99.0, 100.0])


def original(name: str) -> Any:
    """What aiortc does by itself, as it was before the changes."""
    return getattr(aiortc_compat, name)


def test_aiortc_by_itself_still_takes_pictures_one_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(JitterBuffer, "add", original("_ORIGINAL_ADD"))
    monkeypatch.setattr(JitterBuffer, "_remove_frame", original("_ORIGINAL_TAKE"))
    buffer = JitterBuffer(capacity=16, is_video=True)
    assert taken(buffer, packet(0, 100, 0, b"a"), packet(1, 100, 1, b"b")) == []
    assert [f.data for f in taken(buffer, packet(2, 200, 1, b"c"))] == [b"ab"]


def test_aiortc_by_itself_still_asks_for_a_missing_packet_only_once(
    ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NackGenerator, "add", original("_ORIGINAL_NACK"))
    nack = NackGenerator()
    assert [nack.add(packet(i, i, 1)) for i in (0, 2)] == [False, True]
    ticks.at += 10
    assert not nack.add(packet(3, 3, 1))
    assert nack.missing == {1}


def test_aiortc_by_itself_still_offers_no_rsa_and_leaves_loopback_out() -> None:
    from aiortc.rtcdtlstransport import SRTP_PROFILES
    from OpenSSL import SSL

    context = original("_ORIGINAL_CONTEXT")(RTCCertificate.generateCertificate(), SRTP_PROFILES)
    assert not [name for name in SSL.Connection(context, None).get_cipher_list() if name.startswith("ECDHE-RSA")]
    assert "127.0.0.1" not in original("_ORIGINAL_ADDRESSES")(use_ipv4=True, use_ipv6=False)


@pytest.mark.parametrize(
    ("owner", "name"),
    [(JitterBuffer, "_remove_frame"), (JitterBuffer, "remove"), (JitterBuffer, "add"), (NackGenerator, "add"),
     (RTCCertificate, "_create_ssl_context"), (RTCRtpSender, "_send_keyframe"), (RTCRtpSender, "_handle_rtcp_packet"),
     (RTCRtpReceiver, "_handle_rtcp_packet"), (RTCRtpReceiver, "_send_rtcp_pli"), (RTCDtlsTransport, "_send_rtp"),
     (ice, "get_host_addresses")],
)  # fmt: skip
def test_every_private_part_that_is_changed_or_called_is_there(owner: Any, name: str) -> None:
    assert callable(getattr(owner, name))


def test_the_private_state_that_is_looked_into_is_there() -> None:
    buffer = JitterBuffer(capacity=16, is_video=True)
    buffer.add(packet(5, 100, 0))
    assert (buffer._origin, buffer._capacity, buffer._is_video, buffer._prefetch) == (5, 16, True, 0)
    held = buffer._packets[5 % 16]
    assert held is not None
    assert held.sequence_number == 5

    async def source() -> int:
        """By which a sender is known."""
        return RTCRtpSender("video", Transport())._ssrc  # type: ignore[arg-type]

    assert 0 <= asyncio.run(source()) < 2**32


def test_no_other_file_touches_private_parts_of_aiortc() -> None:
    private = re.compile(r"(JitterBuffer|NackGenerator|RTCCertificate|sender|receiver|connection)\._[a-z]")
    root = Path(aiortc_compat.__file__).parents[1]
    for folder in ("streaming", "bench"):
        for file in (root / folder).rglob("*.py"):
            text = file.read_text()
            if file.name != "aiortc_compat.py" and "aiortc" in text:
                assert not private.search(text), file


class Transport:
    """As much of a DTLS transport as a sender asks for before it sends."""

    state = "connected"
    _stats_id = "transport"
