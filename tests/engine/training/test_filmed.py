"""Readers of MEAD and HDTF on small trees in their layouts, and preprocessing of real and broken clips."""

import logging
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BadInputError, MediaError
from engine.tracking.tracker import TrackResult
from engine.training.emotional import write_wave
from engine.training.filmed import Film, read_hdtf, read_mead
from engine.training.filming import VIDEO_RATE, preprocess, read_track, resample_track, track_film
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import tracked
from tests.streaming.clips import make_video

pytestmark = pytest.mark.unit


class NoFace:
    """A tracker that never finds one."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        self.shapes.append(rgb.shape)
        return TrackResult(None, "no_face", False)

    def reset(self) -> None:
        self.shapes.clear()


def pictures() -> list[NDArray[np.uint8]]:
    """A second of grey."""
    return [np.full((64, 96, 3), index * 8, np.uint8) for index in range(25)]


def touch(path: Path) -> Path:
    """An empty file and its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_mead_clips_are_found_with_their_sound(tmp_path: Path) -> None:
    """Emotion and level come from the folders; other views are not asked for."""
    for emotion, level, number in (("angry", 3, "001"), ("neutral", 1, "012")):
        touch(tmp_path / "M003" / "video" / "front" / emotion / f"level_{level}" / f"{number}.mp4")
        touch(tmp_path / "M003" / "video" / "left_30" / emotion / f"level_{level}" / f"{number}.mp4")
        touch(tmp_path / "M003" / "audio" / emotion / f"level_{level}" / f"{number}.m4a")
    listing = read_mead(tmp_path)
    assert listing.problems == ()
    assert [(film.name, film.emotion, film.level) for film in listing.films] == [
        ("M003-front-angry-3-001", "angry", 3),
        ("M003-front-neutral-1-012", "neutral", 1),
    ]
    assert listing.films[0].sound == tmp_path / "M003" / "audio" / "angry" / "level_3" / "001.m4a"
    assert len(read_mead(tmp_path, ("front", "left_30")).films) == 4


