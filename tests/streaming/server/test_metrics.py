"""Figures for Prometheus: their format, their units, what is left out."""

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from streaming.live.learner import Progress
from streaming.live.preparation import Preparation
from streaming.live.stats import LiveStats
from streaming.server import metrics
from streaming.server.manager import Sessions
from streaming.server.metrics import exposition, resident_bytes

pytestmark = pytest.mark.unit

LINE = re.compile(r'(livedub|process)_[a-z0-9_]+(\{([a-z]+="[^"\\\n]*",?)+\})? -?[0-9.e+-]+')


def session(name: str, **figures: Any) -> SimpleNamespace:
    """A session that tells these figures; with none it is not running yet."""
    more = {"delay_ms": 400, "voice_held_ms": 60.0, "source_restarts": 0}
    stats = {**LiveStats().as_dict(0), **more, **figures} if figures else None
    sent = {"H264 edited": 12_345_678_901} if figures else {}
    return SimpleNamespace(
        id=name, viewers={"a": None, "b": None}, as_dict=lambda: {"stats": stats, "sent_bytes": sent}
    )


def of(*running: SimpleNamespace, started: int = 3, preparation: Preparation | None = None) -> str:
    around = SimpleNamespace(preparation=preparation or Preparation())
    return exposition(cast(Sessions, SimpleNamespace(all=lambda: running, started=started, around=around)))


def test_every_figure_is_described_once_before_its_values() -> None:
    text = of(session("a-1", frames_in=7), session("b_2", frames_in=9))
    described: set[str] = set()
    for line in text.splitlines():
        if line.startswith("#"):
            _, what, name, *rest = line.split(" ")
            assert rest
            if what == "TYPE":
                assert name not in described
                assert rest[0] in ("gauge", "counter", "summary")
                described.add(name)
        else:
            assert LINE.fullmatch(line), line
            name = re.split(r"[{ ]", line)[0]
            assert name in described or re.sub("_(sum|count)$", "", name) in described
    assert text.endswith("\n")
    assert 'livedub_input_frames_total{session="a-1"} 7\n' in text
    assert 'livedub_input_frames_total{session="b_2"} 9\n' in text


def test_times_are_in_seconds_counters_end_in_total_and_rates_are_left_to_queries() -> None:
    text = of(session("a", frames_in=1, av_offset_ms=-0.5, overloaded=True, stalled_ms=1500))
    for line in ("delay_seconds{session=\"a\"} 0.4", "av_offset_seconds{session=\"a\"} -0.0005",
                 "voice_held_seconds{session=\"a\"} 0.06", "overloaded{session=\"a\"} 1",
                 "stalled_seconds_total{session=\"a\"} 1.5", "viewers{session=\"a\"} 2", "sessions 1",
                 "sessions_started_total 3"):  # fmt: skip
        assert f"livedub_{line}\n" in text
    counters = re.findall(r"# TYPE (\S+) counter", text)
    assert counters
    assert all(name.endswith("_total") for name in counters)
    others = re.findall(r"# TYPE (\S+) (?:gauge|summary)", text)
    assert not any(name.endswith(("_total", "_sum", "_count", "_bucket")) for name in others)
    assert not re.search(r"_(ms|kbps|per_second|p95|percent)\b", text)


def test_counters_keep_every_digit() -> None:
    text = of(session("a", frames_in=123_456_789))
    assert 'livedub_input_frames_total{session="a"} 123456789\n' in text
    assert 'livedub_sent_bytes_total{session="a",stream="H264 edited"} 12345678901\n' in text


def test_the_time_of_an_edit_is_a_summary() -> None:
    text = of(session("a", edits=4, edits_ms=1000.0, edit_ms_p50=200.0, edit_ms_p95=350.0), session("b", edits=0))
    own = [line for line in text.splitlines() if line.startswith("livedub_edit_seconds")]
    assert own == [
        'livedub_edit_seconds{session="a",quantile="0.5"} 0.2',
        'livedub_edit_seconds{session="a",quantile="0.95"} 0.35',
        'livedub_edit_seconds_sum{session="a"} 1',
        'livedub_edit_seconds_count{session="a"} 4',
        'livedub_edit_seconds_sum{session="b"} 0',
        'livedub_edit_seconds_count{session="b"} 0',
    ]


def test_pictures_that_passed_through_are_counted_by_reason() -> None:
    text = of(session("a", passed_through={"no_face": 3, "overload": 1}), session("b", frames_in=1))
    assert text.count("# TYPE livedub_passed_frames_total counter") == 1
    assert 'livedub_passed_frames_total{session="a",reason="no_face"} 3\n' in text
    assert 'livedub_passed_frames_total{session="a",reason="overload"} 1\n' in text


def test_quotes_in_labels_are_escaped() -> None:
    text = of(session("a", passed_through={'a "b" \\': 1}))
    assert 'reason="a \\"b\\" \\\\"} 1\n' in text


def test_the_process_has_the_usual_names() -> None:
    text = of()
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"):
        found = re.search(rf"^{name} ([0-9.e+]+)$", text, re.MULTILINE)
        assert found and float(found[1]) > 0
    assert re.search(r'^livedub_build_info\{version="[0-9.]+"\} 1$', text, re.MULTILINE)


def test_a_session_that_does_not_run_yet_has_no_figures_and_unknown_ones_are_left_out() -> None:
    text = of(session("a"))
    assert "livedub_delay_seconds" not in text
    assert 'livedub_viewers{session="a"} 2' in text
    assert "quantile=" not in of(session("a", frames_in=1))
    assert "livedub_edit_seconds" not in text
    assert "livedub_viewers" not in of()


def test_memory_is_told_where_the_system_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resident_bytes() > 20_000_000

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(metrics, "open", missing, raising=False)
    assert resident_bytes() == 0


def test_what_is_ready_and_what_is_being_prepared_is_told() -> None:
    preparation = Preparation(["ann", "bob"])
    assert "livedub_ready_speakers 0\n" in of() and "livedub_preparing 0\n" in of()
    preparation.ready.append("ann")
    preparation.progress = Progress("preparing bob", 0, 4)
    text = of(preparation=preparation)
    assert "livedub_ready_speakers 1\n" in text and "livedub_preparing 1\n" in text
