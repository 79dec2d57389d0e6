"""A run's report: a run that changes nothing reads perfect, and every defect moves the figure made for it."""

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.evaluation import FIGURES, Collector, Report

pytestmark = pytest.mark.unit

BIAS = np.zeros((68, 2))
BIAS[48:] = (0.4, -0.8)
"""How the scripted judge's convention differs from the tracker's, in pixels (40 to the inter-ocular distance)."""
SAME, OTHER = np.array([1.0, 0.0, 0.0]), np.array([0.8, 0.6, 0.0])


def asked(second: float) -> float:
    """The opening asked for: a mouth that talks for four seconds, then rests."""
    return 0.12 + 0.06 * np.sin(9 * second) + 0.03 * np.sin(17.3 * second) if second < 4 else 0.02


@lru_cache
def judged_run(stage: Any, *, late_s: float = 0.0, spread: float = 0.0, gape: float = 0.0, every: int = 1) -> Report:
    """A run whose judge reads the targets `late_s` later, `spread` pixels lower and `gape` wider in silence."""
    judge, frames = stage.judge(), stage.run_of(150, lambda index, rgb: brighter(rgb, 1))
    collector = Collector(judge, identity_every=every)
    for index, frame in enumerate(frames):
        second = index / 25
        tracked, target = stage.face(0.1), stage.face(asked(second))
        read = stage.face(asked(second - late_s) + (gape if second > 4 else 0), spread=spread)
        judge.knows(frame.source, tracked + BIAS, SAME)
        judge.knows(frame.frame, read + BIAS, OTHER if index % 2 else SAME)
        collector.add(replace(frame, target=target, tracked=tracked, speaking=float(second < 4)))
    return collector.finish()


def brighter(rgb: NDArray[np.uint8], steps: int) -> NDArray[np.uint8]:
    """Every pixel of the mask's inside raised by some steps."""
    rgb[56:76, 30:66] += np.uint8(steps)
    return rgb


def collected(frames: list[Any]) -> Report:
    """The report of a run without a judge."""
    collector = Collector()
    for frame in frames:
        collector.add(frame)
    return collector.finish(command="test")


def value(report: Report, key: str) -> float:
    """A figure that must have been measured."""
    measured = report.figures[key]
    assert measured is not None, report.not_measured[key]
    return measured


def test_an_untouched_run_reads_perfect(stage: Any) -> None:
    report = collected(stage.run_of(6))
    assert {key: report.figures[key] for key in ("outside", "seam", "sharpness", "flicker")} == {
        "outside": 0.0,
        "seam": 1.0,
        "sharpness": 1.0,
        "flicker": 1.0,
    }
    assert (report.frames, report.edited, dict(report.effort)) == (6, 6, {3: 6})
    assert report.counted["flicker"].frames == 5


def test_without_a_judge_its_figures_are_null_with_a_reason(stage: Any) -> None:
    report = collected(stage.run_of(3))
    for key in ("lip_target_error", "lip_opening_r", "sync_offset_ms", "identity", "tl_id", "closed_in_silence"):
        assert report.figures[key] is None
        assert "judge" in report.not_measured[key]
    assert "speech benchmark" in report.not_measured["speech_r"]
    assert "SyncNet" in report.not_measured["lse_c"]


def test_a_run_that_hits_its_targets(stage: Any) -> None:
    report = judged_run(stage)
    assert value(report, "lip_target_error") == pytest.approx(0, abs=1e-6)
    assert value(report, "lip_opening_r") == pytest.approx(1, abs=1e-6)
    assert value(report, "sync_offset_ms") == pytest.approx(0, abs=1)
    assert value(report, "closed_in_silence") == 0
    assert report.details["lip_target_error_uncorrected"] == pytest.approx(0.8**0.5 / 40, rel=1e-4)
    assert report.details["opening_gain"] == pytest.approx(1)
    assert report.counted["lip_opening_r"].frames == 150


def test_targets_met_80_ms_late_read_80_ms(stage: Any) -> None:
    report = judged_run(stage, late_s=0.08)
    assert value(report, "sync_offset_ms") == pytest.approx(80, abs=3)
    assert value(report, "lip_opening_r") < 0.95 < report.details["lip_opening_r_at_best_lag"]


def test_lips_off_by_two_pixels_read_two_pixels(stage: Any) -> None:
    report = judged_run(stage, spread=2)
    off = 18 * 2 / 20 / 40
    assert value(report, "lip_target_error") == pytest.approx(off, rel=0.01)


def test_a_mouth_left_open_in_silence_is_counted(stage: Any) -> None:
    assert value(judged_run(stage, gape=0.05), "closed_in_silence") == 1
    slightly = judged_run(stage, gape=0.01)
    assert value(slightly, "closed_in_silence") == 0
    assert slightly.details["closed_in_silence_of_rest_itself"] == 1
    assert slightly.counted["closed_in_silence"].frames == 150 - 108


