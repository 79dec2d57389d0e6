"""`livedub serve`: refusals before anything listens; a server that begins, answers, records and ends in good order."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from streaming.ingest.file import probe_video
from tests.streaming.clips import gradient, make_video
from tests.streaming.fakes import livedub
from tests.streaming.network_servers import free_port

pytestmark = pytest.mark.unit

SERVE = """
import sys
from streaming.cli import main
from tests.streaming.fakes import FakeEngine
sys.exit(main(sys.argv[1:], FakeEngine()))
"""


def test_beyond_loopback_it_needs_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIVEDUB_TOKEN", raising=False)
    done = livedub("serve", "--host", "0.0.0.0")
    assert done.status == 2
    assert "LIVEDUB_TOKEN" in done.err
    monkeypatch.setenv("LIVEDUB_TOKEN", "short")
    assert "at least 16" in livedub("serve", "--host", "0.0.0.0").err


def test_a_person_as_source_needs_consent(tmp_path: Path) -> None:
    video = make_video(tmp_path / "c.mp4", [gradient(i, 64, 48) for i in range(4)])
    for source in (video, "rtsp://127.0.0.1/x"):
        done = livedub("serve", "--source", source, "--port", 0)
        assert done.status == 2
        assert "consent is needed" in done.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--speaker", "/nowhere.safetensors"), "no such file"),
        (("--port", "70000"), "port is 70000"),
        (("--ice-server", "http://x"), "ICE server"),
        (("--effort", "1"), "got no --source"),
        (("--record", "x.mp4"), "got no --source"),
        (("--source", "presenter", "--effort", "99"), "effort is 99"),
        (("--max-sessions", "0"), "a limit is less than 1"),
    ],
)
def test_options_that_cannot_be_are_refused(words: tuple[str, ...], message: str) -> None:
    done = livedub("serve", *words)
    assert done.status == 2
    assert message in done.err
    assert done.err.count("\n") == 1


@contextmanager
def serving(*words: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """A server in a process of its own, and what it has said when it listens."""
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, "serve", "--port", "0", *words, "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = server.stdout.readline()
            assert line, server.stderr.read() if server.stderr else ""
            text += line
        try:
            yield server, json.loads(text)
        finally:
            server.kill()


def state_of(said: dict[str, str]) -> dict[str, Any]:
    """The session, as the server tells it."""
    with urllib.request.urlopen(f"{said['url']}api/sessions/{said['session']}") as answer:
        state: dict[str, Any] = json.load(answer)
    return state


def test_it_serves_records_and_ends_in_good_order(tmp_path: Path) -> None:
    video = make_video(tmp_path / "c.mp4", [gradient(i, 64, 48) for i in range(25)])
    profile, record = tmp_path / "ann.safetensors", tmp_path / "r.mp4"
    profile.write_text("full")
    words = ("--source", str(video), "--consent", "--speaker", str(profile), "--delay", "400", "--record", str(record))
    with serving(*words) as (server, said):
        with pytest.raises(subprocess.TimeoutExpired):
            server.wait(4)
        state = state_of(said)
        assert state["error"] is None
        assert state["outputs"][0]["writing"]
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0
    assert len(probe_video(record).ticks) >= 10


def test_a_source_that_does_not_come_keeps_neither_the_address_nor_the_end_waiting(tmp_path: Path) -> None:
    profile = tmp_path / "ann.safetensors"
    profile.write_text("full")
    words = ("--source", f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}", "--consent", "--speaker", str(profile))
    with serving(*words, "--record", str(tmp_path / "r.mp4")) as (server, said):
        state = state_of(said)
        assert state["state"] in ("loading", "waiting")
        assert state["outputs"] == []
        server.send_signal(signal.SIGINT)
        assert server.wait(30) == 0
    assert not (tmp_path / "r.mp4").exists()


def test_an_output_that_cannot_be_ends_the_server_with_the_reason(tmp_path: Path) -> None:
    video = make_video(tmp_path / "c.mp4", [gradient(i, 64, 48) for i in range(25)])
    profile = tmp_path / "ann.safetensors"
    profile.write_text("full")
    nowhere = tmp_path / "nowhere" / "r.mp4"
    words = ("--source", str(video), "--consent", "--speaker", str(profile), "--delay", "400", "--record", str(nowhere))
    with serving(*words) as (server, _):
        assert server.wait(30) == 2
        assert server.stderr is not None
        assert "nowhere" in server.stderr.read()
