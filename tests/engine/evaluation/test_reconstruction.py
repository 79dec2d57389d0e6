"""Self-reconstruction on scripted runs: errors of known size come back."""

from typing import Any

import numpy as np
import pytest

from engine.evaluation.likeness import EQUAL_DB
from engine.evaluation.reconstruction import LEARNT_EVERY, RECONSTRUCTION, Reconstruction

pytestmark = pytest.mark.unit
IOD = 40.0


def test_a_clip_is_equal_to_itself(stage: Any) -> None:
    judge = stage.judge()
    run = Reconstruction(judge, lambda a, b: float((a != b).mean()))
    for frame in stage.run_of(4):
        judge.knows(frame.source, stage.face(0.1), np.ones(3))
        run.add(frame.frame, frame.source, stage.face(0.1))
    found = run.finish()
    assert found["figures"] == {"psnr_db": EQUAL_DB, "ssim": 1.0, **dict.fromkeys(RECONSTRUCTION[2:], 0.0)}
    assert found["not_measured"] == {} and found["left_out"] == {}
    assert found["frames"] == {"psnr_db": 4, "ssim": 4, "lpips_st": 2, "lmd": 4, "lmd_face": 4, "lmd_velocity": 3}


def test_errors_of_known_size_come_back(stage: Any) -> None:
    judge = stage.judge()
    run = Reconstruction(judge, None)
    frames = stage.run_of(6, lambda index, rgb: np.clip(rgb.astype(int) + 10, 0, 255).astype(np.uint8))
    for index, frame in enumerate(frames):
        late = 2.0 if index % 2 else 0.0  # the mouth hops by 2 px every other frame
        edited = stage.face(0.1)
        edited[48:68, 0] += 4 + late
        judge.knows(frame.source, stage.face(0.1), np.ones(3))
        judge.knows(frame.frame, edited, np.ones(3))
        run.add(frame.frame, frame.source, stage.face(0.1))
    figures = run.finish()["figures"]
    assert figures["psnr_db"] == pytest.approx(28.13, abs=0.5)
    assert figures["lmd"] == pytest.approx(5 / IOD) and figures["lmd_face"] == pytest.approx(
        5 / IOD * 20 / 68, rel=1e-4
    )
    assert figures["lmd_velocity"] == pytest.approx(2 / IOD)
    assert 0.5 < figures["ssim"] < 1


def test_frames_that_cannot_be_read_are_counted_and_break_the_velocity(stage: Any) -> None:
    judge = stage.judge()
    run = Reconstruction(judge, None)
    for index, frame in enumerate(stage.run_of(5)):
        if index != 2:
            judge.knows(frame.source, stage.face(0.1), np.ones(3))
        run.add(frame.frame, frame.source, None if index == 4 else stage.face(0.1))
    found = run.finish()
    assert found["left_out"] == {"not in the script": 1, "no face tracked": 1}
    assert found["frames"] == {"psnr_db": 4, "ssim": 4, "lmd": 3, "lmd_face": 3, "lmd_velocity": 1}
    assert found["not_measured"] == {"lpips_st": "no learnt distance given"}


def test_the_learnt_distance_sees_the_face_at_its_size_now_and_then(stage: Any) -> None:
    seen: list[tuple[int, ...]] = []

    def distance(a: Any, b: Any) -> float:
        seen.append(a.shape)
        return 0.25

    run = Reconstruction(None, distance)
    for frame in stage.run_of(2 * LEARNT_EVERY):
        run.add(frame.frame, frame.source, stage.face(0.1))
    found = run.finish()
    assert seen == [(256, 256, 3)] * 2 and found["figures"]["lpips_st"] == 0.25
    assert found["not_measured"] == dict.fromkeys(("lmd", "lmd_face", "lmd_velocity"), "no judge")


def test_a_run_without_a_face_has_no_figures(stage: Any) -> None:
    run = Reconstruction(stage.judge(), lambda a, b: 0.0)
    for frame in stage.run_of(3):
        run.add(frame.frame, frame.source, None)
    found = run.finish()
    assert set(found["not_measured"]) == set(RECONSTRUCTION) and found["left_out"] == {"no face tracked": 3}
    assert all(value is None for value in found["figures"].values())
