"""Recording and pushing: real files that decode in step, losing and finding a push again, sizes that change."""

from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import MediaError
from streaming.clock import MS, NS, LoopClock
from streaming.egress.hub import PictureHub
from streaming.egress.mux import FfmpegMuxer, Kind, MuxOutput
from streaming.encoder import Encoded
from streaming.ingest.file import probe_video
from streaming.ingest.sound import read_sound
from streaming.live.media import BLOCK, LivePicture, SessionTime, SoundBlock, at_media
from streaming.virtual_time import run_virtual
from tests.streaming.live.fakes import ScriptedWorker, beep, picture
from tests.streaming.passing import one_turn

pytestmark = pytest.mark.unit

DELAY = 400 * MS


def instant(_: float) -> float:
    return 0.0


async def play(hub: PictureHub, output: MuxOutput, time: SessionTime, first: int, last: int, width: int = 64) -> None:
    """Released pictures and sound: a bright picture while a beep sounds, 0.2 s of every second."""
    sound = beep(0.2, 1.0, last * 0.04 + 1)
    for index in range(first, last):
        await time.sleep_until(index * 40 * MS + DELAY - 40 * MS)
        shown = picture(index, width=width, height=64)
        shown.planes[0][:] = 220 if index % 25 < 5 else 40
        hub.picture(LivePicture.passed(at_media(shown, index * 40 * MS), "preparing"))
        for block in (2 * index, 2 * index + 1):
            output.sound(SoundBlock(sound[block * BLOCK : (block + 1) * BLOCK], block))
    await time.sleep_until(last * 40 * MS + DELAY + 100 * MS)


def test_a_recording_is_a_marked_mp4_whose_sound_is_in_step(tmp_path: Path) -> None:
    target = tmp_path / "r.mp4"

    async def main() -> None:
        time, clock = SessionTime(LoopClock()), LoopClock()
        hub = PictureHub(time, ScriptedWorker(instant), DELAY, "H264")
        output = MuxOutput(str(target), hub, clock, ScriptedWorker(instant))
        await one_turn()
        await play(hub, output, time, 0, 100)
        assert output.state.writing
        assert not target.exists()
        await output.aclose()
        await output.aclose()
        await hub.aclose()
        assert output.state.pictures == 100

    run_virtual(main())
    info = probe_video(target)
    assert len(info.ticks) == 100
    with av.open(str(target)) as container:
        assert container.metadata["livedub_edited"] == "1"
        bright = [f.time for f in container.decode(video=0) if f.to_ndarray()[32, 32] > 130]
    sound = read_sound(target)
    assert sound.duration == pytest.approx(4, abs=0.1)
    loud = np.flatnonzero(np.abs(sound.track[0]) > 0.2) / sound.rate
    onsets = [loud[0], *loud[1:][np.diff(loud) > 0.3]]
    shown = [bright[0], *[b for a, b in zip(bright, bright[1:], strict=False) if b - a > 0.3]]
    assert np.allclose(onsets, shown, atol=0.03)
    assert not list(tmp_path.glob("*.part"))


def test_a_recording_ends_where_the_pictures_change_their_size(tmp_path: Path) -> None:
    target = tmp_path / "r.mp4"

    async def main() -> str | None:
        time, clock = SessionTime(LoopClock()), LoopClock()
        hub = PictureHub(time, ScriptedWorker(instant), DELAY, "H264")
        output = MuxOutput(str(target), hub, clock, ScriptedWorker(instant))
        await one_turn()
        await play(hub, output, time, 0, 20)
        await play(hub, output, time, 20, 30, width=96)
        assert not output.state.writing
        await output.aclose()
        await hub.aclose()
        return output.state.problem

    assert "changed their size" in (run_virtual(main()) or "")
    assert len(probe_video(target).ticks) == 20


class FlakyMuxer:
    """Takes so many pictures, then the connection is lost."""

    def __init__(self, log: list[tuple[int, int]], good_for: int) -> None:
        self.log, self.left = log, good_for
        self.begun: list[int] = []

    def begin(self, media: int) -> None:
        self.begun.append(media)

    def picture(self, packet: Encoded) -> None:
        assert self.begun and packet.media >= self.begun[0]
        if self.left == 0:
            raise MediaError("rtmp://live: lost: broken pipe")
        self.left -= 1
        self.log.append((packet.media, packet.key))

    def sound(self, block: SoundBlock) -> None:
        assert len(block.samples) == BLOCK

    def close(self) -> None:
        """Nothing to complete."""


def test_a_lost_push_is_opened_again_at_a_key_picture() -> None:
    log: list[tuple[int, int]] = []
    kinds: list[tuple[str, Kind]] = []

    def opener(target: str, kind: Kind, width: int, height: int) -> FlakyMuxer:
        kinds.append((target, kind))
        return FlakyMuxer(log, 10 if len(kinds) == 1 else 1000)

    async def main() -> None:
        time, clock = SessionTime(LoopClock()), LoopClock()
        hub = PictureHub(time, ScriptedWorker(instant), DELAY, "H264")
        output = MuxOutput("rtmp://u:pw@live/app?key=k", hub, clock, ScriptedWorker(instant), opener)
        await one_turn()
        await play(hub, output, time, 0, 60)
        assert (output.state.attempts, output.state.target) == (2, "rtmp://live/app")
        assert "lost" in (output.state.problem or "")
        await output.aclose()
        await hub.aclose()

    run_virtual(main())
    assert kinds == [("rtmp://u:pw@live/app?key=k", "flv")] * 2
    assert log[10][1]
    assert log[10][0] - log[9][0] > 0.4 * NS
    assert len(log) > 25


def test_targets_that_cannot_work_are_refused(tmp_path: Path) -> None:
    async def main() -> None:
        hub = PictureHub(SessionTime(LoopClock()), ScriptedWorker(instant), DELAY, "H264")
        for target in ("srt://host:9000", "http://x/y", str(tmp_path / "r.avi"), str(tmp_path / "no" / "r.mp4")):
            with pytest.raises(MediaError):
                MuxOutput(target, hub, LoopClock(), ScriptedWorker(instant))
        await hub.aclose()

    run_virtual(main())
    with pytest.raises(MediaError, match="cannot be opened for writing"):
        FfmpegMuxer(str(tmp_path / "no" / "r.mp4"), "mp4", 64, 64)
