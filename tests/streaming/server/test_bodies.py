"""Whatever callers send becomes a session that is asked for completely, or a refusal in plain words; nothing else."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import BadInputError
from streaming.engines import Features
from streaming.live.speakers import Speakers
from streaming.pipeline import DELAYS_MS
from streaming.server import bodies
from streaming.server.bodies import Known, changes, network_address, session_config

pytestmark = pytest.mark.unit

FEATURES = Features(default_effort=1, max_effort=4, emotions=("neutral", "happy"))
HERE = Path("/a/profile")


def no_upload(name: str) -> Path:
    raise BadInputError("upload: there is no file of this name; send it again")


KNOWN = Known(Speakers({"ann": HERE}, None), FEATURES, no_upload, ("/dev/video0",))
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
    st.sampled_from(["kind", "upload", "url", "camera", "repeat", "name", "quality", "seconds", "x"]), inner, max_size=4
), max_leaves=6)  # fmt: skip
KEYS = ["source", "voice", "speaker", "enroll", "effort", "emotion", "intensity", "delay_ms", "consent", "other"]
KINDS = st.sampled_from(["presenter", "file", "url", "camera", "whip", "none", "stream", "source"])
SPECS = st.fixed_dictionaries({"kind": KINDS}, optional={"url": st.sampled_from(["rtsp://h/s", "file:///x", ""])})


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), ANYTHING | SPECS, max_size=6) | ANYTHING)
def test_any_json_is_a_session_or_a_refusal(body: Any) -> None:
    try:
        config = session_config(body, KNOWN, "test")
    except BadInputError as error:
        assert str(error)
        assert len(str(error)) < 600
    else:
        assert config.profile == HERE
        assert config.effort is None or 0 <= config.effort <= 4
        assert 0 <= config.intensity <= 1
        assert config.delay_ms is None or config.delay_ms in DELAYS_MS
        assert body.get("consent") is True or config.source.kind == "presenter"
        assert config.source.kind not in ("url", "file") or config.source.url or config.source.path


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(["effort", "emotion", "intensity", "voice", "speaker", "x"]), ANYTHING | SPECS))
def test_any_change_is_one_or_a_refusal(body: dict[str, Any]) -> None:
    try:
        wanted = changes(body, KNOWN)
    except BadInputError as error:
        assert str(error)
    else:
        assert body
        assert wanted.emotion is None or wanted.emotion in FEATURES.emotions
        assert wanted.effort is None or not isinstance(wanted.effort, bool)


@pytest.mark.parametrize(
    "url", ["rtsp://h/s", "rtsps://h:322/s?x=1", "rtmp://u:p@h/app", "rtmps://h/a", "udp://@:1234"]
)
def test_addresses_of_network_sources_are_taken(url: str) -> None:
    assert network_address(url, "source.url") == url


@pytest.mark.parametrize(
    "url",
    ["", "h/s", "rtsp://", "rtsp:/h", "http://h", "file:///etc/passwd", "concat:a|b", "rtsp://h /s", "rtsp://h\n/s",
     "rtsp://h\x00", "udp:h", "data://x", "pipe:0", "RTSPX://h", 5, None, ["rtsp://h"], "rtsp://" + "x" * 2000],
)  # fmt: skip
def test_other_addresses_are_refused(url: Any) -> None:
    with pytest.raises(BadInputError, match=r"source\.url"):
        network_address(url, "source.url")


def test_a_camera_of_the_server_is_one_that_was_offered() -> None:
    chosen = session_config({"source": {"kind": "camera"}, "consent": True}, KNOWN, "test")
    assert chosen.source.url == "/dev/video0"
    with pytest.raises(BadInputError, match="source.camera is '/dev/sda'"):
        session_config({"source": {"kind": "camera", "camera": "/dev/sda"}, "consent": True}, KNOWN, "test")


def test_a_face_to_learn_comes_with_the_consent_of_who_asked() -> None:
    asked = {"source": {"kind": "whip"}, "consent": True, "enroll": {"name": "bob", "seconds": 3}}
    config = session_config(asked, KNOWN, "10.0.0.7")
    assert config.enrol is not None
    assert (config.enrol.name, config.enrol.seconds, config.enrol.quality) == ("bob", 3.0, "draft")
    assert config.enrol.consent is not None
    assert config.enrol.consent.by == "10.0.0.7"
    presenter = session_config({"enroll": {"name": "bob"}}, KNOWN, "test")
    assert presenter.enrol is not None
    assert presenter.enrol.consent is None


@pytest.mark.parametrize("seconds", [0, 0.99, 120.5, True, "3", None, float("nan"), float("inf")])
def test_times_of_learning_that_cannot_be_are_refused(seconds: Any) -> None:
    with pytest.raises(BadInputError, match=r"enroll\.seconds"):
        bodies.enrol_spec({"name": "bob", "seconds": seconds}, None)
