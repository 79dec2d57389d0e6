"""Steadying by optical flow: trembling goes, motion stays, and what flow does not confirm stays as measured."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.tracking import FaceTracker, TrackedFace, TrackResult
from engine.tracking.landmarks import MESH_PAIRS
from engine.tracking.mesh import MESH_POINTS, MESH_SIZE
from engine.tracking.pose import RIGID_POINTS
from engine.tracking.steadying import STEADIED, CropView, MeshSteadier

pytestmark = pytest.mark.unit

Mesh = NDArray[np.float64]
Grey = NDArray[np.uint8]
Picture = Callable[[str, int], NDArray[np.uint8]]

NOISE = 0.4
"""Spread of the made measurements, crop px."""
LIPS = np.unique(MESH_PAIRS[48:])
RATE = 25
FIRST, SECOND = "003_neutral", "083_smiling"


def texture(seed: int = 0) -> NDArray[np.float32]:
    """Soft texture, 320 px, as skin has: flow finds its way in it."""
    noise = np.random.default_rng(seed).normal(0, 1, (320, 320)).astype(np.float32)
    soft = sum(cv2.GaussianBlur(noise, (0, 0), sigma) * sigma for sigma in (1.5, 4.0, 10.0))
    return np.asarray(128 + soft * 40, dtype=np.float32)


def shown(base: NDArray[np.float32], x: float, y: float, seed: int | None = None) -> Grey:
    """The crop of a texture that moved by (x, y), with a camera's noise."""
    matrix = np.array([[1.0, 0.0, x - 64], [0.0, 1.0, y - 64]])
    crop = cv2.warpAffine(base, matrix, (MESH_SIZE, MESH_SIZE), flags=cv2.INTER_CUBIC)
    noise = 0.0 if seed is None else np.random.default_rng(seed).normal(0, 1.5, crop.shape)
    return np.asarray(np.clip(np.rint(crop + noise), 0, 255), dtype=np.uint8)


def head() -> Mesh:
    """Points all over the crop, well inside."""
    return np.random.default_rng(7).uniform((35, 35, -20), (155, 155, 20), (MESH_POINTS, 3))


def measured(truth: Mesh, seed: int, spread: float = NOISE) -> Mesh:
    """What a network would say: every coordinate trembles."""
    return truth + np.random.default_rng(1000 + seed).normal(0, spread, truth.shape)


def turned() -> NDArray[np.float64]:
    """Crop px -> frame px of a large face whose head leans."""
    cos, sin = 1.7 * np.cos(0.3), 1.7 * np.sin(0.3)
    return np.array([[cos, -sin, 400.0], [sin, cos, 150.0], [0.0, 0.0, 1.0]])


def in_frame(mesh: Mesh, matrix: NDArray[np.float64]) -> Mesh:
    return np.concatenate([mesh[:, :2] @ matrix[:2, :2].T + matrix[:2, 2], mesh[:, 2:]], axis=1)


def run(
    frames: int, motion: Callable[[float], tuple[float, float]], rate: float = RATE, spread: float = NOISE
) -> tuple[Mesh, Mesh]:
    """Errors [frames,P,2] in crop px of the measured and of the steadied points of a face in known motion."""
    base, rest, steadier = texture(), head(), MeshSteadier()
    errors: list[tuple[Mesh, Mesh]] = []
    for index in range(frames):
        x, y = motion(index / rate)
        truth = rest + (x, y, 0)
        raw = measured(truth, index, spread)
        view = CropView(shown(base, x, y, index), np.eye(3))
        mesh = steadier.steady(view, raw, index / rate)
        steadier.remember(view, mesh, index / rate)
        errors.append(((raw - truth)[STEADIED, :2], (mesh - truth)[STEADIED, :2]))
    raw_errors, steady_errors = (np.array(each) for each in zip(*errors, strict=True))
    return raw_errors, steady_errors


def jitter(errors: Mesh) -> float:
    """What changes from frame to frame, crop px."""
    return float(np.sqrt((np.diff(errors, axis=0) ** 2).mean()))


def test_trembling_goes() -> None:
    raw, steady = run(40, lambda seconds: (3 * np.sin(4 * seconds), 2 * np.cos(3 * seconds)))
    assert jitter(steady[5:]) < 0.45 * jitter(raw[5:])
    assert steady[10:].std() < 0.65 * raw[10:].std()


