"""Reading what callers ask for: every key is checked, unknown ones are errors, messages are plain."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, get_args
from urllib.parse import urlsplit

from engine.errors import BadInputError
from streaming.consent import Consent, stated
from streaming.engines import Features, Quality
from streaming.live.config import SessionConfig
from streaming.live.enrolment import SECONDS, EnrolSpec
from streaming.live.sources import SourceKind, SourceSpec, VoiceKind, VoiceSpec
from streaming.live.speakers import Speakers
from streaming.pipeline import DELAYS_MS

URL_SCHEMES: Final = ("rtsp", "rtsps", "rtmp", "rtmps", "udp")
"""Network sources that may be asked for."""

Uploads = Callable[[str], Path]
"""Gives the place of an uploaded file by its name."""


@dataclass(frozen=True)
class Known:
    """What callers may name."""

    speakers: Speakers
    """Who may be edited."""
    features: Features
    """What the engine offers."""
    uploads: Uploads
    """Files that were sent."""
    cameras: tuple[str, ...]
    """Cameras of this machine."""


def session_config(body: Any, known: Known, caller: str) -> SessionConfig:
    """What a new session is to do.

    Args:
        body: what was sent.
        known: what may be named in it.
        caller: who sent it, for the record of consent.

    Raises:
        BadInputError: something is missing, unknown or out of range.
    """
    asked = _object(
        body,
        "session",
        ("source", "voice", "speaker", "enroll", "effort", "emotion", "intensity", "delay_ms", "consent"),
    )
    source = source_spec(asked.get("source", {"kind": "presenter"}), known)
    if source.is_of_a_person and asked.get("consent") is not True:
        raise BadInputError(
            'consent is needed: livedub changes what a person is seen to say. Send "consent": true when the person '
            "in the video has agreed to it and you may use the recording."
        )
    if "speaker" in asked and "enroll" in asked:
        raise BadInputError("session: got speaker and enroll; expected one of them: a known face, or a new one")
    speaker = _text(asked.get("speaker", next(iter(known.speakers.names()), "nobody")), "speaker")
    consent = stated(caller) if source.is_of_a_person else None
    effort = asked.get("effort")
    delay = asked.get("delay_ms")
    if delay is not None and not (_is_whole(delay) and delay in DELAYS_MS):
        raise BadInputError(f"delay_ms is {str(delay)[:20]}; expected a multiple of 20 from 200 to 10000, or none")
    return SessionConfig(
        source,
        voice_spec(asked.get("voice", {"kind": "none"}), known.uploads),
        known.speakers.profile(speaker),
        speaker,
        None if effort is None else checked_effort(effort, known.features),
        None if asked.get("emotion") is None else checked_emotion(asked["emotion"], known.features),
        checked_intensity(asked.get("intensity", 1.0)),
        delay,
        None if "enroll" not in asked else enrol_spec(asked["enroll"], consent),
    )


def enrol_spec(body: Any, consent: Consent | None) -> EnrolSpec:
    """A face to learn."""
    asked = _object(body, "enroll", ("name", "quality", "seconds"))
    quality = cast(Quality, _one_of(asked.get("quality", "draft"), "enroll.quality", get_args(Quality)))
    seconds = asked.get("seconds", SECONDS)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 1 <= seconds <= 120:
        raise BadInputError(f"enroll.seconds is {str(seconds)[:20]}; expected a number from 1 to 120")
    return EnrolSpec(_text(asked.get("name"), "enroll.name"), consent, quality, float(seconds))


def source_spec(body: Any, known: Known) -> SourceSpec:
    """Where the pictures come from."""
    asked = _object(body, "source", ("kind", "upload", "url", "camera"))
    kind = cast(SourceKind, _one_of(asked.get("kind"), "source.kind", get_args(SourceKind)))
    if kind == "file":
        return SourceSpec(kind, path=known.uploads(_text(asked.get("upload"), "source.upload")))
    if kind == "url":
        return SourceSpec(kind, url=network_address(asked.get("url"), "source.url"))
    if kind == "camera":
        if not known.cameras:
            raise BadInputError("source.camera: this server offers no camera of its own; start it with --camera NAME")
        return SourceSpec(kind, url=_one_of(asked.get("camera", known.cameras[0]), "source.camera", known.cameras))
    return SourceSpec(kind)


def network_address(value: Any, what: str) -> str:
    """An address of a network source."""
    url = _text(value, what)
    parts = urlsplit(url)
    if parts.scheme not in URL_SCHEMES or not parts.netloc or any(c.isspace() or ord(c) < 32 for c in url):
        raise BadInputError(f"{what}: expected an address with {', '.join(s + '://' for s in URL_SCHEMES)}")
    return url


def voice_spec(body: Any, uploads: Uploads) -> VoiceSpec:
    """Where the voice comes from."""
    asked = _object(body, "voice", ("kind", "upload", "url", "repeat"))
    kind = cast(VoiceKind, _one_of(asked.get("kind"), "voice.kind", get_args(VoiceKind)))
    repeat = asked.get("repeat", True)
    if not isinstance(repeat, bool):
        raise BadInputError(f"voice.repeat is {repeat!r}; expected true or false")
    path = uploads(_text(asked.get("upload"), "voice.upload")) if kind == "file" else None
    url = network_address(asked.get("url"), "voice.url") if kind == "url" else None
    return VoiceSpec(kind, path, url, repeat)


@dataclass(frozen=True)
class Changes:
    """What is to change in a session; None: stays."""

    effort: int | None
    """Optimisation steps a picture."""
    emotion: str | None
    """Emotion of the dub."""
    intensity: float | None
    """How strong it is."""
    voice: VoiceSpec | None
    """The dubbing voice."""
    speaker: str | None
    """Who is edited."""


def changes(body: Any, known: Known) -> Changes:
    """What is to change in a session.

    Raises:
        BadInputError: nothing is, or something is unknown or out of range.
    """
    asked = _object(body, "changes", ("effort", "emotion", "intensity", "voice", "speaker"))
    if not asked:
        raise BadInputError("changes: got none; expected effort, emotion, intensity, voice or speaker")
    return Changes(
        checked_effort(asked["effort"], known.features) if "effort" in asked else None,
        checked_emotion(asked["emotion"], known.features) if "emotion" in asked else None,
        checked_intensity(asked["intensity"]) if "intensity" in asked else None,
        voice_spec(asked["voice"], known.uploads) if "voice" in asked else None,
        _text(asked["speaker"], "speaker") if "speaker" in asked else None,
    )


def checked_emotion(emotion: Any, features: Features) -> str:
    """An emotion that the engine has."""
    return _one_of(emotion, "emotion", features.emotions)


def checked_intensity(intensity: Any) -> float:
    """A share from 0 to 1."""
    if isinstance(intensity, bool) or not isinstance(intensity, int | float) or not 0 <= intensity <= 1:
        raise BadInputError(f"intensity is {str(intensity)[:20]}; expected a number from 0 to 1")
    return float(intensity)


def checked_effort(effort: Any, features: Features) -> int:
    """An effort that the engine has."""
    if not _is_whole(effort) or not 0 <= effort <= features.max_effort:
        raise BadInputError(f"effort is {effort!r}; expected a whole number from 0 to {features.max_effort}")
    return int(effort)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _object(body: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadInputError(f"{what}: got {type(body).__name__}, expected an object")
    unknown = [str(key) for key in body if key not in keys]
    if unknown:
        raise BadInputError(f"{what}: unknown {', '.join(sorted(unknown))[:80]}; expected {', '.join(keys)}")
    return body


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 2000:
        raise BadInputError(f"{what}: got {type(value).__name__}, expected a text of at most 2000 characters")
    return value


def _one_of(value: Any, what: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadInputError(f"{what} is {str(value)[:40]!r}; expected one of {', '.join(allowed)}")
    return str(value)
