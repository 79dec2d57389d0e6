"""Looking at a generator's faces: what is regressed, and what is said when there are none."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.errors import NoFaceError
from engine.generators.stats import WStatistics
from engine.tracking.tracker import FaceTracker, TrackResult
from engine.training.directions import regress, sample_faces
from tests.engine.generators.made_stylegan2 import SMALL, randomised

pytestmark = pytest.mark.unit
MODEL = randomised(SMALL)


class Blind(FaceTracker):
    """Sees no face in any picture; remembers the pictures."""

    def __init__(self) -> None:
        self.pictures: list[NDArray[np.uint8]] = []

    def reset(self) -> None:
        pass

    def track(self, rgb: NDArray[np.uint8], seconds: float) -> TrackResult:
        self.pictures.append(rgb)
        return TrackResult(None, "no_face", False)


def test_a_generator_of_other_things_is_told_after_thirty_pictures() -> None:
    tracker = Blind()
    with pytest.raises(NoFaceError, match="0 of the first 30 pictures.*aligned faces"):
        sample_faces(MODEL, tracker, 500)
    assert len(tracker.pictures) == 30
    assert tracker.pictures[0].shape == (32, 32, 3) and tracker.pictures[0].dtype == np.uint8
    assert (tracker.pictures[0] != tracker.pictures[1]).any()


def test_few_pictures_without_a_face_are_told_too() -> None:
    told: list[tuple[int, int]] = []
    with pytest.raises(NoFaceError, match="none of 3 pictures"):
        sample_faces(MODEL, Blind(), 3, progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_regression_tells_numbers_apart_that_go_together() -> None:
    statistics = WStatistics.sample(MODEL, axes=16, samples=500)
    noise = np.random.default_rng(2)
    numbers = noise.normal(size=(4000, 13))
    numbers[:, 4] += 0.8 * numbers[:, 3]  # they go together, but only one of them moves the code
    truth = np.zeros((13, 16))
    truth[3, 5], truth[0, 2] = 1.5, -0.7
    codes = statistics.decode(torch.from_numpy((numbers @ truth).astype(np.float32))).numpy()
    found = regress(codes, numbers, statistics)
    np.testing.assert_allclose(found, truth, atol=0.06)
