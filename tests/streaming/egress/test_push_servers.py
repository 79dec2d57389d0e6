"""Pushing over real sockets: what an RTMP server and a UDP receiver on this machine get, and one that comes late."""

import asyncio
import socket
from contextlib import ExitStack

import numpy as np
import pytest

from streaming.clock import MS, LoopClock
from streaming.egress.hub import PictureHub
from streaming.egress.mux import MuxOutput, OutputState
from streaming.live.media import SessionTime
from streaming.worker import ThreadWorker
from tests.streaming.egress.test_mux import DELAY, play
from tests.streaming.network_servers import Receiver, free_port

PICTURES = 60


def pushed(url: str, receiver: Receiver, late: bool = False) -> OutputState:
    """Push a flashing picture and its beeps until the receiver has enough; it may come only after a while."""

    async def main() -> OutputState:
        encoder, writer = ThreadWorker("livedub-encode"), ThreadWorker("livedub-mux")
        time = SessionTime(LoopClock())
        hub = PictureHub(time, encoder, DELAY, "H264", "edited")
        output = MuxOutput(url, hub, LoopClock(), writer)
        with ExitStack() as entered:
            if not late:
                entered.enter_context(receiver)
            await play(hub, output, time, 0, PICTURES // 3)
            if late:
                assert output.state.problem is not None and output.state.pictures == 0
                entered.enter_context(receiver)
            done = PICTURES // 3
            while not receiver.done:
                await play(hub, output, time, done, done + 5)
                done += 5
                assert done < 400
            await output.aclose()
            await hub.aclose()
        for worker in (encoder, writer):
            worker.close()
        return output.state

    return asyncio.run(main())


def check(receiver: Receiver) -> None:
    """Pictures every 40 ms that flash for a fifth of a second, and sound that is no silence."""
    assert np.allclose(np.diff(receiver.times), 0.04, atol=0.002)
    assert all(level < 70 or level > 190 for level in receiver.bright)
    heard = np.concatenate([piece.reshape(-1) for piece in receiver.sound])
    assert len(heard) > 1000 and np.isfinite(heard).all()


@pytest.mark.unit
def test_an_rtmp_server_gets_pictures_and_sound() -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/x"
    receiver = Receiver(url, "flv", {"listen": "1"})
    state = pushed(url, receiver)
    check(receiver)
    assert state.pictures > 12 and state.target == url


@pytest.mark.unit
def test_a_udp_receiver_gets_mpeg_ts() -> None:
    port = free_port(socket.SOCK_DGRAM)
    receiver = Receiver(f"udp://127.0.0.1:{port}", "mpegts", {"analyzeduration": "500000"})
    state = pushed(f"udp://127.0.0.1:{port}", receiver)
    check(receiver)
    assert (state.problem, state.attempts) == (None, 1)


@pytest.mark.slow
def test_an_rtmp_server_that_comes_late_gets_the_push_too() -> None:
    url = f"rtmp://127.0.0.1:{free_port()}/live/x"
    receiver = Receiver(url, "flv", {"listen": "1"})
    state = pushed(url, receiver, late=True)
    check(receiver)
    assert state.attempts >= 2 and DELAY == 400 * MS
