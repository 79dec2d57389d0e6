"""Which pictures a dub has, and when."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from engine.errors import MediaError
from streaming.ingest.file import VideoInfo, probe_video
from streaming.timeline import Timeline
from tests.streaming.clips import gradient, make_video

pytestmark = pytest.mark.unit


@pytest.fixture
def info(tmp_path: Path) -> VideoInfo:
    """Ten pictures at 25 a second."""
    return probe_video(make_video(tmp_path / "clip.mp4", [gradient(i, 32, 32) for i in range(10)]))


def moments(timeline: Timeline) -> list[int]:
    """Times in 25ths of a second."""
    return [round(tick * timeline.info.time_base * 25) for tick in timeline.pts]


@pytest.mark.parametrize("speech", [0.1, 0.4, 5.0])
def test_without_loop_the_video_decides(info: VideoInfo, speech: float) -> None:
    timeline = Timeline.plan(info, 0.0, None, speech, loop=False)
    assert moments(timeline) == list(range(10))
    assert timeline.seconds == pytest.approx(0.4)


def test_with_loop_short_speech_changes_nothing(info: VideoInfo) -> None:
    assert moments(Timeline.plan(info, 0.0, None, 0.3, loop=True)) == list(range(10))


@pytest.mark.parametrize("speech", [0.41, 0.44, 1.0, 3.0])
def test_with_loop_the_speech_decides(info: VideoInfo, speech: float) -> None:
    timeline = Timeline.plan(info, 0.0, None, speech, loop=True)
    assert timeline.seconds - 0.04 - 1e-9 < speech <= timeline.seconds + 1e-9
    assert moments(timeline) == list(range(len(timeline.pts)))
    assert [frame.pts for frame in timeline.frames()] == list(timeline.pts)


def test_a_part_counts_from_its_start(info: VideoInfo) -> None:
    timeline = Timeline.plan(info, 0.12, 0.2, 0.2, loop=False)
    assert moments(timeline) == [0, 1, 2, 3, 4]
    assert timeline.seconds == pytest.approx(0.2)


def test_times_between_pictures_are_mirrored(tmp_path: Path) -> None:
    pts = [0, 9000, 12000, 30000]
    path = make_video(
        tmp_path / "v.mp4", [gradient(i, 32, 32) for i in range(4)], pts=pts, time_base=Fraction(1, 90000)
    )
    timeline = Timeline.plan(probe_video(path), 0.0, None, 1.0, loop=True)
    steps = [round((b - a) * timeline.info.time_base * 90000) for a, b in pairwise(timeline.pts)]
    assert steps[:7] == [9000, 3000, 18000, 18000, 3000, 9000, 9000]


def test_one_picture_cannot_be_played_back_and_forth_and_two_can(info: VideoInfo) -> None:
    with pytest.raises(MediaError, match="one picture, expected at least two"):
        Timeline.plan(info, 0.0, 0.04, 2.0, loop=True)
    assert len(Timeline.plan(info, 0.0, 0.04, 0.04, loop=True).pts) == 1, "speech that fits needs no second picture"
    assert moments(Timeline.plan(info, 0.0, 0.08, 0.2, loop=True)) == [0, 1, 2, 3, 4]


def test_impossible_parts_are_refused(info: VideoInfo) -> None:
    with pytest.raises(MediaError, match="expected a start >= 0"):
        Timeline.plan(info, -1.0, None, 1.0, loop=False)
    with pytest.raises(MediaError, match="length > 0"):
        Timeline.plan(info, 0.0, 0.0, 1.0, loop=False)
