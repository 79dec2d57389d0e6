"""Strips: which moments are shown, and what is drawn."""

import io
from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest

from engine.errors import ShapeError
from engine.evaluation import strips as s

pytestmark = pytest.mark.unit


def talking(stage: Any, count: int = 100) -> list[Any]:
    """A run that talks for three seconds (opening rises and falls once a second), then rests."""
    frames: list[Any] = stage.run_of(count)
    for index, frame in enumerate(frames):
        second = index / 25
        gap = 0.1 - 0.08 * np.cos(2 * np.pi * second) if second < 3 else 0.02
        frames[index] = replace(frame, tracked=stage.face(0.1), target=stage.face(gap), speaking=float(second < 3))
    return frames


def test_moments_are_wide_open_closed_and_silent(stage: Any) -> None:
    maker = s.StripMaker(size=32)
    for frame in talking(stage):
        maker.add(frame)
    seconds = [column.seconds for column in maker.columns]
    assert len(seconds) == 6
    assert sum(abs(second % 1 - 0.5) <= 0.04 for second in seconds if second < 3) == 2
    assert sum(min(second % 1, 1 - second % 1) <= 0.04 for second in seconds if second < 2.9) == 2
    assert sum(second >= 3 for second in seconds) == 2


def test_columns_of_a_moment_are_apart_and_the_best_are_kept(stage: Any) -> None:
    maker = s.StripMaker(size=32, per_moment=1, apart_s=0.4)
    frames = talking(stage, 50)
    frames[37] = replace(frames[37], target=stage.face(0.3))
    for frame in frames:
        maker.add(frame)
    assert frames[37].source.seconds in [column.seconds for column in maker.columns]
    assert len(maker.columns) == 2


def test_frames_that_passed_through_are_no_columns(stage: Any) -> None:
    maker = s.StripMaker(size=32)
    for frame in talking(stage, 10):
        maker.add(replace(frame, edited=False))
        maker.add(replace(frame, target=None))
    assert maker.columns == []
    with pytest.raises(ShapeError, match="no column"):
        s.draw_strip(maker.columns)


def test_face_square_stays_within_the_picture(stage: Any) -> None:
    top, left, side = s.face_square(stage.face(0.1), 96, 96)
    assert side == 96 and (top, left) == (0, 0)
    top, left, side = s.face_square(stage.face(0.1) * 3, 1080, 1920)
    assert side == 312
    assert (top, left) == (round(3 * (40 + 66) / 2 - 156), 0)


def test_rows_are_source_edited_and_amplified_difference() -> None:
    source, edited = np.full((8, 8, 3), 100, np.uint8), np.full((8, 8, 3), 110, np.uint8)
    column = s.Column(0.0, source, edited)
    strip = s.draw_strip([column, column])
    assert strip.shape == (3 * 8 + 2 * 4, 2 * 8 + 4, 3)
    assert [int(strip[row, 0, 0]) for row in (0, 8, 12, 24)] == [100, 255, 110, 40]
    assert s.draw_strip([column], difference=False).shape == (20, 8, 3)


def test_landmarks_are_drawn_only_when_asked_for_and_may_lie_at_the_rim() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    column = s.Column(0.0, grey, grey, target=np.array([[4.5, 4.5], [-20, -20]]), judged=np.array([[0.2, 7.9]]))
    plain, drawn = (s.draw_strip([column], difference=False, landmarks=on) for on in (False, True))
    assert (drawn[:20] == plain).all() and drawn.shape == (32, 8, 3)
    assert tuple(drawn[24 + 4, 4]) == s.TARGET_RGB
    assert tuple(drawn[24 + 7, 0]) == s.JUDGED_RGB
    assert (drawn[24, :] == 100).all()


def test_judge_is_asked_on_the_edited_picture(stage: Any) -> None:
    judge = stage.judge()
    frame = replace(stage.run_of(1)[0], tracked=stage.face(0.1), target=stage.face(0.2))
    judge.knows(frame.frame, stage.face(0.3), np.ones(3))
    maker = s.StripMaker(size=48, judge=judge)
    maker.add(frame)
    [column] = maker.columns
    assert column.judged is not None and column.target is not None
    np.testing.assert_allclose(column.judged[14], stage.face(0.3)[62] * 48 / 96, atol=1e-5)
    np.testing.assert_allclose(column.target[14], stage.face(0.2)[62] * 48 / 96, atol=1e-5)


def test_resized_keeps_the_mean_and_does_not_alias() -> None:
    checks = np.indices((64, 64)).sum(axis=0) % 2 * 255
    small = s.resized(np.repeat(checks[..., None], 3, axis=2).astype(np.uint8), 16, 16)
    assert small.shape == (16, 16, 3)
    assert np.abs(small.astype(int) - 128).max() <= 8


def test_png_is_read_back_bit_for_bit() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    with av.open(io.BytesIO(s.png(rgb)), "r") as container:
        [frame] = container.decode(video=0)
    np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), rgb)
