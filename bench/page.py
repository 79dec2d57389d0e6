"""The quality runs as one HTML page that needs nothing else: table, strips, openings over time, reasons.

Strips show faces: the page stays out of this repository unless they are its own presenter's.
"""

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.matrix import Clip, clips_of, explain
from bench.report import name_of, side_rows
from engine.evaluation import FIGURES, goal_text, reached

Series = Mapping[str, Sequence[float | None]]
"""`seconds` and any of `target`, `shown`, `filmed`."""

_WIDTH: Final = 900
_HEIGHT: Final = 150
_LEFT: Final = 40
_FOOT: Final = 18
_LINES: Final = (("filmed", "#999999", "filmed"), ("target", "#2a9d3a", "wanted"), ("shown", "#c02f9e", "shown"))
_STYLE: Final = """
body { font: 14px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; } th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; } td.missed { color: #b00020; font-weight: 600; }
td.none { color: #999; } img { max-width: 100%; } figure { margin: 1em 0; } figcaption, .small { color: #666; }
"""


@dataclass(frozen=True)
class Run:
    """One run on the page."""

    report: Mapping[str, Any]
    """Its report."""
    series: Series = field(default_factory=dict)
    """Openings over time; empty: no plot."""
    strip: bytes | None = None
    """PNG; None: no picture."""

    @property
    def title(self) -> str:
        """Clip, speech, and the system when it is another one."""
        return name_of(self.report["run"])


def page(runs: Sequence[Run], head: Mapping[str, Any]) -> str:
    """The page.

    Args:
        runs: in the order of the page.
        head: command, date, machine and versions, as `bench.machine.header` gives them.
    """
    machine = head.get("machine", {})
    where = f"{machine.get('processor', '')}, {machine.get('cores', '')} cores"
    about = f"{head.get('command', '')}; {head.get('date', '')}; {where}"
    if older := head.get("measured_by_other_code"):
        about += f"; {older} runs were measured by another version of the code"
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>livedub: quality</title>',
        f"<style>{_STYLE}</style></head><body><h1>Quality</h1><p class='small'>{html.escape(about)}</p>",
        clips_section(clips_of([run.report for run in runs])),
        figures_table(runs),
        *(section(run) for run in runs),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def clips_section(clips: Sequence[Clip]) -> str:
    """How every clip fares over its speeches, and which is the worst; empty for fewer than two clips."""
    if len(clips) < 2:
        return ""
    keys = [key for key in FIGURES if any(key in clip.means for clip in clips)]
    names = ("clip", "speeches", "shortfall", *keys)
    rows = ["".join(f"<th>{html.escape(name)}</th>" for name in names)]
    for clip in clips:
        cells = [f"<td>{html.escape(clip.name)}</td><td>{clip.runs}</td><td>{clip.shortfall:.2f}</td>"]
        for key in keys:
            mark = " class=missed" if key in clip.missed else " class='none'" if key not in clip.means else ""
            cells.append(f"<td{mark}>{clip.means[key]:.3g}</td>" if key in clip.means else f"<td{mark}>-</td>")
        rows.append("".join(cells))
    table = "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
    return f"<h2>Clips</h2>{table}<p>{'<br>'.join(html.escape(line) for line in explain(clips))}</p>"


def figures_table(runs: Sequence[Run]) -> str:
    """All figures, one column a run; what is not reached is marked."""
    measured = [run for run in runs if "figures" in run.report]
    rows = [
        "".join(f"<th>{html.escape(text)}</th>" for text in ("figure", "to reach", *(run.title for run in measured)))
    ]
    for key in FIGURES:
        cells = "".join(_cell(key, run.report["figures"].get(key)) for run in measured)
        rows.append(f"<td>{html.escape(key)}</td><td>{html.escape(goal_text(key))}</td>{cells}")
    for key, words, values in side_rows([run.report for run in measured]):
        cells = "".join("<td class='none'>-</td>" if v is None else f"<td>{v:.3g}</td>" for v in values)
        rows.append(f"<td>{html.escape(key)}</td><td>{html.escape(words)}</td>{cells}")
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"


def _cell(key: str, value: float | None) -> str:
    if value is None:
        return "<td class='none'>-</td>"
    return f"<td{'' if reached(key, value) else ' class=missed'}>{value:.3g}</td>"


def section(run: Run) -> str:
    """One run: strip, plot, what was left out and why."""
    report, title = run.report, html.escape(run.title)
    if "figures" not in report:
        return f"<h2>{title}</h2><p>{html.escape(str(report.get('missing', 'not measured')))}</p>"
    parts = [f"<h2>{title}</h2>"]
    if run.strip is not None:
        data = base64.b64encode(run.strip).decode("ascii")
        text = "Filmed; edited; target (green) and what the judge read (magenta); difference times four."
        parts.append(f'<figure><img alt="strip of {title}" src="data:image/png;base64,{data}">')
        parts.append(f"<figcaption>{text}</figcaption></figure>")
    if drawn := plot(run.series):
        parts.append(
            f"<figure>{drawn}<figcaption>Inner-lip opening, inter-ocular distances, over seconds.</figcaption></figure>"
        )
    passed = ", ".join(f"{count} {reason}" for reason, count in report.get("passed_through", {}).items()) or "none"
    lines = [f"{report['edited']} of {report['frames']} frames edited; passed through: {passed}"]
    lines += [f"{key}: not measured: {reason}" for key, reason in report.get("not_measured", {}).items()]
    parts.append("<p class='small'>" + "<br>".join(html.escape(line) for line in lines) + "</p>")
    return "\n".join(parts)


def plot(series: Series) -> str:
    """Openings over time as SVG; empty when there is nothing to draw."""
    seconds = [float(t or 0) for t in series.get("seconds", ())]
    known = [v for key, _, _ in _LINES for v in series.get(key, ()) if v is not None]
    if len(seconds) < 2 or not known or seconds[-1] <= seconds[0]:
        return ""
    top = max(max(known), 1e-6)
    scale_x, scale_y = (_WIDTH - _LEFT) / (seconds[-1] - seconds[0]), (_HEIGHT - _FOOT - 6) / top

    def place(second: float, value: float) -> str:
        """A point of the plot in px of the drawing."""
        return f"{_LEFT + (second - seconds[0]) * scale_x:.1f},{_HEIGHT - _FOOT - value * scale_y:.1f}"

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img">']
    parts.append(f'<path d="M{place(seconds[0], 0)} L{place(seconds[-1], 0)}" stroke="#bbb" fill="none"/>')
    parts += [
        f'<text x="0" y="12" font-size="11">{top:.2f}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 4}" font-size="11">{seconds[0]:.1f} s</text>',
        f'<text x="{_WIDTH - 40}" y="{_HEIGHT - 4}" font-size="11">{seconds[-1]:.1f} s</text>',
    ]
    for index, (key, colour, name) in enumerate(_LINES):
        for points in _unbroken(seconds, series.get(key, ())):
            path = "M" + " L".join(place(*point) for point in points)
            parts.append(f'<path d="{path}" stroke="{colour}" fill="none" stroke-width="1.5"/>')
        if key in series:
            parts.append(
                f'<text x="{_LEFT + 120 + 70 * index}" y="{_HEIGHT - 4}" font-size="11" fill="{colour}">{name}</text>'
            )
    return "".join(parts) + "</svg>"


def _unbroken(seconds: Sequence[float], values: Sequence[float | None]) -> list[list[tuple[float, float]]]:
    """Pieces of a line between its gaps."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for second, value in zip(seconds, values, strict=False):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((second, value))
    return [piece for piece in pieces if len(piece) > 1]
