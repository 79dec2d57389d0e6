"""Camera and microphone whose crystals differ, together in one session, in virtual time: sync, delay, no clicks."""

from fractions import Fraction
from itertools import count

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.devices import swelling
from bench.live_figures import av_offset_ms
from engine.media import VideoFrame
from streaming.clock import MS, NS, LoopClock
from streaming.live.dub import LiveDub
from streaming.live.media import BLOCK, SOUND_RATE
from streaming.live.voice import LiveVoice
from streaming.pipeline import LEAD_MS, LivePipeline, PipelineConfig
from streaming.stage import TaskOwner
from streaming.virtual_time import VirtualClock, run_virtual
from tests.streaming.live.fakes import Recorder, ScriptedWorker, picture
from tests.streaming.scripted import LOOK_AHEAD_MS, ScriptedSession

RATE = 5
WINDOW_S = 30
TARGET_MS = 60.0
SLACK_MS = 30.0
"""Around the target: 12 ms by which a reader must be off to be 200 ppm faster or slower, half a block that has just
come or not, and the way there. At least 30 ms are left, then, before a block of 20 ms is taken."""


def plain(index: int) -> VideoFrame:
    return picture(index, Fraction(1, RATE), 64, 64)


async def film(pipeline: LivePipeline, ppm: float) -> None:
    """Pictures by a clock that is off, for ever."""
    clock = VirtualClock(ppm)
    begin = clock.now()
    for index in count():
        await clock.sleep_until(begin + index * NS // RATE)
        pipeline.push_picture(plain(index))


async def speak(voice: LiveVoice, ppm: float) -> None:
    """A swelling tone by another clock, 20 ms at a time, for ever."""
    clock, samples = VirtualClock(ppm), swelling(60)
    begin, length = clock.now(), len(samples) // BLOCK
    for index in count():
        await clock.sleep_until(begin + (index + 1) * BLOCK * NS // SOUND_RATE)
        at = index % length * BLOCK
        voice.push(samples[at : at + BLOCK])


class LookedAt(LiveVoice):
    """A voice that notes what it holds whenever a block is about to be taken, from its first sound on."""

    def __init__(self) -> None:
        super().__init__("microphone", TARGET_MS)
        self.held: list[float] = []

    def pull(self) -> NDArray[np.float32]:
        if self.held or self.held_ms >= TARGET_MS:
            self.held.append(self.held_ms)
        return super().pull()


def offset_ms(notes: Recorder) -> float:
    """How much earlier the sound of this window left than its pictures; the window is forgotten."""
    pictures = [(now / NS, shown.frame.planes[0]) for now, shown in notes.pictures if shown.edited]
    found = av_offset_ms(pictures, [(now / NS, block.samples) for now, block in notes.sounds])
    notes.pictures.clear()
    notes.sounds.clear()
    return found


def hold_together(camera_ppm: float, microphone_ppm: float, seconds: int) -> None:
    """Sync at the start and at the end, one delay, a voice that neither runs dry nor piles up."""

    async def main() -> None:
        pipeline = LivePipeline(LoopClock(), ScriptedWorker(lambda _: 30.0), PipelineConfig(500, 30.0))
        notes, voice = Recorder(pipeline.time), LookedAt()
        pipeline.outputs.append(notes)
        pipeline.voice.use(voice)
        pipeline.use(LiveDub(ScriptedSession(), LOOK_AHEAD_MS))
        offsets: list[float] = []
        async with TaskOwner("devices") as devices:
            devices.begin("camera", film(pipeline, camera_ppm))
            devices.begin("microphone", speak(voice, microphone_ppm))
            for window in range(1, seconds // WINDOW_S + 1):
                await pipeline.time.sleep_until(window * WINDOW_S * NS)
                assert notes.delays_ms() == {500 - LEAD_MS}
                offsets.append(offset_ms(notes))
        await pipeline.aclose()
        assert max(abs(offset) for offset in offsets) <= 20
        assert abs(offsets[-1] - offsets[0]) <= 5
        assert len(voice.held) >= 50 * seconds - 10
        assert TARGET_MS - SLACK_MS <= min(voice.held) <= max(voice.held) <= TARGET_MS + SLACK_MS
        assert (voice.underruns, voice.overruns) == (0, 0)
        assert pipeline.as_dict()["source_restarts"] == 0
        assert pipeline.stats.skipped + pipeline.stats.late <= 2

    run_virtual(main())


@pytest.mark.unit
@pytest.mark.parametrize(("camera_ppm", "microphone_ppm"), [(200.0, -200.0), (-200.0, 200.0)])
def test_a_camera_and_a_microphone_that_drift_apart_stay_together(camera_ppm: float, microphone_ppm: float) -> None:
    hold_together(camera_ppm, microphone_ppm, 60)


@pytest.mark.slow
@pytest.mark.parametrize(("camera_ppm", "microphone_ppm"), [(200.0, -200.0), (-200.0, 200.0)])
def test_they_stay_together_for_twenty_minutes(camera_ppm: float, microphone_ppm: float) -> None:
    hold_together(camera_ppm, microphone_ppm, 1200)


@pytest.mark.unit
@pytest.mark.parametrize("ppm", [-200.0, 200.0])
def test_a_steady_tone_of_a_drifting_microphone_leaves_without_a_click(ppm: float) -> None:
    async def main() -> float:
        pipeline = LivePipeline(LoopClock(), ScriptedWorker(lambda _: 0.0), PipelineConfig(400))
        notes, voice = Recorder(pipeline.time), LiveVoice("microphone")
        pipeline.outputs.append(notes)
        pipeline.voice.use(voice)
        clock = VirtualClock(ppm)
        tone = (0.5 * np.sin(2 * np.pi * 400 * np.arange(SOUND_RATE) / SOUND_RATE)).astype(np.float32)
        begin = clock.now()
        for index in range(50 * 60):
            await clock.sleep_until(begin + (index + 1) * BLOCK * NS // SOUND_RATE)
            voice.push(tone[index % 50 * BLOCK :][:BLOCK])
        await pipeline.time.sleep_until(pipeline.time.now() + 100 * MS)
        await pipeline.aclose()
        sound = np.concatenate([block.samples for _, block in notes.sounds])
        assert np.abs(sound[-SOUND_RATE:]).max() == pytest.approx(0.5, abs=0.01)
        return float(np.abs(np.diff(sound)).max())

    assert run_virtual(main()) < 0.5 * 2 * np.pi * 400 / SOUND_RATE * 1.3
