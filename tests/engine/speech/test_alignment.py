"""Alignment: geometry adds, the network corrects what attention to the frame's own landmarks tells it."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from engine.editing.mouth import MOVED_POINTS
from engine.errors import BadInputError, ShapeError, WeightsError, WeightsFormatError
from engine.speech.alignment import (
    SHIPPED,
    AlignmentNet,
    GeometricAlignment,
    NetworkAlignment,
    create_alignment,
    read_alignment_net,
)
from engine.speech.model import SHIPPED as SPEECH
from engine.tracking.pose import HeadPose
from engine.training.aligning import save_alignment_net

pytestmark = pytest.mark.unit


def _pose(yaw_deg: float = 10.0) -> HeadPose:
    turn = math.radians(yaw_deg)
    rotation = np.array([[math.cos(turn), 0, -math.sin(turn)], [0, 1, 0], [math.sin(turn), 0, math.cos(turn)]])
    return HeadPose(rotation, yaw_deg, 0.0, 0.0, np.array([100.0, 80.0, 0.0]), 60.0)


def _faces(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Own landmarks, rest, displacement."""
    rng = np.random.default_rng(seed)
    rest = rng.uniform(-0.7, 1.2, (68, 3))
    return rest + 0.05 * rng.standard_normal((68, 3)), rest, 0.1 * rng.standard_normal((68, 3))


def _awake(seed: int = 0) -> AlignmentNet:
    """A network whose last layer is not zero."""
    torch.manual_seed(seed)
    network = AlignmentNet(width=16, heads=2, layers=1)
    torch.nn.init.normal_(network.out.weight)
    return network


def test_geometry_moves_the_rest_face_and_leaves_the_other_landmarks() -> None:
    own, rest, asked = _faces()
    placed = GeometricAlignment().place(own, rest, _pose(), asked.astype(np.float32))
    np.testing.assert_allclose(placed[MOVED_POINTS], (rest + asked)[MOVED_POINTS], atol=1e-7)
    still = np.setdiff1d(np.arange(68), MOVED_POINTS)
    np.testing.assert_array_equal(placed[still], own[still])


def test_an_untrained_network_is_geometry() -> None:
    own, rest, asked = _faces()
    torch.manual_seed(0)
    placed = NetworkAlignment(AlignmentNet()).place(own, rest, _pose(), asked)
    np.testing.assert_array_equal(placed, GeometricAlignment().place(own, rest, _pose(), asked))


def test_the_correction_follows_the_frames_own_landmarks_and_pose_and_is_bounded() -> None:
    own, rest, asked = _faces()
    way = NetworkAlignment(_awake())
    geometric = GeometricAlignment().place(own, rest, _pose(), asked)
    first = way.place(own, rest, _pose(), asked)
    moved = own.copy()
    moved[30] += 0.2
    assert np.abs(first - geometric)[MOVED_POINTS].max() > 1e-4
    assert np.abs(first - geometric).max() <= 0.08 + 1e-6
    assert np.abs(way.place(moved, rest, _pose(), asked) - first)[MOVED_POINTS].max() > 1e-6
    assert np.abs(way.place(own, rest, _pose(-20.0), asked) - first)[MOVED_POINTS].max() > 1e-6


def test_faces_of_a_batch_do_not_see_each_other() -> None:
    network = _awake()
    parts = [_faces(seed) for seed in (1, 2)]
    own, rest, asked = (torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*parts, strict=True))
    angles = torch.tensor([[5.0, 1.0, 0.0], [-30.0, 0.0, 4.0]])
    both = network(own, rest, angles, asked)
    alone = network(own[1:], rest[1:], angles[1:], asked[1:])
    torch.testing.assert_close(both[1:], alone, atol=1e-6, rtol=1e-5)


def test_wrong_shapes_are_refused() -> None:
    own, rest, asked = _faces()
    with pytest.raises(ShapeError, match="all \\[68, 3\\]"):
        GeometricAlignment().place(own[:60], rest, _pose(), asked)
    network = AlignmentNet()
    faces = torch.zeros(2, 68, 3)
    with pytest.raises(ShapeError, match="angles"):
        network(faces, faces, torch.zeros(1, 3), faces)
    with pytest.raises(ShapeError, match="own"):
        network(faces[0], faces[0], torch.zeros(1, 3), faces[0])


def test_written_weights_come_back(tmp_path: Path) -> None:
    network = _awake(3)
    path = tmp_path / "alignment.safetensors"
    save_alignment_net(path, network, {"steps": "0"})
    loaded = read_alignment_net(path)
    assert loaded.sizes == network.sizes
    torch.testing.assert_close(loaded.out.weight, network.out.weight, atol=2e-3, rtol=1e-3)


def test_damaged_and_missing_weights_say_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="not there"):
        read_alignment_net(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"nonsense")
    with pytest.raises(WeightsFormatError, match="train it again"):
        read_alignment_net(broken)


def test_ways_by_name() -> None:
    assert isinstance(create_alignment("geometric"), GeometricAlignment)
    assert isinstance(create_alignment("network"), NetworkAlignment)
    with pytest.raises(BadInputError, match="geometric, network"):
        create_alignment("guess")


def test_the_shipped_network_is_small_and_keeps_a_mouth_that_is_where_it_should_be() -> None:
    """Nothing asked of a face at rest, seen straight on: corrections of a few percent at most."""
    assert SHIPPED.stat().st_size < 500_000
    rest = load_file(SPEECH)["basis.rest"].astype(np.float64)
    placed = create_alignment("network").place(rest, rest, _pose(0.0), np.zeros((68, 3)))
    assert np.linalg.norm((placed - rest)[MOVED_POINTS, :2], axis=1).mean() < 0.02
