"""`livedub serve`: refusals before anything listens; a server that begins, answers, records and ends in good order."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from streaming.ingest.file import probe_video
from tests.streaming.clips import gradient, make_video
from tests.streaming.fakes import livedub

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


def test_it_serves_records_and_ends_in_good_order(tmp_path: Path) -> None:
    video = make_video(tmp_path / "c.mp4", [gradient(i, 64, 48) for i in range(25)])
    profile, record = tmp_path / "ann.safetensors", tmp_path / "r.mp4"
    profile.write_text("full")
    words = ["serve", "--port", "0", "--source", str(video), "--consent", "--speaker", str(profile), "--delay", "400"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[3])}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, *words, "--record", str(record), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = server.stdout.readline()
            assert line, server.stderr.read() if server.stderr else ""
            text += line
        try:
            said = json.loads(text)
            with pytest.raises(subprocess.TimeoutExpired):
                server.wait(4)
            with urllib.request.urlopen(f"{said['url']}api/sessions/{said['session']}") as answer:
                state = json.load(answer)
            assert state["error"] is None
            assert state["outputs"][0]["writing"]
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
        finally:
            server.kill()
    assert len(probe_video(record).ticks) >= 10
