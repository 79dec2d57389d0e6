"""Network sources from servers on this machine, over real sockets: RTSP and RTMP; both when the server lets go."""

import asyncio
from contextlib import aclosing

import pytest

from engine.media import VideoFrame
from streaming.clock import LoopClock
from streaming.ingest.network import NetworkState, receive
from streaming.worker import ThreadWorker
from tests.streaming.network_servers import HEIGHT, WIDTH, RtmpServer, RtspServer, Server

KINDS = pytest.mark.parametrize("kind", [RtspServer, RtmpServer])


def pictures(server: Server, count: int) -> tuple[list[VideoFrame], NetworkState, list[int]]:
    """The first pictures of a source, how it went, and after how many pictures it was opened."""
    state, begun = NetworkState(), list[int]()
    frames: list[VideoFrame] = []

    async def main() -> None:
        worker = ThreadWorker("livedub-test")
        source = receive(server.url, LoopClock(), worker, state, lambda: begun.append(len(frames)))
        async with aclosing(source), asyncio.timeout(40):
            async for item in source:
                assert isinstance(item, VideoFrame)
                frames.append(item)
                if len(frames) == count:
                    break
        worker.close()

    asyncio.run(main())
    return frames, state, begun


@pytest.mark.unit
@KINDS
def test_pictures_of_a_server_come_in_with_their_times(kind: type[Server]) -> None:
    with kind() as server:
        frames, state, begun = pictures(server, 6)
    assert {(frame.width, frame.height) for frame in frames} == {(WIDTH, HEIGHT)}
    times = [frame.seconds for frame in frames]
    assert [round(1000 * (b - a)) for a, b in zip(times, times[1:], strict=False)] == [40] * 5
    assert (state.attempts, state.problem, begun, server.clients) == (1, None, [0], 1)
    assert server.requests[-1].lower() == "play"
    columns = frames[0].planes[0][HEIGHT // 2].astype(float)
    assert columns[-8:].mean() - columns[WIDTH // 2 : WIDTH // 2 + 8].mean() > 5


@pytest.mark.slow
@KINDS
def test_a_server_that_lets_go_is_asked_again(kind: type[Server]) -> None:
    with kind() as server:
        server.most_pictures = 45
        frames, state, begun = pictures(server, 40)
    assert state.attempts == server.clients == len(begun) >= 2 and begun[0] == 0 < begun[1] < 40
    assert state.problem is not None and "127.0.0.1" in state.problem
    assert {(frame.width, frame.height) for frame in frames} == {(WIDTH, HEIGHT)}