def test_what_is_wrong_in_mead_is_reported_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No sound, unknown emotion, unknown level, not a film, no view, no videos."""
    front = tmp_path / "W009" / "video" / "front"
    touch(front / "sad" / "level_1" / "001.mp4")
    touch(front / "bored" / "level_1" / "001.mp4")
    touch(front / "sad" / "level_9" / "001.mp4")
    touch(front / "sad" / "level_1" / "notes.txt")
    touch(tmp_path / "M005" / "video" / "down" / "sad" / "level_1" / "001.mp4")
    (tmp_path / "M007").mkdir()
    with caplog.at_level(logging.WARNING):
        listing = read_mead(tmp_path).report()
    assert listing.films == ()
    text = "\n".join(listing.problems)
    for part in ("has no sound", "'bored'", "'level_9'", "is no film", "no view front", "no folder video"):
        assert part in text
        assert part in caplog.text
    assert len(listing.problems) == 6
    with pytest.raises(BadInputError, match="not a folder"):
        read_mead(tmp_path / "none")


def hdtf(tmp_path: Path, times: str, crops: str) -> Path:
    """Lists of one part."""
    lists = tmp_path / "HDTF_dataset"
    lists.mkdir()
    (lists / "RD_annotion_time.txt").write_text(times)
    (lists / "RD_crop_wh.txt").write_text(crops)
    return lists


def test_hdtf_clips_are_cut_and_cropped_by_the_lists(tmp_path: Path) -> None:
    """Clips count from 0; the crop is written x width y height."""
    lists = hdtf(
        tmp_path,
        "Radio11.mp4 00:30-01:00 01:30-02:30\nRadio2.mp4 1:00:05-1:00:06\n",
        "Radio11_0.mp4 412 599 0 600\nRadio11_1.mp4 557 478 12 478\nRadio2_0.mp4 1 2 3 4\n",
    )
    touch(tmp_path / "videos" / "Radio11.mp4")
    touch(tmp_path / "videos" / "RD_Radio2.mp4")
    listing = read_hdtf(lists, tmp_path / "videos")
    assert listing.problems == ()
    first, second, third = listing.films
    assert (first.name, first.speaker, first.start_s, first.end_s) == ("RD-Radio11_0", "RD-Radio11", 30.0, 60.0)
    assert first.crop == (412, 0, 599, 600)
    assert (second.start_s, second.end_s, second.crop) == (90.0, 150.0, (557, 12, 478, 478))
    assert (third.start_s, third.video.name) == (3605.0, "RD_Radio2.mp4")


def test_what_is_wrong_in_hdtf_is_reported_and_left_out(tmp_path: Path) -> None:
    """Missing videos and crops, times and crops that are none."""
    lists = hdtf(
        tmp_path,
        "A.mp4 00:30-01:00\nB.mp4 00:30-00:20 half-full 00:01-00:02 00:03-00:04\n",
        "A_0.mp4 1 2 3 4\nB_0.mp4 1 2 3 4\nB_2.mp4 wide\n",
    )
    touch(tmp_path / "videos" / "B.mp4")
    listing = read_hdtf(lists, tmp_path / "videos")
    assert listing.films == ()
    assert len(listing.problems) == 6
    text = "\n".join(listing.problems)
    for part in ("crop 'wide'", "A.mp4", "'00:30-00:20'", "'half-full'", "B_2 of RD has no crop", "B_3 of RD has no"):
        assert part in text
    with pytest.raises(BadInputError, match="HDTF_dataset"):
        read_hdtf(tmp_path, tmp_path)


def test_tracks_are_bridged_over_short_gaps_only() -> None:
    """Linear between frames, unknown within long gaps and beyond the ends."""
    heads: list[NDArray[np.float64] | None] = [np.full((68, 3), float(index)) for index in range(60)]
    times = [index / 30 for index in range(60)]
    heads[10] = heads[11] = None
    for index in range(30, 45):
        heads[index] = None
    rows = resample_track(times, heads, 3.0)
    assert rows.shape == (75, 68, 3)
    at = np.arange(75) / VIDEO_RATE
    known = np.isfinite(rows[:, 0, 0])
    np.testing.assert_allclose(rows[known, 5, 1], np.clip(at[known] * 30, 0, 59), atol=1e-4)
    assert known[(at > 0.32) & (at < 0.4)].all()
    assert not known[(at > 1.0) & (at < 1.45)].any()
    assert not known[at > 2.05].any()
    assert not np.isfinite(resample_track([0.0], [None], 1.0)).any()


@pytest.mark.parametrize("count", [1, 7, 29, 57, 58, 113, 114, 500])
def test_no_frame_is_lost_to_rounding(count: int) -> None:
    """A track is as long as its film: 29 / 25 * 25 is a hair under 29."""
    assert len(resample_track([], [], count / VIDEO_RATE)) == count
    assert len(resample_track([], [], (count - 1) / VIDEO_RATE + 1 / VIDEO_RATE)) == count


def line(*times: float) -> list[NDArray[np.float64] | None]:
    """Heads that rise by one a second."""
    return [np.full((68, 3), time) for time in times]


def test_a_track_at_its_own_rate_is_itself_and_at_another_linear() -> None:
    for rate in (25, 30, 50, 24):
        times = [index / rate for index in range(rate)]
        rows = resample_track(times, line(*times), 0.9)
        np.testing.assert_allclose(rows[:, 9, 2], np.arange(len(rows)) / VIDEO_RATE, atol=1e-5)


def test_beyond_its_ends_a_track_stands_still_for_one_frame_only() -> None:
    times = [0.2 + index / 25 for index in range(5)]
    rows = resample_track(times, line(*times), 1.0)[:, 0, 0]
    known = np.flatnonzero(np.isfinite(rows))
    assert known.tolist() == [4, 5, 6, 7, 8, 9, 10]
    np.testing.assert_allclose(rows[known], [0.2, 0.2, 0.24, 0.28, 0.32, 0.36, 0.36], atol=1e-6)


@pytest.mark.parametrize(("gap", "bridged"), [(0.24, True), (0.25, True), (0.26, False), (1.0, False)])
def test_the_longest_gap_that_is_bridged_is_the_one_that_is_stated(gap: float, bridged: bool) -> None:
    times = [0.0, 0.04, 0.04 + gap, 0.08 + gap]
    rows = resample_track(times, line(*times), 1.5)[:, 0, 0]
    inside = (np.arange(len(rows)) / VIDEO_RATE > 0.05) & (np.arange(len(rows)) / VIDEO_RATE < 0.03 + gap)
    assert np.isfinite(rows[inside]).all() == bridged


def test_two_frames_of_one_time_are_no_division_by_nothing() -> None:
    """Films that were cut together hold such; the later one counts."""
    heads = line(0.0, 0.04, 5.0, 0.08, 0.12)
    rows = resample_track([0.0, 0.04, 0.04, 0.08, 0.12], heads, 0.16)[:, 0, 0]
    np.testing.assert_allclose(rows, [0.0, 5.0, 0.08, 0.12], atol=1e-5)


@pytest.mark.parametrize("crop", ["0 0 0 10", "0 10 0 0", "1 2 3", "-1 2 3 4", "\u00b2 1 1 1", "1.5 2 3 4"])
def test_a_crop_that_holds_nothing_or_is_no_number_is_told(crop: str, tmp_path: Path) -> None:
    lists = hdtf(tmp_path, "A.mp4 00:30-01:00\n", f"A_0.mp4 {crop}\n")
    touch(tmp_path / "videos" / "A.mp4")
    listing = read_hdtf(lists, tmp_path / "videos")
    assert listing.films == ()
    assert listing.problems[0] == f"A_0.mp4 of RD_crop_wh.txt has crop {crop!r}, expected x width y height"


class Sure(NoFace):
    """A tracker that finds the same face in every picture."""

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        self.shapes.append(rgb.shape)
        return TrackResult(tracked(neutral_head()), "ok", False)


def test_a_film_is_kept_as_it_was_tracked_and_not_tracked_again(tmp_path: Path) -> None:
    """Landmarks in the head frame, sound to 16 bits, emotion and level; what is there is not touched."""
    video = make_video(tmp_path / "clip.mp4", pictures())
    samples = (0.4 * np.sin(np.arange(16_000) / 7)).astype(np.float32)
    write_wave(tmp_path / "clip.wav", samples)
    films = [Film("one", "x", video, tmp_path / "clip.wav", "sad", 2, start_s=0.2, end_s=0.8)]
    told: list[tuple[str, float]] = []
    assert preprocess(films, tmp_path / "cache", Sure(), lambda name, share: told.append((name, share))) == {}
    path = tmp_path / "cache" / "one.npz"
    track, before = read_track(path), path.stat().st_mtime_ns
    assert (track.emotion, track.level, told) == ("sad", 2, [("one", 1.0)])
    np.testing.assert_allclose(track.samples, samples[3200:12_800], atol=2 / 32_767)
    assert track.head.shape == (15, 68, 3) and np.isfinite(track.head).all()
    np.testing.assert_allclose(track.head[3], neutral_head(), atol=1e-4)
    again = Sure()
    assert preprocess(films, tmp_path / "cache", again) == {}
    assert again.shapes == [] and path.stat().st_mtime_ns == before
    assert [item.name for item in path.parent.iterdir()] == ["one.npz"]


def test_clips_without_a_face_or_frames_are_left_out_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And a second run tries them again."""
    video = make_video(tmp_path / "clip.mp4", pictures())
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nonsense")
    films = [
        Film("faceless", "x", video, video),
        Film("late", "x", video, video, start_s=500.0, end_s=501.0),
        Film("broken", "x", broken, broken),
        Film("narrow", "x", video, video, crop=(0, 0, 9000, 10)),
    ]
    with caplog.at_level(logging.WARNING):
        left_out = preprocess(films, tmp_path / "cache", NoFace())
    assert list(left_out) == ["faceless", "late", "broken", "narrow"]
    for name, reason in (
        ("faceless", "no face in 100%"),
        ("late", "no frames"),
        ("broken", "cannot be decoded"),
        ("narrow", "smaller than its crop"),
    ):
        assert reason in left_out[name]
        assert f"clip {name} left out" in caplog.text
    assert list((tmp_path / "cache").iterdir()) == []


