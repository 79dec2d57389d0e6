"""The tracker on real portraits put together into scenes: one face among several, cuts, covers, sizes, turns."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.tracking import FaceTracker, HeadPose, TrackResult, ffhq_quad
from engine.tracking import pose as pose_module
from engine.tracking import tracker as tracker_module

Picture = Callable[[str, int], NDArray[np.uint8]]

FIRST, SECOND = "003_neutral", "083_smiling"


def _run(tracker: FaceTracker, frames: list[NDArray[np.uint8]], start: float = 0.0) -> list[TrackResult]:
    return [tracker.track(frame, start + index / 25) for index, frame in enumerate(frames)]


def _middle(result: TrackResult) -> NDArray[np.float64]:
    assert result.face is not None
    return np.asarray(result.face.points[:, :2].mean(0), dtype=np.float64)


@pytest.mark.unit
def test_portrait_is_tracked(tracker: FaceTracker, face_picture: Picture) -> None:
    result = tracker.track(face_picture(FIRST, 500), 0.0)
    assert (result.reason, result.cut) == ("ok", True)
    face = result.face
    assert face is not None
    assert face.points.shape == (68, 3)
    assert face.mesh.shape == (468, 3)
    assert face.points.dtype == face.mesh.dtype == np.float32
    assert face.confidence > 0.9
    assert face.iod_px == face.pose.iod_px == pytest.approx(np.linalg.norm(face.points[36] - face.points[45]), rel=0.02)
    side = float(np.linalg.norm(face.quad[3] - face.quad[0]))
    assert np.abs(face.quad - ffhq_quad(face.points)).max() < 0.02 * side


@pytest.mark.unit
def test_points_move_with_the_picture(tracker: FaceTracker, face_picture: Picture) -> None:
    picture = face_picture(FIRST, 500)
    still, moved = _run(tracker, [picture, np.roll(picture, (4, 7), axis=(0, 1))])
    third_of_a_crop_pixel = 0.8
    np.testing.assert_allclose(_middle(moved) - _middle(still), [7, 4], atol=third_of_a_crop_pixel)


@pytest.mark.unit
def test_one_of_two_faces_is_followed(tracker: FaceTracker, face_picture: Picture) -> None:
    large, small = face_picture(FIRST, 400), face_picture(SECOND, 300)
    small = np.pad(small, ((50, 50), (0, 0), (0, 0)), mode="edge")
    both = np.concatenate([large, small], axis=1)
    results = _run(tracker, [both] * 3)
    assert all(_middle(result)[0] < 400 for result in results)
    grown = np.concatenate([np.pad(face_picture(FIRST, 300), ((50, 50), (50, 50), (0, 0)), mode="edge"), large], axis=1)
    tracker.reset()
    (after,) = _run(tracker, [grown])
    assert _middle(after)[0] > 400


@pytest.mark.unit
def test_lost_face_is_told_from_the_other(tracker: FaceTracker, face_picture: Picture) -> None:
    """The followed, smaller face is hidden for some frames; when it is back it is followed again."""
    large, small = face_picture(FIRST, 400), face_picture(SECOND, 300)
    framed = np.pad(small, ((50, 50), (0, 0), (0, 0)), mode="edge")
    alone = np.concatenate([np.full_like(large, 128), framed], axis=1)
    both = np.concatenate([large, framed], axis=1)
    assert _middle(tracker.track(alone, 0.0))[0] > 400
    tracker._cuts.reset()
    tracker._cuts(both)
    tracker._state.crop = None
    assert _middle(tracker.track(both, 0.5))[0] > 400
    tracker._state.crop = None
    tracker._state.seconds = -10.0
    assert _middle(tracker.track(both, 0.6))[0] < 400


@pytest.mark.unit
def test_cut_to_another_face_is_found_in_the_same_frame(tracker: FaceTracker, face_picture: Picture) -> None:
    one = np.pad(face_picture(FIRST, 300), ((0, 0), (0, 300), (0, 0)), constant_values=20)
    other = np.pad(face_picture(SECOND, 300), ((0, 0), (300, 0), (0, 0)), constant_values=200)
    results = _run(tracker, [one, one, other, other])
    assert [result.reason for result in results] == ["ok"] * 4
    assert [result.cut for result in results] == [True, False, True, False]
    assert _middle(results[1])[0] < 300 < _middle(results[2])[0]
    assert results[2].face is not None
    points = results[2].face.points
    np.testing.assert_allclose(results[2].face.quad, ffhq_quad(points), atol=1e-3 * 300)


@pytest.mark.unit
def test_jump_in_front_of_the_same_wall_is_a_cut(tracker: FaceTracker, face_picture: Picture) -> None:
    picture = face_picture(FIRST, 500)
    before, after = _run(tracker, [picture, np.roll(picture, 60, axis=1)])
    assert (before.cut, after.cut) == (True, True)
    assert after.reason == "ok"


@pytest.mark.unit
def test_no_face_is_told(tracker: FaceTracker) -> None:
    wall = np.random.default_rng(0).integers(0, 255, (240, 320, 3), dtype=np.uint8)
    assert [result.reason for result in _run(tracker, [wall, wall])] == ["cut", "no_face"]


@pytest.mark.unit
def test_covered_face_is_passed_through_and_comes_back(tracker: FaceTracker, face_picture: Picture) -> None:
    free = face_picture(FIRST, 500)
    face = tracker.track(free, 0.0).face
    assert face is not None
    tracker.reset()
    low, high = face.mesh[:, :2].min(0).astype(int), face.mesh[:, :2].max(0).astype(int)
    covered = free.copy()
    covered[(low[1] + high[1]) // 2 + 15 : high[1] + 30, low[0] - 15 : high[0] + 15] = (190, 140, 120)
    results = _run(tracker, [free, covered, covered, free])
    assert [result.reason for result in results] == ["ok", "covered", "covered", "ok"]


@pytest.mark.unit
@pytest.mark.parametrize(("side", "reason"), [(110, "too_small"), (300, "ok")])
def test_small_faces_are_passed_through(tracker: FaceTracker, face_picture: Picture, side: int, reason: str) -> None:
    scene = np.full((400, 600, 3), 128, dtype=np.uint8)
    scene[50 : 50 + side, 200 : 200 + side] = face_picture(FIRST, side)
    assert tracker.track(scene, 0.0).reason == reason


@pytest.mark.unit
def test_turned_head_is_passed_through_with_hysteresis(
    tracker: FaceTracker, face_picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    yaws = iter([0.0, 44.0, 46.0, 43.0, 40.0, 43.0])
    original = pose_module.head_pose

    def turned(mesh: NDArray[np.float64]) -> HeadPose:
        return dataclasses.replace(original(mesh), yaw_deg=next(yaws))

    monkeypatch.setattr(tracker_module, "head_pose", turned)
    results = _run(tracker, [face_picture(FIRST, 400)] * 6)
    assert [result.reason for result in results] == ["ok", "ok", "turned_away", "turned_away", "ok", "ok"]


@pytest.mark.unit
def test_reset_makes_runs_equal(tracker: FaceTracker, face_picture: Picture) -> None:
    frames = [face_picture(FIRST, 400), face_picture("003_smiling", 400)]
    runs = []
    for _ in range(2):
        tracker.reset()
        runs.append(_run(tracker, frames))
    for one, other in zip(*runs, strict=True):
        assert one.face is not None
        assert other.face is not None
        np.testing.assert_array_equal(one.face.points, other.face.points)
        np.testing.assert_array_equal(one.face.quad, other.face.quad)


@pytest.mark.unit
def test_bad_frames_and_times_are_refused(tracker: FaceTracker) -> None:
    picture = np.zeros((60, 80, 3), dtype=np.uint8)
    with pytest.raises(ShapeError, match="expected"):
        tracker.track(picture[:, :, 0], 0.0)
    with pytest.raises(ShapeError, match="expected"):
        tracker.track(picture[:0], 0.0)
    tracker.track(picture, 1.0)
    with pytest.raises(ShapeError, match="rising"):
        tracker.track(picture, 1.0)


@pytest.mark.unit
def test_face_at_the_edge_of_the_picture_is_followed(tracker: FaceTracker, face_picture: Picture) -> None:
    picture = face_picture(FIRST, 500)
    result = tracker.track(picture[120:, :360].copy(), 0.0)
    assert result.reason in ("ok", "covered")
    if result.face is not None:
        assert np.isfinite(result.face.points).all()


@pytest.mark.slow
@pytest.mark.parametrize("clip", ["vrt_face2", "liveportrait_d20", "sadtalker_WDA_KatieHill_000"])
def test_real_clips_are_followed_throughout(tracker: FaceTracker, data_dir: Path, clip: str) -> None:
    quads = []
    with av.open(str(data_dir / "clips" / f"{clip}.mp4")) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index == 75:
                break
            result = tracker.track(np.array(frame.to_ndarray(format="rgb24"), dtype=np.uint8), index / 25)
            assert result.reason == "ok"
            assert result.cut == (index == 0)
            assert result.face is not None
            quads.append((result.face.quad, ffhq_quad(result.face.points)))
    smooth, plain = (np.array(each) for each in zip(*quads, strict=True))
    jitter = [math.sqrt(float((np.diff(each, 2, axis=0) ** 2).mean())) for each in (plain, smooth)]
    assert jitter[1] < 0.75 * jitter[0]