def test_identity_and_its_wavering(stage: Any) -> None:
    report = judged_run(stage)
    assert value(report, "identity") == pytest.approx(np.linalg.norm(OTHER - SAME) / 2)
    assert value(report, "tl_id") == pytest.approx(0.8)
    assert report.counted["tl_id"].frames == 149


def test_identity_may_rest_on_two_neighbours_of_every_few_frames(stage: Any) -> None:
    report = judged_run(stage, every=5)
    assert (report.counted["identity"].frames, report.counted["identity"].left_out) == (60, 90)
    assert report.counted["tl_id"].frames == 30
    assert value(report, "tl_id") == pytest.approx(0.8)
    assert value(report, "identity") == pytest.approx(np.linalg.norm(OTHER - SAME) / 2)
    with pytest.raises(ShapeError, match="identity_every"):
        Collector(identity_every=0)


def test_blur_lowers_sharpness(stage: Any) -> None:
    def blur(index: int, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        wide = rgb.astype(np.float32)
        mean = sum(np.roll(wide, (dy, dx), (0, 1)) for dy in (-2, 0, 2) for dx in (-2, 0, 2)) / 9
        return np.asarray(mean).astype(np.uint8)

    assert value(collected(stage.run_of(4, blur)), "sharpness") < 0.7


def test_a_visible_box_raises_the_seam(stage: Any) -> None:
    frames = stage.run_of(4, lambda index, rgb: brighter(rgb, 40), mask_origin=(56, 30))
    box = np.ones((20, 36), dtype=np.float32)
    report = collected([replace(frame, mask=box) for frame in frames])
    assert value(report, "seam") > 1.5


def test_brightness_that_comes_and_goes_is_flicker(stage: Any) -> None:
    def lit(rgb: NDArray[np.uint8], steps: int) -> NDArray[np.uint8]:
        rgb[50:82, 24:72] += np.rint(steps * stage.soft_mask())[..., None].astype(np.uint8)
        return rgb

    assert value(collected(stage.run_of(8, lambda index, rgb: lit(rgb, 6 * (index % 2)))), "flicker") > 1.5
    assert value(collected(stage.run_of(8, lambda index, rgb: lit(rgb, 6))), "flicker") < 1.15


def test_a_pixel_outside_the_mask_counts(stage: Any) -> None:
    def stain(index: int, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rgb[4, 4] += np.uint8(40 * (index == 2))
        return rgb

    outside = value(collected(stage.run_of(4, stain)), "outside")
    assert 0 < outside <= 4 / (4 * (96 * 96 - 32 * 48))


def test_frames_passed_through_are_counted_by_reason_and_break_neighbours(stage: Any) -> None:
    frames = stage.run_of(7)
    for index, reason in ((2, "no_face"), (5, "turned_away")):
        frames[index] = replace(frames[index], edited=False, reason=reason, mask=None)
    report = collected(frames)
    assert dict(report.passed_through) == {"no_face": 1, "turned_away": 1}
    assert report.edited == 5
    assert (report.counted["flicker"].frames, report.counted["flicker"].left_out) == (2, 2)
    assert report.counted["outside"].frames == 7


def test_a_change_to_a_frame_that_passed_through_is_outside(stage: Any) -> None:
    frames = stage.run_of(2, lambda index, rgb: brighter(rgb, 5), edited=False, reason="cut", mask=None)
    assert value(collected(frames), "outside") > 0.05


def test_frames_that_the_judge_cannot_read_are_left_out_and_said(stage: Any) -> None:
    judge = stage.judge()
    collector = Collector(judge, identity_every=1)
    for index, frame in enumerate(stage.run_of(30)):
        if index % 3:
            far = stage.face(0.1, shift=30 if index == 1 else 0)
            judge.knows(frame.source, far, SAME)
        collector.add(replace(frame, target=stage.face(0.1), tracked=stage.face(0.1) if index != 2 else None))
    report = collector.finish()
    assert dict(report.left_out) == {
        "not in the script": 10,
        "the judge lost the face (eyes and nose 0.75 inter-ocular distances off)": 1,
        "no tracked landmarks or no target": 1,
    }
    assert (report.counted["identity"].frames, report.counted["identity"].left_out) == (18, 12)
    assert "does not vary" in report.not_measured["lip_opening_r"]
    assert "no edited frame is silent" in report.not_measured["closed_in_silence"]


def test_the_profile_s_rest_is_taken_when_given(stage: Any) -> None:
    judge = stage.judge()
    collector = Collector(judge, rest_opening=0.02)
    for index, frame in enumerate(stage.run_of(80)):
        second = index / 25
        target = stage.face(asked(second) if second < 2 else 0.08)
        judge.knows(frame.source, target, SAME)
        collector.add(replace(frame, target=target, tracked=target, speaking=float(second < 2)))
    report = collector.finish()
    assert value(report, "closed_in_silence") == 1
    assert report.details["rest_opening"] == pytest.approx(0.02, abs=1e-3)


def test_an_empty_run_has_reasons_for_everything() -> None:
    report = Collector().finish()
    assert all(figure is None for figure in report.figures.values())
    assert set(FIGURES) <= set(report.not_measured)
    assert json.loads(report.to_json())["frames"] == 0


def test_openings_over_time_are_given_to_be_drawn(stage: Any) -> None:
    judge = stage.judge()
    collector = Collector(judge)
    frames = stage.run_of(4, lambda index, rgb: rgb + np.uint8(1), tracked=stage.face(0.2), target=stage.face(0.4))
    for index, frame in enumerate(frames):
        if index != 2:
            judge.knows(frame.source, stage.face(0.3), np.ones(3))
            judge.knows(frame.frame, stage.face(0.5), np.ones(3))
        collector.add(frame)
    series = collector.openings()
    assert series["seconds"] == [0.0, 0.04, 0.08, 0.12]
    assert series["filmed"] == [0.3, 0.3, None, 0.3] and series["shown"] == [0.5, 0.5, None, 0.5]
    assert series["target"] == [0.5, 0.5, None, 0.5]  # 0.4, and 0.1 that the judge reads wider than the tracker
    assert set(Collector(None).openings()) == {"seconds"}


def floor_of(stage: Any, closed: int, misread: int) -> Report:
    """A run of 100 frames; the filmed mouth is closed in the first `closed`, and misread as open in `misread` more."""
    judge = stage.judge()
    collector = Collector(judge, rest_opening=0.02)
    for index, frame in enumerate(stage.run_of(100, lambda index, rgb: brighter(rgb, 1))):
        second = index / 25
        filmed = stage.face(0.02 if index < closed else 0.15)
        judge.knows(frame.source, stage.face(0.09) if index < misread else filmed, SAME)
        judge.knows(frame.frame, stage.face(asked(second)), SAME)
        target = stage.face(asked(second) if second < 2 else 0.02)
        collector.add(replace(frame, target=target, tracked=filmed, speaking=float(second < 2)))
    return collector.finish()


def test_the_judge_s_floor_is_how_often_it_takes_closed_lips_for_open(stage: Any) -> None:
    assert floor_of(stage, 40, 0).details["closed_in_silence_floor"] == 0
    assert floor_of(stage, 40, 10).details["closed_in_silence_floor"] == pytest.approx(0.25)


def test_without_closed_lips_in_the_clip_no_floor_is_told(stage: Any) -> None:
    assert "closed_in_silence_floor" not in floor_of(stage, 9, 2).details


def witnessed_run(stage: Any, judge_errs: range, witness_errs: range, unread: range = range(0)) -> Report:
    """150 frames, speech for four seconds; each network reads closed lips wide open on frames of its own."""
    judge, witness = stage.judge(), stage.judge()
    collector = Collector(judge, witness=witness, rest_opening=0.02)
    for index, frame in enumerate(stage.run_of(150, lambda index, rgb: brighter(rgb, 1))):
        second = index / 25
        filmed, wanted = stage.face(0.02 if index < 40 else 0.15), stage.face(asked(second))
        for network, errs in ((judge, judge_errs), (witness, witness_errs)):
            judged = network is judge or index not in unread
            if judged:
                network.knows(frame.source, stage.face(0.09) if index in errs else filmed, SAME)
                network.knows(frame.frame, stage.face(0.09) if index in errs else wanted, SAME)
        collector.add(replace(frame, target=wanted, tracked=filmed, speaking=float(second < 4)))
    return collector.finish()


def test_a_mouth_is_open_in_silence_where_judge_and_witness_agree(stage: Any) -> None:
    silent = 150 - 108
    report = witnessed_run(stage, judge_errs=range(110, 120), witness_errs=range(115, 131))
    assert value(report, "closed_in_silence") == pytest.approx(5 / silent)
    assert report.details["closed_in_silence_to_judge"] == pytest.approx(10 / silent)
    assert report.details["closed_in_silence_to_witness"] == pytest.approx(16 / silent)


def test_the_floor_of_two_is_where_both_misread_filmed_closed_lips(stage: Any) -> None:
    report = witnessed_run(stage, judge_errs=range(8), witness_errs=range(6, 12))
    assert report.details["closed_in_silence_floor"] == pytest.approx(2 / 40)


def test_frames_that_the_witness_cannot_read_are_the_judge_s_alone(stage: Any) -> None:
    report = witnessed_run(stage, judge_errs=range(110, 120), witness_errs=range(0), unread=range(105, 115))
    assert value(report, "closed_in_silence") == pytest.approx(5 / (150 - 108))
    assert report.details["closed_in_silence_to_witness"] == 0


def test_a_witness_that_reads_nothing_changes_nothing(stage: Any) -> None:
    report = witnessed_run(stage, judge_errs=range(110, 120), witness_errs=range(0), unread=range(150))
    assert value(report, "closed_in_silence") == pytest.approx(10 / (150 - 108))
    assert "closed_in_silence_to_witness" not in report.details
