"""A push in a process of its own: what it is told and answers, ends that do not answer, processes that end."""

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import MediaError
from streaming.clock import MS
from streaming.egress import container as container_module
from streaming.egress.container import HEAD, KEY, PICTURE, SOUND, Container, reason_of, serve
from streaming.egress.pushing import PushMuxer
from streaming.encoder import Encoded
from streaming.live.media import BLOCK, SoundBlock
from tests.streaming.network_servers import HEIGHT, WIDTH, coded, free_port

pytestmark = pytest.mark.unit


def encoded(count: int, first: int = 0) -> list[Encoded]:
    """Pictures of a clip at 25 a second, in media time."""
    made = []
    for index, packet in zip(range(first, first + count), coded(), strict=False):
        made.append(Encoded(bytes(packet), 3600 * index, Fraction(1, 90000), 40 * MS * index, packet.is_keyframe))
    return made


def sounding(index: int) -> SoundBlock:
    tone = 0.4 * np.sin(2 * np.pi * 500 * np.arange(BLOCK) / 48000)
    return SoundBlock(tone.astype(np.float32), index)


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"rtmp://ann:secret@127.0.0.1:{server.getsockname()[1]}/live/x"


def test_a_server_that_does_not_answer_holds_up_this_push_and_nothing_else(silent: str) -> None:
    """In this process, FFmpeg would stop every thread until the other end answers."""
    errors: list[MediaError] = []

    def push() -> None:
        """Try to."""
        with pytest.raises(MediaError) as caught:
            PushMuxer(silent, "flv", WIDTH, HEIGHT, 1.0)
        errors.append(caught.value)

    thread = threading.Thread(target=push)
    thread.start()
    turns = 0
    while thread.is_alive():
        thread.join(0.01)
        turns += 1
    assert turns > 20
    assert "cannot be opened for writing: no answer for 1 s" in str(errors[0]) and "secret" not in str(errors[0])
    assert "livedub-push-watch" not in {each.name for each in threading.enumerate()}


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(MediaError, match=r"rtmp://127.0.0.1:\d+/x: cannot be opened for writing: Connection refused"):
        PushMuxer(f"rtmp://127.0.0.1:{free_port()}/x", "flv", WIDTH, HEIGHT)


def test_pictures_and_sound_are_written_at_times_from_the_first_picture(tmp_path: Path) -> None:
    """Into a file here, which is as good as an address; the process ends with it."""
    target = tmp_path / "push.ts"
    muxer = PushMuxer(str(target), "mpegts", WIDTH, HEIGHT)
    muxer.begin(400 * MS)
    for block in range(60):
        muxer.sound(sounding(block))
    for picture in encoded(25, 10):
        muxer.picture(picture)
    muxer.close()
    muxer.close()
    assert muxer._process.returncode == 0
    with av.open(str(target)) as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    assert np.allclose(np.diff(times), 0.04, atol=0.001) and len(times) == 25
    with av.open(str(target)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert len(heard) == pytest.approx(40 * BLOCK, abs=3000)
    assert heard[9600:28800].std() == pytest.approx(0.4 / np.sqrt(2), abs=0.02)


def test_a_process_that_ends_is_a_lost_push(tmp_path: Path) -> None:
    muxer = PushMuxer(str(tmp_path / "push.ts"), "mpegts", WIDTH, HEIGHT)
    muxer._process.kill()
    with pytest.raises(MediaError, match="lost: the process that pushes has ended"):
        muxer.picture(encoded(1)[0])
    muxer.close()


def test_a_piece_that_is_not_written_in_time_ends_the_push(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process answers the opening, and then nothing any more."""
    program = tmp_path / "stuck.py"
    program.write_text("import sys\nsys.stdin.readline()\nprint(flush=True)\nsys.stdin.read()\n")
    monkeypatch.setattr(container_module, "__file__", str(program))
    muxer = PushMuxer("udp://127.0.0.1:9", "mpegts", WIDTH, HEIGHT, 0.3)
    begin = time.monotonic()
    with pytest.raises(MediaError, match=r"udp://127.0.0.1:9: lost: no answer for 0.3 s"):
        muxer.sound(sounding(0))
    assert time.monotonic() - begin < 20
    muxer.close()


def test_the_program_answers_every_piece_and_says_what_went_wrong(tmp_path: Path) -> None:
    asked = {"target": str(tmp_path / "x.ts"), "kind": "mpegts", "width": WIDTH, "height": HEIGHT, "tags": {}}
    pictures = encoded(3)
    pieces = [HEAD.pack(KEY if p.key else PICTURE, p.pts, len(p.data)) + p.data for p in pictures]
    sound = sounding(0).samples.tobytes()
    given = json.dumps(asked).encode() + b"\n" + b"".join([*pieces, HEAD.pack(SOUND, 0, len(sound)) + sound, b"cut"])
    told = io.BytesIO()
    assert serve(io.BytesIO(given), told) == 0
    assert told.getvalue() == b"\n" * 5 and (tmp_path / "x.ts").stat().st_size > 500
    for wrong, words in (
        (json.dumps({**asked, "target": str(tmp_path / "no" / "x.ts")}), b"No such file"),
        (json.dumps({**asked, "kind": "vcr"}), b"vcr"),
        ("{", b"Expecting"),
    ):
        told = io.BytesIO()
        assert serve(io.BytesIO(wrong.encode() + b"\n"), told) == 1
        assert words in told.getvalue() and told.getvalue().count(b"\n") == 1


def test_an_error_without_words_is_said_by_its_name() -> None:
    assert reason_of(ValueError()) == "ValueError"
    assert reason_of(OSError(28, "No space\nleft")) == "No space left"


def test_tags_are_in_the_container(tmp_path: Path) -> None:
    container = Container(str(tmp_path / "x.mp4"), "mp4", WIDTH, HEIGHT, {"livedub_edited": "1"})
    for picture in encoded(6):
        container.picture(picture.data, picture.pts, picture.key)
    container.close()
    with av.open(str(tmp_path / "x.mp4")) as written:
        assert written.metadata["livedub_edited"] == "1"
        assert len(list(written.decode(video=0))) == 6