@pytest.mark.parametrize("speed", [(8.0, -5.0), (40.0, 25.0)])
def test_constant_motion_does_not_lag(speed: tuple[float, float]) -> None:
    raw, steady = run(20, lambda seconds: (speed[0] * seconds - 15, speed[1] * seconds - 5))
    per_frame = np.hypot(*speed) / RATE
    np.testing.assert_allclose(steady[8:].mean((0, 1)), raw[8:].mean((0, 1)), atol=0.05)
    assert np.abs(steady[8:].mean((0, 1))).max() < 0.15 * per_frame
    assert jitter(steady[5:]) < 0.5 * jitter(raw[5:])


def test_a_lasting_error_of_the_past_is_forgotten() -> None:
    """The mesh has the last word: a first mesh that was off by a pixel fades with the filter's time constant."""
    view, rest = CropView(shown(texture(), 0, 0), np.eye(3)), head()
    steadier = MeshSteadier()
    steadier.remember(view, rest + (1.0, 0, 0), 0.0)
    left = []
    for index in range(1, 16):
        mesh = steadier.steady(view, rest, index / RATE)
        steadier.remember(view, mesh, index / RATE)
        left.append(float(np.median((mesh - rest)[STEADIED, 0])))
    assert left[0] == pytest.approx(np.exp(-0.04 / 0.11), rel=0.02)
    assert left[-1] == pytest.approx(np.exp(-0.60 / 0.11), abs=0.01)


@pytest.mark.parametrize("rate", [25, 50, 12.5])
def test_the_frame_rate_does_not_matter(rate: float) -> None:
    view, rest = CropView(shown(texture(), 0, 0), np.eye(3)), head()
    steadier = MeshSteadier()
    steadier.remember(view, rest + (0.8, -0.6, 0), 0.0)
    for index in range(1, round(0.16 * rate) + 1):
        mesh = steadier.steady(view, rest, index / rate)
        steadier.remember(view, mesh, index / rate)
    left = np.median((mesh - rest)[STEADIED, :2], axis=0)
    np.testing.assert_allclose(left, np.array([0.8, -0.6]) * np.exp(-0.16 / 0.11), atol=0.01)


def test_a_picture_that_moved_elsewhere_leaves_the_mesh_as_measured() -> None:
    steadier, rest = MeshSteadier(), head()
    steadier.remember(CropView(shown(texture(), 0, 0), np.eye(3)), rest, 0.0)
    raw = measured(rest, 1)
    mesh = steadier.steady(CropView(shown(texture(), 6, 0), np.eye(3)), raw, 0.04)
    np.testing.assert_array_equal(mesh, raw)


def test_another_picture_or_an_empty_one_leaves_most_points_as_measured() -> None:
    steadier, rest = MeshSteadier(), head()
    before = CropView(shown(texture(), 0, 0), np.eye(3))
    steadier.remember(before, rest, 0.0)
    raw = measured(rest, 1)
    other = steadier.steady(CropView(shown(texture(5), 0, 0), np.eye(3)), raw, 0.04)
    assert (other[STEADIED] == raw[STEADIED]).all(1).mean() > 0.95
    blank = CropView(np.full((MESH_SIZE, MESH_SIZE), 128, np.uint8), np.eye(3))
    np.testing.assert_array_equal(steadier.steady(blank, raw, 0.04), raw)


@pytest.mark.parametrize("apart", [0.5, 1.5, 2.0, 3.0, 3.5])
def test_no_point_is_moved_farther_than_the_rule_allows(apart: float) -> None:
    view, rest, steadier = CropView(shown(texture(), 0, 0), np.eye(3)), head(), MeshSteadier()
    steadier.remember(view, rest, 0.0)
    moved = np.linalg.norm((steadier.steady(view, rest + (apart, 0, 0), 0.04) - rest - (apart, 0, 0))[:, :2], axis=1)
    keep = np.exp(-0.04 / 0.11)
    allowed = keep * apart * min(2 - apart / 1.8, 1)
    assert moved.max() == pytest.approx(allowed, abs=0.02)
    assert moved.max() <= 1.8 * keep + 0.01


def test_points_outside_the_crop_stay_as_measured() -> None:
    base, rest, steadier = texture(), head(), MeshSteadier()
    outside = STEADIED[:6]
    rest[outside, 0] = (-3.0, -0.5, 192.5, 200.0, 100.0, 100.0)
    rest[outside[4:], 1] = (-20.0, 1e6)
    view = CropView(shown(base, 0, 0), np.eye(3))
    steadier.remember(view, rest, 0.0)
    raw = measured(rest, 1, spread=0.1)
    mesh = steadier.steady(view, raw, 0.04)
    np.testing.assert_array_equal(mesh[outside], raw[outside])
    assert (mesh[STEADIED[6:], :2] != raw[STEADIED[6:], :2]).mean() > 0.95


