"""What `livedub serve`'s options become: settings of the server, the session of `--source`, threads, refusals."""

import argparse
import io
import sys
from pathlib import Path

import pytest
import torch

from engine.errors import BackendError, BadInputError
from streaming.cli import build_parser
from streaming.commands import serve
from streaming.commands.common import Context
from streaming.live.config import SessionConfig
from streaming.live.sources import SourceSpec, VoiceSpec
from streaming.screen import Screen
from tests.streaming.fakes import FakeEngine, livedub

pytestmark = pytest.mark.unit


@pytest.fixture
def speakers(tmp_path: Path) -> tuple[Path, Path]:
    """Two profiles."""
    for name in ("ann", "bob"):
        (tmp_path / f"{name}.safetensors").write_text(name)
    return tmp_path / "ann.safetensors", tmp_path / "bob.safetensors"


def parsed(*words: object) -> argparse.Namespace:
    return build_parser().parse_args(["serve", *(str(word) for word in words)])


def first_session(*words: object) -> SessionConfig | None:
    """The session that begins with the server."""
    args = parsed(*words)
    context = Context(Screen(False, io.StringIO(), io.StringIO()), FakeEngine(), io.StringIO(), "livedub serve")
    return serve._first_session(args, serve._settings(args), context)


def test_speakers_are_known_by_name_or_file_and_the_presenter_always(speakers: tuple[Path, Path]) -> None:
    ann, bob = speakers
    settings = serve._settings(parsed("--speaker", f"anna={ann}", "--speaker", bob))
    assert list(settings.speakers)[-2:] == ["anna", "bob"]
    assert (settings.speakers["anna"], settings.speakers["bob"]) == (ann, bob)
    assert len(settings.speakers) == 3 and all(path.is_file() for path in settings.speakers.values())
    again = serve._settings(parsed("--speaker", f"anna={ann}", "--speaker", f"anna={bob}"))
    assert again.speakers["anna"] == bob, "the last one of a name holds"


def test_limits_and_servers_reach_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(serve.TOKEN_VARIABLE, "a token that is long enough")
    words = ("--host", "0.0.0.0", "--port", 0, "--max-sessions", 3, "--max-viewers", 7, "--camera", "/dev/video7",
             "--ice-server", "stun:host:3478", "--ice-host", "10.0.0.9")  # fmt: skip
    settings = serve._settings(parsed(*words))
    assert (settings.host, settings.port, settings.token) == ("0.0.0.0", 0, "a token that is long enough")
    assert (settings.max_sessions, settings.max_viewers, settings.cameras) == (3, 7, ("/dev/video7",))
    assert [server.url for server in settings.ice_servers] == ["stun:host:3478"]
    assert settings.ice_hosts == ("10.0.0.9",)
    monkeypatch.setenv(serve.TOKEN_VARIABLE, "")
    assert serve._settings(parsed()).token is None, "an empty variable is no token"


def test_no_source_is_no_session_and_options_of_one_are_refused() -> None:
    assert first_session() is None
    for words in (("--audio", "a.wav"), ("--enroll", "bob"), ("--effort", 1), ("--delay", 400), ("--record", "r.mp4"),
                  ("--push", "udp://h:1")):  # fmt: skip
        with pytest.raises(BadInputError, match=f"^{words[0]} belongs to the session of --source; got no --source$"):
            first_session(*words)


@pytest.mark.parametrize(
    ("word", "source"),
    [
        ("presenter", SourceSpec("presenter")),
        ("rtsp://host/stream", SourceSpec("url", url="rtsp://host/stream")),
        ("udp://@:1234", SourceSpec("url", url="udp://@:1234")),
        ("talk.mp4", SourceSpec("file", path=Path("talk.mp4"))),
        ("camera.mp4", SourceSpec("file", path=Path("camera.mp4"))),
        ("http://host/x.mp4", SourceSpec("file", path=Path("http://host/x.mp4"))),
    ],
)
def test_a_source_is_the_presenter_an_address_or_a_file(word: str, source: SourceSpec) -> None:
    """An address of another kind is taken for a file, which is then not there: nothing is fetched by http."""
    config = first_session("--source", word, "--consent")
    assert config is not None
    assert config.source == source
    assert config.voice == VoiceSpec("presenter")
    assert (config.effort, config.delay_ms, config.enrol) == (None, None, None)


def test_a_camera_of_the_server_is_the_first_that_is_named() -> None:
    config = first_session("--source", "camera", "--camera", "/dev/video3", "--camera", "/dev/video4", "--consent")
    assert config is not None and config.source == SourceSpec("camera", url="/dev/video3")
    with pytest.raises(BadInputError, match="--source camera: got no --camera; name the camera, for example --camera"):
        first_session("--source", "camera", "--consent")


def test_the_session_has_the_last_speaker_its_speech_effort_and_delay(speakers: tuple[Path, Path]) -> None:
    ann, bob = speakers
    words = ("--source", "presenter", "--speaker", ann, "--speaker", f"bert={bob}", "--audio", "v.wav", "--effort", 3,
             "--delay", 480)  # fmt: skip
    config = first_session(*words)
    assert config is not None
    assert (config.speaker, config.profile) == ("bert", bob)
    assert config.voice == VoiceSpec("file", path=Path("v.wav"))
    assert (config.effort, config.delay_ms) == (3, 480)


def test_a_face_is_learnt_with_consent_where_it_is_of_a_person() -> None:
    with pytest.raises(BadInputError, match="consent is needed"):
        first_session("--source", "talk.mp4", "--enroll", "bob")
    person = first_session("--source", "talk.mp4", "--enroll", "bob", "--consent")
    presenter = first_session("--source", "presenter", "--enroll", "eve")
    assert person is not None and person.enrol is not None and person.enrol.consent is not None
    assert (person.enrol.name, person.enrol.consent.by) == ("bob", "command line")
    assert presenter is not None and presenter.enrol is not None and presenter.enrol.consent is None


@pytest.mark.parametrize(("threads", "left"), [(1, 1), (2, 1), (8, 7)])
def test_one_thread_is_left_for_sound_and_transport(threads: int, left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(torch, "set_num_threads", set_to.append)
    serve.leave_a_core_free()
    assert set_to == [left]


def test_without_the_live_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streaming.server.app", None)
    done = livedub("serve", "--port", 0)
    assert (done.status, done.err.count("\n")) == (BackendError.exit_code, 1)
    assert "`livedub serve` needs more packages: " in done.err and "pip install 'livedub[live]'" in done.err