def test_the_crop_and_the_time_are_obeyed(tmp_path: Path) -> None:
    """The tracker sees the crop, and frames of the span only."""
    video = make_video(tmp_path / "clip.mp4", pictures())
    tracker = NoFace()
    with pytest.raises(MediaError, match="no face"):
        track_film(Film("a", "x", video, video, start_s=0.2, end_s=0.6, crop=(4, 2, 32, 24)), tracker)
    assert set(tracker.shapes) == {(24, 32, 3)}
    assert 8 <= len(tracker.shapes) <= 13


def test_damaged_caches_say_so(tmp_path: Path) -> None:
    """Not an archive, and an archive of something else."""
    (tmp_path / "a.npz").write_bytes(b"nonsense")
    with pytest.raises(BadInputError, match="preprocess it again"):
        read_track(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", samples=np.zeros(3, np.int16), head=np.zeros((2, 3)), emotion="sad", level=1)
    with pytest.raises(BadInputError, match="expected"):
        read_track(tmp_path / "b.npz")


@pytest.mark.slow
def test_a_real_clip_in_meads_layout_becomes_a_track(tmp_path: Path, data_dir: Path) -> None:
    """A tree of one clip; landmarks are in the head frame, eyes one unit apart, at 25 fps."""
    from engine.tracking import create_tracker
    from engine.training.audio import read_audio

    source = data_dir / "clips" / "vrt_face2.mp4"
    video = tmp_path / "M001" / "video" / "front" / "happy" / "level_2" / "001.mp4"
    video.parent.mkdir(parents=True)
    video.write_bytes(source.read_bytes())
    samples = read_audio(source)
    write_wave(tmp_path / "M001" / "audio" / "happy" / "level_2" / "001.wav", samples)
    listing = read_mead(tmp_path)
    assert preprocess(listing.films, tmp_path / "cache", create_tracker()) == {}
    track = read_track(tmp_path / "cache" / "M001-front-happy-2-001.npz")
    assert (track.emotion, track.level) == ("happy", 2)
    assert abs(len(track.head) / VIDEO_RATE - len(samples) / 16_000) < 0.2
    known = np.isfinite(track.head[:, 0, 0])
    assert known.mean() > 0.95
    apart = np.linalg.norm(track.head[known, 45] - track.head[known, 36], axis=1)
    assert np.abs(apart - 1.0).max() < 0.15
    np.testing.assert_allclose(track.samples, samples, atol=1e-3)
