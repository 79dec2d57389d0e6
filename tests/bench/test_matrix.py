"""Clips with several speeches: shortfalls, the worst clip and why, the table."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.matrix import Clip, Material, clip_table, clips_of, explain, shortfall
from engine.evaluation import FIGURES, GOALS

pytestmark = pytest.mark.unit
GOOD = {"identity": 0.2, "lip_opening_r": 0.95, "seam": 1.0, "closed_in_silence": 0.0, "sync_offset_ms": 5.0}


def run(clip: str, speech: str, **changes: Any) -> dict[str, Any]:
    """A run that reaches everything but what is changed."""
    known: dict[str, float | None] = dict.fromkeys(FIGURES)
    material = changes.pop("material", {"iod_px": 100.0, "turn": 0.1})
    reasons = changes.pop("not_measured", {})
    return {
        "run": {"clip": clip, "speech": speech},
        "figures": known | GOOD | changes,
        "not_measured": reasons,
        "material": material,
    }


@pytest.mark.parametrize("key", FIGURES)
def test_nothing_falls_short_at_its_goal_and_everything_beyond_it(key: str) -> None:
    low, high = GOALS[key]
    for edge, outward in ((low, -1), (high, 1)):
        if edge is not None:
            near, far = (shortfall(key, edge + outward * step) for step in (0.01, 0.02))
            assert shortfall(key, edge) == 0 < near < far
            assert shortfall(key, edge + outward * 1e4) == 1


RUNS = [
    run("easy", "a"),
    run("easy", "b", seam=1.1),
    run("beard", "a", lip_opening_r=0.2, closed_in_silence=0.4, material={"iod_px": 90.0, "turn": 0.5}),
    run("beard", "b", lip_opening_r=0.5, sync_offset_ms=None, not_measured={"sync_offset_ms": "too little follows"}),
    run("plain", "a", material={"iod_px": 80.0, "turn": 0.2}),
    {"run": {"clip": "plain", "speech": "b"}, "missing": "no face"},
    {**run("beard", "a", identity=0.9), "run": {"clip": "other", "speech": "a", "system": "W2L"}},
]


def test_clips_come_worst_first_with_their_means_and_misses() -> None:
    clips = clips_of(RUNS)
    assert [clip.name for clip in clips] == ["beard", "easy", "plain"]
    beard, easy, plain = clips
    assert (beard.runs, easy.runs, plain.runs) == (2, 2, 1)
    assert beard.means["lip_opening_r"] == pytest.approx(0.35) and beard.means["sync_offset_ms"] == 5
    assert beard.missed == {"lip_opening_r": {"a": 0.2, "b": 0.5}, "closed_in_silence": {"a": 0.4}}
    assert beard.silent == {"sync_offset_ms": "too little follows"}
    assert plain.shortfall == 0 and plain.missed == {}
    assert easy.shortfall == pytest.approx((1.1 - 1.05) / 1.05 / 2)
    assert beard.shortfall == pytest.approx(((0.9 - 0.2) / 0.9 + (0.9 - 0.5) / 0.9 + 1) / 2)
    assert beard.material["turn"] == pytest.approx(0.3)


def test_the_worst_clip_is_named_and_explained() -> None:
    first, *others = explain(clips_of(RUNS))
    assert first.startswith("Worst of 3 clips: beard, shortfall") and "next: easy 0.02, plain 0.00" in first
    assert others[0] == "lip_opening_r (>= 0.9): 0.2 with a, 0.5 with b."
    assert others[1] == "closed_in_silence (<= 0.02): 0.4 with a."
    assert others[2] == "sync_offset_ms is not measured with some speech: too little follows."
    [turn] = others[3:]
    assert "turns most" in turn and "0.3, the other clips 0.1 to 0.2" in turn


def test_where_nothing_is_missed_or_compared_nothing_is_blamed() -> None:
    assert explain(clips_of([run("a", "x")])) == [] == explain([])
    assert explain(clips_of([run("a", "x"), run("b", "x")])) == [
        "No clip misses a goal; the worst by its means would be a."
    ]


def test_the_table_has_a_row_a_clip_and_marks_what_is_missed() -> None:
    lines = clip_table(clips_of(RUNS)).splitlines()
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1
    names = [cell.strip() for cell in lines[0].split("|")]
    beard = dict(zip(names, (cell.strip() for cell in lines[2].split("|")), strict=True))
    assert (beard["clip"], beard["speeches"], beard["lip_opening_r"]) == ("beard", "2", "0.35 *")
    assert beard["seam"] == "1" and "flicker" not in names
    bare = Clip("x", 1, 0.0, {}, {}, {})
    assert clip_table([bare]).splitlines()[2] == "| x | 1 | 0.00 |"


def points(x: float, nose: float = 0.0, size: float = 50.0) -> NDArray[np.float64]:
    found = np.zeros((68, 2))
    found[36], found[45] = (x - size / 2, 40), (x + size / 2, 40)
    found[33] = (x + nose * size, 70)
    return found


def test_material_says_how_large_turned_and_fast_a_face_is() -> None:
    material = Material()
    for index in range(50):
        seen = None if index in (10, 11) else points(100 + 5 * index, nose=0.2 if index >= 25 else -0.1)
        material.add(index / 25, seen)
    found = material.finish()
    assert found["iod_px"] == 50 and found["turn"] == pytest.approx(0.3)
    assert found["motion"] == pytest.approx(5 / 50 * 25) and found["without_face"] == pytest.approx(0.04)


def test_material_without_a_face_says_only_that() -> None:
    material = Material()
    assert material.finish() == {"without_face": 1.0}
    material.add(0.0, None)
    assert material.finish() == {"without_face": 1.0}
    material.add(0.04, points(100))
    assert set(material.finish()) == {"without_face", "iod_px", "turn"}
