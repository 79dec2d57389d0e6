"""The stage that edits, by itself: which effort fits, what an end does, what it expects of edits that nobody made."""

import pytest

from streaming.channel import ChannelClosed
from streaming.clock import MS, NS, LoopClock
from streaming.live.dub import LiveDub
from streaming.live.editing import EditLimits, EditStage
from streaming.live.media import BLOCK_NS, LivePicture, SessionTime, SoundBlock, at_media, silence
from streaming.live.stats import LiveStats
from streaming.stage import TaskOwner
from streaming.virtual_time import run_virtual
from tests.streaming.live.fakes import ScriptedWorker, picture
from tests.streaming.scripted import LOOK_AHEAD_MS, ScriptedSession

pytestmark = pytest.mark.unit

DUE = 600 * MS
FIRST_GUESS = 100 * MS


def stage_of(cost_ms: float) -> EditStage:
    """A stage whose edits take so long; pictures are due 600 ms after they were filmed."""
    worker = ScriptedWorker(lambda _: cost_ms)
    return EditStage(SessionTime(LoopClock()), worker, EditLimits(DUE, FIRST_GUESS), LiveStats())


def dub_of(effort: int) -> LiveDub:
    dub = LiveDub(ScriptedSession(), LOOK_AHEAD_MS)
    dub.wanted_effort = effort
    return dub


async def fed(stage: EditStage, time: SessionTime, pictures: int) -> None:
    """Pictures at 25 a second and the voice beside them, in order."""
    await fed_from(stage, time, 0, pictures)


