"""The output clock by itself: what leaves when, what is too late, silence, interruptions."""

from collections.abc import AsyncIterator

import numpy as np
import pytest

from streaming.clock import MS, NS, LoopClock
from streaming.live.media import BLOCK, BLOCK_NS, LivePicture, SessionTime, SoundBlock, at_media
from streaming.live.release import OutputClock
from streaming.live.stats import LiveStats
from streaming.live.voice import RecordedVoice, VoiceSwitch
from streaming.stage import TaskOwner
from streaming.virtual_time import run_virtual
from tests.streaming.live.fakes import Recorder, picture

pytestmark = pytest.mark.unit

DELAY = 400 * MS


class Ear:
    """Who hears the voice as it comes."""

    def __init__(self) -> None:
        self.heard: list[SoundBlock] = []

    def push(self, item: SoundBlock) -> None:
        self.heard.append(item)


def clock_of(delay: int = DELAY) -> tuple[OutputClock, Recorder, Ear, LiveStats]:
    """An output clock with a loud voice, what leaves it, and who hears at once."""
    time, ear, stats, voice = SessionTime(LoopClock()), Ear(), LiveStats(), VoiceSwitch()
    voice.source = RecordedVoice(np.full(60 * 48000, 0.5, np.float32), None)
    notes = Recorder(time)
    return OutputClock(time, delay, voice, ear, [notes], stats), notes, ear, stats


async def pictures(time: SessionTime, *when: tuple[int, int]) -> AsyncIterator[LivePicture]:
    """Pictures of a media time that are finished at another."""
    for media, finished in when:
        await time.sleep_until(finished)
        yield LivePicture.passed(at_media(picture(0), media), "preparing")


@pytest.mark.parametrize("delay", [0, -20 * MS, 30 * MS, 1])
def test_a_delay_that_is_no_whole_number_of_blocks_is_refused(delay: int) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="positive multiple of 20000000"):
            clock_of(delay)

    run_virtual(main())


def test_pictures_leave_at_their_time_and_those_that_are_too_late_do_not() -> None:
    async def main() -> None:
        release, notes, _, stats = clock_of()
        due = ((0, 100 * MS), (40 * MS, 440 * MS), (80 * MS, 499 * MS), (120 * MS, 541 * MS), (160 * MS, 542 * MS))
        await release.run_pictures(pictures(notes.time, *due))
        left = [(shown.media // MS, now // MS) for now, shown in notes.pictures]
        assert left == [(0, 400), (40, 440), (80, 499), (160, 560)]
        assert (stats.released, stats.late, stats.passed["preparing"]) == (4, 1, 4)

    run_virtual(main())


def test_the_voice_is_heard_at_once_and_leaves_after_the_delay() -> None:
    async def main() -> None:
        release, notes, ear, stats = clock_of()
        async with TaskOwner("sound") as tasks:
            tasks.begin("run", release.run_sound())
            await notes.time.sleep_until(2 * NS + MS)
        assert [block.index for block in ear.heard] == list(range(100))
        assert {now - block.media for now, block in notes.sounds} == {DELAY}
        assert stats.blocks == len(notes.sounds) == 81
        assert stats.av_offset_ms(notes.time.now()) is None

    run_virtual(main())


def test_an_interruption_silences_what_is_on_its_way_without_losing_a_block() -> None:
    async def main() -> None:
        release, notes, ear, _ = clock_of()
        async with TaskOwner("sound") as tasks:
            tasks.begin("run", release.run_sound())
            await notes.time.sleep_until(NS + 10 * MS)
            release.interrupt()
            await notes.time.sleep_until(2 * NS)
        indices = [block.index for _, block in notes.sounds]
        assert indices == list(range(len(indices)))
        loud = [now for now, block in notes.sounds if np.abs(block.samples).max() > 0]
        assert max(loud) <= NS + 10 * MS + BLOCK_NS
        faded = next(block for now, block in notes.sounds if now == max(loud)).samples
        assert faded[0] == pytest.approx(0.5)
        assert np.all(np.diff(faded[:240]) <= 0)
        assert not faded[240:].any()
        assert len(ear.heard[-1].samples) == BLOCK

    run_virtual(main())
