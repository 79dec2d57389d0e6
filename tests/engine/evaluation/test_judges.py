"""The judges: their box and views, and what they read on real faces."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine import weights as weight_cache
from engine.errors import BackendError, ShapeError, WeightsError
from engine.evaluation import DlibJudge, NetJudge, NotMeasured
from engine.evaluation import judges as j
from engine.evaluation.landmark_net import INPUT_PX
from engine.evaluation.strips import resized


def frontal() -> NDArray[np.float64]:
    """A frontal face: eye corners 100 px apart, the nose's base 50 px below."""
    points = np.full((68, 2), 200.0)
    points[36], points[45], points[33] = (150, 200), (250, 200), (200, 250)
    return points


@pytest.mark.unit
def test_face_box_of_a_frontal_face() -> None:
    centre, side = j.face_box(frontal())
    np.testing.assert_allclose(centre, (201, 232.5))
    assert side == pytest.approx(169)


@pytest.mark.unit
def test_face_box_follows_place_size_and_turn() -> None:
    points, turn = frontal(), np.array([[0.0, 1.0], [-1.0, 0.0]])
    centre, side = j.face_box(points)
    moved, moved_side = j.face_box(2 * points @ turn + 7)
    np.testing.assert_allclose(moved, 2 * centre @ turn + 7)
    assert moved_side == pytest.approx(2 * side)


@pytest.mark.unit
def test_face_box_does_not_move_with_the_mouth() -> None:
    talking = frontal()
    talking[48:68] += 40
    talking[0:17] += 10
    assert j.face_box(talking)[1] == j.face_box(frontal())[1]


@pytest.mark.unit
def test_eyes_on_one_spot_cannot_be_judged() -> None:
    with pytest.raises(NotMeasured, match="one spot"):
        j.face_box(np.zeros((68, 2)))


@pytest.mark.unit
def test_a_reading_elsewhere_than_the_tracked_face_is_refused() -> None:
    points = frontal()
    j.check_reading(points + 10, points)
    with pytest.raises(NotMeasured, match="0.28"):
        j.check_reading(points + 20, points)
    with pytest.raises(NotMeasured):
        j.check_reading(np.full((68, 2), np.nan), points)


@pytest.mark.unit
def test_without_dlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(BackendError, match=r"livedub\[eval\]"):
        DlibJudge()


class ScriptedDlib:
    """Stands for dlib: its points are the box's corners and middle, its descriptor tells what it was given."""

    def __init__(self) -> None:
        self.boxes: list[tuple[int, int, int, int]] = []

    def shape_predictor(self, path: str) -> Callable[[Any, Any], Any]:
        assert path == "dlib-68"

        def predict(picture: NDArray[np.uint8], box: Any) -> Any:
            assert picture.flags.c_contiguous
            self.boxes.append(box)
            left, top, right, bottom = box
            middle = SimpleNamespace(x=(left + right) // 2, y=(top + bottom) // 2)
            return SimpleNamespace(parts=lambda: [middle] * 68)

        return predict

    def face_recognition_model_v1(self, path: str) -> Any:
        assert path == "dlib-identity"
        return SimpleNamespace(
            compute_face_descriptor=lambda picture, face: [float(v) for v in (*face[0], face[1][0].x)]
        )

    def rectangle(self, left: int, top: int, right: int, bottom: int) -> tuple[int, int, int, int]:
        return left, top, right, bottom

    def point(self, x: int, y: int) -> Any:
        return SimpleNamespace(x=x, y=y)

    def full_object_detection(self, box: Any, points: Any) -> Any:
        return box, points


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> tuple[DlibJudge, ScriptedDlib]:
    """The judge with a dlib that writes down what it is asked."""
    dlib = ScriptedDlib()
    monkeypatch.setattr(importlib, "import_module", lambda name: dlib)
    monkeypatch.setattr(weight_cache, "path", lambda name, fetch: name)
    return DlibJudge(), dlib


@pytest.mark.unit
@pytest.mark.parametrize("roll_deg", [0.0, 25.0])
def test_ten_views_around_the_tracked_face_are_read_and_averaged(
    scripted: tuple[DlibJudge, ScriptedDlib], roll_deg: float
) -> None:
    """Whatever the head's roll, the boxes lie upright around the middle of the view, and their mean is the face's."""
    judge, dlib = scripted
    turn = np.deg2rad(roll_deg)
    turned = (frontal() - 200) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) + 200
    read = judge.landmarks(np.zeros((400, 400, 3), np.uint8), turned)
    sides = {right - left + 1 for left, _, right, _ in dlib.boxes}
    assert len(dlib.boxes) == 10 and sides == {round(j.VIEW_PX / 2 * size) for _, _, size in j.BOXES}
    middles = np.array([((left + right) / 2, (top + bottom) / 2) for left, top, right, bottom in dlib.boxes])
    assert np.abs(np.ptp(middles, axis=0) - 0.08 * j.VIEW_PX / 2).max() < 1.5
    np.testing.assert_allclose(read, np.tile(j.face_box(turned)[0], (68, 1)), atol=1)