async def fed_from(stage: EditStage, time: SessionTime, first: int, end: int) -> None:
    """Some of them."""
    for index in range(2 * first, 2 * end):
        await time.sleep_until((index + 1) * BLOCK_NS)
        if index % 2 == 0:
            stage.push(at_media(picture(index // 2), index * BLOCK_NS))
        stage.push(SoundBlock(silence(), index))


async def taken(stage: EditStage, into: list[LivePicture]) -> None:
    async for each in stage:
        into.append(each)


def test_an_effort_is_guessed_from_the_next_higher_one_and_then_known() -> None:
    async def main() -> None:
        stage = stage_of(0.0)
        assert stage.usual_ns(3) == FIRST_GUESS
        stage.expect(3, 400 * MS)
        assert stage.usual_ns(3) == 400 * MS
        assert stage.usual_ns(2) == pytest.approx(240 * MS)
        assert stage.usual_ns(1) == pytest.approx(240 * MS)
        assert stage.usual_ns(4) == FIRST_GUESS
        stage.expect(3, 10 * MS)
        assert stage.usual_ns(3) == 400 * MS
        await stage.aclose()

    run_virtual(main())


@pytest.mark.parametrize(("cost_ms", "effort"), [(100, 4), (330, 4), (340, 3), (700, 0), (5000, 0)])
def test_the_highest_effort_that_fits_is_taken(cost_ms: int, effort: int) -> None:
    async def main() -> None:
        stage = stage_of(0.0)
        stage.expect(4, cost_ms * MS)
        assert stage.fitting_effort(dub_of(4)) == effort
        assert stage.fitting_effort(dub_of(0)) == 0
        await stage.aclose()

    run_virtual(main())


def test_edits_forget_how_long_higher_efforts_took() -> None:
    async def main() -> None:
        stage = stage_of(0.0)
        stage.expect(2, 1000 * MS)
        for _ in range(200):
            stage._learn(1, 50 * MS)
        assert stage.usual_ns(2) == pytest.approx(1000 * MS * 0.99**200, rel=1e-6)
        assert stage.usual_ns(1) == 50 * MS
        await stage.aclose()

    run_virtual(main())


def test_three_of_four_recent_edits_decide_what_is_usual() -> None:
    async def main() -> None:
        stage = stage_of(0.0)
        for cost in (10, 10, 10, 10, 10, 10, 10, 10, 10, 90, 90, 90, 90):
            stage._learn(0, cost * MS)
        assert stage.usual_ns(0) == 90 * MS
        for _ in range(10):
            stage._learn(0, 10 * MS)
        assert stage.usual_ns(0) == 10 * MS
        await stage.aclose()

    run_virtual(main())


def test_what_waits_at_the_end_comes_out_or_is_counted_and_nothing_more_goes_in() -> None:
    async def main() -> None:
        stage, got = stage_of(20.0), list[LivePicture]()
        time = stage._time
        stage.use(dub_of(0), "edited")
        async with TaskOwner("reader") as reader:
            reader.begin("read", taken(stage, got))
            await fed(stage, time, 20)
            stage.end_input()
            with pytest.raises(ChannelClosed, match="after the end of its input"):
                stage.push(at_media(picture(99), time.now()))
            await reader.drained()
        assert len(got) + stage._stats.skipped + stage._stats.late == 20
        assert len(got) >= 10
        assert time.now() < 20 * 40 * MS + DUE + 100 * MS
        await stage.aclose()
        await stage.aclose()

    run_virtual(main())


def test_without_a_dub_pictures_pass_at_once_in_their_order_and_times_that_go_back_are_not_shown() -> None:
    async def main() -> None:
        stage, got = stage_of(0.0), list[LivePicture]()
        stage.use(None, "enrolling")
        async with TaskOwner("reader") as reader:
            reader.begin("read", taken(stage, got))
            for media in (0, 40 * MS, 30 * MS, 80 * MS, 80 * MS):
                stage.push(at_media(picture(0), media))
            await stage._time.sleep_until(NS)
            assert [(each.media // MS, each.reason) for each in got] == [(at, "enrolling") for at in (0, 40, 80)]
            assert stage._stats.late == 2
            await stage.aclose()

    run_virtual(main())


def test_held_pictures_are_edited_with_their_voice_by_a_dub_that_comes_in_time() -> None:
    """None of them passes, none is left out, and the dub has heard from the first of them on."""

    async def main() -> None:
        stage, got, session = stage_of(10.0), list[LivePicture](), ScriptedSession()
        stage.hold("preparing")
        async with TaskOwner("reader") as reader:
            reader.begin("read", taken(stage, got))
            await fed(stage, stage._time, 8)
            assert got == []
            stage.use(LiveDub(session, LOOK_AHEAD_MS), "edited")
            await fed_from(stage, stage._time, 8, 20)
            await stage._time.sleep_until(NS)
            await stage.aclose()
        assert [(each.media // MS, each.reason) for each in got[:10]] == [(40 * i, "edited") for i in range(10)]
        assert session.before + len(session.voice) > 0.4 * 16000

    run_virtual(main())


def test_held_pictures_pass_when_they_fall_due_and_their_voice_is_forgotten() -> None:
    async def main() -> None:
        stage, got = stage_of(10.0), list[tuple[int, LivePicture]]()
        time = stage._time
        stage.hold("preparing")

        async def read() -> None:
            """Note when each came."""
            async for each in stage:
                got.append((time.now(), each))

        async with TaskOwner("reader") as reader:
            reader.begin("read", read())
            await fed(stage, time, 50)
            assert len(stage._unheard) <= DUE // BLOCK_NS + 2
            await stage.aclose()
        assert {each.reason for _, each in got} == {"preparing"}
        assert [each.media // MS for _, each in got] == [40 * i for i in range(len(got))]
        assert all(-45 * MS <= at - (each.media + DUE) <= 0 for at, each in got)
        assert len(got) >= 50 - DUE // (40 * MS) - 1

    run_virtual(main())


def test_an_edit_of_a_dub_that_was_let_go_is_not_shown() -> None:
    async def main() -> None:
        stage, got = stage_of(150.0), list[LivePicture]()
        stage.use(dub_of(0), "edited")
        async with TaskOwner("reader") as reader:
            reader.begin("read", taken(stage, got))
            reader.begin("feed", fed(stage, stage._time, 25))
            await stage._time.sleep_until(500 * MS)
            assert stage._busy
            before = len(got)
            stage.use(None, "not_enrolled")
            await stage._time.sleep_until(900 * MS)
            assert {each.reason for each in got[before:]} == {"not_enrolled"}
            await stage.aclose()

    run_virtual(main())
