"""What a clip does not show of a mouth is the generator's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.editing.mouth import MOUTH_UNITS, OPENING, mouth_shape
from engine.editing.profile import SpeakerProfile
from engine.editing.unseen import completed, known_share
from engine.errors import ShapeError
from tests.engine.editing.scripted import painted_profile

pytestmark = pytest.mark.unit


def mouths(reach_iod: float) -> NDArray[np.float64]:
    """Frames whose openings cover a range evenly."""
    rows = np.zeros((101, 8))
    rows[:, OPENING] = np.linspace(0, reach_iod / 0.96, 101) / MOUTH_UNITS[OPENING]
    return rows


@pytest.fixture
def fitted() -> SpeakerProfile:
    """A profile whose slopes are all one and whose mouth hardly opened."""
    made = painted_profile()
    rest = mouth_shape(made.rest_head)
    return replace(made, slopes=torch.ones_like(made.slopes), mouth_high=rest + 0.1, mouth_covariance=0.04 * np.eye(8))


@pytest.mark.parametrize(("reach", "share"), [(0.0, 0.0), (0.02, 0.0), (0.07, 0.5), (0.12, 1.0), (0.3, 1.0)])
def test_a_mouth_is_known_as_far_as_it_opened(reach: float, share: float) -> None:
    assert known_share(mouths(reach)) == pytest.approx(share, abs=0.01)


def test_one_frame_tells_nothing_and_none_is_refused() -> None:
    assert known_share(mouths(0.2)[:1]) == 0.0
    for wrong in (np.zeros((0, 8)), np.zeros((4, 7)), np.zeros(8)):
        with pytest.raises(ShapeError, match="N at least 1"):
            known_share(wrong)


def test_who_speaks_is_left_as_fitted(fitted: SpeakerProfile) -> None:
    wide = replace(fitted, mouth_high=fitted.mouth_high + 5)
    found = completed(wide, 1.0, torch.full_like(wide.slopes[-8:], 3.0))
    assert torch.equal(found.slopes, wide.slopes)
    np.testing.assert_array_equal(found.mouth_high, wide.mouth_high)
    np.testing.assert_array_equal(found.mouth_covariance, wide.mouth_covariance)


def test_who_is_silent_gets_the_generator_s_mouth(fitted: SpeakerProfile) -> None:
    found = completed(fitted, 0.0, torch.full_like(fitted.slopes[-8:], 3.0))
    assert bool((found.slopes[-8:] == 3).all()), "the mouth is the generator's"
    assert torch.equal(found.slopes[:-8], fitted.slopes[:-8]), "the rest is the speaker's"
    room = (found.mouth_high - mouth_shape(fitted.rest_head))[OPENING] * MOUTH_UNITS[OPENING]
    assert room == pytest.approx(0.11)
    np.testing.assert_array_equal(found.mouth_high[1:], fitted.mouth_high[1:])
    away = np.zeros(8)
    away[OPENING] = 1.5
    unusual = [float(away @ np.linalg.solve(each.mouth_covariance, away)) for each in (fitted, found)]
    assert unusual[1] < 0.6 * unusual[0], "an opening is asked for more freely"
    assert np.linalg.eigvalsh(found.mouth_covariance).min() > 0


def test_who_mumbles_gets_half(fitted: SpeakerProfile) -> None:
    found = completed(fitted, 0.5, torch.full_like(fitted.slopes[-8:], 3.0))
    assert bool((found.slopes[-8:] == 2).all())


def test_without_directions_the_fit_s_stay(fitted: SpeakerProfile) -> None:
    found = completed(fitted, 0.0, torch.zeros_like(fitted.slopes[-8:]))
    assert torch.equal(found.slopes, fitted.slopes)
    with pytest.raises(ShapeError, match="directions are"):
        completed(fitted, 0.0, torch.zeros(8, 1, 1))
