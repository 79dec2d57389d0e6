"""Faces for the alignment network: poses that come back, frames whose truth is known, and a run that learns."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.editing.mouth import MOVED_POINTS
from engine.errors import BadInputError
from engine.speech.alignment import AlignmentNet, read_alignment_net
from engine.speech.controls import CONTROLS, EXPRESSIONS, FaceBasis
from engine.training import aligning
from engine.training.aligning import AlignConfig, FaceStudio, angles_of, find_pose, placed, rotations, seen

pytestmark = pytest.mark.unit

QUIET = AlignConfig(steps=60, batch=24, speakers=6, held_out=4, noise=(0.0, 0.0), depth=0.0, ways=0.0, warp=0.0)


def _rest() -> NDArray[np.float64]:
    """A face: eye corners one apart about the origin, the other points around them."""
    rng = np.random.default_rng(0)
    face = np.stack([rng.uniform(-0.6, 0.6, 68), rng.uniform(-0.2, 1.2, 68), rng.uniform(-0.4, 0.5, 68)], axis=1)
    face[36], face[45] = (-0.5, 0.0, 0.0), (0.5, 0.0, 0.0)
    face[62], face[66] = (0.0, 0.8, -0.1), (0.0, 0.82, -0.1)
    return face


def _basis() -> FaceBasis:
    """Units that move jaw and mouth only."""
    move = np.zeros((len(CONTROLS), 68, 3))
    move[:, MOVED_POINTS] = 0.02 * np.random.default_rng(1).standard_normal((len(CONTROLS), len(MOVED_POINTS), 3))
    move[0, [*range(55, 60), *range(65, 68)], 1] += 0.4
    return FaceBasis(_rest().astype(np.float32), move.astype(np.float32))


def _studio(config: AlignConfig = QUIET) -> FaceStudio:
    return FaceStudio(_basis(), config, np.random.default_rng(2))


def _identities(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(count)
    return _rest() + 0.02 * rng.standard_normal((count, 68, 3)), rng.uniform(0.85, 0.95, count)


def test_angles_come_back_and_turn_the_head_as_the_tracker_says() -> None:
    degrees = np.array([[20.0, -10.0, 30.0], [-35.0, 15.0, 0.0], [0.0, 0.0, 0.0]])
    turned = rotations(degrees)
    np.testing.assert_allclose(angles_of(turned), degrees, atol=1e-9)
    np.testing.assert_allclose(turned @ turned.transpose(0, 2, 1), np.eye(3)[None].repeat(3, 0), atol=1e-12)
    nose = rotations(np.array([[25.0, 0.0, 0.0], [0.0, 25.0, 0.0]])) @ np.array([0.0, 0.0, -1.0])
    assert nose[0, 0] > 0.3
    assert nose[1, 1] > 0.3


def test_a_pose_is_found_from_landmarks_without_noise() -> None:
    degrees = np.array([[20.0, -10.0, 30.0], [-5.0, 12.0, -8.0]])
    points = seen(_rest()[None].repeat(2, 0), rotations(degrees), np.full(2, 1e9))
    rotation, origin, scale = find_pose(3.0 * points + 7.0, _rest())
    np.testing.assert_allclose(angles_of(rotation), degrees, atol=1e-6)
    np.testing.assert_allclose(origin, 7.0, atol=1e-6)
    np.testing.assert_allclose(scale, 3.0, atol=1e-6)


def test_geometry_is_exact_where_nothing_is_in_doubt() -> None:
    """No noise, the mean face itself, no perspective to speak of: only the enrolled rest face is not exact."""
    studio = _studio(replace(QUIET, stranger=0.0))
    speakers = studio.speakers(_rest()[None].repeat(3, 0), np.full(3, 0.9))
    known = replace(speakers, enrolled=speakers.rest)
    frames = studio.frames(known, 40)
    errors = np.linalg.norm(placed(frames) - frames.target, axis=2)
    assert errors.mean() < 0.02
    assert np.median(errors) > 0.0
    far = np.linalg.norm(frames.target - placed(replace(frames, displacement=0.0 * frames.displacement)), axis=2)
    assert far.mean() > 2 * errors.mean()


def test_enrolment_finds_a_closed_mouth() -> None:
    studio = _studio()
    speakers = studio.speakers(*_identities(3))
    gap = speakers.enrolled[:, 66, 1] - speakers.enrolled[:, 62, 1]
    assert (np.abs(gap) < 0.06).all()
    np.testing.assert_allclose(np.linalg.norm(speakers.rest[:, 45] - speakers.rest[:, 36], axis=1), 1.0, atol=1e-9)


def test_wider_poses_are_wider() -> None:
    studio = _studio()
    speakers = studio.speakers(*_identities(3))
    usual = np.abs(studio.frames(speakers, 60).angles[:, 0])
    studio.widest = (1.0, 1.25)
    wide = np.abs(studio.frames(speakers, 60).angles[:, 0])
    assert usual.max() < 45.0
    assert wide.min() > 25.0


def test_a_correction_moves_places_by_the_found_pose_and_scale() -> None:
    studio = _studio()
    frames = studio.frames(studio.speakers(*_identities(2)), 5)
    push = np.zeros((5, len(MOVED_POINTS), 3))
    push[:, :, 0] = 0.1
    moved = placed(frames, push) - placed(frames)
    expected = 0.1 * frames.turned[:, :2, 0]
    np.testing.assert_allclose(moved, np.broadcast_to(expected[:, None], moved.shape), atol=1e-12)


def test_an_untrained_network_has_geometrys_error() -> None:
    studio = _studio()
    result = aligning.figures(AlignmentNet(), studio, studio.speakers(*_identities(3)), 50)
    assert result.network == pytest.approx(result.geometric)
    assert result.network_p95 == pytest.approx(result.geometric_p95)


def test_a_run_learns_writes_its_weights_and_reports_on_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aligning, "build_identities", lambda wheel, seed, count: _identities(count))
    lines: list[str] = []
    config = replace(QUIET, noise=(0.005, 0.01), depth=0.05)
    out = tmp_path / "alignment.safetensors"
    result = aligning.train_alignment(Path("no.whl"), _basis(), out, config, lambda text, share: lines.append(text))
    assert set(result) == {"known_poses", "wider_yaw"}
    assert result["known_poses"].network < result["known_poses"].geometric
    assert lines and lines[0].startswith("step 50 error ")
    assert read_alignment_net(out).sizes == AlignmentNet().sizes


def test_a_bad_configuration_is_refused() -> None:
    with pytest.raises(BadInputError, match="speakers is 0"):
        AlignConfig(speakers=0)


def test_expressions_are_mild() -> None:
    shown = _studio()._expressions(200)
    assert shown.shape == (200, len(EXPRESSIONS))
    assert 0.0 < shown.max() <= 0.4
