"""The local engine keeps what live sessions of a speaker share: found again, bounded, made anew for a new file."""

import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.dubber import DubConfig
from engine.errors import ProfileError
from streaming import engines
from streaming.engines import READY_SPEAKERS, LocalEngine

pytestmark = pytest.mark.unit


class Made:
    """Stands for the engine's parts: what was made, in order."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.log: list[str] = []

    def profile(self, path: Path) -> Any:
        """Reads a profile."""
        self.log.append(f"read {path.name}")
        return SimpleNamespace(name=path.name)

    def speech(self, limit_ms: int | None) -> str:
        """Loads the speech model."""
        self.log.append(f"speech {limit_ms}")
        return "speech"

    def ready(self, profile: Any, config: DubConfig, speech: Any) -> Any:
        """Makes a speaker ready."""
        assert speech == "speech"
        self.log.append(f"ready {profile.name}")
        return SimpleNamespace(profile=profile)

    def dubber(self, ready: Any, config: DubConfig) -> Any:
        """Begins a session."""
        self.log.append(f"session {ready.profile.name} {config.effort}")
        return SimpleNamespace(look_ahead_ms=100, ready=ready)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    """Instead of networks."""
    parts = Made()
    monkeypatch.setattr(engines, "SpeakerProfile", SimpleNamespace(load=parts.profile))
    monkeypatch.setattr(engines, "load_speech_model", parts.speech)
    monkeypatch.setattr(engines, "ReadySpeaker", parts.ready)
    monkeypatch.setattr(engines, "Dubber", parts.dubber)
    monkeypatch.setattr(engines, "_own", lambda profile: profile)
    return parts


def profiles(folder: Path, *names: str) -> list[Path]:
    """Files that stand for profiles."""
    for name in names:
        (folder / name).write_text(name)
    return [folder / name for name in names]


def test_the_second_session_of_a_speaker_finds_everything_there(tmp_path: Path, made: Made) -> None:
    """At any effort; the speech model serves all speakers."""
    engine = LocalEngine(look_ahead_ms=120)
    ann, bob = profiles(tmp_path, "ann", "bob")
    assert engine.live(engine.load(ann), None).look_ahead_ms == 100
    assert made.log == ["read ann", "speech 120", "ready ann", "session ann 0"]
    made.log.clear()
    engine.live(engine.load(ann), 2)
    engine.live(engine.load(bob), 0)
    engine.live(engine.load(ann), 1)
    assert made.log == ["session ann 2", "read bob", "ready bob", "session bob 0", "session ann 1"]


def test_a_profile_that_was_written_again_is_read_again(tmp_path: Path, made: Made) -> None:
    engine = LocalEngine()
    (ann,) = profiles(tmp_path, "ann")
    old = engine.load(ann)
    engine.live(old, None)
    os.utime(ann, ns=(0, ann.stat().st_mtime_ns + 1))
    made.log.clear()
    assert engine.load(ann) is not old
    engine.live(engine.load(ann), None)
    assert made.log == ["read ann", "ready ann", "session ann 0"]


def test_the_speaker_that_was_unused_longest_goes(tmp_path: Path, made: Made) -> None:
    """Memory stays bounded however many speakers a server has."""
    engine = LocalEngine()
    names = [f"speaker {index}" for index in range(READY_SPEAKERS + 1)]
    paths = profiles(tmp_path, *names)
    for path in (*paths[:-1], paths[0], paths[-1]):
        engine.live(engine.load(path), None)
    made.log.clear()
    for index in (0, 1):
        engine.live(engine.load(paths[index]), None)
    assert made.log == ["session speaker 0 0", "read speaker 1", "ready speaker 1", "session speaker 1 0"]


def test_a_profile_of_elsewhere_is_served_and_not_kept(tmp_path: Path, made: Made) -> None:
    engine, other = LocalEngine(), LocalEngine()
    profile = other.load(profiles(tmp_path, "ann")[0])
    for _ in range(2):
        engine.live(profile, None)
    assert made.log.count("ready ann") == 2 and made.log.count("speech None") == 1


def test_networks_do_not_go_into_another_process(tmp_path: Path, made: Made) -> None:
    """The learner of a new face gets the engine without them."""
    engine = LocalEngine(alignment="network")
    engine.live(engine.load(profiles(tmp_path, "ann")[0]), None)
    there = pickle.loads(pickle.dumps(engine))
    made.log.clear()
    there.live(there.load(tmp_path / "ann"), None)
    assert made.log == ["read ann", "speech None", "ready ann", "session ann 0"]


def test_a_file_that_is_gone_is_refused_even_where_it_was_read_before(
    tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine()
    (ann,) = profiles(tmp_path, "ann")
    engine.load(ann)
    ann.unlink()

    def missing(path: Path) -> None:
        raise ProfileError(f"{path}: no such file")

    monkeypatch.setattr(engines, "SpeakerProfile", SimpleNamespace(load=missing))
    with pytest.raises(ProfileError, match="no such file"):
        engine.load(ann)
