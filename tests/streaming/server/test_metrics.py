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

LINE = re.compile(r'livedub_[a-z0-9_]+(\{session="[\w-]+"\})? -?[0-9.e+-]+(nan|inf)?')


def session(name: str, **figures: Any) -> SimpleNamespace:
    """A session that tells these figures; with none it is not running yet."""
    stats = {**LiveStats().as_dict(0), "delay_ms": 400, "voice_held_ms": 60.0, **figures} if figures else None
    return SimpleNamespace(id=name, viewers={"a": None, "b": None}, as_dict=lambda: {"stats": stats})


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
                assert rest[0] in ("gauge", "counter")
                described.add(name)
        else:
            assert LINE.fullmatch(line), line
            assert line.split("{")[0].split(" ")[0] in described
    assert text.endswith("\n")
    assert 'livedub_input_frames_total{session="a-1"} 7\n' in text
    assert 'livedub_input_frames_total{session="b_2"} 9\n' in text


def test_times_are_in_seconds_and_counters_end_in_total() -> None:
    text = of(session("a", frames_in=1, edit_ms_p95=350.0, av_offset_ms=-0.5))
    for line in ("delay_seconds{session=\"a\"} 0.4", "edit_seconds_p95{session=\"a\"} 0.35",
                 "av_offset_seconds{session=\"a\"} -0.0005", "voice_held_seconds{session=\"a\"} 0.06",
                 "viewers{session=\"a\"} 2", "sessions 1", "sessions_total 3"):  # fmt: skip
        assert f"livedub_{line}\n" in text
    counters = re.findall(r"# TYPE (\S+) counter", text)
    assert counters
    assert all(name.endswith("_total") for name in counters)
    assert "_ms" not in text


def test_a_session_that_does_not_run_yet_has_no_figures_and_unknown_ones_are_left_out() -> None:
    text = of(session("a"))
    assert "livedub_delay_seconds" not in text
    assert 'livedub_viewers{session="a"} 2' in text
    assert "edit_seconds_p95" not in of(session("a", frames_in=1))
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
