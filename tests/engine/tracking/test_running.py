"""What trackers' networks run on: themselves, and within a session that chose something else, that; nowhere else."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.tracking import FaceTracker
from engine.tracking.detector import FaceDetector
from engine.tracking.mesh import MeshNet
from engine.tracking.running import MESH, Runner, detector, passed, running

pytestmark = pytest.mark.unit


class Doubled(nn.Module):
    """A network with a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.weight * x,)


def tripled(x: Tensor) -> tuple[Tensor, ...]:
    return (3 * x,)


def said(name: str = MESH) -> float:
    return float(passed(name, Doubled(), torch.ones(1, 3, 2, 2))[0].mean())


def test_a_network_is_replaced_within_the_block_and_by_its_name() -> None:
    assert said() == 2
    with running({MESH: tripled}):
        assert (said(), said(detector(128))) == (3, 2)
        with running({detector(128): tripled}):
            assert (said(), said(detector(128)), said(detector(192))) == (2, 3, 2)
        assert said() == 3
    with pytest.raises(ZeroDivisionError), running({MESH: tripled}):
        raise ZeroDivisionError
    assert said() == 2


def test_other_threads_keep_their_networks() -> None:
    seen: list[float] = []
    with running({MESH: tripled}):
        thread = threading.Thread(target=lambda: seen.append(said()))
        thread.start()
        thread.join()
    assert seen == [2]


def test_no_gradient_is_kept_for_who_only_looks() -> None:
    assert not passed(MESH, Doubled(), torch.ones(1, 3, 2, 2))[0].requires_grad


def test_a_tracker_looks_by_what_was_chosen(
    tracker: FaceTracker, face_picture: Callable[[str, int], NDArray[np.uint8]], weights: Callable[[str], Path]
) -> None:
    """The detector that finds the face, and the mesh on every picture; without a face the far detector, too."""
    asked: list[str] = []

    def noted(name: str, network: nn.Module) -> Runner:
        def run(x: Tensor) -> tuple[Tensor, ...]:
            asked.append(name)
            found: tuple[Tensor, ...] = network(x)
            return found

        return run

    near, far = (FaceDetector(weights(name)) for name in ("detector-short", "detector-full"))
    networks = {MESH: MeshNet(weights("mesh")), detector(near.size): near.net, detector(far.size): far.net}
    picture, empty = face_picture("003_neutral", 500), np.full((300, 400, 3), 120, np.uint8)
    plain = [tracker.track(picture, 0.1 * index).face for index in range(2)]
    tracker.reset()
    with running({name: noted(name, network) for name, network in networks.items()}):
        found = [tracker.track(picture, 0.1 * index).face for index in range(2)]
        first = list(asked)
        tracker.track(empty, 0.5)
    assert first == [detector(128), MESH, MESH, MESH]
    assert asked[len(first) :] == [detector(128), detector(192)]
    for one, other in zip(plain, found, strict=True):
        assert one is not None and other is not None
        np.testing.assert_allclose(other.mesh, one.mesh, atol=1e-3)


def test_what_a_replacement_says_is_what_the_tracker_follows(
    tracker: FaceTracker, face_picture: Callable[[str, int], NDArray[np.uint8]]
) -> None:
    """A mesh that sees no face anywhere loses it; found again once it is itself."""
    picture = face_picture("003_neutral", 500)
    assert tracker.track(picture, 0.0).face is not None
    with running({MESH: lambda x: (torch.zeros(1, 468, 3), torch.full((1,), -10.0))}):
        assert tracker.track(picture, 0.1).reason == "no_face"
    assert tracker.track(picture, 0.2).face is not None
