"""The bar chart of step times: well-formed, longer for slower, names as they are."""

import math
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.step_plot import bars

pytestmark = pytest.mark.unit
SVG = "{http://www.w3.org/2000/svg}"


def row(ms: float, name: str = "default render plain", backend: str = "plain") -> dict[str, Any]:
    return {"name": name, "backend": backend, "times_ms": {"p50": ms}}


def drawn(rows: list[dict[str, Any]]) -> list[tuple[float, str, str]]:
    """Length, label and value of every bar."""
    root = ET.fromstring(bars(rows))
    texts = [element.text or "" for element in root.findall(f"{SVG}text")][1:]
    lengths = [float(element.attrib["width"]) for element in root.findall(f"{SVG}rect")]
    return list(zip(lengths, texts[::2], texts[1::2], strict=True))


@settings(deadline=None, max_examples=60)
@given(times=st.lists(st.floats(0.1, 1e6), min_size=1, max_size=12))
def test_slower_is_longer_and_every_bar_fits(times: list[float]) -> None:
    found = [length for length, _, _ in drawn([row(ms) for ms in times])]
    assert len(found) == len(times)
    assert all(0 < length <= 900 - 330 - 80 for length in found)
    ordered = [length for _, length in sorted(zip(times, found, strict=True))]
    assert ordered == sorted(ordered)


def test_equal_ratios_are_equal_steps() -> None:
    """A logarithmic scale: from 10 to 100 as far as from 100 to 1000."""
    lengths = [length for length, _, _ in drawn([row(ms) for ms in (10.0, 100.0, 1000.0)])]
    assert lengths[1] - lengths[0] == pytest.approx(lengths[2] - lengths[1], abs=0.11)
    assert lengths[0] > 0 and math.isfinite(lengths[2])


def test_names_and_medians_stand_beside_their_bars() -> None:
    found = drawn([row(12.34, "a < b & c"), row(5.0, "other", "unknown backend")])
    assert [(name, value) for _, name, value in found] == [("a < b & c", "12.3"), ("other", "5.0")]


def test_variants_that_failed_are_left_out_and_nothing_is_a_picture_too() -> None:
    failed = {"name": "x", "backend": "aoti", "error": "no compiler"}
    assert [name for _, name, _ in drawn([failed, row(3.0, "ran"), failed])] == ["ran"]
    assert drawn([failed]) == [] == drawn([])


def test_times_of_zero_are_drawn_as_the_least() -> None:
    [(length, _, value)] = drawn([row(0.0)])
    assert length > 0 and value == "0.1"
