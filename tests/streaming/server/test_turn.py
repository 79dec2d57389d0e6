"""TURN servers: right, wrong and missing credentials, servers that do not answer; what is said of each."""

import asyncio
import logging
from pathlib import Path

import pytest
from aiortc import RTCPeerConnection

from bench.receiver import NO_SERVERS
from streaming.rtc import IceServer
from tests.streaming.server.serving import Client, serving
from tests.streaming.turn_server import RELAYED, TurnServer, turn_server

pytestmark = pytest.mark.unit

PRESENTER = {"source": {"kind": "presenter"}, "delay_ms": 400}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


async def asked(client: Client) -> tuple[str, dict[str, object]]:
    """A viewer's answer, and what the session tells of TURN."""
    place = await client.begin(**PRESENTER)
    peer = RTCPeerConnection(NO_SERVERS)
    peer.addTransceiver("video", direction="recvonly")
    await peer.setLocalDescription(await peer.createOffer())
    headers = {"Content-Type": "application/sdp"}
    answer = await client.call("POST", f"{place}/whep", data=peer.localDescription.sdp, headers=headers)
    told = (await client.call("GET", place)).body
    await client.call("DELETE", place)
    await peer.close()
    assert answer.status == 201, answer.body
    return answer.body, told


def by_turn(profile: Path, password: str, user: str = "ann") -> tuple[str, dict[str, object], TurnServer]:
    """A viewer of a server whose TURN server knows ann with the password "right"."""

    async def main() -> tuple[str, dict[str, object], TurnServer]:
        async with turn_server("ann", "right") as turn:
            server = IceServer.parse(f"turn:{user}:{password}@127.0.0.1:{turn.port}")
            async with serving(profile, ice_servers=(server,)) as client:
                answer, told = await asked(client)
            return answer, told, turn

    return asyncio.run(main())


def test_with_the_right_password_an_address_beyond_the_firewall_is_offered_and_given_back(profile: Path) -> None:
    answer, told, turn = by_turn(profile, "right")
    assert f" {RELAYED[0]} {RELAYED[1]} typ relay" in answer
    assert told["turn"] is True
    assert (turn.allocated, turn.freed) == (1, 1)


@pytest.mark.parametrize(("user", "password"), [("ann", "other-secret"), ("bob", "right")])
def test_with_a_wrong_user_or_password_the_rest_works_and_it_is_said(
    profile: Path, user: str, password: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="streaming.rtc"):
        answer, told, turn = by_turn(profile, password, user)
    assert "typ relay" not in answer
    assert "typ host" in answer
    assert told["turn"] is False
    assert (turn.allocated, turn.refused >= 2) == (0, True)
    said = [record.getMessage() for record in caplog.records if record.name == "streaming.rtc"]
    assert len(said) == 1
    assert "gave no address" in said[0]
    assert "user, password" in said[0]
    assert password not in said[0]


def test_without_a_turn_server_nothing_is_said_of_one(profile: Path) -> None:
    async def main() -> tuple[str, dict[str, object]]:
        async with serving(profile) as client:
            return await asked(client)

    answer, told = asyncio.run(main())
    assert "typ relay" not in answer
    assert told["turn"] is None


@pytest.mark.slow
def test_a_turn_server_that_does_not_answer_costs_five_seconds_and_no_more(profile: Path) -> None:
    async def main() -> tuple[float, dict[str, object]]:
        server = IceServer.parse("turn:ann:right@127.0.0.1:9")
        async with serving(profile, ice_servers=(server,)) as client:
            loop = asyncio.get_running_loop()
            begin = loop.time()
            _, told = await asked(client)
            return loop.time() - begin, told

    seconds, told = asyncio.run(main())
    assert seconds < 15
    assert told["turn"] is False
