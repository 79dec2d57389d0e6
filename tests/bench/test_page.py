"""The HTML page: every run and figure on it, nothing loaded from elsewhere, names escaped."""

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from bench.page import Run, figures_table, page, plot
from engine.evaluation import FIGURES

pytestmark = pytest.mark.unit
HEAD = {"command": "python -m bench quality", "date": "2026-01-01", "machine": {"processor": "x86", "cores": 2}}
VOID = {"meta", "img", "br"}


def report(clip: str = "person", **changes: Any) -> dict[str, Any]:
    figures: dict[str, float | None] = dict.fromkeys(FIGURES)
    return {
        "run": {"clip": clip, "speech": "bus"},
        "figures": figures | {"identity": 0.2, "seam": 1.4},
        "not_measured": {"tl_id": "no judge"},
        "frames": 20,
        "edited": 18,
        "passed_through": {"no_face": 2},
    } | changes


class Checker(HTMLParser):
    """Notes tags that are not closed, and everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(text: str) -> Checker:
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return checker


SERIES: dict[str, list[float | None]] = {
    "seconds": [0.0, 0.1, 0.2, 0.3],
    "target": [0.1, 0.2, 0.3, 0.2],
    "shown": [0.1, None, 0.2, 0.3],
}


def test_page_is_whole_and_fetches_nothing() -> None:
    other = report(run={"system": "Wav2Lip", "clip": "person", "speech": "own"})
    missing = {"run": {"system": "B", "clip": "x", "speech": "own"}, "missing": "no video of it in B's folder"}
    text = page([Run(report(), SERIES, b"\x89PNG"), Run(other), Run(missing)], HEAD)
    checker = checked(text)
    assert len(checker.fetched) == 1 and checker.fetched[0].startswith("data:image/png;base64,")
    for words in ("person + bus", "Wav2Lip: person + own", "no video of it in B&#x27;s folder", "x86, 2 cores"):
        assert words in text
    assert "18 of 20 frames edited; passed through: 2 no_face" in text and "tl_id: not measured: no judge" in text


def test_table_marks_what_is_not_reached() -> None:
    table = figures_table([Run(report()), Run(report("other", figures=dict.fromkeys(FIGURES, 1.0)))])
    rows = {row.split("</td>")[0].removeprefix("<td>"): row for row in re.findall("<tr>(.*?)</tr>", table)[1:]}
    assert set(rows) == set(FIGURES)
    assert "<td class=missed>1.4</td>" in rows["seam"] and "<td>1</td>" in rows["seam"]
    assert "<td>0.2</td>" in rows["identity"] and "<td class=missed>1</td>" in rows["identity"]
    assert rows["tl_id"].count("class='none'") == 1


def test_self_reconstruction_gets_its_own_rows() -> None:
    own = report("own", reconstruction={"figures": {"psnr_db": 31.26, "lmd": None}})
    table = figures_table([Run(report()), Run(own)])
    assert "<td>psnr_db</td><td>own sound</td><td class='none'>-</td><td>31.3</td>" in table
    assert "<td>lmd</td><td>own sound</td><td class='none'>-</td><td class='none'>-</td>" in table
    assert "psnr_db" not in figures_table([Run(report())])


def test_figures_of_syncnet_get_their_own_rows() -> None:
    measured = report("a", lse={"figures": {"lse_c": 6.214, "lse_d": None}})
    table = figures_table([Run(report()), Run(measured)])
    assert "<td>lse_c</td><td>SyncNet</td><td class='none'>-</td><td>6.21</td>" in table
    assert "lse_c" not in figures_table([Run(report())])


def test_several_clips_are_ranked_and_the_worst_is_explained() -> None:
    figures: dict[str, float | None] = dict.fromkeys(FIGURES)
    runs = [Run(report("good", figures=figures | {"seam": 1.0})), Run(report("<bad>"))]
    text = page(runs, HEAD)
    checked(text)
    assert "Worst of 2 clips: &lt;bad&gt;" in text and "seam (&lt;= 1.05): 1.4 with bus." in text
    assert text.index("<td>&lt;bad&gt;</td>") < text.index("<td>good</td>")
    assert "Worst of" not in page(runs[1:], HEAD)


def test_names_cannot_break_the_page() -> None:
    text = page([Run(report('<script>alert("x")</script>'), SERIES, b"x")], HEAD)
    assert "<script" not in text and "&lt;script&gt;" in text
    checked(text)


def points(text: str, colour: str) -> list[list[tuple[float, float]]]:
    paths = re.findall(f'<path d="([^"]*)" stroke="{colour}"', text)
    return [[tuple(map(float, p.split(","))) for p in path[1:].split(" L")] for path in paths]  # type: ignore[misc]


def test_plot_draws_every_line_with_its_gaps() -> None:
    text = plot(SERIES)
    checked(text)
    [target] = points(text, "#2a9d3a")
    assert [x for x, _ in target] == pytest.approx([40, 326.7, 613.3, 900], abs=0.1)
    assert target[0][1] > target[1][1] > target[2][1] and target[1][1] == target[3][1]
    [shown] = points(text, "#c02f9e")
    assert len(shown) == 2 and shown[1][1] == pytest.approx(target[2][1])
    assert points(text, "#999999") == []


@pytest.mark.parametrize(
    "series",
    [
        {},
        {"seconds": [0.0]},
        {"seconds": [0.0, 0.1]},
        {"seconds": [0.0, 0.1], "shown": [None, None]},
        {"seconds": [1.0, 1.0], "shown": [1.0, 1.0]},
    ],
)
def test_nothing_to_draw_gives_no_plot(series: dict[str, list[float | None]]) -> None:
    assert plot(series) == ""