@pytest.mark.parametrize("broken", [np.nan, np.inf, -1e12, 3e9])
def test_a_broken_point_harms_neither_others_nor_the_next_frame(broken: float) -> None:
    view, rest, steadier = CropView(shown(texture(), 0, 0), np.eye(3)), head(), MeshSteadier()
    raw, bad = measured(rest, 1), rest.copy()
    bad[STEADIED[:5], :2] = broken
    steadier.remember(view, bad, 0.0)
    mesh = steadier.steady(view, raw, 0.04)
    np.testing.assert_array_equal(mesh[STEADIED[:5]], raw[STEADIED[:5]])
    assert np.isfinite(mesh).all()
    steadier.remember(view, rest, 0.04)
    after = steadier.steady(view, bad, 0.08)
    np.testing.assert_array_equal(after[STEADIED[:5]], bad[STEADIED[:5]])
    assert np.isfinite(after[STEADIED[5:]]).all()


def test_lips_depth_and_all_other_points_are_as_measured() -> None:
    view, rest, steadier = CropView(shown(texture(), 0, 0), np.eye(3)), head(), MeshSteadier()
    steadier.remember(view, rest, 0.0)
    raw = measured(rest, 1)
    kept = raw.copy()
    mesh = steadier.steady(view, raw, 0.04)
    np.testing.assert_array_equal(raw, kept)
    np.testing.assert_array_equal(mesh[:, 2], raw[:, 2])
    others = np.setdiff1d(np.arange(MESH_POINTS), STEADIED)
    np.testing.assert_array_equal(mesh[others], raw[others])
    assert set(LIPS) <= set(others)
    assert set(RIGID_POINTS) <= set(STEADIED)


def test_points_are_steadied_in_the_frame_of_a_turned_crop() -> None:
    """The same crop, laid into a frame by another matrix, gives the same points there."""
    base, rest, matrix = texture(), head(), turned()
    results = []
    for each in (np.eye(3), matrix):
        steadier = MeshSteadier()
        steadier.remember(CropView(shown(base, 0, 0), each), in_frame(rest, each), 0.0)
        view = CropView(shown(base, 0.7, -0.4), each)
        results.append(steadier.steady(view, in_frame(measured(rest + (0.7, -0.4, 0), 1), each), 0.04))
    np.testing.assert_allclose(results[1], in_frame(results[0], matrix), atol=1e-3)


def test_without_a_frame_before_under_the_same_crop_the_mesh_is_as_measured() -> None:
    view, raw, steadier = CropView(shown(texture(), 0, 0), np.eye(3)), measured(head(), 1), MeshSteadier()
    np.testing.assert_array_equal(steadier.steady(view, raw, 0.0), raw)
    steadier.remember(CropView(view.grey, turned()), head(), 0.0)
    np.testing.assert_array_equal(steadier.steady(view, raw, 0.04), raw)


def test_a_view_is_the_mean_of_the_colours() -> None:
    picture = torch.zeros(1, 3, MESH_SIZE, MESH_SIZE)
    picture[0, :, 5, 9] = torch.tensor([1.0, 0.5, 0.3])
    picture[0, :, 0, 0] = 1.0
    grey = CropView.of(picture, np.eye(3)).grey
    assert grey.dtype == np.uint8
    assert (grey[5, 9], grey[0, 0], grey[1, 1]) == (153, 255, 0)


def test_wrong_shapes_and_times_are_refused() -> None:
    view, mesh, steadier = CropView(shown(texture(), 0, 0), np.eye(3)), head(), MeshSteadier()
    with pytest.raises(ShapeError, match=r"\[192, 192\] uint8"):
        CropView(view.grey[1:], np.eye(3))
    with pytest.raises(ShapeError, match=r"\[192, 192\] uint8"):
        CropView(view.grey.astype(np.float32), np.eye(3))
    with pytest.raises(ShapeError, match=r"\[3, 3\]"):
        CropView(view.grey, np.eye(2))
    with pytest.raises(ShapeError, match=r"\[1, 3, 192, 192\]"):
        CropView.of(torch.zeros(3, MESH_SIZE, MESH_SIZE), np.eye(3))
    for wrong in (mesh[:-1], mesh[:, :2]):
        with pytest.raises(ShapeError, match=r"\[468, 3\]"):
            steadier.steady(view, wrong, 0.0)
        with pytest.raises(ShapeError, match=r"\[468, 3\]"):
            steadier.remember(view, wrong, 0.0)
    steadier.remember(view, mesh, 1.0)
    with pytest.raises(ShapeError, match="rising"):
        steadier.steady(view, mesh, 1.0)


