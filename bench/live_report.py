"""What the live runs found, as a page for people: what happened, what the viewer saw, how soon it was over."""

from collections.abc import Mapping
from typing import Any, Final

Runs = Mapping[str, Any]
Row = tuple[str, str, str]
"""What happened, what the viewer saw, how long until all was as before."""

NOTHING: Final = "-"

_HEAD: Final = """# Live, measured

Made by `python -m bench live` from `live.json` beside it, which has the machine, the versions, the load and more
figures. Server, camera and viewer share the machine's cores: times are upper bounds. Left out: what was not measured.
"""


def page_of(runs: Runs) -> str:
    """The page, in Markdown; parts that were not measured are left out."""
    parts = [_HEAD]
    for title, head, rows in (
        ("When something happens", ("what happens", "what the viewer sees", "over after"), _events(runs)),
        ("Packets are lost, or the link is narrow", ("link", "what the viewer sees", "over after"), _links(runs)),
        ("Delay and sync", ("from - to", "figure", "of that"), _delays(runs)),
    ):
        if rows:
            lines = (" | ".join(row) for row in (head, tuple("---" for _ in head), *rows))
            parts.append(f"## {title}\n\n" + "\n".join(f"| {line} |" for line in lines) + "\n")
    return "\n".join(parts)


def _events(runs: Runs) -> list[Row]:
    """Viewers, sources, faces."""
    found = runs.get("events", {})
    rows: list[Row] = []
    if told := found.get("viewers"):
        stays = f"the others: no picture later than {told['longest_freeze_of_who_stays_ms']} ms after the one before"
        whole = "damaged" if told["first_picture_damaged"] else "undamaged"
        rows.append(
            (
                "a viewer joins in the middle",
                f"first picture {whole}; {stays}",
                f"{told['join_to_first_picture_ms']} ms",
            )
        )
        rows.append(("a viewer leaves", stays, NOTHING))
        rows.append(("a viewer vanishes", stays, f"forgotten after {_seconds(told['vanished_forgotten_after_s'])}"))
    if told := runs.get("page", {}).get("closed_browser_forgotten_after_s"):
        rows.append(("a browser is killed", "the others: as above", f"forgotten after {_seconds(told)}"))
    if told := found.get("source_ends"):
        sound = "sound goes on" if told["sound_goes_on"] else "**sound stops**"
        rows.append(("the source ends", f"the last picture stands, {sound}", NOTHING))
        rows.append(
            (
                "another source begins",
                "its first picture, edited, after the session's delay",
                f"{told['new_source_to_edited_beyond_delay_ms']} ms beyond it",
            )
        )
    if told := found.get("size_changes"):
        passed = sum(told["passed_through"].values())
        rows.append(
            (
                "the source changes its size",
                f"pictures go on after {told['gap_at_the_change_ms']} ms, {passed} of them unedited",
                f"{told['first_new_to_first_edited_ms']} ms",
            )
        )
    if told := found.get("face_leaves"):
        rows.append(
            (
                "the face leaves",
                f"unedited pictures, {told['pictures_per_second_while_away']} a second, the first one after "
                f"{round(1000 * told['gone_to_passed_through_s'])} ms",
                NOTHING,
            )
        )
        rows.append(
            (
                "the face comes back",
                "unedited pictures until it is found and followed",
                f"{round(1000 * told['back_to_edited_s'])} ms",
            )
        )
    return rows  # fmt: skip


def _links(runs: Runs) -> list[Row]:
    """Loss, and a link that carries less than the picture needs."""
    rows: list[Row] = []
    for name, told in runs.get("loss", {}).items():
        who, _, share = name.partition("_")
        if who in ("viewer", "camera"):
            way = "to the viewer" if who == "viewer" else "from the camera"
            rows.append((f"{share} lost {way}", _lossy(told), f"{told['recovered_after_ms']} ms"))
    if told := runs.get("sharp"):
        rows.append(("Chromium, a link that carries everything", _browser(told), NOTHING))
    if told := runs.get("narrow"):
        link = f"Chromium, {told['link_kbps'] / 1000:g} Mb/s and a queue of 0.3 s"
        rows.append((f"{link}, the first 10 s", _browser(told["first_10_s"]), NOTHING))
        rows.append(
            (
                f"{link}, after that",
                _browser(told["after_that"]),
                f"full rate {_seconds(told['wide_again_to_full_rate_s'])} after the link is wide again",
            )
        )
    return rows  # fmt: skip


def _lossy(told: Mapping[str, Any]) -> str:
    damaged = f"{told['damaged_share']:.1%} damaged" if told["damaged_share"] else "none damaged"
    return (
        f"{told['pictures_per_second']} pictures a second, {damaged}, longest freeze {told['longest_freeze_ms']} ms, "
        f"sound missing {told['sound_lost_share']:.1%}"
    )


def _browser(told: Mapping[str, Any]) -> str:
    rate = f"{told['received_kbps'] / 1000:.1f} Mb/s, quantiser {told['quantiser']}"
    return f"{rate}, {told['pictures_per_second']} pictures a second, still {told['frozen_share']:.0%} of the time"


def _delays(runs: Runs) -> list[Row]:
    """Capture to viewer, its parts, first pictures, sync."""
    rows: list[Row] = []
    for name, what in (("camera", "camera - aiortc viewer's decoder"), ("page", "camera - canvas of the page")):
        if told := runs.get(name):
            total, split = told.get("capture_to_viewer_ms") or told.get("capture_to_page_ms"), told["split_ms"]
            if total:
                parts = ", ".join(f"{key.replace('_', ' ')} {value:g} ms" for key, value in split.items())
                rows.append((what, f"p50 {total['p50']:g}, p95 {total['p95']:g}, p99 {total['p99']:g} ms", parts))
    for name, what in (("sync_fast", "engine of 10 ms"), ("sync_slow", "engine of 300 ms"), ("camera", "camera")):
        if told := runs.get(name):
            ends = f"{told['av_offset_start_ms']:g} ms at the start, {told['av_offset_end_ms']:g} ms at the end"
            rows.append((f"sound - picture, {what}", ends, f"{told['sound_gaps']} gaps in the sound"))
    if told := runs.get("first"):
        for each in told["camera"]:
            seen = f"{each['first_seen']} ms"
            rows.append(
                ("a camera connects - first edited picture seen", seen, f"the delay {each['of_that_the_delay']} ms")
            )
    return rows


def _seconds(value: float | None) -> str:
    return "**more than a minute**" if value is None else f"{value:g} s"
