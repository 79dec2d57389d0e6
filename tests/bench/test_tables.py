"""Tables of results: what one shows the others show, order and bystanders change nothing, numbers are the slow ones."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import page as html_page
from bench.ablation import figures_table, stages_table
from bench.matrix import clip_table, clips_of, explain, shortfall
from bench.page import Run, page, plot, section
from bench.report import cell, quality_table, side_rows
from engine.evaluation import FIGURES, GOALS, reached

pytestmark = pytest.mark.unit

VALUES = st.none() | st.floats(-50, 50)
RUNS = st.lists(
    st.builds(
        lambda clip, speech, figures: {
            "run": {"clip": clip, "speech": speech},
            "figures": figures,
            "frames": 10,
            "edited": 9,
        },
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["x", "y"]),
        st.fixed_dictionaries({key: VALUES for key in FIGURES}),
    ),
    min_size=1,
    max_size=6,
    unique_by=lambda run: (run["run"]["clip"], run["run"]["speech"]),
)


def run(clip: str = "person", speech: str = "bus", **figures: float | None) -> dict[str, Any]:
    known: dict[str, float | None] = dict.fromkeys(FIGURES)
    return {"run": {"clip": clip, "speech": speech}, "figures": known | figures, "frames": 20, "edited": 18}


def rows(markdown: str) -> list[list[str]]:
    """Cells of a Markdown table, without the line under its head."""
    lines = [[part.strip() for part in line[1:-1].split(" | ")] for line in markdown.splitlines()]
    assert len({len(line) for line in lines}) == 1
    return [line for line in lines if line[0] != "---"]


@pytest.mark.parametrize("key", FIGURES)
@given(value=st.floats(-1e6, 1e6))
def test_a_shortfall_is_a_share_and_zero_exactly_where_the_goal_is_reached(key: str, value: float) -> None:
    short = shortfall(key, value)
    assert 0.0 <= short <= 1.0
    assert (short == 0.0) == reached(key, value)
    assert cell(key, value).endswith(" *") != reached(key, value)


@pytest.mark.parametrize("key", FIGURES)
def test_shortfalls_grow_with_the_distance_from_the_goal(key: str) -> None:
    low, high = GOALS[key]
    for edge, way in ((low, -1.0), (high, 1.0)):
        if edge is not None:
            shorts = [shortfall(key, edge + way * step) for step in np.linspace(0, 5, 40)]
            assert shorts == sorted(shorts)


@settings(deadline=None, max_examples=40)
@given(runs=RUNS, seed=st.integers(0, 1000))
def test_the_ranking_does_not_hang_on_the_order_of_runs(runs: list[dict[str, Any]], seed: int) -> None:
    mixed = [runs[at] for at in np.random.default_rng(seed).permutation(len(runs))]
    one, two = ({clip.name: clip for clip in clips_of(each)} for each in (runs, mixed))
    assert set(one) == set(two)
    for name, clip in one.items():
        assert two[name].runs == clip.runs and two[name].missed == clip.missed
        assert two[name].shortfall == pytest.approx(clip.shortfall)
        assert two[name].means == pytest.approx(clip.means)


@settings(deadline=None, max_examples=40)
@given(runs=RUNS)
def test_a_clips_shortfall_is_the_mean_over_its_speeches_of_the_sum_over_figures(runs: list[dict[str, Any]]) -> None:
    clips = clips_of(runs)
    assert [clip.shortfall for clip in clips] == sorted((clip.shortfall for clip in clips), reverse=True)
    for clip in clips:
        own = [each for each in runs if each["run"]["clip"] == clip.name]
        known = [(key, each["figures"][key]) for each in own for key in FIGURES if each["figures"][key] is not None]
        assert clip.shortfall == pytest.approx(sum(shortfall(key, value) for key, value in known) / len(own))
        for key in FIGURES:
            values = [value for name, value in known if name == key]
            assert (key in clip.means) == bool(values)
            if values:
                assert clip.means[key] == pytest.approx(np.mean(values))
            assert (key in clip.missed) == any(not reached(key, value) for value in values)


@settings(deadline=None, max_examples=20)
@given(runs=RUNS)
def test_other_systems_and_failed_runs_change_nothing_of_the_ranking(runs: list[dict[str, Any]]) -> None:
    others = [{**run("a", seam=9.0), "run": {"clip": "a", "speech": "x", "system": "W"}}]
    failed = [{"run": {"clip": "b", "speech": "x"}, "missing": "no face"}]
    assert clips_of([*others, *runs, *failed]) == clips_of(runs)
    assert explain(clips_of([*runs, *others])) == explain(clips_of(runs))


def test_what_only_some_runs_know_of_a_clip_counts() -> None:
    """The first run saw no face, so that it has no size to tell; the second has one."""
    first, second = run("a", "x"), run("a", "y")
    first["material"], second["material"] = {"without_face": 1.0}, {"without_face": 0.2, "iod_px": 80.0}
    for order in ([first, second], [second, first]):
        [clip] = clips_of(order)
        assert clip.material == pytest.approx({"without_face": 0.6, "iod_px": 80.0})


def test_the_hardest_in_something_is_told_only_where_others_are_known() -> None:
    worst, other, third = run("worst", seam=9.0), run("other"), run("third")
    worst["material"] = {"iod_px": 40.0}
    assert len(explain(clips_of([worst, other, third]))) == 2
    other["material"] = {"iod_px": 90.0}
    assert explain(clips_of([worst, other, third]))[-1].endswith("40, the other clips 90 to 90.")
    other["material"] = {"iod_px": 40.0}
    assert len(explain(clips_of([worst, other, third]))) == 2


@settings(deadline=None, max_examples=30)
@given(runs=RUNS)
def test_page_and_report_show_the_same_cells(runs: list[dict[str, Any]]) -> None:
    table = {line[0]: line[2:] for line in rows(quality_table(runs))}
    shown = html_page.figures_table([Run(each) for each in runs])
    lines = [re.findall(r"<td([^>]*)>(.*?)</td>", line) for line in re.findall("<tr>(.*?)</tr>", shown)[1:]]
    assert [line[0][1] for line in lines] == list(FIGURES)
    for line in lines:
        cells = [text + (" *" if "missed" in mark else "") for mark, text in line[2:]]
        assert cells == table[line[0][1]]


@settings(deadline=None, max_examples=30)
@given(runs=RUNS)
def test_the_table_of_clips_is_whole_and_in_order(runs: list[dict[str, Any]]) -> None:
    clips = clips_of(runs)
    head, *lines = rows(clip_table(clips))
    assert [line[0] for line in lines] == [clip.name for clip in clips]
    assert head[:3] == ["clip", "speeches", "shortfall"] and set(head[3:]) <= set(FIGURES)
    for line, clip in zip(lines, clips, strict=True):
        for key, text in zip(head[3:], line[3:], strict=True):
            assert (text == "-") == (key not in clip.means) and text.endswith("*") == (key in clip.missed)


def test_runs_of_an_older_version_have_dashes_where_they_lack_a_figure() -> None:
    """A figure that came later is not measured there; nothing falls over."""
    old = run(seam=1.0)
    del old["figures"]["flicker"]
    table = {line[0]: line[2:] for line in rows(quality_table([old, run(flicker=0.5)]))}
    assert table["flicker"] == ["-", "0.5"] and table["seam"] == ["1", "-"]
    rated = [{"variant": "effort 0", "effort": 0, **old}, {"variant": "effort 0", "effort": 0, **run(flicker=0.5)}]
    head, _, values = rows(figures_table(rated))
    assert dict(zip(head, values, strict=True))["flicker"] == "0.5"


def test_figures_beside_the_usual_ones_have_a_value_for_every_run() -> None:
    own = run() | {"reconstruction": {"figures": {"psnr_db": 30.0}}}
    synced = run() | {"lse": {"figures": {"lse_c": None, "lse_d": 7.0}}, "reconstruction": None}
    assert side_rows([run(), own, synced]) == [
        ("psnr_db", "own sound", [None, 30.0, None]),
        ("lse_c", "SyncNet", [None, None, None]),
        ("lse_d", "SyncNet", [None, None, 7.0]),
    ]
    assert side_rows([]) == []


def ablated(variant: str, effort: int, ms: float, stages: dict[str, float], **figures: float | None) -> dict[str, Any]:
    known: dict[str, float | None] = dict.fromkeys(FIGURES)
    times = {stage: {"p50": value} for stage, value in stages.items()}
    return {
        "variant": variant,
        "effort": effort,
        "figures": known | figures,
        "ms_per_frame": ms,
        "stages_ms": times,
    }


def test_variants_are_averaged_over_the_pairs_that_have_a_figure() -> None:
    failed = {"variant": "without keep", "effort": 4, "missing": "no face"}
    table = figures_table(
        [
            ablated("effort 0", 0, 10.0, {}, seam=1.0, identity=0.2),
            ablated("effort 0", 0, 20.0, {}, seam=None, identity=0.5),
            failed,
        ]
    )
    head, goals, first, second = rows(table)
    assert head == ["variant", "steps", "pairs", "identity", "seam", "ms a frame"]
    assert goals[3:5] == ["<= 0.3", "<= 1.05"]
    assert first == ["effort 0", "0", "2", "0.35 *", "1", "15"]
    assert second == ["without keep", "4", "0", "-", "-", "-"]


def test_stages_are_averaged_by_effort_and_only_efforts_are_shown() -> None:
    table = stages_table(
        [
            ablated("effort 0", 0, 10.0, {"edit": 4.0, "blend": 6.0}),
            ablated("effort 0", 0, 30.0, {"edit": 8.0}),
            ablated("effort 2", 2, 50.0, {"search": 40.0}),
            ablated("without keep", 4, 99.0, {"edit": 77.0}),
        ]
    )
    assert rows(table) == [
        ["effort", "edit", "blend", "search", "all, ms a frame"],
        ["0", "6", "6", "-", "20"],
        ["2", "-", "-", "40", "50"],
    ]


def paths(series: dict[str, list[float | None]]) -> list[list[tuple[float, float]]]:
    """Points of all lines of a plot, the axis left out."""
    found = re.findall(r'<path d="M([^"]*)" stroke="#[0-9a-f]{6}"', plot(series))
    return [[(float(x), float(y)) for x, y in (point.split(",") for point in path.split(" L"))] for path in found]


LINE: Sequence[float | None] = [0.1, 0.3, None, 0.2, 0.05, 0.25]


def test_a_plot_does_not_hang_on_when_a_clip_begins_nor_on_its_unit() -> None:
    seconds = [0.04 * index for index in range(6)]
    plain = paths({"seconds": list(seconds), "shown": list(LINE)})
    late = paths({"seconds": [second + 7 for second in seconds], "shown": list(LINE)})
    scaled = paths({"seconds": list(seconds), "shown": [None if v is None else 3 * v for v in LINE]})
    assert [len(path) for path in plain] == [2, 3]
    for other in (late, scaled):
        for one, two in zip(plain, other, strict=True):
            np.testing.assert_allclose(one, two, atol=0.11)


def test_a_plot_stays_inside_its_picture() -> None:
    rng = np.random.default_rng(0)
    series = {"seconds": [float(v) for v in range(50)], "shown": rng.random(50).tolist(), "filmed": [0.0] * 50}
    points = [point for path in paths(series) for point in path]
    assert len(points) == 100
    assert all(40 <= x <= 900 and 0 <= y <= 150 for x, y in points)
    assert min(y for _, y in points) == pytest.approx(6, abs=0.1)


def test_higher_is_further_up_and_later_further_right() -> None:
    [path] = paths({"seconds": [0.0, 1.0, 3.0], "target": [0.1, 0.2, 0.4]})
    xs, ys = zip(*path, strict=True)
    assert xs[2] - xs[1] == pytest.approx(2 * (xs[1] - xs[0]), abs=0.2)
    assert ys[0] - ys[1] == pytest.approx((ys[1] - ys[2]) / 2, abs=0.2)


@pytest.mark.parametrize("missing", ["strip", "series"])
def test_a_section_has_what_there_is(missing: str) -> None:
    parts: dict[str, Any] = {"strip": b"png", "series": {"seconds": [0.0, 1.0], "shown": [0.1, 0.2]}}
    del parts[missing]
    text = section(Run(run(), **parts))
    assert ("<img" in text) == (missing != "strip") and ("<svg" in text) == (missing != "series")
    assert "18 of 20 frames edited; passed through: none" in text


def test_the_page_says_what_older_code_has_measured() -> None:
    head = {"command": "c", "date": "d", "machine": {}}
    assert "another version" not in page([Run(run())], head)
    assert "3 runs were measured by another version of the code" in page(
        [Run(run())], head | {"measured_by_other_code": 3}
    )
