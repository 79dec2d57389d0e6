"""The tracking benchmark's own arithmetic: tremble, means without lag, and lag, on paths that are known."""

import importlib
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from bench import tracking
from bench.machine import read_json
from bench.tracking import (
    _centred_mean,
    _clip,
    _distance,
    _frames,
    _lag,
    _median_seconds,
    _ms,
    _range,
    _stages,
    _steadiness,
    _tremble,
)
from engine import weights
from engine.errors import BadInputError, MediaError
from engine.tracking import TrackedFace
from engine.tracking.pose import HeadPose
from engine.tracking.tracker import FaceTracker, TrackResult
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import Place, tracked

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_tremble_of_white_noise_is_its_deviation_in_the_plane(sigma: float) -> None:
    """Both axes together: root two times the deviation of each."""
    path = sigma * np.random.default_rng(0).normal(size=(4000, 4, 2))
    assert _tremble(path) == pytest.approx(sigma * np.sqrt(2), rel=0.05)


def test_smooth_motion_does_not_tremble() -> None:
    """Neither rest, nor even motion, nor even acceleration."""
    at = np.arange(50.0)[:, None, None]
    for path in (0 * at, 3 * at, at * at - 7 * at):
        assert _tremble(np.repeat(path, 2, axis=2)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("half", [1, 4])
def test_centred_mean_keeps_lines_and_length_and_calms_noise(half: int) -> None:
    at = np.arange(60.0)[:, None, None]
    line = np.concatenate([at, 5 - 2 * at], 2)
    mean = _centred_mean(line, half)
    assert mean.shape == line.shape
    assert np.allclose(mean[half:-half], line[half:-half])
    noise = np.random.default_rng(1).normal(size=(2000, 1, 1))
    assert _centred_mean(noise, half).std() == pytest.approx(1 / np.sqrt(2 * half + 1), rel=0.1)


def wave(seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([100 + 20 * np.sin(3 * seconds), 50 + 10 * np.cos(2 * seconds)], 1)


@pytest.mark.parametrize("delay", [0.0, 0.04, 0.1])
def test_lag_is_the_delay_of_the_path(delay: float) -> None:
    seconds = np.arange(100) / 25
    assert _lag(wave(seconds - delay), wave(seconds), seconds) == pytest.approx(delay, abs=0.005)


def track(shake: float, late: float = 0.0) -> list[tuple[float, TrackedFace]]:
    """A face that moves to and fro; its points tremble by `shake` px, its smoothed crop is `late` seconds late."""
    noise = np.random.default_rng(2)
    faces = []
    for index in range(80):
        second = index / 25
        place, behind = (Place(left=60 + 20 * np.sin(3 * t), top=40.0) for t in (second, second - late))
        face = tracked(neutral_head(), place)
        points = face.points + shake * noise.normal(size=(68, 3)).astype(np.float32)
        faces.append((second, replace(face, points=points, quad=tracked(neutral_head(), behind).quad)))
    return faces


def test_steadiness_tells_a_trembling_crop_from_a_smooth_one() -> None:
    calm, shaken = _steadiness(track(0.0)), _steadiness(track(1.0))
    key = "tremble_plain_quad_percent_side"
    assert shaken[key] > 10 * calm[key]
    assert shaken["tremble_smoothed_quad_percent_side"] == calm["tremble_smoothed_quad_percent_side"]
    assert shaken["tremble_eyes_nose_percent_iod"] == pytest.approx(100 * np.sqrt(3) / (290 * 0.25), rel=0.2)


def test_a_late_crop_lags_and_lies_off() -> None:
    on_time, late = _steadiness(track(0.0)), _steadiness(track(0.0, 0.08))
    assert late["lag_ms"] - on_time["lag_ms"] == pytest.approx(80, abs=6)
    key = "distance_smoothed_from_centred_mean_percent_side"
    assert late[key] > on_time[key]


def test_only_the_first_frames_of_a_clip_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = grey_clip(tmp_path / "grey.mp4", 9)
    monkeypatch.setattr(tracking, "_FRAMES", 4)
    found = list(_frames(path))
    assert [seconds for seconds, _ in found] == pytest.approx([0.0, 0.04, 0.08, 0.12])
    assert [round(float(rgb.mean()), -1) for _, rgb in found] == [20, 40, 60, 80]
    assert all(rgb.shape == (48, 64, 3) and rgb.dtype == np.uint8 for _, rgb in found)


class Blind:
    """A tracker that sees no face; it counts how often it forgot the last clip."""

    def __init__(self) -> None:
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        return TrackResult(None, "no_face", False)


def grey_clip(path: Path, frames: int) -> Path:
    """A clip without a face, each picture brighter than the last."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            grey = np.full((48, 64, 3), min(250, 20 * index + 20), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_material_without_a_face_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips, first frames and portraits: each says what was got and what is needed."""
    blind: Any = Blind()
    clip = grey_clip(tmp_path / "grey.mp4", 9)
    with pytest.raises(BadInputError, match=r"grey.mp4: got 0 frames with a face \(no_face: 9\), expected at least 16"):
        _clip(blind, clip)
    with pytest.raises(BadInputError, match="no face in the first frame"):
        _stages(clip, blind)
    assert blind.resets == 2
    dlib = SimpleNamespace(shape_predictor=str, get_frontal_face_detector=lambda: lambda rgb, times: [])
    monkeypatch.setattr(importlib, "import_module", lambda name: dlib)
    monkeypatch.setattr(weights, "path", Path)
    with pytest.raises(BadInputError, match="no portrait"):
        _distance(blind, tmp_path)
    with av.open(str(tmp_path / "grey.jpg"), "w", format="image2") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), 90, np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(BadInputError, match="no portrait"):
        _distance(blind, tmp_path)


def test_the_command_measures_all_clips_and_says_what_it_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A scripted tracker; without dlib the distance is left out with its reason."""

    class Sure(Blind):
        def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
            return TrackResult(tracked(neutral_head(), Place(left=60 + 20 * np.sin(3 * seconds))), "ok", seconds == 0)

    def refuse(name: str) -> Any:
        raise ImportError(name)

    (tmp_path / "clips").mkdir()
    for name in tracking.CLIPS:
        grey_clip(tmp_path / "clips" / f"{name}.mp4", 20)
    monkeypatch.setattr(FaceTracker, "from_cache", Sure)
    monkeypatch.setattr(tracking, "_stages", lambda path, tracker: {"mesh network": 1.0})
    monkeypatch.setattr(importlib, "import_module", refuse)
    assert tracking.main([str(tmp_path), "--out", str(tmp_path / "t.json")]) == 0
    found = read_json(tmp_path / "t.json")
    assert set(found["clips"]) == set(tracking.CLIPS) and found["threads"] == 1
    clip = found["clips"][tracking.CLIPS[0]]
    assert (clip["size"], clip["frames"], clip["shots"], clip["reasons"]) == ("64x48", 20, 1, {"ok": 20})
    assert clip["tremble_eyes_nose_percent_iod"] == pytest.approx(0, abs=1e-3) and clip["yaw_deg"] == [0.0, 0.0]
    assert found["distance_from_dlib_percent_iod"].startswith("not measured: dlib is not installed")
    assert "wrote" in capsys.readouterr().out


def test_a_stage_is_warmed_up_once_and_timed_as_often_as_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median: one slow call among many does not count."""
    calls: list[int] = []
    clock = iter(float(v) for call in range(99) for v in (100 * call, 100 * call + (50 if call == 3 else 2)))
    monkeypatch.setattr(time, "thread_time", lambda: next(clock))
    assert _median_seconds(lambda: calls.append(1)) == 2.0
    assert len(calls) == tracking._REPEATS + 1


def test_small_helpers() -> None:
    assert _range([3.0, -1.0, 2.0]) == (-1.0, 3.0)
    assert _ms(0.0012345) == 1.23


def path_of(*shape: int) -> NDArray[np.float64]:
    return np.cumsum(np.random.default_rng(3).normal(size=shape), axis=0)


def test_tremble_does_not_hang_on_the_place_and_grows_with_the_size() -> None:
    """Nor on a turn of the picture; three times as large trembles three times as much."""
    path = path_of(60, 4, 2)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    assert _tremble(path @ turn.T + [300.0, -20.0]) == pytest.approx(_tremble(path))
    assert _tremble(3 * path) == pytest.approx(3 * _tremble(path))


@pytest.mark.parametrize("half", [1, 3, 7])
def test_centred_mean_is_the_slow_one(half: int) -> None:
    """With the ends repeated."""
    path = path_of(30, 2, 2)
    for at in (0, 1, 15, 28, 29):
        rows = np.arange(at - half, at + half + 1).clip(0, 29)
        np.testing.assert_allclose(_centred_mean(path, half)[at], path[rows].mean(axis=0))


def test_steadiness_is_in_percent_of_the_face_and_not_in_pixels() -> None:
    """A film of twice the size trembles by as many percent."""

    def large(faces: list[tuple[float, TrackedFace]]) -> list[tuple[float, TrackedFace]]:
        return [(s, replace(f, points=2 * f.points, quad=2 * f.quad, pose=doubled(f))) for s, f in faces]

    def doubled(face: TrackedFace) -> HeadPose:
        return replace(face.pose, origin=2 * face.pose.origin, iod_px=2 * face.pose.iod_px)

    plain, twice = _steadiness(track(0.7)), _steadiness(large(track(0.7)))
    for key, value in plain.items():
        assert twice[key] == pytest.approx(value, rel=2e-3, abs=1e-3), key


@pytest.mark.parametrize("name", ["none.mp4", "empty.mp4"])
def test_a_clip_that_cannot_be_read_is_refused_in_words(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    blind: Any = Blind()
    with pytest.raises(MediaError, match=name):
        _clip(blind, tmp_path / name)


def test_distances_are_told_by_part_of_the_face_and_signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A judge whose lips lie a tenth of the eyes' distance lower, and everything else where the tracker's does."""
    face = tracked(neutral_head(), Place())
    theirs = face.points[:, :2].astype(np.float64)
    theirs[48:60, 1] += 0.1 * face.iod_px

    class Sure(Blind):
        def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
            return TrackResult(face, "ok", False)

    parts = [SimpleNamespace(x=x - 0.5, y=y - 0.5) for x, y in theirs]
    box = SimpleNamespace(area=lambda: 9)
    dlib = SimpleNamespace(
        shape_predictor=lambda path: lambda rgb, found: SimpleNamespace(parts=lambda: parts),
        get_frontal_face_detector=lambda: lambda rgb, times: [box],
    )
    monkeypatch.setattr(importlib, "import_module", lambda name: dlib)
    monkeypatch.setattr(weights, "path", Path)
    shots = [(0.0, np.zeros((8, 8, 3), np.uint8))]
    monkeypatch.setattr(tracking, "pictures", lambda path: iter(shots))
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    sure: Any = Sure()
    found = _distance(sure, tmp_path)
    assert isinstance(found, dict) and found["portraits"] == 2
    groups = found["groups"]
    assert groups["outer lips"] == {"bias_x": 0.0, "bias_y": -10.0, "mean_distance": 10.0}
    assert groups["jaw"] == groups["inner lips"] == {"bias_x": 0.0, "bias_y": 0.0, "mean_distance": 0.0}
    assert len(found["bias_per_point"]) == 68 and found["bias_per_point"][50] == [0.0, -10.0]