def as_measured(self: MeshSteadier, view: CropView, mesh: Mesh, seconds: float) -> Mesh:
    """Stands for `steady`, and does nothing."""
    return mesh


def tracked(tracker: FaceTracker, frames: list[NDArray[np.uint8]]) -> list[TrackResult]:
    tracker.reset()
    return tracked_without_reset(tracker, frames)


def tracked_without_reset(tracker: FaceTracker, frames: list[NDArray[np.uint8]]) -> list[TrackResult]:
    return [tracker.track(frame, index / RATE) for index, frame in enumerate(frames)]


def both(
    tracker: FaceTracker, frames: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> tuple[list[TrackResult], list[TrackResult]]:
    """Results without and with steadying."""
    with monkeypatch.context() as patch:
        patch.setattr(MeshSteadier, "steady", as_measured)
        raw = tracked(tracker, frames)
    return raw, tracked(tracker, frames)


def face(result: TrackResult) -> TrackedFace:
    assert result.face is not None, result.reason
    return result.face


def wandering(picture: NDArray[np.uint8], frames: int) -> tuple[list[NDArray[np.uint8]], NDArray[np.float64]]:
    """A portrait that wanders smoothly before a noisy camera, and its shifts [frames,2] in px."""
    random, index = np.random.default_rng(0), np.arange(frames)
    shifts = np.stack([9 * np.sin(index / 4), 4 * np.cos(index / 5)], axis=1)
    made = []
    for x, y in shifts:
        matrix = np.array([[1.0, 0.0, x], [0.0, 1.0, y]])
        moved = cv2.warpAffine(
            picture, matrix, picture.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        made.append(np.clip(np.rint(moved + random.normal(0, 3, moved.shape)), 0, 255).astype(np.uint8))
    return made, shifts


def test_a_tracked_face_trembles_less_and_does_not_lag(
    tracker: FaceTracker, face_picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, shifts = wandering(face_picture(FIRST, 500), 24)
    errors = []
    for results in both(tracker, frames, monkeypatch):
        points = np.array([face(result).points[:48, :2] for result in results]) - shifts[:, None]
        errors.append(points - points.mean(0))
    raw, steady = (jitter(each[4:]) for each in errors)
    assert steady < 0.6 * raw
    speed = np.diff(shifts, axis=0)[3:]
    lag = (errors[1][4:].mean(1) * speed).sum() / (speed**2).sum()
    assert abs(lag) < 0.1


def test_pose_and_landmarks_are_those_of_the_steadied_mesh(
    tracker: FaceTracker, face_picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, _ = wandering(face_picture(FIRST, 500), 6)
    raw, steady = (face(results[-1]) for results in both(tracker, frames, monkeypatch))
    np.testing.assert_array_equal(steady.points[48:], raw.points[48:])
    np.testing.assert_array_equal(steady.points[:, 2], raw.points[:, 2])
    assert 0 < np.abs(steady.points[:48] - raw.points[:48]).max() < 0.02 * raw.iod_px
    corners = np.asarray(steady.mesh[[33, 263]], dtype=np.float64).mean(0)
    np.testing.assert_allclose(steady.pose.origin, corners, atol=1e-3)
    assert not np.array_equal(steady.pose.rotation, raw.pose.rotation)


def test_where_mouths_are_measured_nothing_is_steadied(
    tracker: FaceTracker, face_picture: Picture, weights: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, _ = wandering(face_picture(FIRST, 500), 4)
    raw, steady = (face(results[-1]) for results in both(tracker, frames, monkeypatch))
    plain = FaceTracker(*(weights(name) for name in ("mesh", "detector-short", "detector-full")), steadied=False)
    found = face(tracked(plain, frames)[-1])
    np.testing.assert_array_equal(found.mesh, raw.mesh)
    assert not np.array_equal(found.mesh, steady.mesh)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Fills with, for every mesh of the tracker, whether there was a frame before to compare it with."""
    seen: list[bool] = []
    steady = MeshSteadier.steady

    def noting(self: MeshSteadier, view: CropView, mesh: Mesh, seconds: float) -> Mesh:
        seen.append(self._before is not None and np.array_equal(self._before.view.matrix, view.matrix))
        return steady(self, view, mesh, seconds)

    monkeypatch.setattr(MeshSteadier, "steady", noting)
    return seen


def test_after_a_cut_the_mesh_is_as_measured(
    tracker: FaceTracker, face_picture: Picture, compared: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = np.pad(face_picture(FIRST, 300), ((0, 0), (0, 300), (0, 0)), constant_values=20)
    other = np.pad(face_picture(SECOND, 300), ((0, 0), (300, 0), (0, 0)), constant_values=200)
    frames = [*wandering(one, 2)[0], *wandering(other, 2)[0]]
    raw, steady = both(tracker, frames, monkeypatch)
    assert [result.cut for result in steady] == [True, False, True, False]
    assert compared == [False, True, False, True]
    same = [np.array_equal(face(a).mesh, face(b).mesh) for a, b in zip(raw, steady, strict=True)]
    assert same == [True, False, True, False]


def test_after_a_jump_the_mesh_is_as_measured(
    tracker: FaceTracker, face_picture: Picture, compared: list[bool]
) -> None:
    frames, _ = wandering(face_picture(FIRST, 500), 3)
    results = tracked(tracker, [*frames, np.roll(frames[-1], 60, axis=1)])
    assert [result.cut for result in results] == [True, False, False, True]
    assert compared == [False, True, True, False]


def test_a_face_that_the_detectors_find_is_taken_as_measured(
    tracker: FaceTracker, face_picture: Picture, compared: list[bool]
) -> None:
    frames, _ = wandering(face_picture(FIRST, 500), 3)
    tracked(tracker, frames[:2])
    tracker._state.crop = None
    found = tracker.track(frames[2], 1.0)
    assert not found.cut
    assert compared == [False, True, False]
    tracker.reset()
    np.testing.assert_array_equal(face(found).mesh, face(tracker.track(frames[2], 0.0)).mesh)


def test_a_face_that_is_lost_is_steadied_anew(
    tracker: FaceTracker, face_picture: Picture, compared: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, _ = wandering(face_picture(FIRST, 400), 4)
    monkeypatch.setattr(tracker, "_cuts", lambda rgb: False)
    results = tracked_without_reset(tracker, [*frames[:2], np.full_like(frames[0], 128), *frames[2:]])
    assert [result.reason for result in results] == ["ok", "ok", "no_face", "ok", "ok"]
    assert compared == [False, True, False, True]


def test_a_covered_face_is_steadied_anew(
    tracker: FaceTracker, face_picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames, _ = wandering(face_picture(FIRST, 500), 5)
    points = face(tracked(tracker, frames[:1])[0]).mesh[:, :2]
    low, high = points.min(0).astype(int), points.max(0).astype(int)
    frames[2][(low[1] + high[1]) // 2 + 15 : high[1] + 30, low[0] - 15 : high[0] + 15] = (190, 140, 120)
    raw, steady = both(tracker, frames, monkeypatch)
    assert [result.reason for result in steady] == ["ok", "ok", "covered", "ok", "ok"]
    same = [np.array_equal(face(raw[index]).mesh, face(steady[index]).mesh) for index in (0, 1, 3, 4)]
    assert same == [True, False, True, False]


def test_a_crop_that_moves_is_steadied_too(
    tracker: FaceTracker, face_picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face that walks through the picture takes its crop along; every frame but the first is steadied."""
    picture = np.pad(face_picture(FIRST, 400), ((0, 0), (60, 60), (0, 0)), mode="edge")
    frames = [np.ascontiguousarray(picture[:, 100 - 12 * index : 500 - 12 * index]) for index in range(8)]
    crops, of = set(), CropView.of

    def noting(picture: torch.Tensor, matrix: NDArray[np.float64]) -> CropView:
        crops.add(matrix.tobytes())
        return of(picture, matrix)

    monkeypatch.setattr(CropView, "of", noting)
    raw, steady = both(tracker, frames, monkeypatch)
    assert len(crops) >= 4
    assert all(not np.array_equal(face(a).mesh, face(b).mesh) for a, b in zip(raw[1:], steady[1:], strict=True))


def test_a_filmed_face_trembles_less(tracker: FaceTracker, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(data_dir / "clips" / "vrt_face2.mp4")) as container:
        for frame in container.decode(video=0):
            if len(frames) == 20:
                break
            frames.append(np.array(frame.to_ndarray(format="rgb24"), dtype=np.uint8))
    raw, steady = (
        np.array([face(result).points for result in results]) for results in both(tracker, frames, monkeypatch)
    )
    trembling = [np.sqrt((np.diff(each[:, :48, :2], 2, axis=0) ** 2).mean()) for each in (raw, steady)]
    assert trembling[1] < 0.9 * trembling[0]
    iod = np.linalg.norm(raw[0, 45, :2] - raw[0, 36, :2])
    assert np.linalg.norm((steady - raw)[:, :48, :2].mean((0, 1))) < 0.005 * iod
    np.testing.assert_array_equal(steady[:, 48:], raw[:, 48:])
