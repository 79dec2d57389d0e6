"""How an enrolment begins: from an encoder's code, or where it was broken off; and what it says of itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.editing import enrolment
from engine.editing.enrolment import EnrolConfig, EnrolParts, enroll_speaker
from engine.editing.inversion import InversionConfig
from engine.editing.keeping import Kept
from engine.editing.perceptual import PerceptualLoss
from engine.editing.tuning import TuningConfig
from engine.errors import BadInputError
from engine.tracking.tracker import TrackedFace
from tests.engine.editing.scripted import painted_generator, plain_statistics, tracked, with_mouth
from tests.engine.editing.test_enrolment import AXES, frames, ignore, parts, spoken

pytestmark = pytest.mark.unit


def short(count: int, perceptual: PerceptualLoss) -> EnrolParts:
    faces: list[TrackedFace | None] = [tracked(with_mouth(change)) for change in spoken(count)]
    return parts(perceptual, faces)


SHORT = EnrolConfig("tiny", 3, InversionConfig(shared_steps=1, row_steps=1), TuningConfig(steps=4, stages=1))


def test_an_enrolment_that_was_broken_off_is_taken_up_again(perceptual: PerceptualLoss, tmp_path: Path) -> None:
    """Neither the inversion nor the steps that were done come again; the notes have a score and plain verdicts."""

    def tired(what: str, done: int, total: int) -> None:
        if (what, done) == ("learning the face", 3):
            raise KeyboardInterrupt

    path = tmp_path / "ann.unfinished"
    with pytest.raises(KeyboardInterrupt):
        enroll_speaker(frames(5), short(5, perceptual), SHORT, tired, Kept(path, every_s=0.0))
    told: list[tuple[str, int]] = []
    found = enroll_speaker(
        frames(5), short(5, perceptual), SHORT, lambda what, done, total: told.append((what, done)), Kept(path)
    )
    assert [step for step in told if step[0] in ("finding the face", "learning the face")] == [("learning the face", 4)]
    notes = found.notes
    assert 0 <= notes["score"] <= 100 and notes["grade"] in ("good", "fair", "poor")
    assert any(verdict.startswith("few frames (5)") for verdict in notes["verdicts"])
    assert set(notes["shares"]) >= {"teeth", "opening", "answer"}


class KnownFace:
    """Stands for an encoder of the painted generator."""

    source, width, rows = "e4e.pt", 512, painted_generator().rows

    def __init__(self, average: torch.Tensor) -> None:
        self.average = average.expand(self.rows, 512)

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        assert pictures.shape == (1, 3, 256, 256)
        return (self.average + 0.5 * plain_statistics(AXES).basis[0])[None]


def test_an_encoder_starts_the_inversion_and_one_of_another_generator_is_refused(perceptual: PerceptualLoss) -> None:
    statistics = plain_statistics(AXES)
    still = replace(SHORT, inversion=InversionConfig(shared_steps=5, row_steps=0))
    known: Any = KnownFace(statistics.mean)
    code = enrolment._code(
        replace(short(5, perceptual), encoder=known), still.inversion,
        torch.zeros(1, 3, *[painted_generator().coarse_resolution] * 2), ignore, None,
    )  # fmt: skip
    assert torch.allclose(code[:, 0], torch.tensor(0.5), atol=1e-5) and not code[:, 1:].abs().max() > 1e-5
    stranger: Any = KnownFace(statistics.decode(torch.full((AXES,), 2.0)))
    with pytest.raises(BadInputError, match="it was trained with another one"):
        enroll_speaker(frames(5), replace(short(5, perceptual), encoder=stranger), SHORT, ignore)