class OneSpot:
    """Stands for the landmark network: every point where the picture is brightest."""

    def __call__(self, crops: torch.Tensor) -> torch.Tensor:
        spots = crops.sum(1).flatten(1).argmax(1)
        points = torch.stack([spots % INPUT_PX, spots // INPUT_PX], dim=1) + 0.5
        return points[:, None].expand(-1, 68, 2)


@pytest.mark.unit
def test_the_network_s_crops_lead_back_to_the_frame(scripted: tuple[DlibJudge, ScriptedDlib]) -> None:
    """A bright spot in a frame is found where it is: in all crops, mirrored or not."""
    rgb = np.zeros((400, 400, 3), np.uint8)
    rgb[258:264, 218:224] = 255
    judge = NetJudge.__new__(NetJudge)
    judge._net = OneSpot()  # type: ignore[assignment]
    np.testing.assert_allclose(judge.landmarks(rgb, frontal()), np.tile((221, 261), (68, 1)), atol=1.5)
    with pytest.raises(NotMeasured, match="outside the picture"):
        judge.landmarks(np.zeros((220, 220, 3), np.uint8), frontal())


@pytest.mark.unit
def test_mirrored_points_change_sides() -> None:
    assert sorted(j.MIRRORED) == list(range(68))
    assert (j.MIRRORED[j.MIRRORED] == np.arange(68)).all()
    pairs = {36: 45, 48: 54, 50: 52, 61: 63, 67: 65, 0: 16, 17: 26, 31: 35, 41: 46, 8: 8, 62: 62}
    assert all(j.MIRRORED[one] == other for one, other in pairs.items())


@pytest.fixture
def no_npm(scripted: tuple[DlibJudge, ScriptedDlib], monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that cannot fetch the files of the network."""

    def path(name: str, fetch: bool) -> str:
        if name.startswith("faceapi"):
            raise WeightsError("npm is not installed")
        return name

    monkeypatch.setattr(weight_cache, "path", path)


@pytest.mark.unit
@pytest.mark.usefixtures("no_npm")
def test_the_second_choice_of_judges_is_said_aloud() -> None:
    said: list[str] = []
    found = j.best_judge(said.append)
    assert isinstance(found, DlibJudge)
    assert len(said) == 1 and "npm is not installed" in said[0]


@pytest.mark.unit
def test_a_witness_is_of_another_kind(
    scripted: tuple[DlibJudge, ScriptedDlib], monkeypatch: pytest.MonkeyPatch
) -> None:
    judge, _ = scripted
    said: list[str] = []
    net = object()
    monkeypatch.setattr(j, "NetJudge", lambda: net)
    assert j.witness_for(judge, said.append) is net
    assert said == []


@pytest.mark.unit
@pytest.mark.usefixtures("no_npm")
def test_a_witness_that_cannot_be_had_is_missed_aloud(scripted: tuple[DlibJudge, ScriptedDlib]) -> None:
    judge, _ = scripted
    said: list[str] = []
    assert j.witness_for(judge, said.append) is None
    assert len(said) == 1 and "one network alone" in said[0] and "npm is not installed" in said[0]


@pytest.mark.unit
def test_a_face_whose_middle_is_outside_is_not_read(scripted: tuple[DlibJudge, ScriptedDlib]) -> None:
    judge, dlib = scripted
    with pytest.raises(NotMeasured, match="outside the picture"):
        judge.landmarks(np.zeros((220, 220, 3), np.uint8), frontal())
    with pytest.raises(ShapeError):
        judge.landmarks(np.zeros((220, 220), np.uint8), frontal())
    assert dlib.boxes == []


@pytest.mark.unit
def test_identity_is_read_at_the_given_landmarks(scripted: tuple[DlibJudge, ScriptedDlib]) -> None:
    """Pixel centres at + 0.5 become dlib's whole numbers; the box holds all points."""
    judge, _ = scripted
    points = frontal()
    points[0], points[8] = (120.5, 180.5), (199.5, 320.5)
    found = judge.descriptor(np.zeros((400, 400, 3), np.uint8), points)
    assert found.tolist() == [120.0, 180.0, 250.0, 320.0, 120.0]
    with pytest.raises(ShapeError, match="landmarks"):
        judge.descriptor(np.zeros((400, 400, 3), np.uint8), points[:5])


@pytest.fixture(scope="module", params=[DlibJudge, NetJudge], ids=["dlib", "net"])
def judge(weights: Callable[[str], Path], request: pytest.FixtureRequest) -> j.Judge:
    """The real judges."""
    pytest.importorskip("dlib", reason="the judge needs livedub[eval]")
    for name in ("dlib-68", "dlib-identity", "faceapi-68"):
        weights(name)
    made: j.Judge = request.param(fetch=False)
    return made


def portrait(data_dir: Path, number: str, mood: str) -> NDArray[np.uint8]:
    """A portrait at half size."""
    with av.open(str(data_dir / "faces" / f"london_{number}_{mood}.jpg"), "r") as container:
        [frame] = container.decode(video=0)
    return resized(np.array(frame.to_ndarray(format="rgb24"), dtype=np.uint8), 675, 675)


def by_dlib(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The 68 points in the box of dlib's own detector."""
    dlib = importlib.import_module("dlib")
    predictor = dlib.shape_predictor(str(weight_cache.path("dlib-68", fetch=False)))
    [box] = dlib.get_frontal_face_detector()(rgb, 0)
    return np.array([(p.x, p.y) for p in predictor(rgb, box).parts()], dtype=np.float64) + 0.5


@pytest.mark.slow
@pytest.mark.parametrize("number", ["003", "019", "041", "099"])
@pytest.mark.parametrize("mood", ["neutral", "smiling"])
def test_reads_as_in_the_box_of_dlib_s_own_detector(judge: j.Judge, data_dir: Path, number: str, mood: str) -> None:
    rgb = portrait(data_dir, number, mood)
    expected = by_dlib(rgb)
    read = judge.landmarks(rgb, expected)
    iod = np.linalg.norm(expected[36] - expected[45])
    assert np.linalg.norm(read - expected, axis=1).mean() / iod < (0.05 if isinstance(judge, NetJudge) else 0.025)


@pytest.mark.slow
def test_a_box_a_little_off_hardly_moves_the_reading(judge: j.Judge, data_dir: Path) -> None:
    rgb = portrait(data_dir, "007", "neutral")
    tracked = by_dlib(rgb)
    iod = np.linalg.norm(tracked[36] - tracked[45])
    middle = tracked[36:48].mean(axis=0)
    read, again = judge.landmarks(rgb, tracked), judge.landmarks(rgb, (tracked - middle) * 1.04 + middle + 3)
    assert np.linalg.norm(read - again, axis=1).mean() / iod < 0.02


@pytest.mark.slow
def test_identity_tells_people_apart(judge: j.Judge, data_dir: Path) -> None:
    described = {}
    for number in ("003", "019", "041"):
        for mood in ("neutral", "smiling"):
            rgb = portrait(data_dir, number, mood)
            described[number, mood] = judge.descriptor(rgb, judge.landmarks(rgb, by_dlib(rgb)))
    same = [np.linalg.norm(described[n, "neutral"] - described[n, "smiling"]) for n in ("003", "019", "041")]
    others = [np.linalg.norm(described["003", "neutral"] - described[n, "neutral"]) for n in ("019", "041")]
    assert max(same) < 0.5 < 0.6 < min(others)


@pytest.mark.slow
def test_a_face_outside_the_picture_cannot_be_judged(judge: j.Judge) -> None:
    with pytest.raises(NotMeasured, match="outside the picture"):
        judge.landmarks(np.zeros((64, 64, 3), np.uint8), frontal())
