"""Scores and plain words about an enrolment: each weakness of a clip is named, and nothing else."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.editing.mouth import OPENING
from engine.editing.observation import Observation
from engine.editing.verdict import assess, teeth_area
from engine.errors import ShapeError
from tests.engine.editing.made_up import neutral_head, opened, seen

pytestmark = pytest.mark.unit
COUNT = 130


def speaking(yaw: float = 15.0, widen: float = 0.09, wide: float = 0.16, closed: float = 0.0) -> list[Observation]:
    """A clip: the mouth opens and rounds by turns while the head turns to both sides."""
    found = []
    for index in range(COUNT):
        head = opened(neutral_head(), closed + wide * (index % 10) / 9)
        head[[48, 60], 0] -= widen * (index % 7) / 6
        head[[54, 64], 0] += widen * (index % 7) / 6
        found.append(seen(head, yaw_deg=yaw * np.sin(index / 9)))
    return found


def lively(**changes: Any) -> dict[str, Any]:
    """All that a good clip has."""
    known: dict[str, Any] = {
        "observations": speaking(),
        "teeth": [0.0, 0.012],
        "iod_px": [150.0, 140.0],
        "reasons": {"ok": COUNT, "turned_away": 4},
        "response": 0.9 * np.eye(8),
    }
    return known | changes


def weak_answer() -> NDArray[np.float64]:
    response = 0.9 * np.eye(8)
    response[OPENING, OPENING] = 0.25
    return response


def test_a_good_clip_has_a_high_score_and_no_weak_points() -> None:
    found = assess(**lively())
    assert found.score >= 95 and found.grade == "good" and found.verdicts == []
    assert len(found.shares) == 9 and all(0 <= share <= 1 for share in found.shares.values())


@pytest.mark.parametrize(
    ("changes", "share", "words"),
    [
        ({"teeth": [0.001, 0.0]}, "teeth", "teeth were never visible in the clip"),
        ({"teeth": []}, "teeth", "teeth were never visible in the clip"),
        ({"observations": speaking(wide=0.03)}, "opening", "the mouth hardly opens"),
        ({"observations": speaking(closed=0.06)}, "closed lips", "the lips never close"),
        ({"observations": speaking(widen=0.0)}, "rounding", "never rounded or spread"),
        ({"observations": speaking(yaw=1.5)}, "poses", "the head turns by 3 degrees only"),
        ({"iod_px": [31.0, 35.0, 33.0]}, "size", r"the face is small \(33 px between the eyes\)"),
        ({"observations": speaking()[:20]}, "frames", r"few frames \(20\)"),
        ({"reasons": {"ok": 40, "no_face": 60}}, "usable frames", "only 40% of the frames"),
        ({"response": weak_answer()}, "answer", "the picture answers with 25% of an asked opening"),
    ],
)
def test_each_weakness_is_named_alone_and_costs_its_share(changes: dict[str, Any], share: str, words: str) -> None:
    found = assess(**lively(**changes))
    [verdict] = found.verdicts
    assert re.search(words, verdict)
    assert found.shares[share] < 0.6 and found.score < assess(**lively()).score
    others = {name for name, value in found.shares.items() if value < 0.6}
    assert others <= {share, "rounding", "poses"} if share == "frames" else others == {share}


def test_an_opening_is_asked_for_as_the_speaker_makes_it() -> None:
    """Openings of this clip go with other numbers: what they bring along counts, what is asked alone does not."""
    mouths = np.stack([item.mouth for item in lively()["observations"]])
    together = np.cov(mouths.T)[OPENING]
    assert np.abs(np.delete(together, OPENING)).max() > 0.2 * together[OPENING]
    others = np.where(np.arange(8) == OPENING, 0, together)
    strong, weak = 0.9 * np.eye(8), 0.9 * np.eye(8)
    strong[OPENING] = 0.9 * together * together[OPENING] / (together @ together)
    weak[OPENING] -= 0.8 * together[OPENING] * others / (others @ others)
    assert strong[OPENING, OPENING] < 0.85 < weak[OPENING, OPENING]
    assert assess(**lively(response=strong)).shares["answer"] == 1.0
    found = assess(**lively(response=weak))
    assert found.shares["answer"] == 0.0 and "answers with 10% of an asked opening" in found.verdicts[0]


def test_a_clip_with_nothing_in_it_is_poor_and_the_worst_comes_first() -> None:
    still = [seen(neutral_head())] * 10
    found = assess(still, [], [30.0], {"ok": 10, "no_face": 90}, weak_answer())
    assert found.grade == "poor" and found.score < 25
    assert found.verdicts[0].startswith("the picture answers") and found.verdicts[1].startswith("teeth")
    assert len(found.verdicts) == 8, "closed lips are all that this clip shows"


def test_grades_follow_the_score() -> None:
    fair = assess(**lively(teeth=[], observations=speaking(widen=0.0), iod_px=[30.0]))
    assert 50 <= fair.score < 75 and fair.grade == "fair"


def test_nothing_to_judge_by_is_refused() -> None:
    missing: dict[str, Any]
    for missing in ({"observations": []}, {"iod_px": []}, {"response": np.eye(3)}):
        with pytest.raises(ShapeError, match="expected at least one of each"):
            assess(**lively(**missing))


SKIN, TEETH, TONGUE = (150, 110, 95), (170, 160, 150), (150, 70, 70)


def mouth_picture(colour: tuple[int, int, int], dark: bool = False) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A face of 200 px eye distance whose open mouth shows a band of a colour over black."""
    points = np.zeros((68, 2))
    points[36], points[45] = (0, -150), (200, -150)
    points[60:68] = [(60, 50), (80, 40), (100, 36), (120, 40), (140, 50), (120, 68), (100, 72), (80, 68)]
    picture = np.full((120, 200, 3), SKIN, np.uint8)
    picture[36:72, 60:140] = 10
    picture[40:54, 70:130] = colour
    return (picture // 3 if dark else picture), points


def test_teeth_are_seen_by_their_brightness_and_paleness() -> None:
    teeth, tongue = (teeth_area(*mouth_picture(colour)) for colour in (TEETH, TONGUE))
    assert teeth == pytest.approx(14 * 58 / 200**2, rel=0.15)
    assert tongue == 0


def test_teeth_are_seen_in_dark_pictures_and_not_beside_the_mouth() -> None:
    assert teeth_area(*mouth_picture(TEETH, dark=True)) == pytest.approx(teeth_area(*mouth_picture(TEETH)), rel=0.1)
    picture, points = mouth_picture(TONGUE)
    picture[90:110] = TEETH
    assert teeth_area(picture, points) == 0


def test_a_closed_mouth_shows_none_and_shapes_are_checked() -> None:
    picture, points = mouth_picture(TEETH)
    points[60:68, 1] = 50
    assert teeth_area(picture, points) == 0
    with pytest.raises(ShapeError, match="expected"):
        teeth_area(picture[:, :, 0], points)
    with pytest.raises(ShapeError, match="expected"):
        teeth_area(picture, points[:20])
