"""A session's voices: what is heard when, what ends when another one is asked for, addresses that come and go."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BadInputError, MediaError
from engine.media import VideoFrame
from streaming.clock import NS, LoopClock
from streaming.ingest.network import Item
from streaming.live.media import BLOCK
from streaming.live.sources import VoiceSpec
from streaming.live.voice import NoVoice, RecordedVoice, Voice
from streaming.live.voices import Voices
from streaming.virtual_time import run_virtual
from tests.streaming.live.fakes import ScriptedWorker, picture
from tests.streaming.server.serving import write_wav

pytestmark = pytest.mark.unit


class Address:
    """Gives 20 ms of sound every 20 ms, pictures between them, and is lost now and then."""

    def __init__(self, blocks: int) -> None:
        self.left = blocks
        self.closed = 0

    def read(self) -> Item | None:
        self.left -= 1
        if self.left < 0:
            raise MediaError("rtmp://studio: lost: nothing came")
        frame: VideoFrame | NDArray[np.float32] = np.full(BLOCK, 0.5, np.float32)
        return frame if self.left % 2 else picture(self.left)

    def close(self) -> None:
        self.closed += 1


def made(addresses: list[Address]) -> Voices:
    """Voices whose addresses are opened in this order."""
    waiting = iter(addresses)
    worker = ScriptedWorker(lambda _: 10.0)
    return Voices(LoopClock(), ScriptedWorker(lambda _: 0.0), lambda: worker, lambda _: next(waiting))


def loudest(voice: Voice, blocks: int = 1) -> float:
    """Of the next blocks."""
    return max(float(np.abs(voice.pull()).max()) for _ in range(blocks))


def test_only_the_sound_that_is_asked_for_is_heard() -> None:
    async def main() -> None:
        voices = made([])
        loud = np.full(8 * BLOCK, 0.5, np.float32)
        for kind, other in (("whip", "source"), ("source", "whip")):
            voice = await voices.make(VoiceSpec("whip" if kind == "whip" else "source"))
            voices.heard(other, loud)
            assert loudest(voice, 3) == 0
            voices.heard(kind, loud)
            assert loudest(voice, 3) == pytest.approx(0.5)
        assert isinstance(await voices.make(VoiceSpec("none")), NoVoice)
        voices.heard("source", loud)
        assert voices.play_out is None
        await voices.make(VoiceSpec("stream"))
        assert voices.play_out is not None
        await voices.aclose()

    run_virtual(main())


def test_the_sound_of_an_address_is_heard_and_comes_back_after_it_was_lost() -> None:
    async def main() -> None:
        clock, first, second = LoopClock(), Address(200), Address(10_000)
        voices = made([first, second])
        voice = await voices.make(VoiceSpec("url", url="rtmp://studio/sound"))
        await clock.sleep_until(clock.now() + NS)
        assert loudest(voice, 2) == pytest.approx(0.5)
        await clock.sleep_until(clock.now() + 3 * NS)
        assert voices.network is not None
        assert (voices.network.attempts, voices.network.connected, voices.network.has_sound) == (2, True, True)
        assert "lost" in (voices.network.problem or "")
        assert first.closed == 1
        await voices.make(VoiceSpec("none"))
        assert voices.network is None
        assert second.closed == 1
        await voices.aclose()

    run_virtual(main())


def test_a_recording_is_read_before_it_is_used(tmp_path: Path) -> None:
    async def main() -> None:
        voices = made([])
        spec = VoiceSpec("file", write_wav(tmp_path / "v.wav", np.full(4 * BLOCK, 0.25, np.float32)))
        await voices.prepare(spec)
        voice = await voices.make(spec)
        assert isinstance(voice, RecordedVoice)
        assert loudest(voice) == pytest.approx(0.25, abs=0.01)
        with pytest.raises(BadInputError, match="got no file"):
            await voices.prepare(VoiceSpec("file"))
        await voices.aclose()

    run_virtual(main())
