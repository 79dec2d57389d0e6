"""The live pipeline in virtual time: constant delay, sync, falling frame rates, overload, stalls, silence."""

import asyncio
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from engine.errors import BadInputError
from engine.media import VideoFrame
from streaming.clock import MS, NS, Clock, LoopClock
from streaming.live.dub import LiveDub
from streaming.live.media import SOUND_RATE, LivePicture
from streaming.live.voice import RecordedVoice
from streaming.pipeline import LEAD_MS, LivePipeline, PipelineConfig, fitting_delay_ms
from streaming.virtual_time import VirtualClock, run_virtual
from tests.streaming.live.fakes import Recorder, ScriptedWorker, beep, picture
from tests.streaming.passing import passes
from tests.streaming.scripted import LOOK_AHEAD_MS, LOUD, ScriptedSession

pytestmark = pytest.mark.unit

Edit = Callable[[float], float]


async def play(
    pipeline: LivePipeline,
    seconds: float,
    rate: int = 25,
    clock: Clock | None = None,
    make: Callable[[int], VideoFrame] = picture,
) -> None:
    """Feed pictures by a clock (the pipeline's by default), then wait until the last is out."""
    source = clock or pipeline.time.clock
    begin = source.now()
    for index in range(round(seconds * rate)):
        await source.sleep_until(begin + index * NS // rate)
        pipeline.push_picture(make(index))
    await pipeline.time.sleep_until(pipeline.time.now() + (pipeline.config.delay_ms + 100) * MS)


async def run_dub(cost_ms: Edit, seconds: float, delay_ms: int, edit_ms: float = 20.0) -> tuple[LivePipeline, Recorder]:
    """A session of so many seconds whose edits cost what `cost_ms` says; a beep every second for 0.3 s."""
    pipeline = LivePipeline(LoopClock(), ScriptedWorker(cost_ms), PipelineConfig(delay_ms, edit_ms))
    recorder = Recorder(pipeline.time)
    pipeline.outputs.append(recorder)
    pipeline.voice.use(RecordedVoice(beep(0.3, 1.0, seconds + 5), None))
    pipeline.use(LiveDub(ScriptedSession(), LOOK_AHEAD_MS))
    await play(pipeline, seconds)
    await pipeline.aclose()
    return pipeline, recorder


def is_loud(shown: LivePicture) -> bool:
    return int(shown.frame.planes[0][-1, -1]) == LOUD


def test_a_fast_engine_edits_every_picture_and_all_leave_after_the_same_delay() -> None:
    async def main() -> None:
        pipeline, recorder = await run_dub(lambda _: 20.0, 4.0, 400)
        assert recorder.reasons() == {"edited": 100}
        assert recorder.delays_ms() == {400 - LEAD_MS}
        stats = pipeline.as_dict()
        assert (stats["skipped"], stats["late"], stats["av_offset_ms"]) == (0, 0, 0.0)
        assert stats["fps_out"] == pytest.approx(25, abs=1)

    run_virtual(main())


def test_the_mouth_and_the_sound_that_leave_together_belong_together() -> None:
    async def main() -> None:
        _, recorder = await run_dub(lambda _: 20.0, 4.0, 400)
        sound = np.concatenate([b.samples for _, b in recorder.sounds])
        start = recorder.sounds[0][1].media
        checked = 0
        for _, shown in recorder.pictures[2:]:
            at = round((shown.media - start) / NS * SOUND_RATE)
            heard = bool(np.abs(sound[max(0, at - 480) : at + 480]).max() > 0.1)
            phase = (shown.media / NS - 0.02) % 1.0
            if min(phase, abs(phase - 0.3)) > 0.045:
                assert is_loud(shown) == heard
                checked += 1
        assert checked > 60

    run_virtual(main())


def test_sound_never_gaps_whatever_the_pictures_do() -> None:
    async def main() -> None:
        _, recorder = await run_dub(lambda now: 2500.0 if 1 < now < 2 else 20.0, 6.0, 400)
        indices = [b.index for _, b in recorder.sounds]
        assert indices == list(range(indices[0], indices[0] + len(indices)))
        times = np.diff([now for now, _ in recorder.sounds])
        assert set(times.tolist()) == {20 * MS}

    run_virtual(main())


@pytest.mark.parametrize(("cost", "fps"), [(60.0, 16.7), (100.0, 10.0), (300.0, 3.3)])
def test_a_slow_engine_lowers_the_frame_rate_while_delay_and_sync_stay(cost: float, fps: float) -> None:
    async def main() -> None:
        delay = fitting_delay_ms(LOOK_AHEAD_MS, cost)
        pipeline, recorder = await run_dub(lambda _: cost, 10.0, delay, cost)
        assert set(recorder.reasons()) == {"edited"}
        assert recorder.delays_ms() == {delay - LEAD_MS}
        assert len(recorder.pictures) / 10 == pytest.approx(fps, rel=0.1)
        stats = pipeline.as_dict()
        assert stats["late"] == 0
        assert stats["skipped"] + stats["released"] == 250

    run_virtual(main())


def test_an_engine_that_can_never_keep_the_delay_shows_the_pictures_as_they_are_and_says_so() -> None:
    async def main() -> None:
        pipeline, recorder = await run_dub(lambda _: 900.0, 10.0, 400)
        assert set(recorder.reasons()) == {"overload"}
        assert recorder.reasons()["overload"] > 150
        assert recorder.delays_ms() == {400 - LEAD_MS}
        assert pipeline.as_dict()["overloaded"] is True

    run_virtual(main())


def test_after_an_overload_edits_come_back_by_themselves() -> None:
    async def main() -> None:
        pipeline, recorder = await run_dub(lambda now: 1500.0 if 3 < now < 6 else 20.0, 12.0, 400)
        late = [shown for now, shown in recorder.pictures if now > 10 * NS]
        assert recorder.reasons()["overload"] > 10
        assert len(late) > 40
        assert all(shown.edited for shown in late)
        assert pipeline.as_dict()["overloaded"] is False

    run_virtual(main())


def test_one_slow_edit_costs_only_the_pictures_that_it_held_up() -> None:
    async def main() -> None:
        _, recorder = await run_dub(lambda now: 200.0 if 2.0 < now < 2.03 else 20.0, 4.0, 500)
        assert set(recorder.reasons()) == {"edited"}
        assert len(recorder.pictures) >= 95

    run_virtual(main())


def test_without_a_dub_pictures_pass_untouched_then_the_edit_takes_over() -> None:
    async def main() -> None:
        pipeline = LivePipeline(LoopClock(), ScriptedWorker(lambda _: 20.0), PipelineConfig(400, 20.0))
        recorder = Recorder(pipeline.time)
        pipeline.outputs.append(recorder)

        async def later() -> None:
            await passes(2.0)
            pipeline.use(LiveDub(ScriptedSession(), LOOK_AHEAD_MS))

        switching = asyncio.get_running_loop().create_task(later())
        await play(pipeline, 4.0)
        await switching
        await pipeline.aclose()
        kinds = [shown.reason for _, shown in recorder.pictures]
        assert kinds[:45] == ["preparing"] * 45
        assert kinds[-40:] == ["edited"] * 40
        assert len(kinds) >= 97
        first = recorder.pictures[0][1]
        assert first.frame is first.source

    run_virtual(main())


def test_an_edit_that_begins_while_it_is_watched_fades_in() -> None:
    async def main() -> None:
        pipeline = LivePipeline(LoopClock(), ScriptedWorker(lambda _: 20.0), PipelineConfig(400, 20.0))
        recorder = Recorder(pipeline.time)
        pipeline.outputs.append(recorder)
        pipeline.voice.use(RecordedVoice(np.full(10 * SOUND_RATE, 0.5, np.float32), None))
        pipeline.use(None, "enrolling")
        await play(pipeline, 1.0)
        pipeline.use(LiveDub(ScriptedSession(), LOOK_AHEAD_MS, fade_ms=400))
        pipeline.new_source()
        await play(pipeline, 2.0)
        await pipeline.aclose()
        levels = [int(shown.frame.planes[0][-1, -1]) for _, shown in recorder.pictures]
        assert recorder.reasons()["enrolling"] == pytest.approx(25, abs=2)
        edited = [level for level, (_, shown) in zip(levels, recorder.pictures, strict=True) if shown.edited]
        assert edited[:11] == sorted(edited[:11])
        assert 100 < edited[0] < 115
        assert edited[4] == pytest.approx(100 + 0.45 * (LOUD - 100), abs=2)
        assert set(edited[11:]) == {LOUD}

    run_virtual(main())


def test_reasons_of_the_engine_come_out_and_face_tells_the_last() -> None:
    async def main() -> None:
        pipeline = LivePipeline(LoopClock(), ScriptedWorker(lambda _: 20.0), PipelineConfig(400, 20.0))
        recorder = Recorder(pipeline.time)
        pipeline.outputs.append(recorder)
        pipeline.use(LiveDub(ScriptedSession(lambda s: "no_face" if s > 1 else "edited"), LOOK_AHEAD_MS))
        await play(pipeline, 2.0)
        await pipeline.aclose()
        assert recorder.reasons()["no_face"] == pytest.approx(24, abs=2)
        assert pipeline.stats.face == "no_face"

    run_virtual(main())


def test_pictures_of_another_size_let_the_dub_go_and_tell() -> None:
    async def main() -> None:
        pipeline = LivePipeline(LoopClock(), ScriptedWorker(lambda _: 20.0), PipelineConfig(400, 20.0))
        recorder = Recorder(pipeline.time)
        pipeline.outputs.append(recorder)
        told: list[int] = []
        pipeline.use(LiveDub(ScriptedSession(), LOOK_AHEAD_MS), resized=lambda: told.append(pipeline.time.now()))
        await play(pipeline, 2.0, make=lambda i: picture(i, width=32 if i < 25 else 64))
        await pipeline.aclose()
        assert len(told) == 1
        assert recorder.reasons()["size_changed"] == pytest.approx(25, abs=3)
        assert {shown.frame.width for _, shown in recorder.pictures if shown.edited} == {32}

    run_virtual(main())


def stay_in_step(ppm: float, seconds: float) -> None:
    """A source whose clock is off, for a long time."""

    async def main() -> None:
        pipeline = LivePipeline(LoopClock(), ScriptedWorker(lambda _: 100.0), PipelineConfig(500, 100.0))
        recorder = Recorder(pipeline.time)
        pipeline.outputs.append(recorder)
        pipeline.use(LiveDub(ScriptedSession(), LOOK_AHEAD_MS))
        await play(pipeline, seconds, rate=5, clock=VirtualClock(ppm), make=lambda i: picture(i, Fraction(1, 5)))
        await pipeline.aclose()
        assert recorder.delays_ms() == {500 - LEAD_MS}
        assert len(recorder.pictures) == 5 * seconds
        assert pipeline.as_dict()["source_restarts"] == 0

    run_virtual(main())


@pytest.mark.parametrize("ppm", [-200.0, 200.0])
def test_a_source_with_a_bad_crystal_stays_in_step(ppm: float) -> None:
    stay_in_step(ppm, 150)


@pytest.mark.slow
@pytest.mark.parametrize("ppm", [-200.0, 200.0])
def test_twenty_minutes_of_a_source_with_a_bad_crystal_stay_in_step(ppm: float) -> None:
    stay_in_step(ppm, 1200)


def test_an_error_of_the_engine_is_kept_and_ends_only_the_pictures() -> None:
    class Broken(ScriptedSession):
        def ready(self) -> list[object]:  # type: ignore[override]
            raise BadInputError("broken on purpose")

    async def main() -> None:
        pipeline = LivePipeline(LoopClock(), ScriptedWorker(lambda _: 20.0), PipelineConfig(400, 20.0))
        pipeline.use(LiveDub(Broken(), LOOK_AHEAD_MS))  # type: ignore[arg-type]
        await play(pipeline, 1.0)
        assert pipeline.tasks.failed.is_set()
        assert isinstance(pipeline.tasks.error, BadInputError)
        assert pipeline.stats.blocks > 20
        await pipeline.aclose()
        await pipeline.aclose()

    run_virtual(main())


class JumpyClock(VirtualClock):
    """A clock of a process that is stopped for a while."""

    jump = 0

    def now(self) -> int:
        return super().now() + self.jump


def test_a_process_held_up_for_a_minute_goes_on_without_catching_up() -> None:
    async def main() -> None:
        clock = JumpyClock()
        pipeline = LivePipeline(clock, ScriptedWorker(lambda _: 20.0, clock), PipelineConfig(400, 20.0))
        recorder = Recorder(pipeline.time)
        pipeline.outputs.append(recorder)
        pipeline.use(LiveDub(ScriptedSession(), LOOK_AHEAD_MS))
        await play(pipeline, 1.0)
        before = len(recorder.sounds)
        clock.jump = 60 * NS
        pipeline.new_source()
        await play(pipeline, 2.0)
        await pipeline.aclose()
        assert len(recorder.sounds) - before < 150
        assert pipeline.stats.stalls == 1
        assert pipeline.stats.stalled_ms == pytest.approx(60_000, abs=200)
        after = [shown for _, shown in recorder.pictures if shown.media > 60 * NS]
        assert len(after) >= 45
        assert all(shown.edited for shown in after[5:])

    run_virtual(main())


def test_interrupt_silences_the_sound_within_two_blocks() -> None:
    async def main() -> None:
        pipeline = LivePipeline(LoopClock(), ScriptedWorker(lambda _: 20.0), PipelineConfig(1000, 20.0))
        recorder = Recorder(pipeline.time)
        pipeline.outputs.append(recorder)
        pipeline.voice.use(RecordedVoice(np.full(20 * SOUND_RATE, 0.5, np.float32), None))
        await pipeline.time.sleep_until(3 * NS)
        pipeline.interrupt()
        await pipeline.time.sleep_until(5 * NS)
        await pipeline.aclose()
        assert all(np.abs(b.samples).max() == 0 for now, b in recorder.sounds if now > 3 * NS + 40 * MS)
        assert any(np.abs(b.samples).max() > 0.4 for now, b in recorder.sounds if now <= 3 * NS)

    run_virtual(main())


def test_a_delay_that_cannot_be_is_refused() -> None:
    for delay in (0, 190, 410, 20_000):
        with pytest.raises(BadInputError, match="multiple of 20"):
            PipelineConfig(delay)
    assert fitting_delay_ms(150, 300) == 1300
    assert fitting_delay_ms(0, 0) == 240
    assert fitting_delay_ms(150, 5000) == 4000


def test_an_effort_that_does_not_fit_the_delay_is_lowered_and_tried_again_when_it_fits() -> None:
    async def main() -> None:
        session = ScriptedSession()
        slow = [True]

        def cost(_: float) -> float:
            return 200.0 + (400.0 if slow[0] else 20.0) * session.effort

        pipeline = LivePipeline(LoopClock(), ScriptedWorker(cost), PipelineConfig(600, 100.0))
        recorder = Recorder(pipeline.time)
        pipeline.outputs.append(recorder)
        dub = LiveDub(session, LOOK_AHEAD_MS)
        dub.wanted_effort = 2
        pipeline.use(dub)
        await play(pipeline, 20.0)
        lowered = pipeline.stats.efforts.copy()
        slow[0] = False
        pipeline.new_source()
        await play(pipeline, 60.0)
        await pipeline.aclose()
        assert lowered[0] > 30
        assert lowered[2] == 0
        assert pipeline.as_dict()["effort"] == 2
        assert recorder.delays_ms() == {600 - LEAD_MS}

    run_virtual(main())


def test_edits_that_would_show_a_standing_picture_are_not_shown_and_nothing_flickers() -> None:
    async def main() -> None:
        _, recorder = await run_dub(lambda _: 2500.0, 30.0, 8000, 2500.0)
        assert set(recorder.reasons()) == {"overload"}
        assert len(recorder.pictures) > 700
        media = [shown.media for _, shown in recorder.pictures]
        assert max(b - a for a, b in zip(media, media[1:], strict=False)) <= 80 * MS

    run_virtual(main())
