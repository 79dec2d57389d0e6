"""A bar chart of step times as SVG, written out by hand: bars on a logarithmic scale, one per variant."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final
from xml.sax.saxutils import escape

_WIDTH: Final = 900
_LEFT: Final = 330
_BAR: Final = 18
_GAP: Final = 8
_COLOURS: Final = {"plain": "#9a9a9a", "eager": "#4f81bd", "aoti": "#2e8b57"}


def bars(rows: Sequence[Mapping[str, Any]]) -> str:
    """Median times of all variants that ran."""
    shown = [row for row in rows if "error" not in row]
    times = [max(0.1, float(row["times_ms"]["p50"])) for row in shown]
    most = math.log10(max(times, default=1.0) * 1.5)
    least = math.log10(min(times, default=0.1) / 2)
    height = 40 + len(shown) * (_BAR + _GAP)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        '<text x="10" y="18">median time in ms, logarithmic scale</text>',
    ]
    for index, (row, value) in enumerate(zip(shown, times, strict=True)):
        top = 30 + index * (_BAR + _GAP)
        length = (math.log10(value) - least) / max(most - least, 1e-9) * (_WIDTH - _LEFT - 80)
        colour = _COLOURS.get(row["backend"], "#c0504d")
        middle = top + _BAR - 5
        lines.append(f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(row["name"])}</text>')
        lines.append(f'<rect x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR}" fill="{colour}"/>')
        lines.append(f'<text x="{_LEFT + length + 6:.1f}" y="{middle}">{value:.1f}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"
