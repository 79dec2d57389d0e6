"""The choice of tracker, and FAN where its package and weights are and where they are not."""

import importlib
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BackendError, BadInputError, WeightsError
from engine.tracking import FaceTracker, FanTracker, create_tracker, ffhq_quad
from engine.tracking.backends import load_fan

pytestmark = pytest.mark.unit


class LandmarksType(IntEnum):
    """As in face-alignment."""

    TWO_D = 1


def _install(monkeypatch: pytest.MonkeyPatch, network: Callable[..., Any]) -> None:
    """Puts a package in the place of face-alignment."""
    package = SimpleNamespace(LandmarksType=LandmarksType, FaceAlignment=network)
    original = importlib.import_module
    monkeypatch.setattr(
        importlib, "import_module", lambda name, *rest: package if name == "face_alignment" else original(name, *rest)
    )


def test_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(BackendError, match=r"pip install 'livedub\[fan\]'"):
        load_fan()


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("invalid hash value")])
def test_missing_weights_say_how_to_get_them(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def offline(*arguments: object, **options: object) -> None:
        raise error

    _install(monkeypatch, offline)
    with pytest.raises(WeightsError, match=r"(?s)2DFAN4.*pth\.tar.*mesh tracker") as caught:
        load_fan()
    assert caught.value.exit_code == 3


def test_fan_points_replace_the_mesh_points(
    monkeypatch: pytest.MonkeyPatch, tracker: FaceTracker, face_picture: Callable[[str, int], NDArray[np.uint8]]
) -> None:
    boxes: list[list[float]] = []
    shift = 3.0
    base = tracker.track(face_picture("003_neutral", 400), 0.0).face
    assert base is not None

    class Fake:
        def __init__(self, kind: int, **options: object) -> None:
            assert kind == LandmarksType.TWO_D
            assert options["face_detector"] == "folder"

        def get_landmarks_from_image(
            self, picture: NDArray[np.uint8], detected_faces: list[list[float]]
        ) -> list[NDArray[np.float32]]:
            boxes.extend(detected_faces)
            assert base is not None
            return [base.points[:, :2] + shift]

    _install(monkeypatch, Fake)
    tracker.reset()
    result = FanTracker(tracker, load_fan()).track(face_picture("003_neutral", 400), 0.0)
    assert result.face is not None
    np.testing.assert_allclose(result.face.points[:, :2], base.points[:, :2] + shift, atol=1e-4)
    np.testing.assert_array_equal(result.face.points[:, 2], base.points[:, 2])
    np.testing.assert_allclose(result.face.quad, ffhq_quad(result.face.points), atol=1e-3)
    np.testing.assert_allclose(boxes[0], [*base.mesh[:, :2].min(0), *base.mesh[:, :2].max(0)])


def test_fan_passes_frames_without_face_through(tracker: FaceTracker) -> None:
    def unused(picture: NDArray[np.uint8], mesh: NDArray[np.float32]) -> NDArray[np.float32]:
        raise AssertionError("asked for landmarks of no face")

    fan = FanTracker(tracker, unused)
    assert fan.track(np.zeros((80, 80, 3), dtype=np.uint8), 0.0).reason == "cut"
    fan.reset()
    assert fan.track(np.zeros((80, 80, 3), dtype=np.uint8), 0.0).cut


def test_unknown_tracker_is_refused() -> None:
    with pytest.raises(BadInputError, match="expected 'mesh' or 'fan'"):
        create_tracker("nose")  # type: ignore[arg-type]


def test_mesh_is_the_default(weights: Callable[[str], Path]) -> None:
    for name in ("mesh", "detector-short", "detector-full"):
        weights(name)
    assert isinstance(create_tracker(), FaceTracker)
