"""The alignment benchmark's own arithmetic, on faces that are made up."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bench import alignment as bench
from bench.alignment import Face, figures, laid_over, transplant_pairs
from bench.machine import read_json
from engine.editing.mouth import MOVED_POINTS
from engine.errors import BadInputError
from engine.speech.alignment import Alignment, GeometricAlignment
from engine.tracking.pose import HeadPose, from_head
from engine.tracking.tracker import TrackResult
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import tracked

pytestmark = pytest.mark.unit

_RNG = np.random.default_rng(0)
_REST = _RNG.uniform(-0.6, 1.0, (68, 3))
_REST[62], _REST[66] = (0.0, 0.80, 0.0), (0.0, 0.81, 0.0)


def _face(opening: float, roll_deg: float = 0.0, yaw_deg: float = 0.0, shift: float = 0.0) -> Face:
    """A face without noise, seen from straight ahead."""
    head = _REST.copy()
    head[[56, 57, 58, 65, 66, 67], 1] += opening
    roll = math.radians(roll_deg)
    rotation = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1.0]])
    pose = HeadPose(rotation, yaw_deg, 0.0, roll_deg, np.array([200.0 + shift, 150.0, 0.0]), 80.0)
    return Face(from_head(head, pose), head, pose)


def _clip() -> list[Face]:
    """A mouth that opens and closes on a head that leans and wanders."""
    return [_face(0.12 * (1 + math.sin(at)) / 2, 10 * math.sin(at / 7), 0.0, 5 * math.sin(at / 5)) for at in range(80)]


class _Copying:
    """Leaves the mouth where it is filmed."""

    def place(
        self, own: NDArray[np.float64], rest: NDArray[np.float64], pose: HeadPose, displacement: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return own


class _Off:
    """Geometry that lies a tenth of a face too low."""

    def place(
        self, own: NDArray[np.float64], rest: NDArray[np.float64], pose: HeadPose, displacement: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        head = GeometricAlignment().place(own, rest, pose, displacement)
        head[MOVED_POINTS, 1] += 0.1
        return head


def test_a_similarity_comes_back() -> None:
    points = _RNG.uniform(0, 100, (12, 2))
    turn = math.radians(20)
    matrix = 1.3 * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    found, shift = laid_over(points, points @ matrix.T + [4.0, -7.0])
    np.testing.assert_allclose(found, matrix, atol=1e-9)
    np.testing.assert_allclose(shift, [4.0, -7.0], atol=1e-8)


def test_pairs_have_one_pose_and_two_mouths() -> None:
    faces = [_face(0.0), _face(0.1), _face(0.1, yaw_deg=5.0), _face(0.02)]
    pairs = transplant_pairs(faces)
    openings = {tuple(sorted(round(face.opening, 2) for face in pair)) for pair in pairs}
    assert openings == {(0.01, 0.11), (0.03, 0.11)}
    assert len(pairs) == 4


def test_geometry_is_exact_on_faces_without_noise() -> None:
    values = figures(GeometricAlignment(), _clip())
    assert values["transplant"] == pytest.approx(0.0, abs=1e-6)
    assert values["leak"] == pytest.approx(0.0, abs=1e-3)
    assert values["still"] is not None
    assert values["still"] < 0.5


@pytest.mark.parametrize(("way", "figure", "least"), [(_Copying(), "leak", 0.95), (_Off(), "transplant", 9.0)])
def test_faults_are_seen(way: Alignment, figure: str, least: float) -> None:
    """One follows the filmed mouth, the other misses by ten percent."""
    value = figures(way, _clip())[figure]
    assert value is not None
    assert value >= least


def test_a_mouth_that_never_moves_has_no_pairs() -> None:
    values = figures(GeometricAlignment(), [_face(0.0) for _ in range(60)])
    assert values["transplant"] is None
    assert values["leak"] == 0.0


def _moved(face: Face, scale: float, shift: float) -> Face:
    """The same face elsewhere in the picture, and larger."""
    pose = HeadPose(
        face.pose.rotation, face.pose.yaw_deg, face.pose.pitch_deg, face.pose.roll_deg,
        face.pose.origin * scale + np.array([shift, -shift, 0.0]), face.pose.iod_px * scale,
    )  # fmt: skip
    return Face(from_head(face.head, pose), face.head, pose)


@pytest.mark.parametrize("way", [GeometricAlignment(), _Copying(), _Off()])
def test_figures_do_not_hang_on_where_or_how_large_the_face_is(way: Alignment) -> None:
    """Neither percentages nor slopes."""
    plain, other = figures(way, _clip()), figures(way, [_moved(face, 1.7, 40.0) for face in _clip()])
    for key, value in plain.items():
        found = other[key]
        assert value is not None and found is not None
        assert found == pytest.approx(value, abs=1e-6), key


@pytest.mark.parametrize("seed", range(4))
def test_the_similarity_is_the_nearest_one(seed: int) -> None:
    """No turn, scale or shift beside it brings noisy points nearer; and it never mirrors, even where that is nearer."""
    rng = np.random.default_rng(seed)
    source = rng.uniform(0, 50, (9, 2))
    target = source @ np.array([[0.9, -0.3], [0.3, 0.9]]).T + rng.normal(0, 3.0, (9, 2))
    target = target * ([1, -1] if seed % 2 else [1, 1])

    def miss(matrix: NDArray[np.float64], shift: NDArray[np.float64]) -> float:
        return float(np.square(source @ matrix.T + shift - target).sum())

    matrix, shift = laid_over(source, target)
    assert np.linalg.det(matrix) > 0
    np.testing.assert_allclose(matrix.T @ matrix, np.linalg.det(matrix) * np.eye(2), atol=1e-9)
    best = miss(matrix, shift)
    for _ in range(60):
        angle, scale = rng.normal(0, 0.05), np.exp(rng.normal(0, 0.05))
        turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        assert miss(turn @ matrix, shift) >= best - 1e-9
        assert miss(matrix, shift + rng.normal(0, 0.5, 2)) >= best - 1e-9


def test_pairs_are_the_same_for_the_same_seed_and_bounded() -> None:
    faces = [_face(0.1 * (index % 2)) for index in range(40)]
    one, again, other = (transplant_pairs(faces, seed) for seed in (0, 0, 1))
    key = [(id(a), id(b)) for a, b in one]
    assert key == [(id(a), id(b)) for a, b in again] and key != [(id(a), id(b)) for a, b in other]
    assert len(one) == 200 and len(set(key)) == 200


def test_tremor_is_that_of_the_placed_mouth_beside_the_noses() -> None:
    """A head that shakes by whole pixels, to and fro: mouth and nose shake alike, four times the way back and forth."""
    clip = [_face(0.05, shift=2.0 * (index % 2)) for index in range(60)]
    values = figures(GeometricAlignment(), clip)
    assert values["tremor"] == pytest.approx(100 * 8.0 / 80.0 / 2, rel=1e-6)
    assert values["tremor_of_nose"] == pytest.approx(values["tremor"])


def test_the_command_measures_both_ways_on_every_clip_and_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def tracked(path: Path) -> list[Face]:
        asked.append(path.name)
        return _clip()

    monkeypatch.setattr(bench, "tracked_faces", tracked)
    monkeypatch.setattr(bench, "NetworkAlignment", lambda net: _Off())
    out = tmp_path / "new" / "alignment.json"
    assert bench.main(["--data", str(tmp_path), "--out", str(out)]) == 0
    found = read_json(out)
    assert asked == list(bench.CLIPS) == list(found["clips"])
    for ways in found["clips"].values():
        assert set(ways) == {"geometric", "network"}
        assert ways["geometric"]["transplant"] == pytest.approx(0.0, abs=1e-6)
        assert ways["network"]["transplant"] > 9.0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == bench.CLIPS[0] and lines[1].startswith("  geometric  still 0.") and len(lines) == 24


def test_a_clip_with_too_few_faces_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "tracked_faces", lambda path: _clip()[:49])
    with pytest.raises(BadInputError, match=r"vrt_face1\.mp4: got 49 frames with a face, expected at least 50"):
        bench.main(["--data", str(tmp_path), "--out", str(tmp_path / "a.json")])
    assert not (tmp_path / "a.json").exists()


def test_only_frames_with_a_face_count_and_no_more_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Every:
        """Sees a face in every second picture."""

        def __init__(self) -> None:
            self.seen = 0

        def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
            self.seen += 1
            return TrackResult(tracked(neutral_head()) if self.seen % 2 else None, "ok", False)

    tracker = Every()
    monkeypatch.setattr(bench, "create_tracker", lambda: tracker)
    grey = np.zeros((8, 8, 3), np.uint8)
    monkeypatch.setattr(bench, "pictures", lambda path, most: [(0.04 * index, grey) for index in range(most)])
    faces = bench.tracked_faces(Path("x"), 9)
    assert tracker.seen == 9 and len(faces) == 5
    np.testing.assert_allclose(from_head(faces[0].head, faces[0].pose), faces[0].points, atol=1e-3)
