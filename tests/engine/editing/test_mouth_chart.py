"""The chart's mouths: twelve different ones that mouths can make."""

import numpy as np
import pytest

from engine.editing.mouth import MOUTH_NAMES, MOUTH_UNITS, OPENING
from engine.editing.mouth_chart import CHART, chart_shapes

pytestmark = pytest.mark.unit


def test_there_are_twelve_shapes_of_all_mouth_numbers_and_the_first_is_rest() -> None:
    shapes = chart_shapes()
    assert len(shapes) == 12 and all(shape.shape == (len(MOUTH_NAMES),) for shape in shapes)
    assert not shapes[0].any()


def test_no_two_shapes_are_near_each_other() -> None:
    shapes = chart_shapes()
    for one in range(12):
        for other in range(one):
            assert np.linalg.norm(shapes[one] - shapes[other]) > 0.8, (one, other)


def test_no_mouth_closes_beyond_closed_or_opens_more_than_mouths_do() -> None:
    openings = np.array([shape[OPENING] for shape in chart_shapes()]) * MOUTH_UNITS[OPENING]
    assert openings.min() == 0 and 0.12 < openings.max() < 0.2


def test_the_first_row_opens_step_by_step_and_what_is_asked_fits_together() -> None:
    shapes = chart_shapes()
    assert [shape[OPENING] for shape in shapes[:4]] == sorted(shape[OPENING] for shape in shapes[:4])
    for name, shape in CHART.items():
        opening, _, upper, lower, chin, *_ = np.array(shape) * MOUTH_UNITS
        assert abs((lower - upper) - opening) <= 0.06, f"{name}: the lips part by as much as the mouth opens"
        assert -0.02 <= chin <= opening + 0.02, f"{name}: the chin drops no more than the mouth opens"


@pytest.mark.parametrize(("round_name", "spread_name"), [("rounded", "spread"), ("rounded, open", "spread, open")])
def test_rounded_and_spread_mouths_differ_in_width_alone_as_much_as_in_corners(
    round_name: str, spread_name: str
) -> None:
    rounded, spread = np.array(CHART[round_name]), np.array(CHART[spread_name])
    assert rounded[1] < 0 < spread[1] and rounded[OPENING] == spread[OPENING]
