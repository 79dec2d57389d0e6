"""The page of the live runs: every figure in its row, nothing that was not measured."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.live import OUT
from bench.live_report import page_of

pytestmark = pytest.mark.unit

EVENTS: dict[str, Any] = {
    "viewers": {
        "join_to_first_picture_ms": 91,
        "first_picture_damaged": False,
        "vanished_forgotten_after_s": 32.2,
        "longest_freeze_of_who_stays_ms": 54,
    },
    "source_ends": {
        "last_picture_after_end_and_delay_ms": -9,
        "sound_goes_on": True,
        "new_source_to_edited_beyond_delay_ms": 380,
    },
    "size_changes": {
        "gap_at_the_change_ms": 41,
        "first_new_to_first_edited_ms": 677,
        "passed_through": {"a": 2, "b": 3},
    },
    "face_leaves": {
        "gone_to_passed_through_s": 0.063,
        "pictures_per_second_while_away": 20.8,
        "back_to_edited_s": 0.583,
    },
}
LINK = {"received_kbps": 3538, "quantiser": 14.8, "pictures_per_second": 24.5, "frozen_share": 0.128}


def rows(page: str) -> list[list[str]]:
    """The cells of all rows below the heads."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if "---" not in line]


def found(page: str, what: str) -> list[str]:
    """The one row that begins so."""
    (row,) = [row for row in rows(page) if row[0] == what]
    return row


def test_every_event_has_what_was_seen_and_how_long_it_took() -> None:
    page = page_of({"events": EVENTS, "page": {"closed_browser_forgotten_after_s": 29.8, "split_ms": {}}})
    assert found(page, "a viewer joins in the middle")[2] == "91 ms"
    assert "undamaged" in found(page, "a viewer joins in the middle")[1]
    assert "54 ms" in found(page, "a viewer leaves")[1]
    assert found(page, "a viewer vanishes")[2] == "forgotten after 32.2 s"
    assert found(page, "a browser is killed")[2] == "forgotten after 29.8 s"
    assert found(page, "the source ends")[1] == "the last picture stands, sound goes on"
    assert found(page, "another source begins")[2] == "380 ms beyond it"
    assert found(page, "the source changes its size")[1:] == [
        "pictures go on after 41 ms, 5 of them unedited",
        "677 ms",
    ]
    assert "63 ms" in found(page, "the face leaves")[1]
    assert found(page, "the face comes back")[2] == "583 ms"
    assert all(len(row) == 3 and all(row) for row in rows(page))


def test_what_went_wrong_stands_out() -> None:
    bad = {
        "viewers": {**EVENTS["viewers"], "first_picture_damaged": True, "vanished_forgotten_after_s": None},
        "source_ends": {**EVENTS["source_ends"], "sound_goes_on": False},
    }
    page = page_of({"events": bad})
    assert "first picture damaged" in found(page, "a viewer joins in the middle")[1]
    assert "**more than a minute**" in found(page, "a viewer vanishes")[2]
    assert "**sound stops**" in found(page, "the source ends")[1]


def test_links_tell_rate_quality_and_freezes() -> None:
    lossy = {"pictures_per_second": 24.6, "damaged_share": 0.25, "longest_freeze_ms": 200, "sound_lost_share": 0.2016,
             "recovered_after_ms": 40}  # fmt: skip
    narrow = {"link_kbps": 2000, "first_10_s": LINK, "after_that": LINK, "wide_again_to_full_rate_s": 13.0}
    page = page_of(
        {"loss": {"seconds": 15.0, "viewer_20%": lossy, "camera_5%": lossy}, "sharp": LINK, "narrow": narrow}
    )
    assert found(page, "20% lost to the viewer")[2] == "40 ms"
    assert "25.0% damaged" in found(page, "5% lost from the camera")[1]
    assert (
        "3.5 Mb/s, quantiser 14.8, 24.5 pictures a second, still 13%"
        in found(page, "Chromium, a link that carries everything")[1]
    )
    assert "13 s after the link" in found(page, "Chromium, 2 Mb/s and a queue of 0.3 s, after that")[2]


def test_what_was_not_measured_is_left_out() -> None:
    page = page_of({})
    assert "|" not in page
    assert "##" not in page
    one = page_of({"events": {"face_leaves": EVENTS["face_leaves"]}})
    assert len(rows(one)) == 3
    assert one.count("## ") == 1


def test_the_published_figures_make_a_page() -> None:
    runs = json.loads(Path(OUT).read_text(encoding="utf-8"))["runs"]
    page = page_of(runs)
    assert {"a browser is killed", "the source changes its size", "the face comes back"} <= {r[0] for r in rows(page)}
    assert "None" not in page
    assert "nan" not in page
