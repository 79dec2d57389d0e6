"""Network sources: pictures, losing and finding them again, growing pauses, real MPEG-TS over UDP on this machine."""

import asyncio
import socket
import threading
from contextlib import aclosing
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import MediaError
from engine.media import VideoFrame
from streaming.clock import NS, LoopClock
from streaming.ingest.network import FfmpegStream, NetworkState, camera_opener, receive, without_credentials
from streaming.ingest.paced import take
from streaming.virtual_time import run_virtual
from streaming.worker import ThreadWorker
from tests.streaming.clips import coded_frame, gradient
from tests.streaming.live.fakes import ScriptedWorker, picture

pytestmark = pytest.mark.unit


class ScriptedStream:
    """Gives so many pictures, then ends or is lost."""

    def __init__(self, pictures: int, lost: bool, closed: list[int]) -> None:
        self.left, self.lost, self.closed = pictures, lost, closed

    def read(self) -> VideoFrame | None:
        if self.left:
            self.left -= 1
            return picture(self.left)
        if self.lost:
            raise MediaError("rtsp://camera: lost: nothing came")
        return None

    def close(self) -> None:
        self.closed.append(1)


def test_a_lost_source_is_opened_again_after_pauses_that_grow_and_shrink_again() -> None:
    script: list[ScriptedStream | None] = []
    closed: list[int] = []
    for pictures in (3, None, None, None, None, None, None, 2, None, 4):
        script.append(None if pictures is None else ScriptedStream(pictures, pictures == 3, closed))
    opened: list[int] = []
    begun: list[int] = []
    state = NetworkState()

    def opener(url: str) -> ScriptedStream:
        opened.append(clock.now())
        if (stream := script[len(opened) - 1]) is None:
            raise MediaError("rtsp://camera: cannot be opened")
        return stream

    clock = LoopClock()

    async def main() -> int:
        worker = ScriptedWorker(lambda _: 0.0)
        source = receive("rtsp://camera", clock, worker, state, lambda: begun.append(1), opener)
        return len(await take(source, 9))

    assert run_virtual(main()) == 9
    pauses = [(b - a) / NS for a, b in zip(opened, opened[1:], strict=False)]
    assert pauses == [0.5, 1, 2, 4, 8, 8, 8, 0.5, 1]
    assert len(begun) == len(closed) == 3
    assert state.attempts == 10
    assert state.problem is not None


def test_addresses_are_shown_without_credentials() -> None:
    assert without_credentials("rtsp://ann:secret@cam:554/a?token=x") == "rtsp://cam:554/a"
    assert without_credentials("rtsp://ann:se/c?ret@cam/a") == "rtsp://cam/a"
    assert without_credentials("udp://0.0.0.0:5000?fifo_size=9") == "udp://0.0.0.0:5000"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_an_address_where_nobody_sends_is_said_without_its_password() -> None:
    with pytest.raises(MediaError, match="cannot be opened") as caught:
        FfmpegStream(f"rtsp://ann:secret@127.0.0.1:{free_port()}/x")
    assert "secret" not in str(caught.value)


def send_mpeg_ts(port: int, stop: threading.Event) -> None:
    """Send a small clip, paced, until told to stop."""
    with av.open(f"udp://127.0.0.1:{port}?pkt_size=1316", "w", format="mpegts") as container:
        stream = container.add_stream(
            "libx264", rate=25, options={"g": "5", "tune": "zerolatency", "preset": "ultrafast"}
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        voice = container.add_stream("aac", rate=44100, layout="stereo")
        assert isinstance(voice, av.AudioStream)
        index = 0
        while not stop.wait(0.04):
            tone = 0.4 * np.sin(2 * np.pi * 440 * (np.arange(1764) + 1764 * index) / 44100)
            sound = av.AudioFrame.from_ndarray(np.tile(tone.astype(np.float32), (2, 1)), "fltp", "stereo")
            sound.sample_rate, sound.pts, sound.time_base = 44100, 1764 * index, Fraction(1, 44100)
            container.mux(voice.encode(sound))
            frame = coded_frame(gradient(index, 160, 120), "yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
            index += 1


def test_mpeg_ts_over_udp_comes_in_with_its_sound() -> None:
    port = free_port()
    stop = threading.Event()
    sender = threading.Thread(target=send_mpeg_ts, args=(port, stop))

    sound: list[NDArray[np.float32]] = []

    async def main() -> list[VideoFrame]:
        worker = ThreadWorker("livedub-test")
        state = NetworkState()
        source = receive(f"udp://127.0.0.1:{port}", LoopClock(), worker, state, lambda: None)
        frames: list[VideoFrame] = []
        async with aclosing(source), asyncio.timeout(40):
            async for item in source:
                if isinstance(item, VideoFrame):
                    frames.append(item)
                else:
                    sound.append(item)
                if len(frames) >= 8 and len(sound) >= 8:
                    break
        worker.close()
        return frames

    sender.start()
    try:
        frames = asyncio.run(main())
    finally:
        stop.set()
        sender.join()
    assert {(f.width, f.height) for f in frames} == {(160, 120)}
    times = [f.seconds for f in frames]
    assert times == sorted(set(times))
    heard = np.concatenate(sound)
    assert heard.dtype == np.float32
    assert np.abs(heard).max() == pytest.approx(0.4, abs=0.1)


def test_a_camera_that_is_not_there_or_cannot_be_read_here_is_said_plainly() -> None:
    with pytest.raises(MediaError, match=r"/dev/video99: cannot be opened: No such file.*plugged in"):
        camera_opener("linux")("/dev/video99")
    with pytest.raises(MediaError, match="its FFmpeg has no way for plan9"):
        camera_opener("plan9")


def test_a_camera_is_read_as_any_other_source() -> None:
    made_up = FfmpegStream("testsrc=size=64x48:rate=25", kind="lavfi")
    frame = made_up.read()
    assert isinstance(frame, VideoFrame)
    assert (frame.width, frame.height) == (64, 48)
    made_up.close()


@pytest.mark.parametrize(("scheme", "looks"), [("rtmp", [1_000_000, 5_000_000]), ("rtsp", [1_000_000])])
def test_an_rtmp_source_that_is_joined_between_key_pictures_is_looked_at_longer(
    scheme: str, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers begin with sound alone then: taken as it is, it would never show a picture."""
    asked: list[int] = []
    closed: list[int] = []

    class Opened:
        """A container that has pictures only when it was looked at for long."""

        def __init__(self, url: str, options: dict[str, str], **_: object) -> None:
            asked.append(int(options["analyzeduration"]))
            video = [SimpleNamespace(codec_context=SimpleNamespace(thread_count=0))] if asked[-1] > 2_000_000 else []
            self.streams = SimpleNamespace(video=video, audio=["sound"])
            self.decoded: tuple[object, ...] = ()

        def decode(self, *streams: object) -> list[object]:
            self.decoded = streams
            return []

        def close(self) -> None:
            closed.append(len(asked))

    monkeypatch.setattr(av, "open", Opened)
    source = FfmpegStream(f"{scheme}://server/live/x")
    assert asked == looks and closed == ([1] if scheme == "rtmp" else [])
    assert len(source._container.decoded) == len(looks)  # type: ignore[attr-defined]
